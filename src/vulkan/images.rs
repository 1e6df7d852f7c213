//! From the structs that describe a partially resident image to what the tile map has to know.

use ash::vk;

use crate::layout;

/// What the tile map has to know of an image.
pub fn layout_of(
    info: &vk::ImageCreateInfo<'_>,
    tile_bytes: u64,
    aspects: &[vk::SparseImageMemoryRequirements],
) -> layout::Image {
    let extent = |e: vk::Extent3D| layout::Extent::new(e.width, e.height, e.depth);
    let aspects = aspects.iter().map(|needs| layout::Aspect {
        mask: aspects_of(needs.format_properties.aspect_mask, info.format).as_raw(),
        granularity: extent(needs.format_properties.image_granularity),
        flags: needs.format_properties.flags.as_raw(),
        subsampling: subsampling(info.format, needs.format_properties.aspect_mask),
        tail: layout::MipTail {
            first_level: needs.image_mip_tail_first_lod,
            size: needs.image_mip_tail_size,
            offset: needs.image_mip_tail_offset,
            stride: needs.image_mip_tail_stride,
        },
    });
    layout::Image {
        extent: extent(info.extent),
        levels: info.mip_levels,
        layers: info.array_layers,
        tile_bytes,
        aspects: aspects.collect(),
    }
}

/// The aspects that share tiles: those that the base driver names, and for a format with depth or stencil those of the
/// format, which is what an application binds. (lavapipe names `COLOR` for all.)
fn aspects_of(named: vk::ImageAspectFlags, format: vk::Format) -> vk::ImageAspectFlags {
    use vk::ImageAspectFlags as Aspect;
    if named.contains(Aspect::METADATA) {
        return named;
    }
    named
        | match format {
            vk::Format::D16_UNORM | vk::Format::X8_D24_UNORM_PACK32 | vk::Format::D32_SFLOAT => {
                Aspect::DEPTH
            }
            vk::Format::S8_UINT => Aspect::STENCIL,
            vk::Format::D16_UNORM_S8_UINT
            | vk::Format::D24_UNORM_S8_UINT
            | vk::Format::D32_SFLOAT_S8_UINT => Aspect::DEPTH | Aspect::STENCIL,
            _ => Aspect::empty(),
        }
}

/// How many texels of the image lie on one of a plane, across and down.
fn subsampling(format: vk::Format, aspect: vk::ImageAspectFlags) -> [u32; 2] {
    let chroma = vk::ImageAspectFlags::PLANE_1 | vk::ImageAspectFlags::PLANE_2;
    if !aspect.intersects(chroma) {
        return [1, 1];
    }
    match format {
        vk::Format::G8_B8_R8_3PLANE_420_UNORM
        | vk::Format::G8_B8R8_2PLANE_420_UNORM
        | vk::Format::G10X6_B10X6_R10X6_3PLANE_420_UNORM_3PACK16
        | vk::Format::G10X6_B10X6R10X6_2PLANE_420_UNORM_3PACK16
        | vk::Format::G12X4_B12X4_R12X4_3PLANE_420_UNORM_3PACK16
        | vk::Format::G12X4_B12X4R12X4_2PLANE_420_UNORM_3PACK16
        | vk::Format::G16_B16_R16_3PLANE_420_UNORM
        | vk::Format::G16_B16R16_2PLANE_420_UNORM => [2, 2],
        vk::Format::G8_B8_R8_3PLANE_422_UNORM
        | vk::Format::G8_B8R8_2PLANE_422_UNORM
        | vk::Format::G10X6_B10X6_R10X6_3PLANE_422_UNORM_3PACK16
        | vk::Format::G10X6_B10X6R10X6_2PLANE_422_UNORM_3PACK16
        | vk::Format::G12X4_B12X4_R12X4_3PLANE_422_UNORM_3PACK16
        | vk::Format::G12X4_B12X4R12X4_2PLANE_422_UNORM_3PACK16
        | vk::Format::G16_B16_R16_3PLANE_422_UNORM
        | vk::Format::G16_B16R16_2PLANE_422_UNORM => [2, 1],
        _ => [1, 1],
    }
}
