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
//!
//! `PANVK_SPARSE_TEST_FAMILIES=N` says that there are so many queue families, all of them lavapipe's, and
//! `PANVK_SPARSE_TEST_QUEUES=N` that a family has so many queues. `PANVK_SPARSE_TEST_REFUSE=N` has the N-th vkQueueSubmit (from 1)
//! refused, `PANVK_SPARSE_TEST_REFUSE_BINDS=N` every N-th vkQueueBindSparse, and with `PANVK_SPARSE_TEST_LOST=N` the device is lost
//! from the N-th vkQueueSubmit on: see `queues`.

mod bind;
mod queues;
mod tail;

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::sync::{Mutex, OnceLock, PoisonError};

use ash::vk::{self, Handle};
use vulkan::base::{Base, answer_negotiation};
use vulkan::below::{DeviceTable, InstanceTable};

use tail::{Settings, Tail};

/// The base driver, once it is loaded.
static BASE: OnceLock<Option<Base>> = OnceLock::new();
/// The base driver's functions of the instance that was asked last. They are the same for all its instances.
static INSTANCE: Mutex<Option<InstanceTable>> = Mutex::new(None);
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

/// A function of the base driver's instance.
fn of_instance<F>(function: impl FnOnce(&InstanceTable) -> F) -> Option<F> {
    locked(&INSTANCE).as_ref().map(function)
}

/// The base driver's functions of a device.
///
/// # Safety
/// The device is the base driver's.
unsafe fn of_device(device: vk::Device) -> Option<DeviceTable> {
    let get = of_instance(|table| table.get_device_proc_addr)?;
    // SAFETY: the caller's promise; the answers are by name.
    unsafe { DeviceTable::load(|name| get(device, name.as_ptr())) }
}

/// Of what is answered here, all can be had by instance, and what is of a device by device, too.
enum Level {
    Own,
}

vulkan::hooks! {
    Level:
    Own {
        b"vkGetPhysicalDeviceSparseImageFormatProperties" =>
            format_properties as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties,
        b"vkGetPhysicalDeviceSparseImageFormatProperties2" =>
            format_properties2 as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties2,
        b"vkGetDeviceProcAddr" => get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkGetDeviceQueue" => get_device_queue as vk::PFN_vkGetDeviceQueue,
        b"vkGetPhysicalDeviceQueueFamilyProperties" =>
            queues::family_properties as vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties,
        b"vkGetPhysicalDeviceQueueFamilyProperties2" =>
            queues::family_properties2 as vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties2,
        b"vkQueueSubmit" => queues::submit as vk::PFN_vkQueueSubmit,
        b"vkWaitForFences" => queues::wait_for_fences as vk::PFN_vkWaitForFences,
        b"vkCreateImage" => create_image as vk::PFN_vkCreateImage,
        b"vkDestroyImage" => destroy_image as vk::PFN_vkDestroyImage,
        b"vkGetImageSparseMemoryRequirements" => requirements as vk::PFN_vkGetImageSparseMemoryRequirements,
        b"vkGetImageSparseMemoryRequirements2" => requirements2 as vk::PFN_vkGetImageSparseMemoryRequirements2,
        b"vkQueueBindSparse" => bind::queue_bind_sparse as vk::PFN_vkQueueBindSparse,
    }
}

/// Ours where the base driver has one, too.
fn hooked(name: &CStr, base: vk::PFN_vkVoidFunction) -> vk::PFN_vkVoidFunction {
    Some(find(name).map_or(base?, |hook| hook.function))
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
    unsafe { answer_negotiation(version, |wanted| base.negotiate(wanted)) }
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
    let get = |name: &CStr| unsafe { base()?.instance_proc(instance, name) };
    if instance != vk::Instance::null() && find(name).is_some() {
        // SAFETY: the base driver's answers, by name.
        *locked(&INSTANCE) = unsafe { InstanceTable::load(get) };
    }
    hooked(name, get(name))
}

unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    // SAFETY: a string, by the function's specification; a device of the base driver.
    unsafe {
        let get = of_instance(|table| table.get_device_proc_addr)?;
        hooked(CStr::from_ptr(name), get(device, name))
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
        if let Some(table) = of_device(device) {
            (table.get_device_queue)(device, family, index, queue);
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
        let get = of_instance(|table| table.get_sparse_image_format_properties);
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
        let get = of_instance(|table| table.get_sparse_image_format_properties2).flatten();
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
        let (Some(table), Some(settings)) = (of_device(device), Settings::read()) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let result = (table.create_image)(device, info, allocator, image);
        let resident = vk::ImageCreateFlags::SPARSE_RESIDENCY;
        if result == vk::Result::SUCCESS && (*info).flags.contains(resident) {
            let mut needs = vk::SparseImageMemoryRequirements::default();
            let mut count = 1;
            let ask = table.get_image_sparse_memory_requirements;
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
        if let Some(table) = of_device(device) {
            (table.destroy_image)(device, image, allocator);
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
        if let Some(table) = of_device(device) {
            (table.get_image_sparse_memory_requirements)(device, image, count, needs);
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
        let get = of_device(device).and_then(|t| t.get_image_sparse_memory_requirements2);
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
