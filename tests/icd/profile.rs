//! `PANVK_SPARSE_PROFILE=mali`: an application sees no more than on a board, and can't have more.

use ash::vk;
use common::App;
use common::config::Config;

use crate::queries;

const ICD: Config = Config::Icd {
    kernel: "1.9",
    null: "auto",
};

fn under(test: &str, profile: &str, body: fn(&App)) {
    let body = || body(&App::new().expect("vkCreateInstance"));
    common::child::run(
        test,
        ICD,
        &[
            ("PANVK_SPARSE_PROFILE", profile),
            (common::stats::FILE, "stderr"),
        ],
        body,
        |_| {},
    );
}

const FORMAT: vk::Format = vk::Format::R8G8B8A8_UNORM;
const TILING: vk::ImageTiling = vk::ImageTiling::OPTIMAL;

fn formats(app: &App, ty: vk::ImageType) -> usize {
    queries::residencies(app, FORMAT, ty, vk::SampleCountFlags::TYPE_1, TILING)
}

/// Whether an image of this kind can be created.
fn image(app: &App, ty: vk::ImageType, flags: vk::ImageCreateFlags) -> Result<(), vk::Result> {
    let [image, _] = queries::images(app, FORMAT, ty, TILING, flags);
    image
}

fn device(app: &App, features: vk::PhysicalDeviceFeatures) -> Result<(), vk::Result> {
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_features(&features);
    // SAFETY: a physical device of this instance; the device is destroyed with nothing left of it.
    unsafe {
        let device = app.instance.create_device(app.physical, &info, None)?;
        device.destroy_device(None);
    }
    Ok(())
}

const RESIDENCY: vk::ImageCreateFlags = vk::ImageCreateFlags::from_raw(
    vk::ImageCreateFlags::SPARSE_BINDING.as_raw() | vk::ImageCreateFlags::SPARSE_RESIDENCY.as_raw(),
);

#[test]
fn mali_has_buffers_and_2d_images_and_no_more() {
    under(
        common::name_of!(mali_has_buffers_and_2d_images_and_no_more),
        "mali",
        |app| {
            let has = app.features();
            let there = [
                has.sparse_binding,
                has.sparse_residency_buffer,
                has.sparse_residency_image2_d,
            ];
            assert_eq!(there, [vk::TRUE; 3]);
            let gone = [
                has.sparse_residency_image3_d,
                has.sparse_residency2_samples,
                has.sparse_residency4_samples,
                has.sparse_residency_aliased,
                has.shader_resource_residency,
            ];
            assert_eq!(gone, [vk::FALSE; 5]);
            let mut two = vk::PhysicalDeviceFeatures2::default();
            let mut sparse = vk::PhysicalDeviceProperties2::default();
            // SAFETY: a physical device of this instance.
            let one = unsafe {
                app.instance
                    .get_physical_device_features2(app.physical, &mut two);
                app.instance
                    .get_physical_device_properties2(app.physical, &mut sparse);
                app.instance.get_physical_device_properties(app.physical)
            };
            assert_eq!(two.features.sparse_residency_aliased, vk::FALSE);
            for of_sparse in [one.sparse_properties, sparse.properties.sparse_properties] {
                assert_eq!(of_sparse.residency_standard2_d_block_shape, vk::TRUE);
                assert_eq!(of_sparse.residency_standard3_d_block_shape, vk::FALSE);
                assert_eq!(of_sparse.residency_non_resident_strict, vk::FALSE);
            }
            assert_eq!(formats(app, vk::ImageType::TYPE_2D), 1);
            assert_eq!(formats(app, vk::ImageType::TYPE_3D), 0);
            let refused = Err(vk::Result::ERROR_FORMAT_NOT_SUPPORTED);
            assert_eq!(image(app, vk::ImageType::TYPE_2D, RESIDENCY), Ok(()));
            assert_eq!(image(app, vk::ImageType::TYPE_3D, RESIDENCY), refused);
            let aliased = RESIDENCY | vk::ImageCreateFlags::SPARSE_ALIASED;
            assert_eq!(image(app, vk::ImageType::TYPE_2D, aliased), refused);
            assert_eq!(
                image(app, vk::ImageType::TYPE_3D, vk::ImageCreateFlags::empty()),
                Ok(())
            );
        },
    );
}

#[test]
fn mali_gives_no_device_with_what_it_does_not_have() {
    under(
        common::name_of!(mali_gives_no_device_with_what_it_does_not_have),
        "mali",
        |app| {
            let mut features = vk::PhysicalDeviceFeatures {
                sparse_binding: vk::TRUE,
                sparse_residency_image2_d: vk::TRUE,
                ..Default::default()
            };
            assert_eq!(device(app, features), Ok(()));
            features.sparse_residency_image3_d = vk::TRUE;
            assert_eq!(
                device(app, features),
                Err(vk::Result::ERROR_FEATURE_NOT_PRESENT)
            );
        },
    );
}

#[test]
fn base_has_what_the_base_driver_has() {
    under(
        common::name_of!(base_has_what_the_base_driver_has),
        "base",
        |app| {
            let has = app.features();
            let there = [
                has.sparse_residency_image3_d,
                has.sparse_residency_aliased,
                has.shader_resource_residency,
            ];
            assert_eq!(there, [vk::TRUE; 3]);
            assert_eq!(formats(app, vk::ImageType::TYPE_3D), 1);
            assert_eq!(image(app, vk::ImageType::TYPE_3D, RESIDENCY), Ok(()));
        },
    );
}
