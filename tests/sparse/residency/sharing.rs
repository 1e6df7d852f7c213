//! Memory that several tiles have at once, or one after another.

use super::{MARK, RGBA8, flat, mark, nine_tiles};
use ash::vk;
use common::objects::ImageShape;
use common::pattern::words;
use common::{Batch, Gpu, Random, Tiled};

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

/// Memory outlives the image that it was bound to, and a new image, likely at the same address, starts unbound.
pub fn a_new_image_takes_over_memory_but_no_binds(gpu: &Gpu) {
    let shape = nine_tiles();
    let old = Tiled::new(gpu, &shape);
    let memory = old.memory(9);
    let contents = old.pattern(22);
    mark(&memory);
    old.call([old.bind_level(0, 0, Some((&memory, 0)))]);
    old.upload(&contents);
    let held = memory.read(0, memory.size);
    assert!(held != words(MARK, memory.size / 4), "the memory has it");
    drop(old);
    let new = Tiled::new(gpu, &shape);
    new.upload(&new.pattern(23));
    new.call([new.bind_level(0, 0, Some((&memory, 0)))]);
    new.assert_tiles("the new image", &new.download(), &contents, &new.tiles());
}
