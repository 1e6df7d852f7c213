//! Instances and physical devices: which of them bind sparse resources, and what they say of the driver.

use std::sync::Once;

use ash::vk::{self, Handle};
use vulkan::base::set_text;
use vulkan::pnext;

use crate::guard::guard_some;
use crate::physical_device::base_driver_name;
use crate::state::{INSTANCES, NO_SPARSE, any_binds_sparse, instance_of};

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
                    log::warn!("{}: {}", known.driver.base.path().display(), NO_SPARSE);
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
