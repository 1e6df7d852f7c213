//! Buffers and images that have nothing to do with sparse binding do not wait for a bind. (Of memories, semaphores and fences
//! `tests/hosted/batches.rs` says so: there a lock is held for an instant, which would show here, too.)

use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk;
use common::config::Config;
use common::gpu::bind;
use common::{App, Batch, Gpu, SZ_64K};

/// How often this thread has gone to sleep to wait for something.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc");
    let line = { status.lines() }.find(|line| line.starts_with("voluntary_ctxt_switches:"));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// Makes one of each and destroys it.
fn come_and_go(gpu: &Gpu) {
    let device = &gpu.device;
    let size = vk::BufferCreateInfo::default()
        .size(4096)
        .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    let image = vk::ImageCreateInfo::default()
        .image_type(vk::ImageType::TYPE_2D)
        .format(vk::Format::R8G8B8A8_UNORM)
        .extent(vk::Extent3D {
            width: 16,
            height: 16,
            depth: 1,
        })
        .mip_levels(1)
        .array_layers(1)
        .samples(vk::SampleCountFlags::TYPE_1)
        .usage(vk::ImageUsageFlags::SAMPLED);
    // SAFETY: nothing uses them.
    unsafe {
        let buffer = device.create_buffer(&size, None).expect("vkCreateBuffer");
        device.destroy_buffer(buffer, None);
        let image = device.create_image(&image, None).expect("vkCreateImage");
        device.destroy_image(image, None);
    }
}

#[test]
fn ordinary_buffers_and_images_come_and_go_while_another_thread_binds() {
    const PIECES: u64 = 16_384;
    const ROUNDS: u64 = 20;
    /// Other load makes the thread wait now and then, but a lock that a bind holds does it at every try.
    const TRIES: usize = 3;
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let test = common::name_of!(ordinary_buffers_and_images_come_and_go_while_another_thread_binds);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let buffer = gpu.sparse_buffer(PIECES * SZ_64K);
        let memory = gpu.memory(&buffer, PIECES * SZ_64K);
        let waits_while_binding = || {
            let is_binding = AtomicBool::new(true);
            std::thread::scope(|scope| {
                let others = scope.spawn(|| {
                    come_and_go(&gpu);
                    let before = waits();
                    while is_binding.load(Ordering::Relaxed) {
                        come_and_go(&gpu);
                    }
                    waits() - before
                });
                for round in 0..ROUNDS {
                    let place = |piece| (piece * 7919 + round * 13) % PIECES * SZ_64K;
                    let binds = (0..PIECES).map(|i| bind(i * SZ_64K, SZ_64K, &memory, place(i)));
                    gpu.bind(&[Batch::buffer(&buffer, binds.collect::<Vec<_>>())]);
                }
                is_binding.store(false, Ordering::Relaxed);
                others.join().expect("the thread")
            })
        };
        let fewest = (0..TRIES)
            .map(|_| waits_while_binding())
            .find(|&waits| waits < ROUNDS / 2);
        assert!(
            fewest.is_some(),
            "at least {} waits while {ROUNDS} calls bound, {TRIES} times",
            ROUNDS / 2
        );
    };
    common::child::run(test, config, &[], body, |_| {});
}
