//! From the structs that describe a partially resident image to what the tile map has to know.

use ash::vk;

use super::formats;
use panvk_sparse::layout;
use panvk_sparse::units::SZ_64K;

/// Bytes of a tile of one of Vulkan's standard block shapes.
const STANDARD_BYTES: u64 = SZ_64K;

/// What the tile map has to know of an image.
pub fn layout_of(
    info: &vk::ImageCreateInfo<'_>,
    tile_bytes: u64,
    aspects: &[vk::SparseImageMemoryRequirements],
) -> layout::Image {
    let extent = |e: vk::Extent3D| layout::Extent::new(e.width, e.height, e.depth);
    let aspects = aspects.iter().map(|needs| layout::Aspect {
        mask: aspects_of(needs.format_properties.aspect_mask, info.format).as_raw(),
        granularity: extent(granularity_of(
            needs.format_properties.image_granularity,
            info.format,
            needs.format_properties.aspect_mask,
            tile_bytes,
        )),
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

/// The aspects that share tiles, by what an application binds: those that the base driver names, but for a format with depth
/// or stencil that it calls `COLOR` (lavapipe does) the format's own.
fn aspects_of(named: vk::ImageAspectFlags, format: vk::Format) -> vk::ImageAspectFlags {
    let own = formats::depth_stencil(format);
    if named.contains(vk::ImageAspectFlags::COLOR) && !own.is_empty() {
        return own;
    }
    named
}

/// A tile in texels, as Vulkan has it (`VkSparseImageFormatProperties`). Where a format has blocks of texels, some drivers count
/// those (lavapipe does; until 1.3 the specification could be read so): then it is they that fill a tile of `tile_bytes`.
fn granularity_of(
    given: vk::Extent3D,
    format: vk::Format,
    aspect: vk::ImageAspectFlags,
    tile_bytes: u64,
) -> vk::Extent3D {
    let vk::Extent3D {
        width,
        height,
        depth,
    } = given;
    let Some(block) = formats::block(format).filter(|_| aspect == vk::ImageAspectFlags::COLOR)
    else {
        return given;
    };
    let blocks = u128::from(width) * u128::from(height) * u128::from(depth);
    if blocks * u128::from(block.bytes) != u128::from(tile_bytes) {
        return given;
    }
    let [across, down] = block.texels;
    vk::Extent3D {
        width: width.saturating_mul(across),
        height: height.saturating_mul(down),
        depth,
    }
}

/// Corrects what a base driver says of a format's tiles: their aspects, and their shape where a tile is of the standard size.
pub fn correct(told: &mut vk::SparseImageFormatProperties, format: vk::Format) {
    let (named, given) = (told.aspect_mask, told.image_granularity);
    told.image_granularity = granularity_of(given, format, named, STANDARD_BYTES);
    told.aspect_mask = aspects_of(named, format);
}

/// How many texels of the image lie on one of a plane, across and down.
fn subsampling(format: vk::Format, aspect: vk::ImageAspectFlags) -> [u32; 2] {
    let chroma = vk::ImageAspectFlags::PLANE_1 | vk::ImageAspectFlags::PLANE_2;
    match formats::planes(format) {
        Some((_, subsampling)) if aspect.intersects(chroma) => subsampling,
        _ => [1, 1],
    }
}

/// Whether images of the format can be bound tile by tile, by what the base driver says of it, if it has to be asked.
///
/// A plane that it does not name can't be bound at all; and where the texels of a tile aren't a power of two bytes, its
/// tiles aren't the blocks of memory that binds are made of. (lavapipe says so of multi-planar formats and of those with three
/// components, and what is read of them after a bind is wrong.)
pub fn residency_works(
    format: vk::Format,
    told: impl FnOnce() -> Vec<vk::SparseImageFormatProperties>,
) -> bool {
    if let Some((planes, _)) = formats::planes(format) {
        let named = told()
            .iter()
            .fold(vk::ImageAspectFlags::empty(), |all, told| {
                all | told.aspect_mask
            });
        return named.contains(planes);
    }
    let Some(bytes) = formats::three_components(format) else {
        return true;
    };
    told().iter().all(|told| {
        let vk::Extent3D {
            width,
            height,
            depth,
        } = told.image_granularity;
        let texels = u64::from(width).saturating_mul(u64::from(height) * u64::from(depth));
        told.aspect_mask == vk::ImageAspectFlags::METADATA
            || texels.saturating_mul(bytes).is_power_of_two()
    })
}

/// Whether the specification allows partially resident images of the kind on a device with these features
/// (VUID-VkImageCreateInfo-flags-00969, -imageType-00970 to -00976, -tiling-04121).
pub fn may_be_resident(
    features: &vk::PhysicalDeviceFeatures,
    ty: vk::ImageType,
    samples: vk::SampleCountFlags,
    tiling: vk::ImageTiling,
) -> bool {
    let feature = match (ty, samples) {
        (vk::ImageType::TYPE_2D, vk::SampleCountFlags::TYPE_1) => {
            features.sparse_residency_image2_d
        }
        (vk::ImageType::TYPE_2D, vk::SampleCountFlags::TYPE_2) => {
            features.sparse_residency2_samples
        }
        (vk::ImageType::TYPE_2D, vk::SampleCountFlags::TYPE_4) => {
            features.sparse_residency4_samples
        }
        (vk::ImageType::TYPE_2D, vk::SampleCountFlags::TYPE_8) => {
            features.sparse_residency8_samples
        }
        (vk::ImageType::TYPE_2D, vk::SampleCountFlags::TYPE_16) => {
            features.sparse_residency16_samples
        }
        (vk::ImageType::TYPE_3D, vk::SampleCountFlags::TYPE_1) => {
            features.sparse_residency_image3_d
        }
        _ => vk::FALSE,
    };
    tiling == vk::ImageTiling::OPTIMAL && features.sparse_binding & feature != vk::FALSE
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk::{Format, ImageAspectFlags as Aspects};
    use panvk_sparse::layout::{Extent, TileMap};

    fn told(mask: Aspects, [width, height]: [u32; 2]) -> vk::SparseImageFormatProperties {
        vk::SparseImageFormatProperties {
            aspect_mask: mask,
            image_granularity: vk::Extent3D {
                width,
                height,
                depth: 1,
            },
            flags: vk::SparseImageFormatFlags::empty(),
        }
    }

    fn layout(format: Format, mask: Aspects, granularity: [u32; 2]) -> layout::Image {
        let info = vk::ImageCreateInfo::default()
            .format(format)
            .extent(vk::Extent3D {
                width: 1024,
                height: 1024,
                depth: 1,
            })
            .mip_levels(1)
            .array_layers(1);
        let needs = vk::SparseImageMemoryRequirements {
            format_properties: told(mask, granularity),
            image_mip_tail_first_lod: 1,
            ..Default::default()
        };
        layout_of(&info, SZ_64K, &[needs])
    }

    #[test]
    fn what_a_driver_says_is_put_right() {
        let mut blocks = told(Aspects::COLOR, [64, 64]);
        correct(&mut blocks, Format::BC7_UNORM_BLOCK);
        assert_eq!(
            format!("{blocks:?}"),
            format!("{:?}", told(Aspects::COLOR, [256, 256]))
        );
        let mut depth = told(Aspects::COLOR, [128, 128]);
        correct(&mut depth, Format::D32_SFLOAT);
        assert_eq!(
            format!("{depth:?}"),
            format!("{:?}", told(Aspects::DEPTH, [128, 128]))
        );
    }

    #[test]
    fn a_tile_of_blocks_is_the_same_in_blocks_and_in_texels() {
        for (format, blocks, texels) in [
            (Format::BC1_RGB_UNORM_BLOCK, [128, 64], [512, 256]),
            (Format::BC7_UNORM_BLOCK, [64, 64], [256, 256]),
            (Format::G8B8G8R8_422_UNORM, [128, 128], [256, 128]),
        ] {
            for given in [blocks, texels] {
                let layout = layout(format, Aspects::COLOR, given);
                let [width, height] = texels;
                assert_eq!(
                    layout.aspects[0].granularity,
                    Extent::new(width, height, 1),
                    "{format:?}"
                );
                let tiles = u64::from(1024 / width * (1024 / height));
                assert_eq!(TileMap::new(&layout).unwrap().size(), tiles * SZ_64K);
            }
        }
        let plain = layout(Format::R8G8B8A8_UNORM, Aspects::COLOR, [128, 128]);
        assert_eq!(plain.aspects[0].granularity, Extent::new(128, 128, 1));
    }

    #[test]
    fn depth_and_stencil_are_bound_by_their_own_aspects() {
        for (format, named, expected) in [
            (Format::D16_UNORM, Aspects::COLOR, Aspects::DEPTH),
            (Format::S8_UINT, Aspects::COLOR, Aspects::STENCIL),
            (
                Format::D24_UNORM_S8_UINT,
                Aspects::COLOR,
                Aspects::DEPTH | Aspects::STENCIL,
            ),
            // A driver that keeps the two apart.
            (
                Format::D24_UNORM_S8_UINT,
                Aspects::STENCIL,
                Aspects::STENCIL,
            ),
            (Format::D16_UNORM, Aspects::METADATA, Aspects::METADATA),
            (Format::R8_UINT, Aspects::COLOR, Aspects::COLOR),
        ] {
            assert_eq!(aspects_of(named, format), expected, "{format:?}");
        }
    }

    #[test]
    fn a_format_works_where_every_plane_is_named_and_tiles_are_blocks_of_memory() {
        let planes = [Aspects::PLANE_0, Aspects::PLANE_1, Aspects::PLANE_2];
        let named = |planes: &[Aspects]| {
            planes
                .iter()
                .map(|&plane| told(plane, [256, 256]))
                .collect()
        };
        let three = Format::G8_B8_R8_3PLANE_420_UNORM;
        assert!(residency_works(three, || named(&planes)));
        assert!(!residency_works(three, || named(&planes[..2])));
        assert!(!residency_works(three, || named(&[Aspects::COLOR])));
        assert!(residency_works(Format::G8_B8R8_2PLANE_420_UNORM, || named(
            &planes[..2]
        )));
        let rgb = Format::R32G32B32_SFLOAT;
        assert!(!residency_works(rgb, || vec![told(
            Aspects::COLOR,
            [64, 64]
        )]));
        // All others need no look.
        assert!(residency_works(Format::D32_SFLOAT_S8_UINT, || panic!(
            "asked"
        )));
    }
}
