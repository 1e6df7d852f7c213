//! What the layer knows, process-wide: the instances and devices that it stands above, and the recording.
//!
//! Vulkan's functions get a handle and nothing else, so these have to be global. All else belongs to the instance or
//! the device in them, and dies with it.

use std::sync::{Arc, LazyLock};

use ash::vk;
use vulkan::handles::HandleMap;
use vulkan::logger::Logger;

use crate::chain::dispatch_key;
use crate::device::Device;
use crate::instance::Instance;

pub static LOGGER: Logger = Logger::new("panvk-sparse-trace");

/// By [`dispatch_key`]: an instance's physical devices find it too.
pub static INSTANCES: LazyLock<HandleMap<Instance>> = LazyLock::new(HandleMap::default);
/// By [`dispatch_key`]: a device's queues find it too.
pub static DEVICES: LazyLock<HandleMap<Device>> = LazyLock::new(HandleMap::default);

/// The state of an instance, or of a physical device's instance.
///
/// # Safety
/// `handle` is a VkInstance or a VkPhysicalDevice that is not destroyed.
pub unsafe fn instance_of<H: vk::Handle>(handle: H) -> Option<Arc<Instance>> {
    // SAFETY: the caller's promise.
    INSTANCES.get(unsafe { dispatch_key(handle) })
}

/// The state of a device, or of a queue's device.
///
/// # Safety
/// `handle` is a VkDevice or a VkQueue that is not destroyed.
pub unsafe fn device_of<H: vk::Handle>(handle: H) -> Option<Arc<Device>> {
    // SAFETY: the caller's promise.
    DEVICES.get(unsafe { dispatch_key(handle) })
}
