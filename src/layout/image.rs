//! An image as the map has to know it: what its creation and its base driver say of it.

use super::{ASPECT_METADATA, Extent, FORMAT_SINGLE_MIPTAIL, ImageError, TileMap};

/// A partially resident image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `VkImageCreateInfo::extent`.
    pub extent: Extent,
    /// `VkImageCreateInfo::mipLevels`.
    pub levels: u32,
    /// `VkImageCreateInfo::arrayLayers`.
    pub layers: u32,
    /// Bytes of a tile: `VkMemoryRequirements::alignment`, which is the sparse block size (Vulkan, "Sparse Memory
    /// Requirements"). A power of two from 4 KiB.
    pub tile_bytes: u64,
    /// The `VkSparseImageMemoryRequirements` of the image, in the base driver's order.
    pub aspects: Vec<Aspect>,
}

/// One `VkSparseImageMemoryRequirements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aspect {
    /// `formatProperties.aspectMask`. One with [`ASPECT_METADATA`] has no tiles, only a tail.
    pub mask: u32,
    /// `formatProperties.imageGranularity`: the shape of a tile, in texels of this aspect. For block-compressed
    /// formats in texels too, not in blocks.
    pub granularity: Extent,
    /// `formatProperties.flags`.
    pub flags: u32,
    /// How many texels of the image lie on one of this aspect, across and down: 2 and 2 for the chroma
    /// planes of a 4:2:0 format, 1 and 1 for all that is not subsampled.
    pub subsampling: [u32; 2],
    /// The mip tail.
    pub tail: MipTail,
}

/// The `imageMipTail*` fields of `VkSparseImageMemoryRequirements`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MipTail {
    /// The first level in the tail. From the number of levels up, and with a size of 0: there is no tail.
    pub first_level: u32,
    /// Bytes of one tail. A multiple of the tile size, says Vulkan; the map asks for a multiple of 4 KiB and gives
    /// it whole tiles.
    pub size: u64,
    /// Opaque offset of the tail, or of that of array layer 0.
    pub offset: u64,
    /// Bytes of opaque offset from a layer's tail to the next layer's. Of no meaning where there is but one tail.
    pub stride: u64,
}

impl Image {
    /// The same image, where the opaque offset of every tail is its address in the map: so opaque offsets from 0 up to
    /// [`TileMap::size`] name all of the image, tiles and tails, metadata too.
    ///
    /// # Errors
    /// As of [`TileMap::new`].
    pub fn by_address(&self) -> Result<Self, ImageError> {
        let map = TileMap::new(self)?;
        let mut image = self.clone();
        for aspect in &mut image.aspects {
            let mut tails = map.tails().iter().filter(|tail| tail.aspect == aspect.mask);
            if let Some(first) = tails.next() {
                aspect.tail.offset = first.at;
                aspect.tail.stride = tails.next().map_or(0, |second| second.at - first.at);
            }
        }
        Ok(image)
    }
}

impl Aspect {
    /// Whether this is what the driver keeps beside the texels.
    pub fn is_metadata(&self) -> bool {
        self.mask & ASPECT_METADATA != 0
    }

    /// How many tails there are for `layers` array layers.
    pub(super) fn tails(&self, layers: u32) -> u32 {
        if self.flags & FORMAT_SINGLE_MIPTAIL != 0 {
            1
        } else {
            layers
        }
    }

    /// The extent of a mip level, in texels of this aspect (Vulkan, "Image Mip Level Sizing").
    pub(super) fn level_extent(&self, image: Extent, level: u32) -> Extent {
        let [across, down] = self.subsampling;
        Extent::from_axes(
            [
                image.width.div_ceil(across),
                image.height.div_ceil(down),
                image.depth,
            ]
            .map(|side| side.checked_shr(level).unwrap_or(0).max(1)),
        )
    }
}
