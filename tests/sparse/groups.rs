//! A device made of a device group of one physical device: binds name the group's device, by its index.

use ash::vk;
use common::gpu::{bind, unbind};
use common::objects::ImageShape;
use common::pattern::assert_pattern;
use common::{Batch, Gpu, SZ_2M, Tiled};

/// A device of the group that the physical device is in, which must have no other.
fn grouped(gpu: &Gpu) -> Gpu {
    let app = &gpu.app;
    // SAFETY: the instance is alive, and of Vulkan 1.1 at least.
    let groups = unsafe {
        let n = app.instance.enumerate_physical_device_groups_len();
        let mut groups = vec![vk::PhysicalDeviceGroupProperties::default(); n.expect("groups")];
        let filled = app.instance.enumerate_physical_device_groups(&mut groups);
        filled.expect("groups");
        groups
    };
    let own = groups
        .iter()
        .find(|group| group.physical_devices_as_slice().contains(&app.physical))
        .expect("every physical device is in a group");
    assert_eq!(own.physical_device_count, 1);
    Gpu::with_group(app, &[app.physical])
}

fn of_device(index: u32, batch: Batch) -> Batch {
    Batch {
        device_group: Some(index),
        ..batch
    }
}

pub fn binds_of_the_only_device(gpu: &Gpu) {
    let gpu = grouped(gpu);
    let buffer = gpu.sparse_buffer(2 * SZ_2M);
    let image = Tiled::new(&gpu, &ImageShape::flat(300, 260));
    let n = image.tiles().len() as u64;
    let (in_buffer, in_image) = (gpu.memory(&buffer, SZ_2M), image.memory(n));
    gpu.bind(&[of_device(
        0,
        Batch::buffer(&buffer, [bind(SZ_2M, SZ_2M, &in_buffer, 0)])
            .and_tiles(&image.image, [image.bind_level(0, 0, Some((&in_image, 0)))]),
    )]);
    buffer.shader_write(SZ_2M, SZ_2M, 1);
    assert_pattern("the memory", &in_buffer.read(0, SZ_2M), 1, 0);
    let (first, second) = (image.pattern(2), image.pattern(3));
    image.upload(&first);
    // Other memory, and then the first again, with what it held.
    let other = image.memory(n);
    for (memory, index) in [(&other, Some(0)), (&in_image, None)] {
        let batch = Batch::tiles(&image.image, [image.bind_level(0, 0, Some((memory, 0)))]);
        gpu.bind(&[Batch {
            device_group: index,
            ..batch
        }]);
        if index.is_some() {
            image.upload(&second);
        }
    }
    image.assert_tiles("bound again", &image.download(), &first, &image.tiles());
    gpu.bind(&[of_device(0, Batch::buffer(&buffer, [unbind(SZ_2M, SZ_2M)]))]);
    buffer.shader_write(SZ_2M, SZ_2M, 4);
    assert_pattern("after the unbind", &in_buffer.read(0, SZ_2M), 1, 0);
}

/// No valid call names a device that the group has not; ours refuses it, and nothing of the call happens.
pub fn binds_of_another_device_are_refused(gpu: &Gpu) {
    let gpu = grouped(gpu);
    let buffer = gpu.sparse_buffer(2 * SZ_2M);
    let (a, b) = (gpu.memory(&buffer, 2 * SZ_2M), gpu.memory(&buffer, SZ_2M));
    gpu.bind(&[of_device(
        0,
        Batch::buffer(&buffer, [bind(0, 2 * SZ_2M, &a, 0)]),
    )]);
    if gpu.app.driver_info().contains("panvk-sparse") && !gpu.app.validates() {
        let (low, high) = ([bind(0, SZ_2M, &b, 0)], [bind(SZ_2M, SZ_2M, &b, 0)]);
        for call in [
            vec![of_device(1, Batch::buffer(&buffer, low))],
            vec![
                of_device(0, Batch::buffer(&buffer, low)),
                of_device(1, Batch::buffer(&buffer, high)),
            ],
        ] {
            let answer = gpu.try_bind(&call);
            assert_eq!(answer, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
        }
    }
    buffer.shader_write(0, 2 * SZ_2M, 5);
    assert_pattern("the memory", &a.read(0, 2 * SZ_2M), 5, 0);
}
