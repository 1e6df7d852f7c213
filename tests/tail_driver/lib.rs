//! A driver for tests, in front of lavapipe: it passes everything on, but its partially resident images have mip tails,
//! which lavapipe's have not.
//!
//! A tail is the tiles that lavapipe has for the levels in it, one after another: level by level for each layer, or, where one
//! tail is for all layers, layer by layer. An opaque bind of a part of it becomes binds of these tiles. A bind of a region of
//! a level in the tail is refused, and so is an opaque bind of anything else.
//!
//! `PANVK_SPARSE_TEST_TAIL=LEVEL:KIND[:aligned]` says at which level tails start, and whether there is one for each `layer` or
//! a `single` one. With `aligned`, the driver has `VK_SPARSE_IMAGE_FORMAT_ALIGNED_MIP_SIZE_BIT`, and a tail starts at
//! the first level that is no whole number of blocks, too. `PANVK_SPARSE_TEST_TAIL_BASE` is lavapipe's manifest.

mod bind;
mod tail;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, OnceLock, PoisonError};

use ash::vk::{self, Handle};
use vulkan::base::{Base, first_proc};

use tail::{Settings, Tail};

/// The base driver, once it is loaded.
static BASE: OnceLock<Option<Base>> = OnceLock::new();
/// The base driver's pointers of what is answered here, as they were last asked for. They are the same for all its
/// instances and devices.
static POINTERS: Mutex<BTreeMap<CString, unsafe extern "system" fn()>> =
    Mutex::new(BTreeMap::new());
/// The device of each queue, and the tail of each image.
static QUEUES: Mutex<BTreeMap<u64, vk::Device>> = Mutex::new(BTreeMap::new());
static TAILS: Mutex<BTreeMap<u64, Tail>> = Mutex::new(BTreeMap::new());

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn base() -> Option<&'static Base> {
    let load = || {
        let path = std::env::var_os("PANVK_SPARSE_TEST_TAIL_BASE")?;
        let loaded = Base::load(
            Some(path.as_ref()),
            vk_icdNegotiateLoaderICDInterfaceVersion,
        );
        loaded
            .inspect_err(|error| eprintln!("tail_driver: {error}"))
            .ok()
    };
    BASE.get_or_init(load).as_ref()
}

/// A remembered pointer of the base driver's.
///
/// # Safety
/// `F` is the type of the function `name`.
unsafe fn base_fn<F: Copy>(name: &CStr) -> Option<F> {
    let known = locked(&POINTERS).get(name).copied();
    // SAFETY: the caller's promise.
    unsafe { first_proc(&[name], |_| known) }
}

/// The base driver's pointer of a function of a device.
///
/// # Safety
/// `F` is the type of the function `name`, and the device is the base driver's.
unsafe fn device_fn<F: Copy>(device: vk::Device, name: &CStr) -> Option<F> {
    // SAFETY: the names' types, and the caller's promise.
    unsafe {
        let get = base_fn::<vk::PFN_vkGetDeviceProcAddr>(c"vkGetDeviceProcAddr")?;
        first_proc(&[name], |name| get(device, name.as_ptr()))
    }
}

/// What is answered here. All of these can be had by instance, and all but the first two by device.
fn own(name: &CStr) -> Option<unsafe extern "system" fn()> {
    macro_rules! hooks {
        ($($vulkan:literal: $own:path as $kind:ty;)*) => {
            $(if name == $vulkan {
                // SAFETY: a function pointer, to be called as the type that its name has.
                return Some(unsafe {
                    std::mem::transmute::<$kind, unsafe extern "system" fn()>($own as $kind)
                });
            })*
        };
    }
    hooks! {
        c"vkGetPhysicalDeviceSparseImageFormatProperties":
            format_properties as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties;
        c"vkGetPhysicalDeviceSparseImageFormatProperties2":
            format_properties2 as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties2;
        c"vkGetDeviceProcAddr": get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr;
        c"vkGetDeviceQueue": get_device_queue as vk::PFN_vkGetDeviceQueue;
        c"vkCreateImage": create_image as vk::PFN_vkCreateImage;
        c"vkDestroyImage": destroy_image as vk::PFN_vkDestroyImage;
        c"vkGetImageSparseMemoryRequirements":
            requirements as vk::PFN_vkGetImageSparseMemoryRequirements;
        c"vkGetImageSparseMemoryRequirements2":
            requirements2 as vk::PFN_vkGetImageSparseMemoryRequirements2;
        c"vkQueueBindSparse": bind::queue_bind_sparse as vk::PFN_vkQueueBindSparse;
    }
    None
}

/// Ours where the base driver has one, too.
fn hooked(name: &CStr, base: vk::PFN_vkVoidFunction) -> vk::PFN_vkVoidFunction {
    let pointer = base?;
    match own(name) {
        None => Some(pointer),
        Some(own) => {
            locked(&POINTERS).insert(name.to_owned(), pointer);
            Some(own)
        }
    }
}

/// Agrees with the loader on what the base driver speaks.
///
/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(
    version: *mut u32,
) -> vk::Result {
    let Some(base) = base() else {
        return vk::Result::ERROR_INCOMPATIBLE_DRIVER;
    };
    // SAFETY: the loader gives a version that may be lowered.
    match unsafe { base.negotiate(*version) } {
        Ok(agreed) => {
            // SAFETY: as above.
            unsafe { *version = agreed };
            vk::Result::SUCCESS
        }
        Err(error) => error,
    }
}

/// The pointers of global and instance functions.
///
/// # Safety
/// As the loader-driver interface has it.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: a string, by the interface.
    let name = unsafe { CStr::from_ptr(name) };
    // What is only for the loader would lead past this driver.
    if name.to_bytes().starts_with(b"vk_icd") {
        return None;
    }
    // SAFETY: the base driver's instance, or none.
    hooked(name, unsafe { base()?.instance_proc(instance, name) })
}

unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: a string, by the function's specification; a device of the base driver.
    unsafe {
        let name = CStr::from_ptr(name);
        hooked(name, device_fn(device, name))
    }
}

unsafe extern "system" fn get_device_queue(
    device: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    // SAFETY: the caller's own arguments, passed on; then the handle is written.
    unsafe {
        if let Some(get) = device_fn::<vk::PFN_vkGetDeviceQueue>(device, c"vkGetDeviceQueue") {
            get(device, family, index, queue);
            locked(&QUEUES).insert((*queue).as_raw(), device);
        }
    }
}

unsafe extern "system" fn format_properties(
    physical: vk::PhysicalDevice,
    format: vk::Format,
    kind: vk::ImageType,
    samples: vk::SampleCountFlags,
    usage: vk::ImageUsageFlags,
    tiling: vk::ImageTiling,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties,
) {
    // SAFETY: the caller's own arguments, passed on; `count` is then the number of structs that were written.
    unsafe {
        let name = c"vkGetPhysicalDeviceSparseImageFormatProperties";
        let get = base_fn::<vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties>(name);
        if let (Some(get), Some(settings)) = (get, Settings::read()) {
            get(
                physical, format, kind, samples, usage, tiling, count, properties,
            );
            if !properties.is_null() {
                let written = std::slice::from_raw_parts_mut(properties, *count as usize);
                written.iter_mut().for_each(|p| p.flags = settings.flags());
            }
        }
    }
}

unsafe extern "system" fn format_properties2(
    physical: vk::PhysicalDevice,
    info: *const vk::PhysicalDeviceSparseImageFormatInfo2<'_>,
    count: *mut u32,
    properties: *mut vk::SparseImageFormatProperties2<'_>,
) {
    // SAFETY: as for `format_properties`.
    unsafe {
        let name = c"vkGetPhysicalDeviceSparseImageFormatProperties2";
        let get = base_fn::<vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties2>(name);
        if let (Some(get), Some(settings)) = (get, Settings::read()) {
            get(physical, info, count, properties);
            if !properties.is_null() {
                let written = std::slice::from_raw_parts_mut(properties, *count as usize);
                let flags = settings.flags();
                written.iter_mut().for_each(|p| p.properties.flags = flags);
            }
        }
    }
}

unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: the caller's own arguments, passed on; the handle is read when it is written.
    unsafe {
        let create = device_fn::<vk::PFN_vkCreateImage>(device, c"vkCreateImage");
        let ask = device_fn::<vk::PFN_vkGetImageSparseMemoryRequirements>(
            device,
            c"vkGetImageSparseMemoryRequirements",
        );
        let (Some(create), Some(ask), Some(settings)) = (create, ask, Settings::read()) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let result = create(device, info, allocator, image);
        let resident = vk::ImageCreateFlags::SPARSE_RESIDENCY;
        if result == vk::Result::SUCCESS && (*info).flags.contains(resident) {
            let mut needs = vk::SparseImageMemoryRequirements::default();
            let mut count = 1;
            ask(device, *image, &mut count, &mut needs);
            if let Some(tail) = Tail::new(settings, &*info, &needs) {
                locked(&TAILS).insert((*image).as_raw(), tail);
            }
        }
        result
    }
}

unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    locked(&TAILS).remove(&image.as_raw());
    // SAFETY: the caller's own arguments, passed on.
    unsafe {
        if let Some(destroy) = device_fn::<vk::PFN_vkDestroyImage>(device, c"vkDestroyImage") {
            destroy(device, image, allocator);
        }
    }
}

/// What the image says of itself, beside what lavapipe says.
fn say(image: vk::Image, needs: &mut vk::SparseImageMemoryRequirements) {
    if let Some(tail) = locked(&TAILS).get(&image.as_raw()) {
        tail.say(needs);
    }
}

unsafe extern "system" fn requirements(
    device: vk::Device,
    image: vk::Image,
    count: *mut u32,
    needs: *mut vk::SparseImageMemoryRequirements,
) {
    // SAFETY: the caller's own arguments, passed on; `count` is then the number of structs that were written.
    unsafe {
        let name = c"vkGetImageSparseMemoryRequirements";
        let get = device_fn::<vk::PFN_vkGetImageSparseMemoryRequirements>(device, name);
        if let Some(get) = get {
            get(device, image, count, needs);
            if !needs.is_null() {
                let written = std::slice::from_raw_parts_mut(needs, *count as usize);
                written.iter_mut().for_each(|needs| say(image, needs));
            }
        }
    }
}

unsafe extern "system" fn requirements2(
    device: vk::Device,
    info: *const vk::ImageSparseMemoryRequirementsInfo2<'_>,
    count: *mut u32,
    needs: *mut vk::SparseImageMemoryRequirements2<'_>,
) {
    // SAFETY: as for `requirements`.
    unsafe {
        let name = c"vkGetImageSparseMemoryRequirements2";
        let get = device_fn::<vk::PFN_vkGetImageSparseMemoryRequirements2>(device, name);
        if let Some(get) = get {
            get(device, info, count, needs);
            if !needs.is_null() {
                let written = std::slice::from_raw_parts_mut(needs, *count as usize);
                let image = (*info).image;
                written
                    .iter_mut()
                    .for_each(|needs| say(image, &mut needs.memory_requirements));
            }
        }
    }
}
