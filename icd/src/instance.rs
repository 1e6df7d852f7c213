//! Instances: creation and destruction, and which physical devices they have.

use std::ffi::CStr;
use std::sync::Arc;

use ash::vk::{self, Handle};
use vulkan::base::first_proc;
use vulkan::below::InstanceTable;
use vulkan::handles::HandleMap;

use crate::guard::{guard_result, guard_some};
use crate::state::{INSTANCES, Instance, PHYSICAL_DEVICES, driver};

pub unsafe extern "system" fn create_instance(
    create_info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    guard_result(|| {
        let Ok(driver) = driver() else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: vkCreateInstance is a global function: it is asked for with no instance.
        let create = unsafe {
            first_proc::<vk::PFN_vkCreateInstance>(&[c"vkCreateInstance"], |name| {
                driver.base.instance_proc(vk::Instance::null(), name)
            })
        };
        let Some(create) = create else {
            log::error!(
                "base driver {}: it has no vkCreateInstance",
                driver.base.path().display()
            );
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { create(create_info, allocator, instance) };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the base driver has succeeded, so it has written the handle.
        let handle = unsafe { *instance };
        // SAFETY: an instance of the base driver, whose answers these are, by name.
        let get = |name: &CStr| unsafe { driver.base.instance_proc(handle, name) };
        // SAFETY: as above.
        let Some(table) = (unsafe { InstanceTable::load(get) }) else {
            log::error!("vkCreateInstance: the base driver lacks functions of Vulkan 1.0");
            // SAFETY: the type is that of the name.
            let destroy =
                unsafe { first_proc::<vk::PFN_vkDestroyInstance>(&[c"vkDestroyInstance"], get) };
            if let Some(destroy) = destroy {
                // SAFETY: the instance was just created and nobody else has it.
                unsafe { destroy(handle, allocator) };
            }
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let known = Instance {
            handle,
            driver,
            table,
            probed: HandleMap::default(),
        };
        INSTANCES.insert(handle.as_raw(), Arc::new(known));
        result
    })
}

pub unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard_some((), || {
        let known = INSTANCES.remove(instance.as_raw())?;
        PHYSICAL_DEVICES.remove_where(|of| of.handle == instance);
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_instance)(instance, allocator) };
        Some(())
    });
}

/// Calls `enumerate` with the base driver's functions, and remembers whose the physical devices are that `each` finds in
/// what it has written.
///
/// # Safety
/// `list` is null or an array; where `enumerate` succeeds it has written `count` elements to it.
unsafe fn enumerated<T>(
    instance: vk::Instance,
    count: *const u32,
    list: *const T,
    enumerate: impl FnOnce(&InstanceTable) -> vk::Result,
    each: impl Fn(&T) -> &[vk::PhysicalDevice],
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let known = INSTANCES.get(instance.as_raw())?;
        let result = enumerate(&known.table);
        if !list.is_null() && matches!(result, vk::Result::SUCCESS | vk::Result::INCOMPLETE) {
            // SAFETY: the caller's promise.
            let written = unsafe { std::slice::from_raw_parts(list, *count as usize) };
            for device in written.iter().flat_map(each) {
                PHYSICAL_DEVICES.insert(device.as_raw(), Arc::clone(&known));
            }
        }
        Some(result)
    })
}

pub unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        enumerated(
            instance,
            count,
            devices,
            |table| (table.enumerate_physical_devices)(instance, count, devices),
            std::slice::from_ref,
        )
    }
}

pub unsafe extern "system" fn enumerate_physical_device_groups(
    instance: vk::Instance,
    count: *mut u32,
    groups: *mut vk::PhysicalDeviceGroupProperties<'_>,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        enumerated(
            instance,
            count,
            groups,
            |table| match table.enumerate_physical_device_groups {
                Some(enumerate) => enumerate(instance, count, groups),
                None => vk::Result::ERROR_INITIALIZATION_FAILED,
            },
            |group| group.physical_devices_as_slice(),
        )
    }
}
