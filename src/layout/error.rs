//! What can be wrong with an image's description, with a region, with a range.

use std::fmt;

use super::{Extent, Tail};
use crate::units::SZ_4K;

/// A description of an image that no map can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// A number is 0, or too large for texels to have offsets of 31 bits.
    Number {
        /// The field of `VkImageCreateInfo`.
        field: &'static str,
        value: u32,
        most: u32,
    },
    /// The size of a tile in bytes is no power of two, or below 4 KiB.
    TileBytes { value: u64 },
    /// Requirements without an aspect, or with one that others before them have.
    AspectTwice {
        mask: u32,
        /// The aspects of those before.
        seen: u32,
    },
    /// A granularity or a subsampling with a 0 in it.
    NoShape {
        aspect: u32,
        granularity: Extent,
        subsampling: [u32; 2],
    },
    /// Levels are said to lie in a tail of 0 bytes.
    NoTail {
        aspect: u32,
        first_level: u32,
        levels: u32,
    },
    /// A tail of a size (bytes) that can't be mapped in pages.
    TailSize { aspect: u32, size: u64 },
    /// Two tails share opaque offsets, so a bind of one would be a bind of both.
    OverlappingTails { first: Tail, second: Tail },
    /// The image, or the opaque offset of a tail, is beyond 2^64 bytes.
    TooLarge,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { field, value, most } => {
                write!(f, "{field} is {value}, expected 1 to {most}")
            }
            Self::TileBytes { value } => write!(
                f,
                "a sparse block has {value} bytes, expected a power of two from {SZ_4K}"
            ),
            Self::AspectTwice { mask, seen } => write!(
                f,
                "sparse memory requirements for aspects {mask:#x}, expected some that are not among {seen:#x}, \
                 which others are for"
            ),
            Self::NoShape {
                aspect,
                granularity,
                subsampling: [across, down],
            } => write!(
                f,
                "a sparse block of aspect {aspect:#x} has {granularity} texels at a subsampling of {across}x{down}, \
                 expected at least 1 everywhere"
            ),
            Self::NoTail {
                aspect,
                first_level,
                levels,
            } => write!(
                f,
                "the mip tail of aspect {aspect:#x} has 0 bytes, expected some for its levels from {first_level} of \
                 {levels}"
            ),
            Self::TailSize { aspect, size } => write!(
                f,
                "the mip tail of aspect {aspect:#x} has {size} bytes, expected a multiple of {SZ_4K}"
            ),
            Self::OverlappingTails { first, second } => write!(
                f,
                "the mip tail of aspect {:#x}, layer {}, starts at opaque offset {}, expected at least {}, where that of \
                 aspect {:#x}, layer {}, ends",
                second.aspect,
                second.layer,
                second.offset,
                first.offset + first.size,
                first.aspect,
                first.layer
            ),
            Self::TooLarge => write!(f, "the image takes 2^64 bytes or more, expected less"),
        }
    }
}

impl std::error::Error for ImageError {}

/// The rule that a region of a `VkSparseImageMemoryBind` breaks. Numbers are texels where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// The image has no tiles for the aspects (VUID-VkSparseImageMemoryBindInfo-subresource-01106).
    NoAspect {
        aspect: u32,
        /// Those that it has.
        aspects: u32,
    },
    /// VUID-VkSparseImageMemoryBindInfo-subresource-01722.
    NoLevel { level: u32, levels: u32 },
    /// The level has no tiles of its own (Vulkan, "Mip Tail Regions").
    InMipTail {
        level: u32,
        /// The first level in the tail.
        tail: u32,
    },
    /// VUID-VkSparseImageMemoryBindInfo-subresource-01723.
    NoLayer { layer: u32, layers: u32 },
    /// A side is 0 (VUID-VkSparseImageMemoryBind-extent-09388, -09389, -09390).
    Empty {
        /// The field of `VkSparseImageMemoryBind`.
        field: &'static str,
    },
    /// An offset is negative or no multiple of the granularity
    /// (VUID-VkSparseImageMemoryBind-offset-01107, -01109, -01111).
    Offset {
        /// The field of `VkSparseImageMemoryBind`.
        field: &'static str,
        value: i32,
        granularity: u32,
    },
    /// A side is no multiple of the granularity and doesn't end at the level's edge
    /// (VUID-VkSparseImageMemoryBind-extent-01108, -01110, -01112).
    Side {
        /// The field of `VkSparseImageMemoryBind`.
        field: &'static str,
        value: u32,
        granularity: u32,
        /// The side that would end at the edge.
        to_edge: u32,
    },
    /// The region reaches beyond the last tile of the level, or starts there.
    BeyondLevel {
        /// The field of `VkSparseImageMemoryBind` that has the side.
        field: &'static str,
        offset: i32,
        side: u32,
        /// The level's side.
        level_side: u32,
    },
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAspect { aspect, aspects } => write!(
                f,
                "subresource.aspectMask is {aspect:#x}, expected one of the aspects {aspects:#x} of the image"
            ),
            Self::NoLevel { level, levels } => write!(
                f,
                "subresource.mipLevel is {level}, expected one of the {levels} levels of the image"
            ),
            Self::InMipTail { level, tail } => write!(
                f,
                "subresource.mipLevel is {level}, expected one below {tail}, where the mip tail starts"
            ),
            Self::NoLayer { layer, layers } => write!(
                f,
                "subresource.arrayLayer is {layer}, expected one of the {layers} layers of the image"
            ),
            Self::Empty { field } => write!(f, "{field} is 0, expected at least 1 texel"),
            Self::Offset {
                field,
                value,
                granularity,
            } => write!(
                f,
                "{field} is {value}, expected a multiple of {granularity}"
            ),
            Self::Side {
                field,
                value,
                granularity,
                to_edge,
            } => write!(
                f,
                "{field} is {value}, expected a multiple of {granularity}, or {to_edge}, which ends at the level's edge"
            ),
            Self::BeyondLevel {
                field,
                offset,
                side,
                level_side,
            } => write!(
                f,
                "{field} is {side} from offset {offset}, expected tiles inside the level's {level_side} texels"
            ),
        }
    }
}

impl std::error::Error for RegionError {}

/// A range of opaque offsets with a byte that is none of the image's. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpaqueError {
    /// `VkSparseMemoryBind::resourceOffset`.
    pub offset: u64,
    pub size: u64,
    /// Whether the bind has `VK_SPARSE_MEMORY_BIND_METADATA_BIT`.
    pub metadata: bool,
    /// The first opaque offset of the range that lies neither in a tail nor, where the bind is not of metadata, in the
    /// image.
    pub outside: u64,
    /// Bytes of the image.
    pub image_size: u64,
}

impl fmt::Display for OpaqueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            size,
            metadata,
            outside,
            image_size,
        } = self;
        write!(
            f,
            "resourceOffset is {offset} and size is {size}, which reaches {outside}; expected a range inside the "
        )?;
        if *metadata {
            write!(f, "metadata of the image")
        } else {
            write!(f, "{image_size} bytes of the image")
        }
    }
}

impl std::error::Error for OpaqueError {}

/// A range of addresses that is no list of places. In bytes; `at` is the distance from the image's first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// It isn't wholly inside the image.
    Beyond { at: u64, len: u64, image_size: u64 },
    /// It starts or ends inside a tile: the tile as a whole is not one thing any more, and no bind can say so.
    PartOfTile { at: u64, len: u64, tile_bytes: u64 },
    /// It starts or ends inside a page of a tail.
    PartOfPage { at: u64, len: u64 },
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond {
                at,
                len,
                image_size,
            } => write!(
                f,
                "{len} bytes at {at}, expected a range inside the {image_size} bytes of the image"
            ),
            Self::PartOfTile {
                at,
                len,
                tile_bytes,
            } => write!(
                f,
                "{len} bytes at {at}, expected whole tiles of {tile_bytes} bytes"
            ),
            Self::PartOfPage { at, len } => write!(
                f,
                "{len} bytes at {at}, expected whole pages of {SZ_4K} bytes"
            ),
        }
    }
}

impl std::error::Error for PlaceError {}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.width, self.height, self.depth)
    }
}
