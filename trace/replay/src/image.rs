//! From what was recorded of a partially resident image to what the tile map has to know: by way of the structs that the
//! driver gets, so that both read them alike.

use ash::vk;

use panvk_sparse::layout;
use trace::{ImageCreated, SparseMemoryRequirements};
use vulkan::images::layout_of;

pub(super) fn layout(image: &ImageCreated) -> layout::Image {
    let info = vk::ImageCreateInfo::default()
        .flags(vk::ImageCreateFlags::from_raw(image.flags))
        .image_type(vk::ImageType::from_raw(image.image_type))
        .format(vk::Format::from_raw(image.format))
        .extent(extent(image.extent))
        .mip_levels(image.mip_levels)
        .array_layers(image.array_layers)
        .samples(vk::SampleCountFlags::from_raw(image.samples))
        .tiling(vk::ImageTiling::from_raw(image.tiling))
        .usage(vk::ImageUsageFlags::from_raw(image.usage));
    let aspects: Vec<_> = image.sparse_requirements.iter().map(aspect).collect();
    layout_of(&info, image.requirements.alignment, &aspects)
}

fn extent(e: layout::Extent) -> vk::Extent3D {
    vk::Extent3D {
        width: e.width,
        height: e.height,
        depth: e.depth,
    }
}

fn aspect(needs: &SparseMemoryRequirements) -> vk::SparseImageMemoryRequirements {
    vk::SparseImageMemoryRequirements {
        format_properties: vk::SparseImageFormatProperties {
            aspect_mask: vk::ImageAspectFlags::from_raw(needs.aspect_mask),
            image_granularity: extent(needs.granularity),
            flags: vk::SparseImageFormatFlags::from_raw(needs.flags),
        },
        image_mip_tail_first_lod: needs.mip_tail_first_lod,
        image_mip_tail_size: needs.mip_tail_size,
        image_mip_tail_offset: needs.mip_tail_offset,
        image_mip_tail_stride: needs.mip_tail_stride,
    }
}
