//! What a format is made of, as far as sparse images go: aspects, planes, blocks of texels.

use ash::vk::{Format, ImageAspectFlags as Aspect};

/// The aspects of a format with depth or stencil; none for all others.
pub fn depth_stencil(format: Format) -> Aspect {
    match format {
        Format::D16_UNORM | Format::X8_D24_UNORM_PACK32 | Format::D32_SFLOAT => Aspect::DEPTH,
        Format::S8_UINT => Aspect::STENCIL,
        Format::D16_UNORM_S8_UINT | Format::D24_UNORM_S8_UINT | Format::D32_SFLOAT_S8_UINT => {
            Aspect::DEPTH | Aspect::STENCIL
        }
        _ => Aspect::empty(),
    }
}

/// The planes of a multi-planar format, and how many texels of the image lie on one of a chroma plane, across and down; `None`
/// for all other formats.
pub fn planes(format: Format) -> Option<(Aspect, [u32; 2])> {
    let two = Aspect::PLANE_0 | Aspect::PLANE_1;
    let three = two | Aspect::PLANE_2;
    Some(match format {
        Format::G8_B8_R8_3PLANE_420_UNORM
        | Format::G10X6_B10X6_R10X6_3PLANE_420_UNORM_3PACK16
        | Format::G12X4_B12X4_R12X4_3PLANE_420_UNORM_3PACK16
        | Format::G16_B16_R16_3PLANE_420_UNORM => (three, [2, 2]),
        Format::G8_B8R8_2PLANE_420_UNORM
        | Format::G10X6_B10X6R10X6_2PLANE_420_UNORM_3PACK16
        | Format::G12X4_B12X4R12X4_2PLANE_420_UNORM_3PACK16
        | Format::G16_B16R16_2PLANE_420_UNORM => (two, [2, 2]),
        Format::G8_B8_R8_3PLANE_422_UNORM
        | Format::G10X6_B10X6_R10X6_3PLANE_422_UNORM_3PACK16
        | Format::G12X4_B12X4_R12X4_3PLANE_422_UNORM_3PACK16
        | Format::G16_B16_R16_3PLANE_422_UNORM => (three, [2, 1]),
        Format::G8_B8R8_2PLANE_422_UNORM
        | Format::G10X6_B10X6R10X6_2PLANE_422_UNORM_3PACK16
        | Format::G12X4_B12X4R12X4_2PLANE_422_UNORM_3PACK16
        | Format::G16_B16R16_2PLANE_422_UNORM => (two, [2, 1]),
        Format::G8_B8_R8_3PLANE_444_UNORM
        | Format::G10X6_B10X6_R10X6_3PLANE_444_UNORM_3PACK16
        | Format::G12X4_B12X4_R12X4_3PLANE_444_UNORM_3PACK16
        | Format::G16_B16_R16_3PLANE_444_UNORM => (three, [1, 1]),
        Format::G8_B8R8_2PLANE_444_UNORM
        | Format::G10X6_B10X6R10X6_2PLANE_444_UNORM_3PACK16
        | Format::G12X4_B12X4R12X4_2PLANE_444_UNORM_3PACK16
        | Format::G16_B16R16_2PLANE_444_UNORM => (two, [1, 1]),
        _ => return None,
    })
}

/// A block of texels that have no bytes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Texels across and down.
    pub texels: [u32; 2],
    pub bytes: u64,
}

/// The blocks of a compressed format, or of one with a plane that is subsampled by itself; `None` where texels have bytes of
/// their own.
pub fn block(format: Format) -> Option<Block> {
    /// From `ASTC_4X4` on, in the order of the formats.
    const ASTC: [[u32; 2]; 14] = [
        [4, 4],
        [5, 4],
        [5, 5],
        [6, 5],
        [6, 6],
        [8, 5],
        [8, 6],
        [8, 8],
        [10, 5],
        [10, 6],
        [10, 8],
        [10, 10],
        [12, 10],
        [12, 12],
    ];
    let within = |first: Format, last: Format| {
        (first.as_raw()..=last.as_raw())
            .contains(&format.as_raw())
            .then(|| (format.as_raw() - first.as_raw()) as usize)
    };
    let (texels, bytes) = match format {
        Format::G8B8G8R8_422_UNORM | Format::B8G8R8G8_422_UNORM => ([2, 1], 4),
        Format::G10X6B10X6G10X6R10X6_422_UNORM_4PACK16
        | Format::B10X6G10X6R10X6G10X6_422_UNORM_4PACK16
        | Format::G12X4B12X4G12X4R12X4_422_UNORM_4PACK16
        | Format::B12X4G12X4R12X4G12X4_422_UNORM_4PACK16
        | Format::G16B16G16R16_422_UNORM
        | Format::B16G16R16G16_422_UNORM => ([2, 1], 8),
        Format::BC1_RGB_UNORM_BLOCK
        | Format::BC1_RGB_SRGB_BLOCK
        | Format::BC1_RGBA_UNORM_BLOCK
        | Format::BC1_RGBA_SRGB_BLOCK
        | Format::BC4_UNORM_BLOCK
        | Format::BC4_SNORM_BLOCK
        | Format::ETC2_R8G8B8_UNORM_BLOCK
        | Format::ETC2_R8G8B8_SRGB_BLOCK
        | Format::ETC2_R8G8B8A1_UNORM_BLOCK
        | Format::ETC2_R8G8B8A1_SRGB_BLOCK
        | Format::EAC_R11_UNORM_BLOCK
        | Format::EAC_R11_SNORM_BLOCK => ([4, 4], 8),
        _ if within(Format::BC2_UNORM_BLOCK, Format::EAC_R11G11_SNORM_BLOCK).is_some() => {
            ([4, 4], 16)
        }
        _ => {
            // Plain and sRGB take turns.
            let plain = within(Format::ASTC_4X4_UNORM_BLOCK, Format::ASTC_12X12_SRGB_BLOCK);
            let index = plain.map(|i| i / 2).or_else(|| {
                within(
                    Format::ASTC_4X4_SFLOAT_BLOCK,
                    Format::ASTC_12X12_SFLOAT_BLOCK,
                )
            })?;
            (*ASTC.get(index)?, 16)
        }
    };
    Some(Block { texels, bytes })
}

/// Bytes of a texel of a format with three components of one size: never a power of two.
pub fn three_components(format: Format) -> Option<u64> {
    let within =
        |first: Format, last: Format| (first.as_raw()..=last.as_raw()).contains(&format.as_raw());
    if within(Format::R8G8B8_UNORM, Format::B8G8R8_SRGB) {
        Some(3)
    } else if within(Format::R16G16B16_UNORM, Format::R16G16B16_SFLOAT) {
        Some(6)
    } else if within(Format::R32G32B32_UINT, Format::R32G32B32_SFLOAT) {
        Some(12)
    } else if within(Format::R64G64B64_UINT, Format::R64G64B64_SFLOAT) {
        Some(24)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_the_formats_names() {
        for (format, texels, bytes) in [
            (Format::BC1_RGB_UNORM_BLOCK, [4, 4], 8),
            (Format::BC1_RGBA_SRGB_BLOCK, [4, 4], 8),
            (Format::BC2_UNORM_BLOCK, [4, 4], 16),
            (Format::BC4_SNORM_BLOCK, [4, 4], 8),
            (Format::BC7_SRGB_BLOCK, [4, 4], 16),
            (Format::ETC2_R8G8B8A8_SRGB_BLOCK, [4, 4], 16),
            (Format::EAC_R11_SNORM_BLOCK, [4, 4], 8),
            (Format::EAC_R11G11_SNORM_BLOCK, [4, 4], 16),
            (Format::ASTC_4X4_UNORM_BLOCK, [4, 4], 16),
            (Format::ASTC_6X5_SRGB_BLOCK, [6, 5], 16),
            (Format::ASTC_8X8_UNORM_BLOCK, [8, 8], 16),
            (Format::ASTC_12X12_SRGB_BLOCK, [12, 12], 16),
            (Format::ASTC_10X8_SFLOAT_BLOCK, [10, 8], 16),
            (Format::B16G16R16G16_422_UNORM, [2, 1], 8),
        ] {
            assert_eq!(block(format), Some(Block { texels, bytes }), "{format:?}");
        }
        for format in [
            Format::D32_SFLOAT_S8_UINT,
            Format::E5B9G9R9_UFLOAT_PACK32,
            Format::G8_B8R8_2PLANE_422_UNORM,
        ] {
            assert_eq!(block(format), None, "{format:?}");
        }
    }

    #[test]
    fn three_components_are_not_four() {
        for (format, bytes) in [
            (Format::R8G8B8_UNORM, Some(3)),
            (Format::B8G8R8_SRGB, Some(3)),
            (Format::R8G8B8A8_UNORM, None),
            (Format::R16G16B16_SFLOAT, Some(6)),
            (Format::R32G32B32_UINT, Some(12)),
            (Format::R32G32B32A32_UINT, None),
            (Format::R64G64B64_SFLOAT, Some(24)),
            (Format::B10G11R11_UFLOAT_PACK32, None),
        ] {
            assert_eq!(three_components(format), bytes, "{format:?}");
        }
    }
}
