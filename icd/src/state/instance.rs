//! What is known of an instance.

use ash::vk;
use vulkan::below::InstanceTable;

use super::Driver;

/// What is known of a `VkInstance`.
#[derive(Debug)]
pub struct Instance {
    pub handle: vk::Instance,
    pub driver: &'static Driver,
    pub table: InstanceTable,
}
