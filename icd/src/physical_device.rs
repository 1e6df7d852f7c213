//! What a physical device is: the base driver's answer, with this driver's name in it.

use ash::vk;
use panvk_sparse::vulkan::base::{set_text, text};
use panvk_sparse::vulkan::pnext;

use crate::guard::guard;
use crate::instance::Instance;
use crate::state::instance_of;

/// The base driver's name and version, as its driver properties have them or else its device properties.
pub fn base_driver_name(instance: &Instance, physical_device: vk::PhysicalDevice) -> String {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    if let Some(get) = instance.table.get_properties2 {
        // SAFETY: a physical device of this instance and a valid chain. A driver that does not know the
        // second struct leaves it as it is.
        unsafe { get(physical_device, &mut properties) };
    }
    let name = text(&driver.driver_name);
    if name.is_empty() {
        let (device, version) = device_properties(instance, physical_device);
        return format!("{device} {version:#x}");
    }
    format!("{name} {}", text(&driver.driver_info))
        .trim_end()
        .to_owned()
}

/// The device's name and its driver's version number.
pub fn device_properties(
    instance: &Instance,
    physical_device: vk::PhysicalDevice,
) -> (String, u32) {
    let mut properties = vk::PhysicalDeviceProperties::default();
    if let Some(get) = instance.table.get_properties {
        // SAFETY: a physical device of this instance, and a struct to write to.
        unsafe { get(physical_device, &mut properties) };
    }
    (text(&properties.device_name), properties.driver_version)
}

pub unsafe extern "system" fn get_properties2(
    physical_device: vk::PhysicalDevice,
    properties: *mut vk::PhysicalDeviceProperties2<'_>,
) {
    guard((), || {
        let Some(instance) = instance_of(physical_device) else {
            return;
        };
        let Some(get) = instance.table.get_properties2 else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; what the base driver has written into its chain
        // can be read and changed.
        unsafe {
            get(physical_device, properties);
            let chain = (*properties).p_next;
            let ours = || {
                format!(
                    "panvk-sparse {} on {}, kernel {}",
                    env!("CARGO_PKG_VERSION"),
                    base_driver_name(&instance, physical_device),
                    instance.driver.config.kernel
                )
            };
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceDriverProperties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
            if let Some(driver) = pnext::find::<vk::PhysicalDeviceVulkan12Properties>(chain) {
                set_text(&mut (*driver).driver_info, &ours());
            }
        }
    });
}
