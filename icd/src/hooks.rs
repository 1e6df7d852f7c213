//! Which functions this driver answers itself. Every other one is the base driver's own.

use ash::vk;

use crate::{bind, device, instance, physical_device, requirements, resources, submits};

/// What a function is dispatched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Global,
    Instance,
    PhysicalDevice,
    /// A function that every device of this driver needs, sparse binding or not.
    Device,
    /// A function that only devices with sparse binding need: the others get the base driver's own.
    SparseDevice,
    /// As [`SparseDevice`](Self::SparseDevice), and only where `PANVK_SPARSE_DUMMY=alias`.
    AliasDevice,
}

vulkan::hooks! {
    Level:
    Global {
        b"vkCreateInstance" => instance::create_instance as vk::PFN_vkCreateInstance,
        b"vkGetInstanceProcAddr" => crate::vk_icdGetInstanceProcAddr as vk::PFN_vkGetInstanceProcAddr,
        b"vk_icdNegotiateLoaderICDInterfaceVersion" =>
            crate::vk_icdNegotiateLoaderICDInterfaceVersion as vulkan::base::Negotiate,
        b"vk_icdGetInstanceProcAddr" => crate::vk_icdGetInstanceProcAddr as vk::PFN_vkGetInstanceProcAddr,
        b"vk_icdGetPhysicalDeviceProcAddr" =>
            crate::vk_icdGetPhysicalDeviceProcAddr as vk::PFN_vkGetInstanceProcAddr,
    }
    Instance {
        b"vkDestroyInstance" => instance::destroy_instance as vk::PFN_vkDestroyInstance,
        b"vkEnumeratePhysicalDevices" =>
            instance::enumerate_physical_devices as vk::PFN_vkEnumeratePhysicalDevices,
        b"vkEnumeratePhysicalDeviceGroups" | b"vkEnumeratePhysicalDeviceGroupsKHR" =>
            instance::enumerate_physical_device_groups as vk::PFN_vkEnumeratePhysicalDeviceGroups,
    }
    PhysicalDevice {
        b"vkGetPhysicalDeviceFeatures" =>
            physical_device::get_features as vk::PFN_vkGetPhysicalDeviceFeatures,
        b"vkGetPhysicalDeviceFeatures2" | b"vkGetPhysicalDeviceFeatures2KHR" =>
            physical_device::get_features2 as vk::PFN_vkGetPhysicalDeviceFeatures2,
        b"vkGetPhysicalDeviceProperties" =>
            physical_device::get_properties as vk::PFN_vkGetPhysicalDeviceProperties,
        b"vkGetPhysicalDeviceProperties2" | b"vkGetPhysicalDeviceProperties2KHR" =>
            physical_device::get_properties2 as vk::PFN_vkGetPhysicalDeviceProperties2,
        b"vkGetPhysicalDeviceImageFormatProperties" =>
            physical_device::get_image_format_properties as vk::PFN_vkGetPhysicalDeviceImageFormatProperties,
        b"vkGetPhysicalDeviceImageFormatProperties2" | b"vkGetPhysicalDeviceImageFormatProperties2KHR" =>
            physical_device::get_image_format_properties2 as vk::PFN_vkGetPhysicalDeviceImageFormatProperties2,
        b"vkGetPhysicalDeviceSparseImageFormatProperties" =>
            physical_device::get_sparse_image_format_properties
            as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties,
        b"vkGetPhysicalDeviceSparseImageFormatProperties2"
        | b"vkGetPhysicalDeviceSparseImageFormatProperties2KHR" =>
            physical_device::get_sparse_image_format_properties2
            as vk::PFN_vkGetPhysicalDeviceSparseImageFormatProperties2,
        b"vkGetPhysicalDeviceExternalBufferProperties"
        | b"vkGetPhysicalDeviceExternalBufferPropertiesKHR" =>
            physical_device::get_external_buffer_properties
            as vk::PFN_vkGetPhysicalDeviceExternalBufferProperties,
        b"vkGetPhysicalDeviceQueueFamilyProperties" =>
            physical_device::get_queue_family_properties as vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties,
        b"vkGetPhysicalDeviceQueueFamilyProperties2" | b"vkGetPhysicalDeviceQueueFamilyProperties2KHR" =>
            physical_device::get_queue_family_properties2
            as vk::PFN_vkGetPhysicalDeviceQueueFamilyProperties2,
        b"vkCreateDevice" => device::create_device as vk::PFN_vkCreateDevice,
    }
    Device {
        b"vkGetDeviceProcAddr" => crate::get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkDestroyDevice" => device::destroy_device as vk::PFN_vkDestroyDevice,
        b"vkGetDeviceQueue" => device::get_device_queue as vk::PFN_vkGetDeviceQueue,
        b"vkGetDeviceQueue2" => device::get_device_queue2 as vk::PFN_vkGetDeviceQueue2,
    }
    SparseDevice {
        b"vkAllocateMemory" => resources::allocate_memory as vk::PFN_vkAllocateMemory,
        b"vkFreeMemory" => resources::free_memory as vk::PFN_vkFreeMemory,
        b"vkCreateBuffer" => resources::create_buffer as vk::PFN_vkCreateBuffer,
        b"vkDestroyBuffer" => resources::destroy_buffer as vk::PFN_vkDestroyBuffer,
        b"vkCreateImage" => resources::create_image as vk::PFN_vkCreateImage,
        b"vkDestroyImage" => resources::destroy_image as vk::PFN_vkDestroyImage,
        b"vkGetImageMemoryRequirements" =>
            requirements::get_image_memory_requirements as vk::PFN_vkGetImageMemoryRequirements,
        b"vkGetImageMemoryRequirements2" | b"vkGetImageMemoryRequirements2KHR" =>
            requirements::get_image_memory_requirements2 as vk::PFN_vkGetImageMemoryRequirements2,
        b"vkGetImageSparseMemoryRequirements" =>
            requirements::get_image_sparse_memory_requirements as vk::PFN_vkGetImageSparseMemoryRequirements,
        b"vkGetImageSparseMemoryRequirements2" | b"vkGetImageSparseMemoryRequirements2KHR" =>
            requirements::get_image_sparse_memory_requirements2 as vk::PFN_vkGetImageSparseMemoryRequirements2,
        b"vkGetDeviceImageMemoryRequirements" | b"vkGetDeviceImageMemoryRequirementsKHR" =>
            requirements::get_device_image_memory_requirements as vk::PFN_vkGetDeviceImageMemoryRequirements,
        b"vkGetDeviceImageSparseMemoryRequirements" | b"vkGetDeviceImageSparseMemoryRequirementsKHR" =>
            requirements::get_device_image_sparse_memory_requirements
            as vk::PFN_vkGetDeviceImageSparseMemoryRequirements,
        b"vkCreateSemaphore" => resources::create_semaphore as vk::PFN_vkCreateSemaphore,
        b"vkDestroySemaphore" => resources::destroy_semaphore as vk::PFN_vkDestroySemaphore,
        b"vkDestroyFence" => resources::destroy_fence as vk::PFN_vkDestroyFence,
        b"vkQueueBindSparse" => bind::queue_bind_sparse as vk::PFN_vkQueueBindSparse,
    }
    AliasDevice {
        b"vkQueueSubmit" => submits::queue_submit as vk::PFN_vkQueueSubmit,
        b"vkQueueSubmit2" | b"vkQueueSubmit2KHR" => submits::queue_submit2 as vk::PFN_vkQueueSubmit2,
    }
}
