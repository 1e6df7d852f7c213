//! What whole images take, against figures that lavapipe 25.0.7 gives for them: it has no mip tails, and the same
//! tiles, so it comes to the same number of them.

use super::model::color;
use crate::layout::{Extent, TileMap, tile_2d};
use crate::units::SZ_64K;

/// Tiles of an image, from its extent, levels, layers, and the extent of a tile.
fn tiles(extent: [u32; 3], levels: u32, layers: u32, granularity: Extent) -> u64 {
    let [width, height, depth] = extent;
    let mut image = color(Extent::new(width, height, depth), levels);
    image.layers = layers;
    image.aspects[0].granularity = granularity;
    // As a driver says that there is no tail.
    image.aspects[0].tail.first_level = levels;
    let map = TileMap::new(&image).unwrap();
    assert_eq!(map.tails(), []);
    assert_eq!(map.size() % SZ_64K, 0);
    map.size() / SZ_64K
}

#[test]
fn images_without_a_tail_take_a_tile_for_each_of_the_smallest_levels() {
    let flat = |bytes| tile_2d(bytes).unwrap();
    for (expected, extent, levels, layers, granularity) in [
        (1372, [4096, 4096, 1], 13, 1, flat(4)),
        (18, [200, 100, 1], 8, 2, flat(4)),
        (48, [512, 512, 1], 1, 3, flat(4)),
        (347, [1024, 1024, 1], 11, 1, flat(16)),
        (177, [1024, 1024, 1], 11, 1, flat(8)),
        (78, [128, 128, 64], 8, 1, Extent::new(32, 32, 16)),
        // 1024x1024 in blocks of 4x4 texels and 8 bytes: a tile of 128x64 blocks is one of 512x256 texels.
        (19, [1024, 1024, 1], 11, 1, Extent::new(512, 256, 1)),
    ] {
        let found = tiles(extent, levels, layers, granularity);
        assert_eq!(
            found, expected,
            "{extent:?}, {levels} levels, {layers} layers"
        );
    }
}

#[test]
fn a_subsampled_plane_takes_what_its_own_texels_take() {
    // 4:2:0 of 1024x1024 in two planes: 16 tiles of 256x256, and 2x4 of 256x128 for 512x512 texels of two bytes.
    let mut image = color(Extent::new(1024, 1024, 1), 1);
    image.aspects[0].granularity = tile_2d(1).unwrap();
    let mut chroma = image.aspects[0];
    chroma.mask = 0x20;
    chroma.granularity = tile_2d(2).unwrap();
    chroma.subsampling = [2, 2];
    image.aspects.push(chroma);
    let map = TileMap::new(&image).unwrap();
    assert_eq!(map.size(), 24 * SZ_64K);
    assert_eq!(map.tiles(0x20, 0), Some(Extent::new(2, 4, 1)));
}
