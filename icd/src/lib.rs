//! `libvulkan_panvk_sparse.so`: a Vulkan driver in front of a driver.
//!
//! It loads a base driver, hands the loader the base driver's own handles, and answers only the functions
//! that concern sparse resources (`hooks`). What it does with them stands in `hosted`; here, Vulkan's structs
//! become plain numbers (`vulkan::calls`), and what the base driver has to do becomes structs again (`bind`).
//!
//! If the base driver is a panvk that drives a GPU of this machine, the driver stands at its border to the kernel instead
//! (`board`), and answers a handful of functions (`panvk`).

#![deny(unsafe_op_in_unsafe_fn)]

mod bind;
mod device;
#[cfg(feature = "faults")]
mod faults;
mod hooks;
mod instance;
mod panvk;
mod physical_device;
mod profile;
mod requirements;
mod resources;
mod state;
mod submits;

use std::ffi::{CStr, c_char};

use ash::vk;
use hosted::config::Dummy;
use vulkan::base::{MAX_INTERFACE, answer_negotiation};
use vulkan::guard;
use vulkan::hooks::Hook;

use guard::{guard, guard_result};
use hooks::Level;
use state::Driver;

/// Agrees with the loader on the version of the interface between them: at most what this driver and the base
/// driver speak.
///
/// Where there is no base driver the agreement is made all the same, so that vkCreateInstance can be called and
/// say why it fails.
///
/// # Safety
/// `version` is valid for reading and writing, as the loader-driver interface says.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdNegotiateLoaderICDInterfaceVersion(
    version: *mut u32,
) -> vk::Result {
    guard_result(|| {
        let agree = |wanted: u32| match state::driver() {
            Ok(driver) => driver.base.negotiate(wanted),
            Err(_) => Ok(wanted.min(MAX_INTERFACE)),
        };
        // SAFETY: the caller's promise.
        unsafe { answer_negotiation(version, agree) }
    })
}

/// The function of that name: this driver's own, or the base driver's. Null where the base driver has none.
///
/// # Safety
/// `instance` is null or of this driver, `name` a NUL-terminated string, as the Vulkan specification says.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetInstanceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    guard(None, || {
        // SAFETY: the caller's promise.
        let name = unsafe { CStr::from_ptr(name) };
        let Ok(driver) = state::driver() else {
            return without_base(name);
        };
        let hook = hook(driver, name);
        let aliases = driver.config.dummy == Dummy::Alias;
        let hook = hook.filter(|hook| aliases || hook.level != Level::AliasDevice);
        if let Some(hook) = hook.filter(|hook| hook.level == Level::Global) {
            return Some(hook.function);
        }
        // SAFETY: an instance of this driver is one of the base driver.
        let base = unsafe { driver.base.instance_proc(instance, name) }?;
        Some(hook.map_or(base, |hook| hook.function))
    })
}

/// As [`vk_icdGetInstanceProcAddr`], for a physical device's functions alone, known or unknown to the loader.
///
/// # Safety
/// As for [`vk_icdGetInstanceProcAddr`].
#[unsafe(no_mangle)]
pub unsafe extern "system" fn vk_icdGetPhysicalDeviceProcAddr(
    instance: vk::Instance,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    guard(None, || {
        // SAFETY: the caller's promise.
        let name = unsafe { CStr::from_ptr(name) };
        let driver = state::driver().ok()?;
        // SAFETY: an instance of this driver is one of the base driver.
        let pointer = unsafe { driver.base.physical_device_proc(instance, name) }?;
        let hook = hook(driver, name).filter(|hook| hook.level == Level::PhysicalDevice);
        Some(hook.map_or(pointer, |hook| hook.function))
    })
}

/// `vkGetDeviceProcAddr`.
///
/// # Safety
/// As the Vulkan specification says.
pub unsafe extern "system" fn get_device_proc_addr(
    device: vk::Device,
    name: *const c_char,
) -> vk::PFN_vkVoidFunction {
    guard(None, || {
        let known = state::device_of(device)?;
        let get = known.instance.table.get_device_proc_addr;
        // SAFETY: the application's own arguments, passed on; null where the base driver has no such function.
        let base = unsafe { get(device, name) }?;
        // SAFETY: `name` is a NUL-terminated string, by the function's specification.
        let hook = hook(known.instance.driver, unsafe { CStr::from_ptr(name) });
        let hook = hook.filter(|hook| match hook.level {
            Level::Device => true,
            Level::SparseDevice => known.hosted.is_some() || known.board.is_some(),
            Level::AliasDevice => known.aliases(),
            Level::Global | Level::Instance | Level::PhysicalDevice => false,
        });
        Some(hook.map_or(base, |hook| hook.function))
    })
}

/// The function of that name that the driver answers itself.
fn hook(driver: &Driver, name: &CStr) -> Option<Hook<Level>> {
    if driver.is_on_board() {
        panvk::hooks::find(name)
    } else {
        hooks::find(name)
    }
}

/// What a loader can ask for where there is no base driver: enough to come to a vkCreateInstance that fails.
fn without_base(name: &CStr) -> vk::PFN_vkVoidFunction {
    unsafe extern "system" fn no_extensions(
        _layer: *const c_char,
        count: *mut u32,
        _properties: *mut vk::ExtensionProperties,
    ) -> vk::Result {
        // SAFETY: `count` is a valid pointer, by the function's specification.
        unsafe { *count = 0 };
        vk::Result::SUCCESS
    }
    if name == c"vkEnumerateInstanceExtensionProperties" {
        let function: vk::PFN_vkEnumerateInstanceExtensionProperties = no_extensions;
        // SAFETY: function pointers all have one size; who asks for the name knows the type.
        return Some(unsafe {
            std::mem::transmute::<
                vk::PFN_vkEnumerateInstanceExtensionProperties,
                unsafe extern "system" fn(),
            >(function)
        });
    }
    // The loader asks for these at the start and gives up on a driver that lacks one; none can be called
    // without an instance, which there never is.
    hooks::find(name).map(|hook| hook.function)
}
