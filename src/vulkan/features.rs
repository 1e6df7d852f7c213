//! What an application asks of a device that it creates.

use ash::vk;

use super::pnext;

/// The features of Vulkan 1.0 that a device is created with.
///
/// # Safety
/// `create_info` is valid, and so is all it points to.
pub unsafe fn enabled(create_info: &vk::DeviceCreateInfo<'_>) -> vk::PhysicalDeviceFeatures {
    // SAFETY: the caller's promise: the chain and the struct are valid.
    unsafe {
        if let Some(features) = pnext::find::<vk::PhysicalDeviceFeatures2>(create_info.p_next) {
            (*features).features
        } else if !create_info.p_enabled_features.is_null() {
            *create_info.p_enabled_features
        } else {
            vk::PhysicalDeviceFeatures::default()
        }
    }
}
