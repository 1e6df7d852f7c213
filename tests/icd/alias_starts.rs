//! `PANVK_SPARSE_DUMMY=alias`: a resource has its dummy from its creation on, whether anything is ever bound or not.

use ash::vk;
use common::config::Config;
use common::gpu::bind;
use common::objects::{Fence, Image, ImageShape, Staging};
use common::pattern::{assert_pattern, assert_words};
use common::work::Work;
use common::{App, Batch, Gpu, SZ_2M, SZ_64K};

fn under(test: &str, body: fn(&Gpu)) {
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    let alias = [("PANVK_SPARSE_DUMMY", "alias")];
    common::child::run(test, config, &alias, body, |outcome| {
        // Nothing was said: no start was late, and none was refused.
        assert_eq!(outcome.stderr, "", "{}", outcome.stderr);
    });
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
            let residency = vk::ImageCreateFlags::SPARSE_RESIDENCY;
            let shape = ImageShape {
                flags: residency,
                ..ImageShape::flat(128, 128)
            };
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
