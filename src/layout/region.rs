//! From a region of texels to ranges of addresses.

use super::grid::{Runs, TileBox};
use super::map::{Level, Plane};
use super::{Extent, Offset, Piece, RegionError, TileMap};

/// The part of an image that a `VkSparseImageMemoryBind` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// `subresource.aspectMask`.
    pub aspect: u32,
    /// `subresource.mipLevel`.
    pub level: u32,
    /// `subresource.arrayLayer`.
    pub layer: u32,
    /// The first texel of the level.
    pub offset: Offset,
    /// Texels.
    pub extent: Extent,
}

/// The pieces of a region, ascending. The memory of a region is contiguous: tile by tile, row by row, slice by slice.
///
/// There is one piece for each row of tiles; one for each slice, where the rows span the level; and but one, where the
/// slices do too.
#[derive(Clone, Debug)]
pub struct Pieces {
    runs: Runs,
    /// Bytes from the first address of the image to tile 0 of the level.
    base: u64,
    tile_bytes: u64,
    memory: u64,
    total: u64,
}

impl Pieces {
    /// Bytes of the region's tiles, and so of the memory that it takes.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let run = self.runs.next()?;
        let piece = Piece {
            at: self.base + run.first * self.tile_bytes,
            len: run.count * self.tile_bytes,
            memory: self.memory,
        };
        self.memory += piece.len;
        Some(piece)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.runs.size_hint()
    }
}

const OFFSETS: [&str; 3] = ["offset.x", "offset.y", "offset.z"];
const SIDES: [&str; 3] = ["extent.width", "extent.height", "extent.depth"];

impl TileMap {
    /// The addresses of a region, in as few pieces as there can be. A tile that sticks out of the level counts whole.
    ///
    /// # Errors
    /// A rule of `VkSparseImageMemoryBind` is broken. A side may end at the level's edge, or at the end of the tile
    /// that the edge cuts: Vulkan allows any multiple of the granularity.
    pub fn pieces(&self, region: &Region) -> Result<Pieces, RegionError> {
        let (plane, level) = self.level_of(region)?;
        let part = tiles_of(region, plane, level)?;
        Ok(Pieces {
            runs: level.grid.runs(part),
            base: plane.at + u64::from(region.layer) * plane.layer_bytes + level.at,
            tile_bytes: self.tile_bytes,
            memory: 0,
            total: part.count() * self.tile_bytes,
        })
    }

    fn level_of(&self, region: &Region) -> Result<(&Plane, &Level), RegionError> {
        let Region {
            aspect,
            level,
            layer,
            ..
        } = *region;
        let plane = self
            .planes
            .iter()
            .find(|plane| aspect != 0 && plane.mask & aspect == aspect)
            .ok_or_else(|| RegionError::NoAspect {
                aspect,
                aspects: self.aspects(),
            })?;
        if level >= self.levels {
            return Err(RegionError::NoLevel {
                level,
                levels: self.levels,
            });
        }
        if layer >= self.layers {
            return Err(RegionError::NoLayer {
                layer,
                layers: self.layers,
            });
        }
        let found = plane.levels.get(level as usize);
        let found = found.ok_or(RegionError::InMipTail {
            level,
            // One of 32 at most.
            tail: plane.levels.len() as u32,
        })?;
        Ok((plane, found))
    }
}

fn tiles_of(region: &Region, plane: &Plane, level: &Level) -> Result<TileBox, RegionError> {
    let mut part = TileBox {
        from: [0; 3],
        to: [0; 3],
    };
    for axis in 0..3 {
        let granularity = plane.granularity.axes()[axis];
        let level_side = level.extent.axes()[axis];
        let (offset, side) = (region.offset.axes()[axis], region.extent.axes()[axis]);
        if side == 0 {
            return Err(RegionError::Empty { field: SIDES[axis] });
        }
        let misplaced = || RegionError::Offset {
            field: OFFSETS[axis],
            value: offset,
            granularity,
        };
        let from = u32::try_from(offset).map_err(|_| misplaced())?;
        // Divisions are most of what this costs, and it is done for each bind: two for each axis, no more.
        let (first, beside) = (from / granularity, from % granularity);
        if beside != 0 {
            return Err(misplaced());
        }
        let granules = u64::from(granularity);
        let end = u64::from(from) + u64::from(side);
        // As the offset is a multiple of the granularity, what is left of the end is left of the side.
        let (whole, left) = (end / granules, end % granules);
        let to = whole + u64::from(left != 0);
        if from >= level_side || to > level.grid.0[axis] {
            return Err(RegionError::BeyondLevel {
                field: SIDES[axis],
                offset,
                side,
                level_side,
            });
        }
        if left != 0 && end != u64::from(level_side) {
            return Err(RegionError::Side {
                field: SIDES[axis],
                value: side,
                granularity,
                to_edge: level_side - from,
            });
        }
        part.from[axis] = u64::from(first);
        part.to[axis] = to;
    }
    Ok(part)
}
