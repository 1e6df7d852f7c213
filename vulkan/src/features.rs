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

/// Whether a device is created with the feature `timelineSemaphore`.
///
/// # Safety
/// As for [`enabled`].
pub unsafe fn timelines(create_info: &vk::DeviceCreateInfo<'_>) -> bool {
    let chain = create_info.p_next;
    // SAFETY: the caller's promise: the chain is valid.
    unsafe {
        let of_core = pnext::find::<vk::PhysicalDeviceVulkan12Features>(chain)
            .map(|features| (*features).timeline_semaphore);
        let of_extension = pnext::find::<vk::PhysicalDeviceTimelineSemaphoreFeatures>(chain)
            .map(|features| (*features).timeline_semaphore);
        of_core.or(of_extension).unwrap_or(vk::FALSE) != vk::FALSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_asked_for_in_either_struct() {
        let on = |info: vk::DeviceCreateInfo<'_>| {
            // SAFETY: a chain of valid structs.
            unsafe { timelines(&info) }
        };
        let info = vk::DeviceCreateInfo::default;
        assert!(!on(info()));
        for asked in [false, true] {
            let mut core = vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(asked);
            assert_eq!(on(info().push_next(&mut core)), asked);
            let mut own =
                vk::PhysicalDeviceTimelineSemaphoreFeatures::default().timeline_semaphore(asked);
            assert_eq!(on(info().push_next(&mut own)), asked);
        }
    }
}
