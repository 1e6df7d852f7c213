//! Partially resident images: each tile has the memory that it was bound to, and no other has it.

use crate::common::gpu::bind;
use crate::common::objects::{Image, ImageShape};
use crate::common::pattern::{assert_pattern, assert_words, words};
use crate::common::texels::shader_loads;
use crate::common::tiles::Contents;
use crate::common::{Batch, Gpu, Memory, Random, SZ_64K, Tile, Tiled};
use ash::vk;

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;

fn flat(format: vk::Format, width: u32, height: u32) -> ImageShape {
    ImageShape {
        format,
        ..ImageShape::flat(width, height)
    }
}

/// 3x3 tiles of RGBA8; those at the right and at the bottom are cut.
fn nine_tiles() -> ImageShape {
    flat(RGBA8, 300, 260)
}

/// Nobody has bound this tile of `memory`: it holds what [`mark`] wrote.
#[track_caller]
fn assert_marked(memory: &Memory<'_>, tile_bytes: u64, place: u64) {
    let held = memory.read(place * tile_bytes, tile_bytes);
    let first = (place * tile_bytes / 4) as u32;
    assert_pattern(&format!("tile {place} of the memory"), &held, MARK, first);
}

const MARK: u32 = 0x4D41_524B;

fn mark(memory: &Memory<'_>) {
    memory.write(0, &words(MARK, memory.size / 4));
}

/// Binds all tiles in shuffled order to shuffled places of two memories; contents go in and come out; tiles whose
/// memory is exchanged exchange their contents, and no others change.
fn scattered(gpu: &Gpu, shape: &ImageShape) {
    assert!(
        shape.supported(
            gpu,
            vk::ImageCreateFlags::SPARSE_BINDING
                | vk::ImageCreateFlags::SPARSE_RESIDENCY
                | shape.flags
        ),
        "{shape:?} can be partially resident"
    );
    let image = Tiled::new(gpu, shape);
    let mut random = Random::new(u64::from(shape.extent[0]) * 31 + u64::from(shape.levels));
    let mut tiles = image.tiles();
    random.shuffle(&mut tiles);
    let n = tiles.len() as u64;
    assert!(n >= 6, "{shape:?} has tiles: {tiles:?}");
    // Two places in each memory are never bound.
    let memories = [image.memory(n + 2), image.memory(n + 2)];
    memories.iter().for_each(mark);
    let mut free: Vec<(usize, u64)> = (0..2 * (n + 2))
        .map(|i| ((i % 2) as usize, i / 2))
        .collect();
    random.shuffle(&mut free);
    let spare = free.split_off(n as usize);
    let place = |i: usize| {
        let (memory, place) = free[i];
        (&memories[memory], place)
    };
    let bind = |i: usize, at: usize| image.bind(tiles[i], place(at).0, place(at).1);
    let all: Vec<_> = (0..tiles.len()).map(|i| bind(i, i)).collect();
    // Half in one call, half one by one.
    let half = all.len() / 2;
    image.call(&all[..half]);
    for bind in all[half..].chunks(8) {
        image.call(bind);
    }

    let (first, second) = (image.pattern(1), image.pattern(2));
    image.upload(&first);
    image.assert_tiles("written once", &image.download(), &first, &tiles);
    image.upload(&second);
    let got = image.download();
    image.assert_tiles("written again", &got, &second, &tiles);

    // Pairs of tiles of one size exchange their memory, in one call.
    let mut partner: Vec<usize> = (0..tiles.len()).collect();
    let mut left: Vec<usize> = partner.clone();
    while let Some(a) = left.pop() {
        let same = |&b: &usize| image.size_of(tiles[a]) == image.size_of(tiles[b]);
        if random.one_in(3) {
            continue;
        }
        if let Some(at) = left.iter().position(same) {
            let b = left.remove(at);
            partner.swap(a, b);
        }
    }
    let moved: Vec<usize> = (0..tiles.len()).filter(|&i| partner[i] != i).collect();
    assert!(moved.len() >= 2, "some tiles move: {tiles:?}");
    image.call(
        moved
            .iter()
            .map(|&i| bind(i, partner[i]))
            .collect::<Vec<_>>(),
    );
    let got = image.download();
    for i in 0..tiles.len() {
        image.assert_tile("exchanged", &got, tiles[i], &second, tiles[partner[i]]);
    }
    // What is written now goes to the new places: back again, it has moved.
    image.upload(&first);
    image.call(moved.iter().map(|&i| bind(i, i)).collect::<Vec<_>>());
    let got = image.download();
    for i in 0..tiles.len() {
        image.assert_tile("back again", &got, tiles[i], &first, tiles[partner[i]]);
    }
    for (memory, place) in spare {
        assert_marked(&memories[memory], image.bytes, place);
    }
}

pub fn scattered_tiles_of_rgba8(gpu: &Gpu) {
    scattered(gpu, &nine_tiles());
}

pub fn scattered_tiles_of_1_byte_texels(gpu: &Gpu) {
    scattered(gpu, &flat(vk::Format::R8_UINT, 770, 300));
}

pub fn scattered_tiles_of_16_byte_texels(gpu: &Gpu) {
    scattered(gpu, &flat(vk::Format::R32G32B32A32_UINT, 200, 130));
}

pub fn scattered_tiles_of_array_layers(gpu: &Gpu) {
    let layers = ImageShape {
        layers: 4,
        ..flat(RGBA8, 256, 200)
    };
    scattered(gpu, &layers);
}

pub fn scattered_tiles_of_mip_levels(gpu: &Gpu) {
    let levels = ImageShape {
        levels: 9,
        layers: 2,
        ..flat(RGBA8, 390, 300)
    };
    scattered(gpu, &levels);
}

pub fn scattered_tiles_of_a_cube(gpu: &Gpu) {
    let cube = ImageShape {
        flags: vk::ImageCreateFlags::CUBE_COMPATIBLE,
        layers: 6,
        levels: 3,
        ..flat(vk::Format::R16_UINT, 260, 260)
    };
    scattered(gpu, &cube);
}

pub fn scattered_tiles_of_a_volume(gpu: &Gpu) {
    let volume = ImageShape {
        kind: vk::ImageType::TYPE_3D,
        extent: [80, 70, 40],
        levels: 3,
        ..flat(RGBA8, 1, 1)
    };
    scattered(gpu, &volume);
}

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

pub fn aliased_images_share_their_memory(gpu: &Gpu) {
    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_ALIASED,
        levels: 3,
        layers: 2,
        ..nine_tiles()
    };
    assert_eq!(gpu.app.features().sparse_residency_aliased, vk::TRUE);
    let (a, b) = (Tiled::new(gpu, &shape), Tiled::new(gpu, &shape));
    let mut tiles = a.tiles();
    Random::new(9).shuffle(&mut tiles);
    let memory = a.memory(tiles.len() as u64);
    let binds = |image: &Tiled<'_>| -> Vec<_> {
        let tiles = tiles.iter().zip(0..);
        tiles.map(|(&t, i)| image.bind(t, &memory, i)).collect()
    };
    gpu.bind(&[Batch::tiles(&a.image, binds(&a)).and_tiles(&b.image, binds(&b))]);
    for (seed, (from, to)) in [(10, (&a, &b)), (11, (&b, &a)), (12, (&a, &b))] {
        let contents = from.pattern(seed);
        from.upload(&contents);
        to.assert_tiles("through the other", &to.download(), &contents, &tiles);
    }
    // One lets go of a layer; the other has all.
    let contents = a.pattern(12);
    a.call((0..3).map(|l| a.bind_level(1, l, None)).collect::<Vec<_>>());
    b.assert_tiles("the other", &b.download(), &contents, &tiles);
    // What it writes now reaches the other through the layer that they still share, and only there.
    let later = a.pattern(13);
    a.upload(&later);
    drop(a);
    let got = b.download();
    for &tile in &tiles {
        let want = if tile.layer == 0 { &later } else { &contents };
        b.assert_tile("the one that stays", &got, tile, want, tile);
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

pub fn a_tile_of_memory_in_two_places_of_one_image(gpu: &Gpu) {
    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_ALIASED,
        layers: 2,
        ..flat(RGBA8, 256, 256)
    };
    let image = Tiled::new(gpu, &shape);
    let memory = image.memory(4);
    image.call([image.bind_level(0, 0, Some((&memory, 0)))]);
    let contents = image.pattern(15);
    image.upload(&contents);
    // Layer 1 shows the tiles of layer 0, in reverse order.
    let (front, back) = (image.tiles_of(0, 0), image.tiles_of(1, 0));
    let reversed = back.iter().zip((0..4).rev());
    image.call(
        reversed
            .map(|(&t, i)| image.bind(t, &memory, i))
            .collect::<Vec<_>>(),
    );
    let got = image.download();
    for i in 0..4 {
        image.assert_tile("layer 0", &got, front[i], &contents, front[i]);
        image.assert_tile("layer 1", &got, back[i], &contents, front[3 - i]);
    }
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

/// Memory outlives the image that it was bound to, and a new image, likely at the same address, starts unbound.
pub fn a_new_image_takes_over_memory_but_no_binds(gpu: &Gpu) {
    let shape = nine_tiles();
    let old = Tiled::new(gpu, &shape);
    let memory = old.memory(9);
    let contents = old.pattern(22);
    old.call([old.bind_level(0, 0, Some((&memory, 0)))]);
    old.upload(&contents);
    drop(old);
    let new = Tiled::new(gpu, &shape);
    new.upload(&new.pattern(23));
    new.call([new.bind_level(0, 0, Some((&memory, 0)))]);
    new.assert_tiles("the new image", &new.download(), &contents, &new.tiles());
}

/// What copies have written, a shader loads, on all levels and layers; and it sees tiles move.
pub fn shaders_load_what_is_bound(gpu: &Gpu) {
    let shape = ImageShape {
        layers: 2,
        levels: 3,
        ..ImageShape::flat(400, 270)
    };
    let image = Tiled::new(gpu, &shape);
    let tiles = image.tiles();
    let memory = image.memory(tiles.len() as u64);
    let places = |order: &[u64]| -> Vec<_> {
        let binds = tiles.iter().zip(order);
        binds.map(|(&t, &p)| image.bind(t, &memory, p)).collect()
    };
    let mut order: Vec<u64> = (0..tiles.len() as u64).collect();
    Random::new(24).shuffle(&mut order);
    image.call(places(&order));
    image.upload(&image.pattern(25));
    // Layer by layer and row by row, as the contents have them, level after level.
    let loaded = || {
        let levels = (0..3).flat_map(|level| (0..2).map(move |layer| (layer, level)));
        let words = levels.flat_map(|(layer, level)| shader_loads(&image, layer, level));
        words.collect::<Vec<u32>>()
    };
    assert_pattern("loaded by a shader", &loaded(), 25, 0);
    // Two whole tiles of layer 0, and the same two of layer 1, exchange their memory, crosswise.
    let at = |layer, x| {
        let here = |t: &Tile| (t.layer, t.level, t.at) == (layer, 0, [x, 0, 0]);
        tiles.iter().position(here).expect("a tile of level 0")
    };
    order.swap(at(0, 0), at(1, 1));
    order.swap(at(0, 1), at(1, 0));
    image.call(places(&order));
    let moved = loaded();
    assert!(moved != words(25, moved.len() as u64), "the tiles moved");
    let copied: Vec<u8> = moved.iter().flat_map(|w| w.to_le_bytes()).collect();
    let (got, before) = (Contents(copied), image.pattern(25));
    for &tile in &tiles {
        let from = match (tile.level, tile.at) {
            (0, [x @ 0..2, 0, 0]) => Tile {
                layer: 1 - tile.layer,
                at: [1 - x, 0, 0],
                ..tile
            },
            _ => tile,
        };
        image.assert_tile("loaded after the exchange", &got, tile, &before, from);
    }
}

const SEQUENCES: u64 = 150;
const STEPS: u64 = 8;
/// Tiles of the three memories.
const MEMORIES: [u64; 3] = [12, 7, 20];

/// A box of tiles and the memory for it, from this place on.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: Tile,
    size: [u32; 3],
    memory: Option<(usize, u64)>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Calls with a batch each, or one call with a semaphore between the batches.
    Bind {
        in_one_call: bool,
        batches: Vec<Vec<Piece>>,
    },
    /// All layers of some levels.
    Write {
        seed: u32,
        levels: std::ops::Range<u32>,
    },
}

/// What must be in memory, and where it is bound.
struct Model {
    /// For each tile of each memory, its texels by where they lie in a whole tile; `None` where they are not known.
    held: Vec<Vec<Vec<Option<u8>>>>,
    /// For each tile of the image, in the order of [`Tiled::tiles`].
    bound: Vec<Option<(usize, u64)>>,
}

impl Model {
    fn new(tiles: usize, tile_bytes: u64) -> Self {
        Self {
            held: MEMORIES
                .iter()
                .map(|&n| vec![vec![None; tile_bytes as usize]; n as usize])
                .collect(),
            bound: vec![None; tiles],
        }
    }

    fn apply(&mut self, image: &Tiled<'_>, tiles: &[Tile], step: &Step) {
        match step {
            Step::Bind { batches, .. } => {
                for piece in batches.iter().flatten() {
                    let mut place = 0;
                    for (i, tile) in tiles.iter().enumerate() {
                        let within = |axis: usize| {
                            let from = piece.first.at[axis];
                            (from..from + piece.size[axis]).contains(&tile.at[axis])
                        };
                        let here =
                            (tile.layer, tile.level) == (piece.first.layer, piece.first.level);
                        if here && within(0) && within(1) && within(2) {
                            self.bound[i] = piece.memory.map(|(m, at)| (m, at + place));
                            place += 1;
                        }
                    }
                }
            }
            Step::Write { seed, levels } => {
                let contents = image.pattern(*seed);
                let mut written = std::collections::HashSet::new();
                for (i, &tile) in tiles.iter().enumerate() {
                    let Some((m, place)) = self.bound[i] else {
                        continue;
                    };
                    if !levels.contains(&tile.level) {
                        continue;
                    }
                    let held = &mut self.held[m][place as usize];
                    if !written.insert((m, place)) {
                        // Two tiles of one copy met here.
                        held.fill(None);
                        continue;
                    }
                    for (at, row) in image.cut_rows(&contents, tile) {
                        let known = held[at..at + row.len()].iter_mut();
                        known.zip(row).for_each(|(h, b)| *h = Some(*b));
                    }
                }
            }
        }
    }

    fn difference(&self, image: &Tiled<'_>, tiles: &[Tile], got: &Contents) -> Option<String> {
        for (i, &tile) in tiles.iter().enumerate() {
            let Some((m, place)) = self.bound[i] else {
                continue;
            };
            let held = &self.held[m][place as usize];
            for (at, row) in image.cut_rows(got, tile) {
                for (n, (got, want)) in row.iter().zip(&held[at..]).enumerate() {
                    if want.is_some_and(|want| want != *got) {
                        return Some(format!(
                            "{tile:?} (memory {m} tile {place}): byte {} is {got:#x}, expected {want:x?}",
                            at + n
                        ));
                    }
                }
            }
        }
        None
    }
}

fn random_step(random: &mut Random, image: &Tiled<'_>) -> Step {
    let levels = image.image.levels;
    if random.one_in(3) {
        let from = random.below(u64::from(levels)) as u32;
        let range = if random.one_in(2) {
            0..levels
        } else {
            from..from + 1
        };
        return Step::Write {
            seed: random.next() as u32,
            levels: range,
        };
    }
    let batches = (0..1 + random.below(3))
        .map(|_| {
            (0..1 + random.below(6))
                .map(|_| {
                    // The large levels more often.
                    let level = random.below(u64::from(levels)).min(random.below(4)) as u32;
                    let layer = random.below(u64::from(image.image.layers)) as u32;
                    let grid = image.grid(level);
                    let at = grid.map(|n| random.below(u64::from(n)) as u32);
                    let mut size =
                        [0, 1, 2].map(|i| 1 + random.below(u64::from(grid[i] - at[i])) as u32);
                    let memory = random.below(3) as usize;
                    let place = random.below(MEMORIES[memory]);
                    let target = (!random.one_in(3)).then_some((memory, place));
                    if target.is_some() {
                        // As many as the memory has.
                        while u64::from(size.iter().product::<u32>()) > MEMORIES[memory] - place {
                            let longest = if size[0] > size[1] { 0 } else { 1 };
                            size[longest] -= 1;
                        }
                    }
                    Piece {
                        first: Tile { layer, level, at },
                        size,
                        memory: target,
                    }
                })
                .collect()
        })
        .collect();
    Step::Bind {
        in_one_call: random.one_in(2),
        batches,
    }
}

fn apply(image: &Tiled<'_>, memories: &[Memory<'_>], step: &Step) {
    let gpu = image.image.gpu;
    match step {
        Step::Write { seed, levels } => image.upload_levels(&image.pattern(*seed), levels.clone()),
        Step::Bind {
            in_one_call,
            batches,
        } => {
            let mut calls: Vec<Batch> = batches
                .iter()
                .map(|pieces| {
                    let bind = |p: &Piece| {
                        let memory = p.memory.map(|(m, place)| (&memories[m], place));
                        image.bind_box(p.first, p.size, memory)
                    };
                    Batch::tiles(&image.image, pieces.iter().map(bind).collect::<Vec<_>>())
                })
                .collect();
            if !in_one_call {
                calls.into_iter().for_each(|batch| gpu.bind(&[batch]));
                return;
            }
            let links: Vec<_> = calls.iter().map(|_| gpu.binary()).collect();
            for i in 1..calls.len() {
                calls[i - 1].signals.push(links[i - 1].point());
                calls[i].waits.push(links[i - 1].point());
            }
            gpu.bind(&calls);
        }
    }
}

/// Boxes of an array image with mip levels, bound, unbound and written at random; the number of a sequence is its seed,
/// and a failing one is printed step by step. (Boxes of one batch may overlap: see the_last_bind_of_a_tile_counts.)
pub fn random_sequences(gpu: &Gpu) {
    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_ALIASED,
        layers: 2,
        levels: 4,
        ..flat(vk::Format::R32G32B32A32_UINT, 250, 150)
    };
    let image = Tiled::new(gpu, &shape);
    assert_eq!(image.bytes, SZ_64K);
    let tiles = image.tiles();
    let memories = MEMORIES.map(|n| image.memory(n));
    for seed in 0..SEQUENCES {
        let mut random = Random::new(seed);
        let clear = (0..2).flat_map(|layer| (0..4).map(move |level| (layer, level)));
        image.call(
            clear
                .map(|(layer, level)| image.bind_level(layer, level, None))
                .collect::<Vec<_>>(),
        );
        let mut model = Model::new(tiles.len(), image.bytes);
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let step = random_step(&mut random, &image);
            apply(&image, &memories, &step);
            model.apply(&image, &tiles, &step);
            steps.push(step);
        }
        if let Some(difference) = model.difference(&image, &tiles, &image.download()) {
            let listing = steps.iter().enumerate();
            let listing: Vec<_> = listing.map(|(i, s)| format!("{i}: {s:?}")).collect();
            panic!("sequence {seed}: {difference}\n{}", listing.join("\n"));
        }
    }
}
