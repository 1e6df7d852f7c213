//! From ranges of addresses to the places that they are.

use super::grid::{Run, TileBox};
use super::{Extent, Offset, PlaceError, Region, TileMap};
use crate::units::SZ_4K;

/// What lies at an address, as a bind would name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A box of tiles.
    Tiles {
        /// The first tile: bytes from the first address of the image.
        at: u64,
        /// Clipped to the level. Its aspects are all that share the tiles.
        region: Region,
    },
    /// A part of a mip tail or of metadata.
    Opaque {
        /// Bytes from the first address of the image.
        at: u64,
        /// Opaque offset: `VkSparseMemoryBind::resourceOffset`.
        offset: u64,
        /// Bytes.
        size: u64,
        /// Whether the bind needs `VK_SPARSE_MEMORY_BIND_METADATA_BIT`.
        metadata: bool,
    },
}

/// A [`Place`] before it has texels. `at` as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Tiles {
        at: u64,
        subresource: Subresource,
        tiles: TileBox,
    },
    Opaque {
        at: u64,
        offset: u64,
        size: u64,
        metadata: bool,
    },
}

/// One mip level of one layer of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subresource {
    /// Index in [`TileMap::planes`].
    pub plane: usize,
    pub level: usize,
    pub layer: u32,
}

impl TileMap {
    /// What lies in `len` bytes from `at`, in the order of addresses: for each mip level at most five boxes, for
    /// tails one range each. What is left over at the end of a tail's last tile is no place.
    ///
    /// # Errors
    /// The range reaches beyond the image, or it starts or ends inside a tile, or inside a page of a tail.
    pub fn places(&self, at: u64, len: u64) -> Result<Vec<Place>, PlaceError> {
        let mut places = Vec::new();
        self.walk(at, len, &mut |part| places.push(self.place(part)))?;
        Ok(places)
    }

    pub(super) fn place(&self, part: Part) -> Place {
        match part {
            Part::Tiles {
                at,
                subresource,
                tiles,
            } => Place::Tiles {
                at,
                region: self.region(subresource, tiles),
            },
            Part::Opaque {
                at,
                offset,
                size,
                metadata,
            } => Place::Opaque {
                at,
                offset,
                size,
                metadata,
            },
        }
    }

    fn region(&self, of: Subresource, tiles: TileBox) -> Region {
        let plane = &self.planes[of.plane];
        let (tile, level) = (
            plane.granularity.axes(),
            plane.levels[of.level].extent.axes(),
        );
        // Offsets lie inside the level, so that all of this fits in the fields that Vulkan has for it.
        let from = [0, 1, 2].map(|axis: usize| tiles.from[axis] * u64::from(tile[axis]));
        let extent = [0, 1, 2].map(|axis: usize| {
            let to = (tiles.to[axis] * u64::from(tile[axis])).min(u64::from(level[axis]));
            (to - from[axis]) as u32
        });
        let [x, y, z] = from.map(|texels| texels as i32);
        Region {
            aspect: plane.mask,
            level: of.level as u32,
            layer: of.layer,
            offset: Offset::new(x, y, z),
            extent: Extent::from_axes(extent),
        }
    }

    /// Calls `sink` with the parts of a range, in the order of addresses.
    pub(super) fn walk(
        &self,
        at: u64,
        len: u64,
        sink: &mut impl FnMut(Part),
    ) -> Result<(), PlaceError> {
        let end = at.checked_add(len).filter(|&end| end <= self.size());
        let end = end.ok_or(PlaceError::Beyond {
            at,
            len,
            image_size: self.size(),
        })?;
        for edge in [at, end] {
            if edge < self.tiles_end && edge % self.tile_bytes != 0 {
                let tile_bytes = self.tile_bytes;
                return Err(PlaceError::PartOfTile {
                    at,
                    len,
                    tile_bytes,
                });
            }
            if edge % SZ_4K != 0 {
                return Err(PlaceError::PartOfPage { at, len });
            }
        }
        self.walk_tiles(at, end.min(self.tiles_end), sink);
        self.walk_tails(at.max(self.tiles_end), end, sink);
        Ok(())
    }

    fn walk_tiles(&self, mut at: u64, end: u64, sink: &mut impl FnMut(Part)) {
        while at < end {
            // The plane that holds the address is the last that starts at or before it: a plane without tiles starts where
            // the next one does. There is such a plane, for the first one starts at 0; its layers have bytes, for one of them
            // holds the address; and the first level of a layer starts at the layer's byte 0.
            let index = self.planes.partition_point(|plane| plane.at <= at) - 1;
            let plane = &self.planes[index];
            let (layer, in_layer) = (
                (at - plane.at) / plane.layer_bytes,
                (at - plane.at) % plane.layer_bytes,
            );
            let number = plane.levels.partition_point(|level| level.at <= in_layer) - 1;
            let level = &plane.levels[number];
            let first = (in_layer - level.at) / self.tile_bytes;
            let count = ((end - at) / self.tile_bytes).min(level.grid.count() - first);
            let subresource = Subresource {
                plane: index,
                level: number,
                layer: layer as u32,
            };
            for tiles in level.grid.boxes(Run { first, count }) {
                sink(Part::Tiles {
                    at,
                    subresource,
                    tiles,
                });
                at += tiles.count() * self.tile_bytes;
            }
        }
    }

    fn walk_tails(&self, at: u64, end: u64, sink: &mut impl FnMut(Part)) {
        let first = self.tails.partition_point(|tail| tail.at + tail.size <= at);
        for tail in self.tails[first..].iter().take_while(|tail| tail.at < end) {
            let from = at.max(tail.at);
            let to = end.min(tail.at + tail.size);
            if from < to {
                sink(Part::Opaque {
                    at: from,
                    offset: tail.offset + (from - tail.at),
                    size: to - from,
                    metadata: tail.metadata,
                });
            }
        }
    }
}
