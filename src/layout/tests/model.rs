//! Images to try, and the map as a list of tiles.

use proptest::prelude::*;

use crate::layout::{
    ASPECT_METADATA, Aspect, Extent, FORMAT_SINGLE_MIPTAIL, Image, MipTail, Region, tile_2d,
};
use crate::units::SZ_64K;

pub const COLOR: u32 = 1;
const NO_TAIL: MipTail = MipTail {
    first_level: u32::MAX,
    size: 0,
    offset: 0,
    stride: 0,
};

/// A tile by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    pub aspect: u32,
    pub layer: u32,
    pub level: u32,
    /// Slice, row, column.
    pub zyx: [u32; 3],
}

/// A level of one aspect, and its shape in tiles.
#[derive(Clone, Copy, Debug)]
pub struct LevelShape {
    pub aspect: u32,
    pub level: u32,
    pub extent: [u32; 3],
    pub granularity: [u32; 3],
}

impl LevelShape {
    pub fn tiles(&self) -> [u32; 3] {
        [0, 1, 2].map(|axis: usize| self.extent[axis].div_ceil(self.granularity[axis]))
    }

    /// The region of the tiles from `from` up to `to`, clipped to the level.
    pub fn region(&self, layer: u32, from: [u32; 3], to: [u32; 3]) -> Region {
        let start = [0, 1, 2].map(|axis: usize| from[axis] * self.granularity[axis]);
        let side = [0, 1, 2].map(|axis: usize| {
            (to[axis] * self.granularity[axis]).min(self.extent[axis]) - start[axis]
        });
        let [x, y, z] = start.map(|texels| i32::try_from(texels).unwrap());
        Region {
            aspect: self.aspect,
            level: self.level,
            layer,
            offset: crate::layout::Offset::new(x, y, z),
            extent: Extent::new(side[0], side[1], side[2]),
        }
    }
}

/// The levels with tiles, worked out from the description.
pub fn levels(image: &Image) -> Vec<LevelShape> {
    let mut shapes = Vec::new();
    for aspect in image.aspects.iter().filter(|a| a.mask != ASPECT_METADATA) {
        let Extent {
            width,
            height,
            depth,
        } = image.extent;
        let [across, down] = aspect.subsampling;
        let mut extent = [width.div_ceil(across), height.div_ceil(down), depth];
        for level in 0..image.levels.min(aspect.tail.first_level) {
            let Extent {
                width,
                height,
                depth,
            } = aspect.granularity;
            shapes.push(LevelShape {
                aspect: aspect.mask,
                level,
                extent,
                granularity: [width, height, depth],
            });
            extent = extent.map(|side| (side / 2).max(1));
        }
    }
    shapes
}

/// All tiles in the order of the board.
pub fn tiles(image: &Image) -> Vec<Tile> {
    let levels = levels(image);
    let mut tiles = Vec::new();
    for aspect in &image.aspects {
        for layer in 0..image.layers {
            for shape in levels.iter().filter(|shape| shape.aspect == aspect.mask) {
                tiles.extend(tiles_of(
                    &shape.region(layer, [0; 3], shape.tiles()),
                    &levels,
                ));
            }
        }
    }
    tiles
}

/// The tiles that a region touches, row by row and slice by slice.
pub fn tiles_of(region: &Region, levels: &[LevelShape]) -> Vec<Tile> {
    let shape = levels
        .iter()
        .find(|shape| shape.aspect == region.aspect && shape.level == region.level)
        .unwrap();
    let from =
        [region.offset.x, region.offset.y, region.offset.z].map(|o| u32::try_from(o).unwrap());
    let sides = [
        region.extent.width,
        region.extent.height,
        region.extent.depth,
    ];
    let [xs, ys, zs] = [0, 1, 2].map(|axis: usize| {
        let tile = shape.granularity[axis];
        from[axis] / tile..(from[axis] + sides[axis]).div_ceil(tile)
    });
    let mut tiles = Vec::new();
    for z in zs {
        for y in ys.clone() {
            for x in xs.clone() {
                tiles.push(Tile {
                    aspect: region.aspect,
                    layer: region.layer,
                    level: region.level,
                    zyx: [z, y, x],
                });
            }
        }
    }
    tiles
}

/// A square or cubic RGBA8 image with one aspect and no tail.
pub fn color(extent: Extent, levels: u32) -> Image {
    Image {
        extent,
        levels,
        layers: 1,
        tile_bytes: SZ_64K,
        aspects: vec![Aspect {
            mask: COLOR,
            granularity: tile_2d(4).unwrap(),
            flags: 0,
            subsampling: [1, 1],
            tail: NO_TAIL,
        }],
    }
}

/// Vulkan's standard block shapes for 3D images, for 1, 2, 4, 8 and 16 bytes a texel.
fn tile_3d(index: usize) -> Extent {
    [
        Extent::new(64, 32, 32),
        Extent::new(32, 32, 32),
        Extent::new(32, 32, 16),
        Extent::new(32, 16, 16),
        Extent::new(16, 16, 16),
    ][index]
}

/// Images of all shapes, small enough to list their tiles: of one aspect, or of planes of which the later ones are subsampled,
/// with metadata or without, with a tail for all layers, or for each, or none.
pub fn images() -> impl Strategy<Value = Image> {
    let shape = (0usize..5, any::<bool>(), 1u32..6, 1u32..6, 1u32..4);
    let plane = (0u32..5, any::<bool>(), 1u64..4, 0u64..3);
    (
        shape,
        (1u32..5, 1u32..4),
        prop::collection::vec(plane, 1..4),
        any::<bool>(),
        (0u32..64, 0u32..64, 0u32..64),
    )
        .prop_map(|(shape, (levels, layers), planes, with_metadata, cut)| {
            let (bytes, volume, columns, rows, slices) = shape;
            let tile = if volume {
                tile_3d(bytes)
            } else {
                tile_2d(1 << bytes).unwrap()
            };
            // Up to a whole tile less than so many tiles.
            let side = |tiles: u32, tile: u32, cut: u32| tiles * tile - cut % tile;
            let extent = Extent::new(
                side(columns, tile.width, cut.0),
                side(rows, tile.height, cut.1),
                side(slices, tile.depth, cut.2),
            );
            // Where opaque offsets lie is the base driver's choice: not at 0, not in our order, with gaps.
            let mut offset = 3 * SZ_64K;
            let mut aspects: Vec<Aspect> = Vec::new();
            for (i, (first_level, single, tiles, gap)) in planes.into_iter().enumerate() {
                let size = tiles * SZ_64K;
                let stride = size + gap * SZ_64K;
                let has_tail = first_level < levels;
                aspects.push(Aspect {
                    mask: 0x10 << i,
                    granularity: tile,
                    flags: if single { FORMAT_SINGLE_MIPTAIL } else { 0 },
                    subsampling: if i > 0 && !volume { [2, 2] } else { [1, 1] },
                    tail: MipTail {
                        first_level,
                        size: if has_tail { size } else { 0 },
                        offset,
                        stride: if single { 0 } else { stride },
                    },
                });
                offset += stride * u64::from(layers);
            }
            // The opaque offsets of the aspects don't ascend.
            if let [first, .., last] = aspects.as_mut_slice() {
                if (first.tail.size, first.tail.stride) == (last.tail.size, last.tail.stride) {
                    std::mem::swap(&mut first.tail.offset, &mut last.tail.offset);
                }
            }
            if with_metadata {
                aspects.insert(
                    0,
                    Aspect {
                        mask: ASPECT_METADATA,
                        granularity: Extent::new(0, 0, 0),
                        flags: 0,
                        subsampling: [1, 1],
                        tail: MipTail {
                            first_level: 0,
                            size: 5 << 12,
                            offset: 0,
                            stride: 5 << 12,
                        },
                    },
                );
            }
            Image {
                extent,
                levels,
                layers,
                tile_bytes: SZ_64K,
                aspects,
            }
        })
}
