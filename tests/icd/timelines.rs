//! Timeline semaphores that are destroyed as soon as the application may do so.

use std::sync::atomic::{AtomicBool, Ordering};

use ash::vk;
use common::config::Config;
use common::{App, Gpu};

const ROUNDS: usize = 10_000;

/// Two submissions: the first signals a timeline, which the second waits for, and signals another.
fn come_and_go(gpu: &Gpu) {
    let device = &gpu.device;
    let mut kind =
        vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
    let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
    // SAFETY: what is made is destroyed when the second timeline has its value, and so all work is done.
    unsafe {
        let queue = device.get_device_queue(gpu.compute_family, 0);
        let made = [(); 2].map(|()| device.create_semaphore(&info, None));
        let [first, second] = made.map(|made| [made.expect("vkCreateSemaphore")]);
        let (one, stages) = ([1], [vk::PipelineStageFlags::ALL_COMMANDS]);
        let timeline = || vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&one);
        let (mut signals, mut waits) = (timeline(), timeline().wait_semaphore_values(&one));
        let submits = [
            vk::SubmitInfo::default()
                .signal_semaphores(&first)
                .push_next(&mut signals),
            vk::SubmitInfo::default()
                .wait_semaphores(&first)
                .wait_dst_stage_mask(&stages)
                .signal_semaphores(&second)
                .push_next(&mut waits),
        ];
        let submitted = device.queue_submit(queue, &submits, vk::Fence::null());
        submitted.expect("vkQueueSubmit");
        let wait = vk::SemaphoreWaitInfo::default()
            .semaphores(&second)
            .values(&one);
        let waited = device.wait_semaphores(&wait, u64::MAX);
        waited.expect("vkWaitSemaphores");
        for semaphore in [first, second] {
            device.destroy_semaphore(semaphore[0], None);
        }
    }
}

/// Mesa's runtime looks at a timeline once more after the application has seen its value. In memory that is freed, and
/// overwritten at once, it would find something else.
#[test]
fn a_timeline_that_has_its_value_can_be_destroyed() {
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let test = common::name_of!(a_timeline_that_has_its_value_can_be_destroyed);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let is_running = AtomicBool::new(true);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let is_running = &is_running;
                scope.spawn(move || {
                    for size in (0..).map(|i: usize| 16 + (i * 37 + thread) % 512) {
                        let memory: Vec<_> = (0..64).map(|_| vec![0xa5u8; size]).collect();
                        std::hint::black_box(memory);
                        if !is_running.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            (0..ROUNDS).for_each(|_| come_and_go(&gpu));
            is_running.store(false, Ordering::Relaxed);
        });
    };
    // What is freed is overwritten.
    common::child::run(test, config, &[("MALLOC_PERTURB_", "165")], body, |_| {});
}
