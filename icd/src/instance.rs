//! Instances: creation, the base driver's functions of an instance, and which physical devices it has.

use std::ffi::CStr;
use std::sync::Arc;

use ash::vk::{self, Handle};
use vulkan::base::first_proc;

use crate::guard::{guard, guard_result};
use crate::state::{Driver, INSTANCES, PHYSICAL_DEVICES, driver};

/// The base driver's functions of an instance that this driver calls. One that is `None` is one that the base
/// driver does not have; then nobody can ask this driver for it either.
#[derive(Debug)]
pub struct InstanceTable {
    pub destroy_instance: Option<vk::PFN_vkDestroyInstance>,
    pub enumerate_physical_devices: Option<vk::PFN_vkEnumeratePhysicalDevices>,
    pub enumerate_physical_device_groups: Option<vk::PFN_vkEnumeratePhysicalDeviceGroups>,
    pub get_features: Option<vk::PFN_vkGetPhysicalDeviceFeatures>,
    pub get_features2: Option<vk::PFN_vkGetPhysicalDeviceFeatures2>,
    pub get_image_format_properties: Option<vk::PFN_vkGetPhysicalDeviceImageFormatProperties>,
    pub get_image_format_properties2: Option<vk::PFN_vkGetPhysicalDeviceImageFormatProperties2>,
    pub get_sparse_image_format_properties:
        Option<vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties>,
    pub get_sparse_image_format_properties2:
        Option<vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties2>,
    pub get_properties: Option<vk::PFN_vkGetPhysicalDeviceProperties>,
    pub get_properties2: Option<vk::PFN_vkGetPhysicalDeviceProperties2>,
    pub get_queue_family_properties: Option<vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties>,
    pub create_device: Option<vk::PFN_vkCreateDevice>,
    pub get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
}

/// What is known of a `VkInstance`.
#[derive(Debug)]
pub struct Instance {
    pub handle: vk::Instance,
    pub driver: &'static Driver,
    pub table: InstanceTable,
}

impl Instance {
    fn new(handle: vk::Instance, driver: &'static Driver) -> Self {
        // SAFETY: `handle` was just created by the base driver, and each field's type is that of its names.
        let table = unsafe {
            let get = |name: &CStr| driver.base.instance_proc(handle, name);
            InstanceTable {
                destroy_instance: first_proc(&[c"vkDestroyInstance"], get),
                enumerate_physical_devices: first_proc(&[c"vkEnumeratePhysicalDevices"], get),
                enumerate_physical_device_groups: first_proc(
                    &[
                        c"vkEnumeratePhysicalDeviceGroups",
                        c"vkEnumeratePhysicalDeviceGroupsKHR",
                    ],
                    get,
                ),
                get_features: first_proc(&[c"vkGetPhysicalDeviceFeatures"], get),
                get_features2: first_proc(
                    &[
                        c"vkGetPhysicalDeviceFeatures2",
                        c"vkGetPhysicalDeviceFeatures2KHR",
                    ],
                    get,
                ),
                get_image_format_properties: first_proc(
                    &[c"vkGetPhysicalDeviceImageFormatProperties"],
                    get,
                ),
                get_image_format_properties2: first_proc(
                    &[
                        c"vkGetPhysicalDeviceImageFormatProperties2",
                        c"vkGetPhysicalDeviceImageFormatProperties2KHR",
                    ],
                    get,
                ),
                get_sparse_image_format_properties: first_proc(
                    &[c"vkGetPhysicalDeviceSparseImageFormatProperties"],
                    get,
                ),
                get_sparse_image_format_properties2: first_proc(
                    &[
                        c"vkGetPhysicalDeviceSparseImageFormatProperties2",
                        c"vkGetPhysicalDeviceSparseImageFormatProperties2KHR",
                    ],
                    get,
                ),
                get_properties: first_proc(&[c"vkGetPhysicalDeviceProperties"], get),
                get_properties2: first_proc(
                    &[
                        c"vkGetPhysicalDeviceProperties2",
                        c"vkGetPhysicalDeviceProperties2KHR",
                    ],
                    get,
                ),
                get_queue_family_properties: first_proc(
                    &[c"vkGetPhysicalDeviceQueueFamilyProperties"],
                    get,
                ),
                create_device: first_proc(&[c"vkCreateDevice"], get),
                get_device_proc_addr: first_proc(&[c"vkGetDeviceProcAddr"], get),
            }
        };
        Self {
            handle,
            driver,
            table,
        }
    }
}

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
        if result == vk::Result::SUCCESS {
            // SAFETY: the base driver has succeeded, so it has written the handle.
            let handle = unsafe { *instance };
            INSTANCES.insert(handle.as_raw(), Arc::new(Instance::new(handle, driver)));
        }
        result
    })
}

pub unsafe extern "system" fn destroy_instance(
    instance: vk::Instance,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = INSTANCES.remove(instance.as_raw()) else {
            return;
        };
        PHYSICAL_DEVICES.remove_where(|of| of.handle == instance);
        if let Some(destroy) = known.table.destroy_instance {
            // SAFETY: the application's own arguments, passed on.
            unsafe { destroy(instance, allocator) }
        }
    });
}

pub unsafe extern "system" fn enumerate_physical_devices(
    instance: vk::Instance,
    count: *mut u32,
    devices: *mut vk::PhysicalDevice,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = INSTANCES.get(instance.as_raw()) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(enumerate) = known.table.enumerate_physical_devices else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { enumerate(instance, count, devices) };
        if !devices.is_null() && matches!(result, vk::Result::SUCCESS | vk::Result::INCOMPLETE) {
            // SAFETY: on success `count` is the number of handles written to `devices`.
            for device in unsafe { std::slice::from_raw_parts(devices, *count as usize) } {
                PHYSICAL_DEVICES.insert(device.as_raw(), Arc::clone(&known));
            }
        }
        result
    })
}

pub unsafe extern "system" fn enumerate_physical_device_groups(
    instance: vk::Instance,
    count: *mut u32,
    groups: *mut vk::PhysicalDeviceGroupProperties<'_>,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = INSTANCES.get(instance.as_raw()) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(enumerate) = known.table.enumerate_physical_device_groups else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { enumerate(instance, count, groups) };
        if !groups.is_null() && matches!(result, vk::Result::SUCCESS | vk::Result::INCOMPLETE) {
            // SAFETY: on success `count` is the number of structs written to `groups`.
            for group in unsafe { std::slice::from_raw_parts(groups, *count as usize) } {
                for device in group.physical_devices_as_slice() {
                    PHYSICAL_DEVICES.insert(device.as_raw(), Arc::clone(&known));
                }
            }
        }
        result
    })
}
