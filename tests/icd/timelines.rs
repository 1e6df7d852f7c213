//! Timeline semaphores that are destroyed as soon as the application may do so.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ash::vk;
use common::config::{Config, icd_manifest};
use common::{App, Gpu};
use vulkan::base::{Base, first_proc};

use crate::abuse::allocated;

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

/// What is kept of them is bounded by their number, however many are destroyed in a second.
#[test]
fn timelines_that_come_and_go_take_no_memory_without_end() {
    const THREADS: usize = 8;
    const EACH: usize = 5000;
    /// Those that are kept at most, and some that have not been destroyed.
    const MOST: usize = 10_000;
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let test = common::name_of!(timelines_that_come_and_go_take_no_memory_without_end);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let before = allocated();
        let alive: Vec<_> = (0..1000).map(|_| gpu.timeline(0)).collect();
        let bytes = (allocated() - before) / alive.len();
        drop(alive);
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 0..EACH {
                        let timeline = gpu.timeline(0);
                        timeline.signal(1);
                        timeline.wait(1);
                        drop(timeline);
                        if round % 100 == 0 {
                            most.fetch_max(allocated() - before, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let most = most.load(Ordering::Relaxed) / bytes;
        assert!(most < MOST, "as much as {most} timelines of {bytes} bytes");
    };
    common::child::run(test, config, &[], body, |outcome| {
        assert_eq!(outcome.stderr, "");
    });
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "system" fn allocate(
    _: *mut c_void,
    size: usize,
    alignment: usize,
    _: vk::SystemAllocationScope,
) -> *mut c_void {
    ALLOCATED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a power of two, and a size that is a multiple of it.
    unsafe { libc::aligned_alloc(alignment, size.next_multiple_of(alignment)) }
}

unsafe extern "system" fn reallocate(
    _: *mut c_void,
    _: *mut c_void,
    _: usize,
    _: usize,
    _: vk::SystemAllocationScope,
) -> *mut c_void {
    std::ptr::null_mut()
}

unsafe extern "system" fn free(_: *mut c_void, memory: *mut c_void) {
    FREED.fetch_add(usize::from(!memory.is_null()), Ordering::Relaxed);
    // SAFETY: whoever it is of, it was made by the C library.
    unsafe { libc::free(memory) };
}

unsafe extern "system" fn negotiate(_: *mut u32) -> vk::Result {
    vk::Result::SUCCESS
}

/// On a device without sparse binding the driver does not keep timelines. The functions are found by instance, as a program
/// does that has no loader: by device there are only the base driver's.
#[test]
fn a_timeline_is_destroyed_with_the_allocator_that_made_it() {
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let test = common::name_of!(a_timeline_is_destroyed_with_the_allocator_that_made_it);
    let body = || {
        let driver = Base::load(Some(icd_manifest()), negotiate).expect("it was built");
        driver.negotiate(5).expect("it speaks version 5");
        let mut timelines =
            vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(true);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let of_device = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .push_next(&mut timelines);
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let of_instance = vk::InstanceCreateInfo::default().application_info(&application);
        let allocator = vk::AllocationCallbacks {
            pfn_allocation: Some(allocate),
            pfn_reallocation: Some(reallocate),
            pfn_free: Some(free),
            ..vk::AllocationCallbacks::default()
        };
        let mut kind =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the driver's own functions, by their names; all that is made is destroyed, the last first.
        unsafe {
            let no_instance = vk::Instance::null();
            let of_driver = |name: &_| driver.instance_proc(no_instance, name);
            let get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr =
                first_proc(&[c"vkGetInstanceProcAddr"], of_driver).expect("every driver has it");
            let entry = ash::Entry::from_static_fn(ash::StaticFn {
                get_instance_proc_addr,
            });
            let instance = entry.create_instance(&of_instance, None);
            let instance = instance.expect("vkCreateInstance");
            let physical = instance.enumerate_physical_devices().expect("lavapipe");
            let device = instance.create_device(physical[0], &of_device, None);
            let device = device.expect("vkCreateDevice");
            let by_instance = |name: &std::ffi::CStr| {
                let function = get_instance_proc_addr(instance.handle(), name.as_ptr());
                function.map_or(std::ptr::null(), |function| function as *const c_void)
            };
            let functions = ash::Device::load_with(by_instance, device.handle());
            let made = functions.create_semaphore(&info, Some(&allocator));
            functions.destroy_semaphore(made.expect("vkCreateSemaphore"), Some(&allocator));
            device.destroy_device(None);
            instance.destroy_instance(None);
        }
        let [allocated, freed] = [&ALLOCATED, &FREED].map(|count| count.load(Ordering::Relaxed));
        assert!(allocated > 0);
        assert_eq!(freed, allocated);
    };
    common::child::run(test, config, &[], body, |outcome| {
        assert_eq!(outcome.stderr, "");
    });
}
