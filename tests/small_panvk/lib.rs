//! A panvk in small, for tests: sparse buffers on a panthor node, bound as Mesa's panvk binds them. Up to 16 operations an
//! ioctl, waits on the first of a submission and signals on the last; from the application's thread until a submission has to
//! wait for what is not submitted yet, from a thread of its own from then on.
//!
//! `SMALL_PANVK_NODES` names the nodes, separated by `:`, one for each physical device. `SMALL_PANVK` says in what it differs
//! from Mesa 26.2, in words: `none` has no sparse binding, `dummy` has a dummy of its own for unbound ranges, `stray` binds
//! nothing where Mesa 26.1 does, `strange` maps only the first half of a new buffer, `thread` submits all from
//! a thread of its own, `ioctl` calls the C library's `ioctl`.

mod device;
mod queue;

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::fs::File;
use std::sync::LazyLock;

use ash::vk::{self, Handle};
use vulkan::base::{answer_negotiation, set_text};

unsafe extern "C" {
    fn drmIoctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int;
    fn drmCloseBufferHandle(fd: c_int, handle: u32) -> c_int;
    fn drmSyncobjCreate(fd: c_int, flags: u32, handle: *mut u32) -> c_int;
    fn drmSyncobjDestroy(fd: c_int, handle: u32) -> c_int;
    fn drmSyncobjReset(fd: c_int, handles: *const u32, count: u32) -> c_int;
    fn drmSyncobjQuery(fd: c_int, handles: *mut u32, points: *mut u64, count: u32) -> c_int;
    fn drmSyncobjTimelineSignal(
        fd: c_int,
        handles: *const u32,
        points: *mut u64,
        count: u32,
    ) -> c_int;
    fn drmSyncobjTimelineWait(
        fd: c_int,
        handles: *mut u32,
        points: *mut u64,
        count: u32,
        until: i64,
        flags: u32,
        first: *mut u32,
    ) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

/// Whether `SMALL_PANVK` has the word.
fn is(word: &str) -> bool {
    static WORDS: LazyLock<String> =
        LazyLock::new(|| std::env::var("SMALL_PANVK").unwrap_or_default());
    WORDS.split(',').any(|set| set == word)
}

/// What the loader looks for at the start of what it dispatches by.
const LOADER: usize = 0x01CD_C0DE;

#[repr(C)]
struct Instance {
    loader: usize,
    physical: Vec<Physical>,
}

#[repr(C)]
struct Physical {
    loader: usize,
    file: File,
}

/// The object that a handle is the address of.
///
/// # Safety
/// It is of that type, and is not destroyed while the reference is used.
unsafe fn object<'a, T>(handle: impl Handle) -> &'a T {
    // SAFETY: the caller's promise.
    unsafe { &*(handle.as_raw() as *const T) }
}

fn handle<H: Handle, T>(object: T) -> H {
    H::from_raw(Box::into_raw(Box::new(object)) as u64)
}

/// # Safety
/// The object that the handle is of is of that type, and nobody uses it.
unsafe fn destroyed<T>(handle: impl Handle) -> Option<Box<T>> {
    let address = handle.as_raw() as *mut T;
    // SAFETY: the caller's promise; `handle` made it.
    (!address.is_null()).then(|| unsafe { Box::from_raw(address) })
}

enum Level {
    Any,
}

vulkan::hooks! {
    Level:
    Any {
        b"vkCreateInstance" => create_instance as vk::PFN_vkCreateInstance,
        b"vkDestroyInstance" => destroy_instance as vk::PFN_vkDestroyInstance,
        b"vkEnumeratePhysicalDevices" => enumerate_physical_devices as vk::PFN_vkEnumeratePhysicalDevices,
        b"vkGetPhysicalDeviceFeatures" => get_features as vk::PFN_vkGetPhysicalDeviceFeatures,
        b"vkGetPhysicalDeviceProperties" => get_properties as vk::PFN_vkGetPhysicalDeviceProperties,
        b"vkGetPhysicalDeviceQueueFamilyProperties" => get_families as vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties,
        b"vkGetDeviceProcAddr" => get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkCreateDevice" => device::create_device as vk::PFN_vkCreateDevice,
        b"vkDestroyDevice" => device::destroy_device as vk::PFN_vkDestroyDevice,
        b"vkDeviceWaitIdle" => queue::device_wait_idle as vk::PFN_vkDeviceWaitIdle,
        b"vkGetDeviceQueue" => device::get_queue as vk::PFN_vkGetDeviceQueue,
        b"vkAllocateMemory" => device::allocate_memory as vk::PFN_vkAllocateMemory,
        b"vkFreeMemory" => device::free_memory as vk::PFN_vkFreeMemory,
        b"vkCreateBuffer" => device::create_buffer as vk::PFN_vkCreateBuffer,
        b"vkDestroyBuffer" => device::destroy_buffer as vk::PFN_vkDestroyBuffer,
        b"vkGetBufferMemoryRequirements" => device::buffer_needs as vk::PFN_vkGetBufferMemoryRequirements,
        b"vkCreateSemaphore" => device::create_semaphore as vk::PFN_vkCreateSemaphore,
        b"vkDestroySemaphore" => device::destroy_semaphore as vk::PFN_vkDestroySemaphore,
        b"vkGetSemaphoreCounterValue" =>
            device::get_semaphore_counter_value as vk::PFN_vkGetSemaphoreCounterValue,
        b"vkSignalSemaphore" => device::signal_semaphore as vk::PFN_vkSignalSemaphore,
        b"vkCreateFence" => device::create_fence as vk::PFN_vkCreateFence,
        b"vkDestroyFence" => device::destroy_fence as vk::PFN_vkDestroyFence,
        b"vkResetFences" => device::reset_fences as vk::PFN_vkResetFences,
        b"vkWaitForFences" => device::wait_for_fences as vk::PFN_vkWaitForFences,
        b"vkQueueBindSparse" => queue::queue_bind_sparse as vk::PFN_vkQueueBindSparse,
    }
}

unsafe extern "system" fn missing() {
    eprintln!("small_panvk: a function that it does not have is called");
    std::process::abort();
}

/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(
    version: *mut u32,
) -> vk::Result {
    // SAFETY: the caller gives a version that may be lowered.
    unsafe { answer_negotiation(version, |wanted| Ok(wanted.min(5))) }
}

/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    _: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: a string that ends with NUL.
    let name = unsafe { CStr::from_ptr(name) };
    let others = [
        c"vkGetPhysicalDeviceImageFormatProperties",
        c"vkGetPhysicalDeviceSparseImageFormatProperties",
        c"vkEnumerateDeviceExtensionProperties",
        c"vkCreateImage",
        c"vkDestroyImage",
        c"vkGetImageMemoryRequirements",
        c"vkGetImageSparseMemoryRequirements",
        c"vkQueueSubmit",
    ];
    let other = others
        .contains(&name)
        .then_some(missing as unsafe extern "system" fn());
    find(name).map(|hook| hook.function).or(other)
}

unsafe extern "system" fn get_device_proc_addr(
    _: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: the caller's arguments.
    unsafe { vk_icdGetInstanceProcAddr(vk::Instance::null(), name) }
}

unsafe extern "system" fn create_instance(
    _: *const vk::InstanceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Instance,
) -> vk::Result {
    let nodes = std::env::var("SMALL_PANVK_NODES").unwrap_or_default();
    let open = |path: &str| {
        let file = File::options().read(true).write(true).open(path).ok()?;
        Some(Physical {
            loader: LOADER,
            file,
        })
    };
    let physical = nodes.split(':').filter_map(open).collect();
    // SAFETY: the caller has room for a handle.
    unsafe {
        *out = handle(Instance {
            loader: LOADER,
            physical,
        })
    };
    vk::Result::SUCCESS
}

unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: an instance that nobody uses.
    drop(unsafe { destroyed::<Instance>(instance) });
}

unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY: an instance; so many handles fit.
    unsafe {
        let all = &object::<Instance>(instance).physical;
        if !devices.is_null() {
            for (i, physical) in all.iter().take(*count as usize).enumerate() {
                *devices.add(i) = vk::PhysicalDevice::from_raw(&raw const *physical as u64);
            }
        }
        *count = all.len() as u32;
    }
    vk::Result::SUCCESS
}

unsafe extern "system" fn get_features(
    _: vk::PhysicalDevice,
    features: *mut vk::PhysicalDeviceFeatures,
) {
    let sparse = !is("none");
    let all = vk::PhysicalDeviceFeatures::default()
        .sparse_binding(sparse)
        .sparse_residency_buffer(sparse);
    // SAFETY: a struct to write to.
    unsafe { *features = all };
}

unsafe extern "system" fn get_properties(
    _: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties,
) {
    // SAFETY: a struct to write to.
    unsafe {
        *properties = vk::PhysicalDeviceProperties::default().api_version(vk::API_VERSION_1_3);
        set_text(&mut (*properties).device_name, "a small Mali");
    }
}

unsafe extern "system" fn get_families(
    _: vk::PhysicalDevice,
    count: *mut u32,
    families: *mut vk::QueueFamilyProperties,
) {
    // SAFETY: so many structs fit.
    unsafe {
        if !families.is_null() && *count > 0 {
            *families = vk::QueueFamilyProperties::default()
                .queue_flags(vk::QueueFlags::SPARSE_BINDING)
                .queue_count(2);
        }
        *count = 1;
    }
}
