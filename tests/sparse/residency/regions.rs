//! What a bind of a region does to the tiles in it, and what it leaves alone around it.

use super::{RGBA8, assert_marked, flat, mark, nine_tiles};
use ash::vk;
use common::gpu::bind;
use common::objects::{Image, ImageShape};
use common::pattern::{assert_pattern, assert_words};
use common::{Batch, Gpu, Memory, Tile, Tiled};

/// Every second tile has memory. What is written to the others reaches no memory: not that of their neighbours, and not
/// that which they get later.
pub fn unbound_tiles_do_not_disturb_bound_ones(gpu: &Gpu) {
    let image = Tiled::new(gpu, &flat(RGBA8, 600, 500));
    let (bound, unbound): (Vec<Tile>, Vec<Tile>) = image
        .tiles()
        .into_iter()
        .partition(|t| (t.at[0] + t.at[1]) % 2 == 0);
    let (memory, fresh) = (
        image.memory(bound.len() as u64 + 1),
        image.memory(unbound.len() as u64),
    );
    mark(&memory);
    mark(&fresh);
    let place = |i: usize| (bound.len() - i) as u64;
    let binds = bound.iter().enumerate();
    image.call(
        binds
            .map(|(i, &t)| image.bind(t, &memory, place(i)))
            .collect::<Vec<_>>(),
    );
    let (first, second) = (image.pattern(3), image.pattern(4));
    image.upload(&first);
    image.assert_tiles("the bound ones", &image.download(), &first, &bound);
    image.upload(&second);
    image.assert_tiles("the bound ones", &image.download(), &second, &bound);
    assert_marked(&memory, image.bytes, 0);
    // The others get memory: it is as it was, and so are the neighbours.
    let binds = unbound.iter().enumerate();
    image.call(
        binds
            .map(|(i, &t)| image.bind(t, &fresh, i as u64))
            .collect::<Vec<_>>(),
    );
    let got = image.download();
    image.assert_tiles("the bound ones", &got, &second, &bound);
    for (i, &tile) in unbound.iter().enumerate() {
        assert_marked(&fresh, image.bytes, i as u64);
        assert!(
            image.cut(&got, tile) != image.cut(&second, tile),
            "{tile:?} shows what was written while it had no memory"
        );
    }
    image.upload(&first);
    image.assert_tiles("all of them", &image.download(), &first, &image.tiles());
}

pub fn a_region_comes_back_with_its_memory(gpu: &Gpu) {
    let image = Tiled::new(gpu, &flat(RGBA8, 640, 512));
    let tiles = image.tiles();
    let [columns, rows, _] = image.grid(0);
    let n = u64::from(columns * rows);
    let memory = image.memory(n);
    image.call([image.bind_level(0, 0, Some((&memory, 0)))]);
    let (first, second) = (image.pattern(5), image.pattern(6));
    image.upload(&first);
    let before = memory.read(0, memory.size);
    // 3x2 tiles in the middle.
    let corner = Tile {
        layer: 0,
        level: 0,
        at: [1, 1, 0],
    };
    let inside = |t: &Tile| (1..4).contains(&t.at[0]) && (1..3).contains(&t.at[1]);
    let (region, others): (Vec<Tile>, Vec<Tile>) = tiles.iter().partition(|t| inside(t));
    assert_eq!(region.len(), 6);
    image.call([image.bind_box(corner, [3, 2, 1], None)]);
    image.assert_tiles("around the hole", &image.download(), &first, &others);
    image.upload(&second);
    image.assert_tiles(
        "around the hole, written",
        &image.download(),
        &second,
        &others,
    );
    let held = memory.read(0, memory.size);
    for (i, tile) in tiles.iter().enumerate() {
        let words = (image.bytes / 4) as usize;
        let range = i * words..(i + 1) * words;
        if inside(tile) {
            assert_words(
                &format!("the memory of {tile:?}"),
                0,
                &held[range.clone()],
                &before[range],
            );
        } else {
            assert!(
                held[range.clone()] != before[range],
                "{tile:?} has this memory"
            );
        }
    }
    // Its rows lie apart in memory, so it comes back tile by tile.
    let place = |t: &Tile| u64::from(t.at[1] * columns + t.at[0]);
    image.call(
        region
            .iter()
            .map(|t| image.bind(*t, &memory, place(t)))
            .collect::<Vec<_>>(),
    );
    let got = image.download();
    image.assert_tiles("the former hole", &got, &first, &region);
    image.assert_tiles("around it", &got, &second, &others);
}

/// The memory of a box is taken tile by tile, row by row, slice by slice.
pub fn a_box_is_its_tiles_one_by_one(gpu: &Gpu) {
    let boxes: [(ImageShape, [u32; 3], [u32; 3]); 5] = [
        (flat(RGBA8, 640, 512), [1, 1, 0], [2, 2, 1]),
        // Up to the edge, where tiles are cut.
        (nine_tiles(), [1, 1, 0], [2, 2, 1]),
        // Whole rows.
        (nine_tiles(), [0, 1, 0], [3, 2, 1]),
        (flat(vk::Format::R8_UINT, 600, 600), [1, 0, 0], [1, 3, 1]),
        (
            ImageShape {
                kind: vk::ImageType::TYPE_3D,
                extent: [96, 96, 48],
                ..flat(RGBA8, 1, 1)
            },
            [1, 1, 1],
            [2, 2, 2],
        ),
    ];
    for (shape, at, size) in boxes {
        let (whole, single) = (Tiled::new(gpu, &shape), Tiled::new(gpu, &shape));
        let corner = Tile {
            layer: 0,
            level: 0,
            at,
        };
        let tiles: Vec<Tile> = (0..size[2])
            .flat_map(|z| (0..size[1]).flat_map(move |y| (0..size[0]).map(move |x| [x, y, z])))
            .map(|[x, y, z]| Tile {
                at: [at[0] + x, at[1] + y, at[2] + z],
                ..corner
            })
            .collect();
        let n = tiles.len() as u64;
        let (of_box, of_tiles) = (whole.memory(n + 1), single.memory(n + 1));
        mark(&of_box);
        mark(&of_tiles);
        whole.call([whole.bind_box(corner, size, Some((&of_box, 1)))]);
        let one_by_one = |image: &Tiled<'_>, memory: &Memory<'_>| -> Vec<_> {
            let tiles = tiles.iter().zip(1..);
            tiles.map(|(&t, i)| image.bind(t, memory, i)).collect()
        };
        single.call(one_by_one(&single, &of_tiles));
        let contents = whole.pattern(7);
        whole.upload(&contents);
        single.upload(&contents);
        whole.assert_tiles("the box", &whole.download(), &contents, &tiles);
        single.assert_tiles("the tiles", &single.download(), &contents, &tiles);
        assert_words(
            &format!("the memory of {shape:?}"),
            0,
            &of_box.read(0, of_box.size),
            &of_tiles.read(0, of_tiles.size),
        );
        assert_marked(&of_box, whole.bytes, 0);
        // The same again, the other way about: nothing moves.
        whole.call(one_by_one(&whole, &of_box));
        single.call([single.bind_box(corner, size, Some((&of_tiles, 1)))]);
        whole.assert_tiles("the box, again", &whole.download(), &contents, &tiles);
        single.assert_tiles("the tiles, again", &single.download(), &contents, &tiles);
        // Their memory exchanged: the first image shows what the second was given.
        let other = single.pattern(8);
        single.upload(&other);
        whole.call([whole.bind_box(corner, size, Some((&of_tiles, 1)))]);
        single.call(one_by_one(&single, &of_box));
        whole.assert_tiles("the other memory", &whole.download(), &other, &tiles);
        single.assert_tiles("the first memory", &single.download(), &contents, &tiles);
    }
}

/// Of the binds of a tile in one call, the last one counts: with a semaphore between them, as Vulkan has it, and without one,
/// where lavapipe and we keep the order of the structs.
pub fn the_last_bind_of_a_tile_counts(gpu: &Gpu) {
    let image = Tiled::new(gpu, &flat(RGBA8, 512, 512));
    let tiles = image.tiles();
    let (a, b) = (image.memory(16), image.memory(16));
    let (in_a, in_b) = (image.pattern(13), image.pattern(14));
    for (memory, contents) in [(&a, &in_a), (&b, &in_b)] {
        image.call([image.bind_level(0, 0, Some((memory, 0)))]);
        image.upload(contents);
    }
    let at = |x, y| Tile {
        layer: 0,
        level: 0,
        at: [x, y, 0],
    };
    let box_in = |x, memory, place| image.bind_box(at(x, 1), [2, 2, 1], Some((memory, place)));
    // All of it from `a`, 2x2 tiles of it from `b`, one of these unbound, and this one from `a` after all.
    let steps = [
        image.bind_level(0, 0, Some((&a, 0))),
        box_in(1, &b, 0),
        image.unbind(at(1, 1)),
        image.bind(at(1, 1), &a, 15),
    ];
    let expect = |what: &str| {
        let got = image.download();
        for &tile in &tiles {
            let (from, source) = match tile.at {
                [1, 1, 0] => (&in_a, at(3, 3)),
                [2, 1, 0] => (&in_b, at(1, 0)),
                [1, 2, 0] => (&in_b, at(2, 0)),
                [2, 2, 0] => (&in_b, at(3, 0)),
                _ => (&in_a, tile),
            };
            image.assert_tile(what, &got, tile, from, source);
        }
    };
    image.call(steps);
    expect("in one batch");
    // Away from there, and once more in four batches.
    image.call([image.bind_level(0, 0, Some((&b, 0)))]);
    image.assert_tiles("all of b", &image.download(), &in_b, &tiles);
    let links = [gpu.binary(), gpu.binary(), gpu.binary()];
    let chained: Vec<Batch> = (0..4)
        .map(|i| {
            let mut batch = Batch::tiles(&image.image, [steps[i]]);
            batch.waits.extend((i > 0).then(|| links[i - 1].point()));
            batch.signals.extend((i < 3).then(|| links[i].point()));
            batch
        })
        .collect();
    gpu.bind(&chained);
    expect("in four batches");
}

/// All kinds of binds in one batch: of a buffer, of an image as a whole, and of tiles of two images.
pub fn all_kinds_of_resources_in_one_batch(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(1 << 20);
    let opaque = Image::sparse(gpu, &ImageShape::flat(256, 256));
    let (a, b) = (
        Tiled::new(gpu, &nine_tiles()),
        Tiled::new(gpu, &flat(vk::Format::R8_UINT, 600, 300)),
    );
    let (of_a, of_b) = (a.memory(9), b.memory(6));
    let of_buffer = gpu.memory(&buffer, 1 << 20);
    let kind = gpu.memory_type(
        opaque.requirements.memory_type_bits,
        vk::MemoryPropertyFlags::empty(),
    );
    let of_opaque = Memory::new(gpu, opaque.requirements.size, kind);
    gpu.bind(&[
        Batch::tiles(&b.image, [b.bind_level(0, 0, Some((&of_b, 0)))])
            .and_image(&opaque, [bind(0, of_opaque.size, &of_opaque, 0)])
            .and_tiles(&a.image, [a.bind_level(0, 0, Some((&of_a, 0)))])
            .and_buffer(&buffer, [bind(0, 1 << 20, &of_buffer, 0)]),
    ]);
    let (in_a, in_b) = (a.pattern(16), b.pattern(17));
    a.upload(&in_a);
    b.upload(&in_b);
    opaque.write(18);
    buffer.shader_write(0, 1 << 20, 19);
    a.assert_tiles("RGBA8", &a.download(), &in_a, &a.tiles());
    b.assert_tiles("R8", &b.download(), &in_b, &b.tiles());
    assert_pattern("the opaque one", &opaque.read(), 18, 0);
    assert_pattern("the buffer", &buffer.shader_read(0, 1 << 20), 19, 0);
    // The contents are in these memories: others in their places, they are gone; these again, they are back.
    let others = (a.memory(9), b.memory(6));
    let both = |x: &Memory<'_>, y: &Memory<'_>| {
        gpu.bind(&[
            Batch::tiles(&a.image, [a.bind_level(0, 0, Some((x, 0)))]),
            Batch::tiles(&b.image, [b.bind_level(0, 0, Some((y, 0)))]),
        ]);
    };
    both(&others.0, &others.1);
    a.upload(&a.pattern(20));
    b.upload(&b.pattern(21));
    both(&of_a, &of_b);
    a.assert_tiles("RGBA8 again", &a.download(), &in_a, &a.tiles());
    b.assert_tiles("R8 again", &b.download(), &in_b, &b.tiles());
}
