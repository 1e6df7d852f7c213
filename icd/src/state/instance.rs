//! What is known of an instance.

use ash::vk;
use panvk_sparse::drm::Capabilities;
use vulkan::below::InstanceTable;
use vulkan::handles::HandleMap;

use super::Driver;

/// What is known of a `VkInstance`.
#[derive(Debug)]
pub struct Instance {
    pub handle: vk::Instance,
    pub driver: &'static Driver,
    pub table: InstanceTable,
    /// What the kernel of a physical device was seen to do; on a board only.
    pub probed: HandleMap<Capabilities>,
}
