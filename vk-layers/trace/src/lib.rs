//! `VK_LAYER_PANVK_sparse_trace`: a Vulkan layer that records what an application does with sparse resources, on any
//! driver.
//!
//! An application's call goes down unchanged; what it did is put into a queue in memory (`recorder`), and a thread
//! writes it to a file (`writer`). What is recorded, and how it is written, is `trace`'s.

#![allow(
    non_snake_case,
    reason = "layers are named so: the library is libVkLayer_panvk_sparse_trace.so"
)]
#![deny(unsafe_op_in_unsafe_fn)]

mod chain;
mod device;
mod generation;
mod hooks;
mod instance;
mod layer_settings;
mod place;
mod process;
mod program;
mod queue;
mod recorder;
mod resources;
mod settings;
mod writer;

use std::ffi::{CStr, c_char};

use ash::vk;
use vulkan::guard::{guard, guard_result};

use chain::{INTERFACE, NEGOTIATE_INTERFACE, NegotiateInterface};
use hooks::Level;

static LOGGER: vulkan::logger::Logger = vulkan::logger::Logger::new("panvk-sparse-trace");

/// As the manifest says it.
pub(crate) const NAME: &CStr = c"VK_LAYER_PANVK_sparse_trace";

/// Agrees with the loader on the version of the interface between them, and gives it this layer's functions.
///
/// # Safety
/// `interface` is a valid `VkNegotiateLayerInterface`, as the loader-layer interface says.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vkNegotiateLoaderLayerInterfaceVersion(
    interface: *mut NegotiateInterface,
) -> vk::Result {
    guard_result(|| {
        LOGGER.start(log::LevelFilter::Warn);
        // SAFETY: the caller's promise.
        let Some(interface) = (unsafe { interface.as_mut() }) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        if interface.s_type != NEGOTIATE_INTERFACE || interface.version < INTERFACE {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        }
        interface.version = INTERFACE;
        interface.get_instance_proc_addr = Some(get_instance_proc_addr);
        interface.get_device_proc_addr = Some(get_device_proc_addr);
        // Without one the loader goes past this layer for functions of physical devices that it does not know.
        interface.get_physical_device_proc_addr = None;
        vk::Result::SUCCESS
    })
}

/// `vkGetInstanceProcAddr`.
///
/// # Safety
/// As the Vulkan specification says.
pub(crate) unsafe extern "system" fn get_instance_proc_addr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    guard(None, || {
        // SAFETY: the caller's promise.
        let hook = hooks::find(unsafe { CStr::from_ptr(name) });
        if let Some(hook) = hook.filter(|hook| hook.level == Level::Global) {
            return Some(hook.function);
        }
        if instance == vk::Instance::null() {
            return None;
        }
        // SAFETY: an instance that is not null is one that was created through this layer.
        let known = unsafe { instance::instance_of(instance) }?;
        // SAFETY: the caller's own arguments, passed on; null where there is no such function below.
        let below = unsafe { (known.get_instance_proc_addr)(instance, name) }?;
        let hook = hook.filter(|hook| hook.level != Level::Recorded || known.settings.is_some());
        Some(hook.map_or(below, |hook| hook.function))
    })
}

/// `vkGetDeviceProcAddr`.
///
/// # Safety
/// As the Vulkan specification says.
pub(crate) unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    guard(None, || {
        // SAFETY: the caller's promise.
        let known = unsafe { device::device_of(device) }?;
        // SAFETY: the caller's own arguments, passed on; null where there is no such function below.
        let below = unsafe { (known.get_device_proc_addr)(device, name) }?;
        // SAFETY: `name` is a NUL-terminated string, by the function's specification.
        let hook = hooks::find(unsafe { CStr::from_ptr(name) }).filter(|hook| match hook.level {
            Level::Device => true,
            Level::Recorded => known.records_binds(),
            Level::Global | Level::Instance => false,
        });
        Some(hook.map_or(below, |hook| hook.function))
    })
}
