//! Where a sparse block of a partially resident image lies in the image's range of addresses, and back.
//!
//! Vulkan binds such an image by regions of texels; the kernel maps ranges of addresses. Between them stands the
//! *tile*: the smallest part of an image that can have memory of its own, 64 KiB as a rule. A [`TileMap`] knows the
//! order in which the tiles of one image lie. It is the order of the board, which DRM calls
//! `DRM_FORMAT_MOD_ARM_INTERLEAVED_64K`:
//!
//! ```text
//! for each aspect or plane, for each array layer, for each mip level before the tail:
//!     its tiles, row by row, slice by slice; what sticks out at an edge is a whole tile all the same
//! for each aspect or plane: its mip tail, or one for each array layer
//! for each metadata aspect: its tail, or one for each array layer
//! ```
//!
//! Every tile and every tail starts at a multiple of the tile size, and there are no holes. So a region that
//! spans whole rows of its level is one range of addresses.
//!
//! Two spaces of numbers must not be confused. `at` is always a distance in bytes from the first address of the image,
//! in the order above. An *opaque offset* is what `VkSparseMemoryBind::resourceOffset` holds: for a mip tail, what the driver
//! that was asked calls it. A driver may choose that the two are one ([`Image::by_address`]); for a driver that chose
//! otherwise, what lies in no tail is taken for an address ([`TileMap::opaque_pieces`]).

#![forbid(unsafe_code)]

mod board;
mod coalesce;
mod error;
mod grid;
mod image;
mod map;
mod opaque;
mod place;
mod region;
#[cfg(test)]
mod tests;

pub use board::tile_2d;
pub use coalesce::{MemoryChange, PlaceBind};
pub use error::{ImageError, OpaqueError, PlaceError, RegionError};
pub use image::{Aspect, Image, MipTail};
pub use map::{Tail, TileMap};
pub use opaque::OpaquePieces;
pub use place::Place;
pub use region::{Pieces, Region};

/// The bit of `VkImageAspectFlags` that stands for what the driver keeps about an image beside its texels.
pub const ASPECT_METADATA: u32 = 0x8;
/// A bit of `VkSparseImageFormatFlags`: all array layers share one mip tail.
pub const FORMAT_SINGLE_MIPTAIL: u32 = 1 << 0;
/// A bit of `VkSparseImageFormatFlags`: the tail starts at the first level that isn't made of whole tiles. Says why
/// [`MipTail::first_level`] is what it is; the map goes by that number alone.
pub const FORMAT_ALIGNED_MIP_SIZE: u32 = 1 << 1;
/// A bit of `VkSparseImageFormatFlags`: the granularity is none of Vulkan's standard block shapes. Of no
/// consequence to the map.
pub const FORMAT_NONSTANDARD_BLOCK_SIZE: u32 = 1 << 2;

/// A width, a height and a depth: in texels, where nothing else is said. Has the fields of `VkExtent3D`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    pub width: u32,
    pub height: u32,
    pub depth: u32,
}

impl Extent {
    pub const fn new(width: u32, height: u32, depth: u32) -> Self {
        Self {
            width,
            height,
            depth,
        }
    }

    fn axes(self) -> [u32; 3] {
        [self.width, self.height, self.depth]
    }

    fn from_axes([width, height, depth]: [u32; 3]) -> Self {
        Self::new(width, height, depth)
    }
}

/// A texel of a mip level. Has the fields of `VkOffset3D`, so what an application gets wrong can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offset {
    pub x: i32,
    pub y: i32,
    pub z: i32,
}

impl Offset {
    pub const fn new(x: i32, y: i32, z: i32) -> Self {
        Self { x, y, z }
    }

    fn axes(self) -> [i32; 3] {
        [self.x, self.y, self.z]
    }
}

/// A part of what was asked for, in one piece of the image's range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Bytes from the first address of the image.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Bytes from where the memory of the whole bind starts.
    pub memory: u64,
}
