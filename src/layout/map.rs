//! The map of one image, and what its parts have in common.

use super::grid::Grid;
use super::image::{Aspect, Image};
use super::{Extent, ImageError};
use crate::units::SZ_4K;

/// Where the tiles and the tails of one image lie.
///
/// # Invariants
/// Tiles come first, tails after them; both start at multiples of the tile size and leave no hole, and no two
/// share a byte. No two tails of one kind (metadata or not) share a byte of opaque offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileMap {
    pub(super) tile_bytes: u64,
    pub(super) levels: u32,
    pub(super) layers: u32,
    /// The aspects with texels, by address.
    pub(super) planes: Vec<Plane>,
    /// Bytes of all tiles: where the tails start.
    pub(super) tiles_end: u64,
    /// By address.
    pub(super) tails: Vec<Tail>,
    /// Indices in `tails`, by kind and opaque offset.
    pub(super) tails_by_offset: Vec<usize>,
    size: u64,
}

/// The tiles of one aspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub mask: u32,
    pub granularity: Extent,
    /// Bytes from the first address of the image.
    pub at: u64,
    /// Bytes of the levels of one array layer.
    pub layer_bytes: u64,
    /// Those before the tail.
    pub levels: Vec<Level>,
}

/// One mip level of one array layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub extent: Extent,
    pub grid: Grid,
    /// Bytes from the first address of the layer.
    pub at: u64,
}

/// A mip tail, or the metadata, of one array layer or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// `VkImageAspectFlags`.
    pub aspect: u32,
    /// The array layer; 0 also where all layers share it.
    pub layer: u32,
    /// Whether binds of it carry `VK_SPARSE_MEMORY_BIND_METADATA_BIT`.
    pub metadata: bool,
    /// Opaque offset in bytes: the driver's name for where it starts.
    pub offset: u64,
    /// Bytes that can be bound. What is left of its last tile is never used.
    pub size: u64,
    /// Bytes from the first address of the image.
    pub at: u64,
}

impl TileMap {
    /// Lays an image out.
    ///
    /// # Errors
    /// The description contradicts itself or what Vulkan promises, or the image is beyond 2^64 bytes.
    pub fn new(image: &Image) -> Result<Self, ImageError> {
        check(image)?;
        let mut map = TileMap {
            tile_bytes: image.tile_bytes,
            levels: image.levels,
            layers: image.layers,
            planes: Vec::new(),
            tiles_end: 0,
            tails: Vec::new(),
            tails_by_offset: Vec::new(),
            size: 0,
        };
        for aspect in image.aspects.iter().filter(|aspect| !aspect.is_metadata()) {
            map.add_plane(image, aspect).ok_or(ImageError::TooLarge)?;
        }
        map.tiles_end = map.size;
        for metadata in [false, true] {
            for aspect in &image.aspects {
                if aspect.is_metadata() == metadata && has_tail(image, aspect) {
                    map.add_tails(aspect).ok_or(ImageError::TooLarge)?;
                }
            }
        }
        map.index_tails()?;
        Ok(map)
    }

    /// Bytes of the image's range of addresses. A multiple of the tile size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a tile.
    pub fn tile_bytes(&self) -> u64 {
        self.tile_bytes
    }

    /// The mip tails and metadata, in the order of their addresses.
    pub fn tails(&self) -> &[Tail] {
        &self.tails
    }

    /// The aspects that have tiles or a mip tail: the union of their bits.
    pub fn aspects(&self) -> u32 {
        self.planes.iter().fold(0, |bits, plane| bits | plane.mask)
    }

    /// How many tiles a mip level of an aspect has along each axis; `None` where it has none of its own.
    pub fn tiles(&self, aspect: u32, level: u32) -> Option<Extent> {
        let plane = self
            .planes
            .iter()
            .find(|plane| aspect != 0 && plane.mask & aspect == aspect)?;
        let Grid(sides) = plane.levels.get(level as usize)?.grid;
        // As many as there are texels at most.
        Some(Extent::from_axes(sides.map(|tiles| tiles as u32)))
    }

    /// `None` beyond 2^64.
    fn add_plane(&mut self, image: &Image, aspect: &Aspect) -> Option<()> {
        let mut levels = Vec::new();
        let mut layer_bytes = 0u64;
        let before_tail = if has_tail(image, aspect) {
            aspect.tail.first_level.min(image.levels)
        } else {
            image.levels
        };
        for level in 0..before_tail {
            let extent = aspect.level_extent(image.extent, level);
            let (sides, tile) = (extent.axes(), aspect.granularity.axes());
            let grid = [0, 1, 2].map(|axis: usize| u64::from(sides[axis].div_ceil(tile[axis])));
            let [columns, rows, slices] = grid;
            let bytes = columns
                .checked_mul(rows)?
                .checked_mul(slices)?
                .checked_mul(self.tile_bytes)?;
            levels.push(Level {
                extent,
                grid: Grid(grid),
                at: layer_bytes,
            });
            layer_bytes = layer_bytes.checked_add(bytes)?;
        }
        self.planes.push(Plane {
            mask: aspect.mask,
            granularity: aspect.granularity,
            at: self.size,
            layer_bytes,
            levels,
        });
        let bytes = layer_bytes.checked_mul(u64::from(self.layers))?;
        self.size = self.size.checked_add(bytes)?;
        Some(())
    }

    /// `None` beyond 2^64.
    fn add_tails(&mut self, aspect: &Aspect) -> Option<()> {
        let tail = aspect.tail;
        for layer in 0..aspect.tails(self.layers) {
            let offset = tail
                .offset
                .checked_add(tail.stride.checked_mul(u64::from(layer))?)?;
            offset.checked_add(tail.size)?;
            self.tails.push(Tail {
                aspect: aspect.mask,
                layer,
                metadata: aspect.is_metadata(),
                offset,
                size: tail.size,
                at: self.size,
            });
            let bytes = tail.size.checked_next_multiple_of(self.tile_bytes)?;
            self.size = self.size.checked_add(bytes)?;
        }
        Some(())
    }

    fn index_tails(&mut self) -> Result<(), ImageError> {
        let tails = &self.tails;
        let mut order: Vec<usize> = (0..tails.len()).collect();
        order.sort_by_key(|&i| (tails[i].metadata, tails[i].offset));
        for pair in order.windows(2) {
            let [first, second] = [tails[pair[0]], tails[pair[1]]];
            if first.metadata == second.metadata && first.offset + first.size > second.offset {
                return Err(ImageError::OverlappingTails { first, second });
            }
        }
        self.tails_by_offset = order;
        Ok(())
    }
}

fn has_tail(image: &Image, aspect: &Aspect) -> bool {
    aspect.tail.size > 0 && (aspect.is_metadata() || aspect.tail.first_level < image.levels)
}

fn check(image: &Image) -> Result<(), ImageError> {
    let Extent {
        width,
        height,
        depth,
    } = image.extent;
    const SIDE: u32 = i32::MAX as u32;
    for (field, value, most) in [
        ("extent.width", width, SIDE),
        ("extent.height", height, SIDE),
        ("extent.depth", depth, SIDE),
        ("mipLevels", image.levels, u32::BITS),
        ("arrayLayers", image.layers, u32::MAX),
    ] {
        if value == 0 || value > most {
            return Err(ImageError::Number { field, value, most });
        }
    }
    if !image.tile_bytes.is_power_of_two() || image.tile_bytes < SZ_4K {
        return Err(ImageError::TileBytes {
            value: image.tile_bytes,
        });
    }
    let mut seen = 0;
    for aspect in &image.aspects {
        let mask = aspect.mask;
        if mask == 0 || mask & seen != 0 {
            return Err(ImageError::AspectTwice { mask, seen });
        }
        seen |= mask;
        if aspect.tail.size % SZ_4K != 0 {
            return Err(ImageError::TailSize {
                aspect: mask,
                size: aspect.tail.size,
            });
        }
        if aspect.is_metadata() {
            continue;
        }
        if aspect.granularity.axes().contains(&0) || aspect.subsampling.contains(&0) {
            return Err(ImageError::NoShape {
                aspect: mask,
                granularity: aspect.granularity,
                subsampling: aspect.subsampling,
            });
        }
        if aspect.tail.size == 0 && aspect.tail.first_level < image.levels {
            return Err(ImageError::NoTail {
                aspect: mask,
                first_level: aspect.tail.first_level,
                levels: image.levels,
            });
        }
    }
    Ok(())
}
