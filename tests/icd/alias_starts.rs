//! `PANVK_SPARSE_DUMMY=alias`: a resource has its dummy from its creation on, whether anything is ever bound or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ash::vk;
use common::config::{Config, base_manifest, tail_driver_manifest};
use common::gpu::{bind, unbind};
use common::objects::{Fence, Image, ImageShape, Staging};
use common::pattern::{assert_pattern, assert_words};
use common::work::Work;
use common::{App, Batch, Gpu, SZ_2M, SZ_64K};

use crate::abuse::allocated;

const ICD: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "auto",
};

fn under(test: &str, body: fn(&Gpu)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    let alias = [("PANVK_SPARSE_DUMMY", "alias")];
    common::child::run(test, ICD, &alias, body, |outcome| {
        // Nothing was said: no start was refused.
        assert_eq!(outcome.stderr, "", "{}", outcome.stderr);
    });
}

/// Over lavapipe as the driver in front of it makes it, by these settings. `said` is what stderr begins with.
fn over(test: &str, setting: (&str, &str), said: &str, body: fn(&Arc<App>)) {
    let body = || body(&App::new().expect("vkCreateInstance"));
    let driver = tail_driver_manifest().to_string_lossy().into_owned();
    let lavapipe = base_manifest().to_string_lossy().into_owned();
    let environment = [
        ("PANVK_SPARSE_DUMMY", "alias"),
        ("PANVK_SPARSE_BASE_ICD", &driver),
        ("PANVK_SPARSE_TEST_TAIL", "9:layer"),
        ("PANVK_SPARSE_TEST_TAIL_BASE", &lavapipe),
        setting,
    ];
    common::child::run(test, ICD, &environment, body, |outcome| {
        let stderr = &outcome.stderr;
        assert!(stderr.starts_with(said), "{stderr}");
        assert_eq!(stderr.is_empty(), said.is_empty(), "{stderr}");
    });
}

/// The application may do with it what it likes: it is not in use.
#[test]
fn a_resource_is_destroyed_at_once_whatever_the_queue_waits_for() {
    under(
        common::name_of!(a_resource_is_destroyed_at_once_whatever_the_queue_waits_for),
        |gpu| {
            let gate = gpu.timeline(0);
            let blocked = Work::record(gpu, |_| ());
            blocked.submit(&[gate.at(1)], &[]);
            let begun = Instant::now();
            let mut starting = Vec::new();
            // Each round has a start that waits behind the gate.
            for _ in 0..20 {
                let buffer = gpu.sparse_buffer(SZ_2M);
                let image = Image::sparse(gpu, &resident());
                let nothing = Work::record(gpu, |_| ());
                nothing.submit(&[], &[]);
                starting.push(nothing);
                drop((buffer, image));
            }
            let took = begun.elapsed();
            assert!(!starting.iter().any(Work::done));
            gate.signal(1);
            assert!(took < Duration::from_secs(5), "{took:?}");
            starting.iter().for_each(Work::wait);
            let after = gpu.sparse_buffer(SZ_2M);
            after.shader_write(0, SZ_64K, 3);
            assert_pattern("created after", &after.shader_read(SZ_64K, SZ_64K), 3, 0);
            blocked.wait();
        },
    );
}

#[test]
fn resources_come_and_go_while_another_thread_binds() {
    under(
        common::name_of!(resources_come_and_go_while_another_thread_binds),
        |gpu| {
            let buffer = gpu.sparse_buffer(SZ_2M);
            let memory = gpu.memory(&buffer, SZ_2M);
            let binding = AtomicBool::new(true);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while binding.load(Ordering::Relaxed) {
                        drop(gpu.sparse_buffer(SZ_2M));
                    }
                });
                let end = Instant::now() + Duration::from_secs(10);
                while Instant::now() < end {
                    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])]);
                    gpu.bind(&[Batch::buffer(&buffer, [unbind(0, SZ_2M)])]);
                }
                binding.store(false, Ordering::Relaxed);
            });
        },
    );
}

/// Mip tails are bound by offsets that have to be known as long as a start may bind them: any others are refused.
#[test]
fn images_with_tails_come_and_go_while_another_thread_submits() {
    over(
        common::name_of!(images_with_tails_come_and_go_while_another_thread_submits),
        ("PANVK_SPARSE_TEST_TAIL", "1:layer"),
        "",
        |app| {
            let gpu = Gpu::new(app);
            let shape = ImageShape {
                flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
                levels: 4,
                ..ImageShape::flat(512, 512)
            };
            let submitting = AtomicBool::new(true);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while submitting.load(Ordering::Relaxed) {
                        drop(Image::sparse(&gpu, &shape));
                    }
                });
                let end = Instant::now() + Duration::from_secs(10);
                // SAFETY: the queue is this thread's.
                let queue = unsafe { gpu.device.get_device_queue(gpu.compute_family, 0) };
                let mut result = Ok(());
                while result.is_ok() && Instant::now() < end {
                    // SAFETY: as above.
                    result = unsafe { gpu.device.queue_submit(queue, &[], vk::Fence::null()) };
                }
                submitting.store(false, Ordering::Relaxed);
                assert_eq!(result, Ok(()));
            });
            gpu.wait_idle();
        },
    );
}

#[test]
fn a_start_whose_wait_is_refused_is_waited_for_by_the_next_submission() {
    over(
        common::name_of!(a_start_whose_wait_is_refused_is_waited_for_by_the_next_submission),
        // The first of the application, before which there is a start.
        ("PANVK_SPARSE_TEST_REFUSE", "1"),
        "",
        |app| {
            let gpu = Gpu::new(app);
            let kept = gpu.sparse_buffer(SZ_2M);
            let short_lived = gpu.sparse_buffer(SZ_2M);
            let submit = [vk::SubmitInfo::default()];
            // SAFETY: the queue is this thread's.
            let result = unsafe {
                let queue = gpu.device.get_device_queue(gpu.compute_family, 0);
                gpu.device.queue_submit(queue, &submit, vk::Fence::null())
            };
            assert_eq!(result, Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
            let begun = Instant::now();
            gpu.wait_idle();
            drop(short_lived);
            assert!(begun.elapsed() < Duration::from_secs(5));
            kept.shader_write(0, SZ_64K, 5);
            assert_pattern("started", &kept.shader_read(SZ_64K, SZ_64K), 5, 0);
        },
    );
}

#[test]
fn a_device_has_one_queue_however_many_the_base_driver_has() {
    over(
        common::name_of!(a_device_has_one_queue_however_many_the_base_driver_has),
        ("PANVK_SPARSE_TEST_QUEUES", "2"),
        "panvk-sparse: error: vkCreateDevice: 2 queues asked for, expected one",
        |app| {
            let mut two = [vk::QueueFamilyProperties2::default()];
            // SAFETY: a physical device of this instance.
            let one = unsafe {
                let get = &app.instance;
                get.get_physical_device_queue_family_properties2(app.physical, &mut two);
                get.get_physical_device_queue_family_properties(app.physical)
            };
            assert_eq!(one[0].queue_count, 1);
            assert_eq!(two[0].queue_family_properties.queue_count, 1);
            let features = vk::PhysicalDeviceFeatures::default().sparse_binding(true);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0; 2])];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features);
            // SAFETY: a physical device of this instance.
            let refused = unsafe { app.instance.create_device(app.physical, &info, None) };
            assert_eq!(refused.err(), Some(vk::Result::ERROR_INITIALIZATION_FAILED));
        },
    );
}

/// The start's own submission is the first, that of the application the second.
#[test]
fn on_a_lost_device_nothing_waits_for_a_start_and_nothing_is_kept_for_one() {
    over(
        common::name_of!(on_a_lost_device_nothing_waits_for_a_start_and_nothing_is_kept_for_one),
        ("PANVK_SPARSE_TEST_LOST", "2"),
        "panvk-sparse: error: binding new resources to the dummy",
        |app| {
            let gpu = Gpu::new(app);
            // SAFETY: the queue is this thread's.
            let queue = unsafe { gpu.device.get_device_queue(gpu.compute_family, 0) };
            let submit = || {
                let submit = [vk::SubmitInfo::default()];
                // SAFETY: as above.
                let result = unsafe { gpu.device.queue_submit(queue, &submit, vk::Fence::null()) };
                assert_eq!(result, Err(vk::Result::ERROR_DEVICE_LOST));
            };
            let begun = Instant::now();
            let started = gpu.sparse_buffer(SZ_2M);
            submit();
            drop(started);
            let come_and_go = || {
                let buffer = gpu.sparse_buffer(SZ_2M);
                submit();
                drop(buffer);
            };
            (0..100).for_each(|_| come_and_go());
            let before = allocated();
            (0..1000).for_each(|_| come_and_go());
            let grown = allocated().saturating_sub(before);
            assert!(grown < 64 << 10, "{grown} bytes are left");
            drop(gpu);
            assert!(begun.elapsed() < Duration::from_secs(10));
        },
    );
}

/// Of what it is told, an application may take all.
#[test]
fn a_device_has_one_family_of_queues_however_many_the_base_driver_has() {
    over(
        common::name_of!(a_device_has_one_family_of_queues_however_many_the_base_driver_has),
        ("PANVK_SPARSE_TEST_FAMILIES", "3"),
        "",
        |app| {
            let get = &app.instance;
            let mut told = [vk::QueueFamilyProperties2::default()];
            // SAFETY: a physical device of this instance.
            let (families, count) = unsafe {
                get.get_physical_device_queue_family_properties2(app.physical, &mut told);
                (
                    get.get_physical_device_queue_family_properties(app.physical),
                    get.get_physical_device_queue_family_properties2_len(app.physical),
                )
            };
            assert_eq!((families.len(), count), (1, 1));
            assert_eq!(told[0].queue_family_properties.queue_count, 1);
            let queues: Vec<_> = (0..families.len())
                .map(|family| {
                    let queues = vk::DeviceQueueCreateInfo::default();
                    queues
                        .queue_family_index(family as u32)
                        .queue_priorities(&[1.0])
                })
                .collect();
            let features = vk::PhysicalDeviceFeatures::default().sparse_binding(true);
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features);
            // SAFETY: a physical device of this instance; the device is destroyed unused.
            unsafe {
                let device = app.instance.create_device(app.physical, &info, None);
                device.expect("vkCreateDevice").destroy_device(None);
            }
        },
    );
}

fn resident() -> ImageShape {
    ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
        ..ImageShape::flat(128, 128)
    }
}

#[test]
fn stray_writes_alias_in_buffers_that_were_never_bound() {
    under(
        common::name_of!(stray_writes_alias_in_buffers_that_were_never_bound),
        |gpu| {
            let buffer = gpu.sparse_buffer(2 * SZ_2M);
            buffer.shader_write(0, SZ_64K, 7);
            assert_pattern("a dummy on", &buffer.shader_read(SZ_2M, SZ_64K), 7, 0);
            // One that is created when work has long been submitted.
            let later = gpu.sparse_buffer(SZ_2M);
            assert_pattern("created later", &later.copy_read(0, SZ_64K), 7, 0);
        },
    );
}

#[test]
fn stray_writes_alias_in_images_that_were_never_bound() {
    under(
        common::name_of!(stray_writes_alias_in_images_that_were_never_bound),
        |gpu| {
            let shape = resident();
            let (one, other) = (Image::sparse(gpu, &shape), Image::sparse(gpu, &shape));
            one.write(3);
            Work::record(gpu, |r| r.image_start(&other)).run();
            assert_pattern("in another image", &other.read(), 3, 0);
        },
    );
}

#[test]
fn a_bind_after_the_start_stands() {
    under(common::name_of!(a_bind_after_the_start_stands), |gpu| {
        let (bound, started) = (gpu.sparse_buffer(SZ_2M), gpu.sparse_buffer(SZ_2M));
        let memory = gpu.memory(&bound, SZ_2M);
        // The second one is started by a submit, the first one bound right after that.
        started.shader_write(0, SZ_64K, 1);
        gpu.bind(&[Batch::buffer(&bound, [bind(0, SZ_2M, &memory, 0)])]);
        bound.shader_write(0, SZ_2M, 2);
        assert_pattern("unbound", &started.shader_read(0, SZ_64K), 1, 0);
        assert_pattern("bound", &bound.shader_read(0, SZ_2M), 2, 0);
        assert_pattern("in its memory", &memory.read(0, SZ_2M), 2, 0);
    });
}

/// Not used by anything, it may be destroyed while its start is under way.
#[test]
fn resources_come_and_go_between_submits() {
    under(
        common::name_of!(resources_come_and_go_between_submits),
        |gpu| {
            let kept = gpu.sparse_buffer(SZ_2M);
            kept.shader_write(0, SZ_64K, 0);
            for round in 1..50 {
                let short_lived = gpu.sparse_buffer(8 * SZ_2M);
                let fence = Fence::new(gpu);
                let nothing = Work::record(gpu, |_| ());
                nothing.submit(&[], &[]);
                drop(short_lived);
                let reborn = gpu.sparse_buffer(8 * SZ_2M);
                nothing.wait();
                reborn.shader_write(7 * SZ_2M, SZ_64K, round);
                assert_pattern("kept", &kept.shader_read(0, SZ_64K), round, 0);
                drop(fence);
            }
        },
    );
}

/// What the queue waits for comes after the end of a resource that has nothing to do with it.
#[test]
fn a_destroyed_resource_does_not_wait_for_the_starts_of_others() {
    under(
        common::name_of!(a_destroyed_resource_does_not_wait_for_the_starts_of_others),
        |gpu| {
            let (sparse, plain) = (gpu.sparse_buffer(SZ_2M), Staging::new(gpu, 64));
            sparse.shader_write(0, SZ_64K, 1);
            let gate = gpu.timeline(0);
            let blocked = Work::record(gpu, |_| ());
            blocked.submit(&[gate.at(1)], &[]);
            // Its start is behind the gate.
            let started = gpu.sparse_buffer(SZ_2M);
            let starting = Work::record(gpu, |_| ());
            starting.submit(&[], &[]);
            assert!(!starting.done());
            drop(plain);
            drop(sparse);
            gate.signal(1);
            blocked.wait();
            starting.wait();
            assert_pattern("started", &started.shader_read(0, SZ_64K), 1, 0);
        },
    );
}

#[test]
fn the_newer_way_to_submit_starts_resources_too() {
    under(
        common::name_of!(the_newer_way_to_submit_starts_resources_too),
        |gpu| {
            let device = &gpu.device;
            let dummy = gpu.sparse_buffer(SZ_2M);
            let words = [0xABCD; 16];
            dummy.copy_write(0, &words);
            // The next submit is the first since this one's creation.
            let buffer = gpu.sparse_buffer(SZ_2M);
            let to = Staging::new(gpu, 64);
            let fence = Fence::new(gpu);
            // SAFETY: all that is named is alive until the fence has been waited for; no other thread has the queue.
            unsafe {
                let queue = device.get_device_queue(gpu.compute_family, 0);
                let pool = device
                    .create_command_pool(
                        &vk::CommandPoolCreateInfo::default()
                            .queue_family_index(gpu.compute_family),
                        None,
                    )
                    .expect("command pool");
                let commands = device
                    .allocate_command_buffers(
                        &vk::CommandBufferAllocateInfo::default()
                            .command_pool(pool)
                            .command_buffer_count(1),
                    )
                    .expect("command buffer")[0];
                device
                    .begin_command_buffer(commands, &vk::CommandBufferBeginInfo::default())
                    .expect("vkBeginCommandBuffer");
                let copy = [vk::BufferCopy::default().size(64)];
                device.cmd_copy_buffer(commands, buffer.raw, to.buffer.raw, &copy);
                device
                    .end_command_buffer(commands)
                    .expect("vkEndCommandBuffer");
                let commands = [vk::CommandBufferSubmitInfo::default().command_buffer(commands)];
                let submit = [vk::SubmitInfo2::default().command_buffer_infos(&commands)];
                device
                    .queue_submit2(queue, &submit, fence.raw)
                    .expect("vkQueueSubmit2");
                fence.wait();
                device.destroy_command_pool(pool, None);
            }
            assert_words("through vkQueueSubmit2", 0, &to.read(), &words);
        },
    );
}
