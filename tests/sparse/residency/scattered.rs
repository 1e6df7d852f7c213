//! Every tile in a place of its own, of all kinds of images; seen by copies and by shaders.

use super::{RGBA8, assert_marked, flat, mark, nine_tiles};
use ash::vk;
use common::objects::ImageShape;
use common::pattern::{assert_pattern, words};
use common::texels::shader_loads;
use common::tiles::Contents;
use common::{Gpu, Random, Tile, Tiled};

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

/// Hundreds of tiles, each an operation of its own, since no two neighbours are neighbours in memory: of these, one that is lost
/// or a tile off is one too many.
pub fn hundreds_of_scattered_tiles(gpu: &Gpu) {
    let image = Tiled::new(gpu, &flat(RGBA8, 2560, 2560));
    let tiles = image.tiles();
    let n = tiles.len() as u64;
    assert!(n >= 400, "{n} tiles");
    let memory = image.memory(n + 1);
    let mut order: Vec<u64> = (1..=n).collect();
    Random::new(26).shuffle(&mut order);
    for (round, seed) in [27, 28].into_iter().enumerate() {
        // Each round, every tile is somewhere else.
        order.rotate_left(round);
        mark(&memory);
        let binds = tiles.iter().zip(&order);
        image.call(
            binds
                .map(|(&t, &place)| image.bind(t, &memory, place))
                .collect::<Vec<_>>(),
        );
        let contents = image.pattern(seed);
        image.upload(&contents);
        image.assert_tiles("all tiles", &image.download(), &contents, &tiles);
        assert_marked(&memory, image.bytes, 0);
        // Two tiles in one place would show each other's contents above, but a place that nobody has would not.
        let held = memory.read(0, memory.size);
        let marked = words(super::MARK, memory.size / 4);
        let words = (image.bytes / 4) as usize;
        for place in 1..=n as usize {
            let own = place * words..(place + 1) * words;
            assert!(
                held[own.clone()] != marked[own],
                "tile {place} of the memory"
            );
        }
    }
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
