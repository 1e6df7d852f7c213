//! What an application is told of sparse images and buffers of every kind, against the rules of the specification.

use std::collections::BTreeSet;
use std::sync::Arc;

use ash::vk;
use common::config::Config;
use common::{App, Gpu};

const BINDING: vk::ImageCreateFlags = vk::ImageCreateFlags::SPARSE_BINDING;
const RESIDENCY: vk::ImageCreateFlags = vk::ImageCreateFlags::from_raw(
    BINDING.as_raw() | vk::ImageCreateFlags::SPARSE_RESIDENCY.as_raw(),
);
const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::SAMPLED;

fn under(test: &str, body: fn(&Arc<App>)) {
    for profile in ["base", "mali"] {
        let config = Config::Icd {
            kernel: "1.9",
            null: "auto",
        };
        let body = || body(&App::new().expect("vkCreateInstance"));
        let profile = [("PANVK_SPARSE_PROFILE", profile)];
        common::child::run(test, config, &profile, body, |outcome| {
            assert_eq!(outcome.stderr, "");
        });
    }
}

/// Colors, depth, stencil, blocks, three components, several planes.
const FORMATS: [vk::Format; 9] = [
    vk::Format::R8G8B8A8_UNORM,
    vk::Format::R16_SFLOAT,
    vk::Format::D32_SFLOAT,
    vk::Format::S8_UINT,
    vk::Format::BC1_RGBA_UNORM_BLOCK,
    vk::Format::R32G32B32_SFLOAT,
    vk::Format::G8_B8_R8_3PLANE_420_UNORM,
    vk::Format::G8_B8R8_2PLANE_420_UNORM,
    vk::Format::G8B8G8R8_422_UNORM,
];

const PLANAR: [vk::Format; 2] = [
    vk::Format::G8_B8_R8_3PLANE_420_UNORM,
    vk::Format::G8_B8R8_2PLANE_420_UNORM,
];

const TYPES: [vk::ImageType; 3] = [
    vk::ImageType::TYPE_1D,
    vk::ImageType::TYPE_2D,
    vk::ImageType::TYPE_3D,
];

fn sample_counts() -> impl Iterator<Item = vk::SampleCountFlags> {
    (0..7).map(|bit| vk::SampleCountFlags::from_raw(1 << bit))
}

/// What the specification asks of partially resident images (VUID-VkImageCreateInfo-imageType-00970 to -00976,
/// -tiling-04121).
fn is_allowed(
    has: &vk::PhysicalDeviceFeatures,
    ty: vk::ImageType,
    samples: vk::SampleCountFlags,
    tiling: vk::ImageTiling,
) -> bool {
    let features: &[(i32, u32, vk::Bool32)] = &[
        (1, 1, has.sparse_residency_image2_d),
        (1, 2, has.sparse_residency2_samples),
        (1, 4, has.sparse_residency4_samples),
        (1, 8, has.sparse_residency8_samples),
        (1, 16, has.sparse_residency16_samples),
        (2, 1, has.sparse_residency_image3_d),
    ];
    let asked = (ty.as_raw(), samples.as_raw(), vk::TRUE);
    tiling == vk::ImageTiling::OPTIMAL && features.contains(&asked)
}

/// How many `VkSparseImageFormatProperties` there are, by both functions.
pub fn residencies(
    app: &App,
    format: vk::Format,
    ty: vk::ImageType,
    samples: vk::SampleCountFlags,
    tiling: vk::ImageTiling,
) -> usize {
    let info = vk::PhysicalDeviceSparseImageFormatInfo2::default()
        .format(format)
        .ty(ty)
        .samples(samples)
        .usage(USAGE)
        .tiling(tiling);
    // SAFETY: a physical device of this instance.
    unsafe {
        let first = app
            .instance
            .get_physical_device_sparse_image_format_properties(
                app.physical,
                format,
                ty,
                samples,
                USAGE,
                tiling,
            );
        let second = app
            .instance
            .get_physical_device_sparse_image_format_properties2_len(app.physical, &info);
        assert_eq!(first.len(), second);
        second
    }
}

/// Whether images of the kind can be made, by both functions; those of memory that is shared, by the one that can say.
pub fn images(
    app: &App,
    format: vk::Format,
    ty: vk::ImageType,
    tiling: vk::ImageTiling,
    flags: vk::ImageCreateFlags,
) -> [Result<(), vk::Result>; 2] {
    let mut info = vk::PhysicalDeviceImageFormatInfo2::default()
        .format(format)
        .ty(ty)
        .tiling(tiling)
        .usage(USAGE)
        .flags(flags);
    let mut shared = vk::PhysicalDeviceExternalImageFormatInfo::default()
        .handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
    let mut properties = vk::ImageFormatProperties2::default();
    // SAFETY: a physical device of this instance.
    unsafe {
        let first = app
            .instance
            .get_physical_device_image_format_properties(
                app.physical,
                format,
                ty,
                tiling,
                USAGE,
                flags,
            )
            .map(drop);
        let mut second = |info: &vk::PhysicalDeviceImageFormatInfo2<'_>| {
            let get = &app.instance;
            get.get_physical_device_image_format_properties2(app.physical, info, &mut properties)
        };
        assert_eq!(first, second(&info), "{format:?} {ty:?} {tiling:?}");
        info = info.push_next(&mut shared);
        [first, second(&info)]
    }
}

#[test]
fn formats_are_as_the_specification_allows_for_every_kind_of_sparse_image() {
    under(
        common::name_of!(formats_are_as_the_specification_allows_for_every_kind_of_sparse_image),
        |app| {
            let has = app.features();
            let refused = Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED);
            let (mut resident, mut bound) = (BTreeSet::new(), BTreeSet::new());
            for format in FORMATS {
                for ty in TYPES {
                    for tiling in [vk::ImageTiling::OPTIMAL, vk::ImageTiling::LINEAR] {
                        let what = format!("{format:?} {ty:?} {tiling:?}");
                        for samples in sample_counts() {
                            let count = residencies(app, format, ty, samples, tiling);
                            let allowed = is_allowed(&has, ty, samples, tiling);
                            assert!(count == 0 || allowed, "{what} {samples:?}");
                        }
                        let one = vk::SampleCountFlags::TYPE_1;
                        let count = residencies(app, format, ty, one, tiling);
                        let [plain, _] =
                            images(app, format, ty, tiling, vk::ImageCreateFlags::empty());
                        let [binding, shared] = images(app, format, ty, tiling, BINDING);
                        assert_eq!(shared, refused, "{what}");
                        if tiling == vk::ImageTiling::LINEAR || PLANAR.contains(&format) {
                            assert_eq!(binding, refused, "{what}");
                        }
                        assert!(binding.is_err() || plain.is_ok(), "{what}");
                        let [residency, shared] = images(app, format, ty, tiling, RESIDENCY);
                        assert_eq!(shared, refused, "{what}");
                        // What can be partially resident has the properties of its tiles, and the other way round.
                        assert_eq!(residency.is_ok(), count > 0, "{what}");
                        assert!(residency.is_err() || binding.is_ok(), "{what}");
                        resident.extend((count > 0).then_some((format, ty.as_raw())));
                        bound.extend(binding.is_ok().then_some((format, ty.as_raw())));
                    }
                }
            }
            assert!(resident.contains(&(vk::Format::R8G8B8A8_UNORM, 1)));
            assert!(bound.contains(&(vk::Format::R8G8B8A8_UNORM, 0)));
            assert!(bound.contains(&(vk::Format::R8G8B8A8_UNORM, 2)));
        },
    );
}

#[test]
fn memory_that_is_shared_with_others_can_not_be_bound_to_sparse_buffers() {
    under(
        common::name_of!(memory_that_is_shared_with_others_can_not_be_bound_to_sparse_buffers),
        |app| {
            let features = |flags| {
                let info = vk::PhysicalDeviceExternalBufferInfo::default()
                    .flags(flags)
                    .usage(vk::BufferUsageFlags::TRANSFER_DST)
                    .handle_type(vk::ExternalMemoryHandleTypeFlags::OPAQUE_FD);
                let mut properties = vk::ExternalBufferProperties::default();
                // SAFETY: a physical device of this instance.
                unsafe {
                    app.instance.get_physical_device_external_buffer_properties(
                        app.physical,
                        &info,
                        &mut properties,
                    );
                }
                properties
                    .external_memory_properties
                    .external_memory_features
            };
            assert!(!features(vk::BufferCreateFlags::empty()).is_empty());
            for flags in [
                vk::BufferCreateFlags::SPARSE_BINDING,
                vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY,
            ] {
                assert!(features(flags).is_empty());
            }
        },
    );
}

#[test]
fn only_partially_resident_images_have_sparse_requirements() {
    under(
        common::name_of!(only_partially_resident_images_have_sparse_requirements),
        |app| {
            let gpu = Gpu::new(app);
            for (flags, expected) in [
                (vk::ImageCreateFlags::empty(), 0),
                (BINDING, 0),
                (RESIDENCY, 1),
            ] {
                let info = vk::ImageCreateInfo::default()
                    .flags(flags)
                    .image_type(vk::ImageType::TYPE_2D)
                    .format(vk::Format::R8G8B8A8_UNORM)
                    .extent(vk::Extent3D {
                        width: 300,
                        height: 200,
                        depth: 1,
                    })
                    .mip_levels(1)
                    .array_layers(1)
                    .samples(vk::SampleCountFlags::TYPE_1)
                    .usage(USAGE);
                let needs = vk::DeviceImageMemoryRequirements::default().create_info(&info);
                // SAFETY: a device with the features of these images; the image is destroyed with nothing bound to it.
                unsafe {
                    let image = gpu.device.create_image(&info, None).expect("vkCreateImage");
                    let of = vk::ImageSparseMemoryRequirementsInfo2::default().image(image);
                    let counts = [
                        gpu.device.get_image_sparse_memory_requirements(image).len(),
                        gpu.device.get_image_sparse_memory_requirements2_len(&of),
                        gpu.device
                            .get_device_image_sparse_memory_requirements_len(&needs),
                    ];
                    gpu.device.destroy_image(image, None);
                    assert_eq!(counts, [expected; 3], "{flags:?}");
                }
            }
        },
    );
}
