//! Instances and physical devices: which of them bind sparse resources, and what they say of the driver.

use std::ffi::CStr;
use std::sync::Once;

use ash::vk::{self, Handle};
use vulkan::base::{Base, first_proc, set_text};
use vulkan::below::InstanceTable;
use vulkan::pnext;

use crate::guard::{guard, guard_some};
use crate::physical_device::base_driver_name;
use crate::state::{INSTANCES, instance_of};

/// Whether a physical device of the instance has sparse binding.
fn any_binds_sparse(table: &InstanceTable, instance: vk::Instance) -> bool {
    let (enumerate, get) = (table.enumerate_physical_devices, table.get_features);
    let mut count = 0;
    let mut devices = Vec::new();
    // SAFETY: an instance of the base driver; first no array, then one with room for so many.
    unsafe {
        if enumerate(instance, &mut count, std::ptr::null_mut()) == vk::Result::SUCCESS {
            devices = vec![vk::PhysicalDevice::null(); count as usize];
            let _ = enumerate(instance, &mut count, devices.as_mut_ptr());
            devices.truncate(count as usize);
        }
    }
    devices
        .into_iter()
        .filter(|device| !device.is_null())
        .any(|device| {
            let mut features = vk::PhysicalDeviceFeatures::default();
            // SAFETY: a physical device of the instance, and a struct to write to.
            unsafe { get(device, &mut features) };
            features.sparse_binding != vk::FALSE
        })
}

/// Whether a physical device of a driver has sparse binding. Asks an instance of it.
pub fn binds_sparse(base: &Base) -> bool {
    let found = || {
        base.negotiate(vulkan::base::MAX_INTERFACE).ok()?;
        let global = |name: &CStr| {
            // SAFETY: vkCreateInstance is a global function: it is asked for with no instance.
            unsafe { base.instance_proc(vk::Instance::null(), name) }
        };
        // SAFETY: the type is that of the name.
        let create =
            unsafe { first_proc::<vk::PFN_vkCreateInstance>(&[c"vkCreateInstance"], global) }?;
        let mut instance = vk::Instance::null();
        // SAFETY: structs that outlive the call.
        let created = unsafe {
            create(
                &vk::InstanceCreateInfo::default(),
                std::ptr::null(),
                &mut instance,
            )
        };
        created.result().ok()?;
        // SAFETY: an instance of the base driver, whose answers these are, by name.
        let table = unsafe { InstanceTable::load(|name| base.instance_proc(instance, name)) }?;
        let found = any_binds_sparse(&table, instance);
        // SAFETY: nobody else has it.
        unsafe { (table.destroy_instance)(instance, std::ptr::null()) };
        Some(found)
    };
    guard(false, || found().unwrap_or(false))
}

pub unsafe extern "system" fn create_instance(
    create_info: *const vk::InstanceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    instance: *mut vk::Instance,
) -> vk::Result {
    static SAID: Once = Once::new();
    // SAFETY: the application's own arguments, passed on.
    let result = unsafe { crate::instance::create_instance(create_info, allocator, instance) };
    if result == vk::Result::SUCCESS {
        guard_some((), || {
            // SAFETY: it was just created.
            let handle = unsafe { *instance };
            let known = INSTANCES.get(handle.as_raw())?;
            SAID.call_once(|| {
                if !any_binds_sparse(&known.table, handle) {
                    log::warn!(
                        "{}: {}",
                        known.driver.base.path().display(),
                        super::NO_SPARSE
                    );
                }
            });
            Some(())
        });
    }
    result
}

pub unsafe extern "system" fn get_properties2(
    physical_device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    guard_some((), || {
        let instance = instance_of(physical_device)?;
        let get = instance.table.properties2()?;
        let ours = || {
            format!(
                "panvk-sparse {} in front of {}, mode board",
                env!("CARGO_PKG_VERSION"),
                base_driver_name(&instance, physical_device)
            )
        };
        // SAFETY: the application's own arguments, passed on; what the base driver has written into its chain
        // can be read and changed.
        unsafe {
            get(physical_device, properties);
            let chain = (*properties).p_next;
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceDriverProperties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceVulkan12Properties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
        }
        Some(())
    });
}
