//! Which functions this layer answers itself. Every other one is that of the layer or driver below.

use ash::vk;

use crate::{device, instance, queue, resources};

/// When a function is this layer's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Called without an instance.
    Global,
    /// A function of an instance or a physical device.
    Instance,
    /// A function that every device needs, recorded or not.
    Device,
    /// A function of devices with sparse binding that are recorded: the others get that of below.
    Recorded,
}

vulkan::hooks! {
    Level:
    Global {
        b"vkGetInstanceProcAddr" => crate::get_instance_proc_addr as vk::PFN_vkGetInstanceProcAddr,
        b"vkCreateInstance" => instance::create_instance as vk::PFN_vkCreateInstance,
    }
    Instance {
        b"vkDestroyInstance" => instance::destroy_instance as vk::PFN_vkDestroyInstance,
        b"vkEnumerateDeviceLayerProperties" =>
            instance::enumerate_device_layers as vk::PFN_vkEnumerateDeviceLayerProperties,
        b"vkEnumerateDeviceExtensionProperties" =>
            instance::enumerate_device_extensions as vk::PFN_vkEnumerateDeviceExtensionProperties,
        b"vkCreateDevice" => device::create_device as vk::PFN_vkCreateDevice,
    }
    Device {
        b"vkGetDeviceProcAddr" => crate::get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkDestroyDevice" => device::destroy_device as vk::PFN_vkDestroyDevice,
    }
    Recorded {
        b"vkAllocateMemory" => resources::allocate_memory as vk::PFN_vkAllocateMemory,
        b"vkFreeMemory" => resources::free_memory as vk::PFN_vkFreeMemory,
        b"vkCreateBuffer" => resources::create_buffer as vk::PFN_vkCreateBuffer,
        b"vkDestroyBuffer" => resources::destroy_buffer as vk::PFN_vkDestroyBuffer,
        b"vkCreateImage" => resources::create_image as vk::PFN_vkCreateImage,
        b"vkDestroyImage" => resources::destroy_image as vk::PFN_vkDestroyImage,
        b"vkCreateSemaphore" => resources::create_semaphore as vk::PFN_vkCreateSemaphore,
        b"vkDestroySemaphore" => resources::destroy_semaphore as vk::PFN_vkDestroySemaphore,
        b"vkDestroyFence" => resources::destroy_fence as vk::PFN_vkDestroyFence,
        b"vkQueueBindSparse" => queue::bind_sparse as vk::PFN_vkQueueBindSparse,
        b"vkQueueSubmit" => queue::submit as vk::PFN_vkQueueSubmit,
        b"vkQueueSubmit2" => queue::submit2 as vk::PFN_vkQueueSubmit2,
        b"vkQueueSubmit2KHR" => queue::submit2_khr as vk::PFN_vkQueueSubmit2,
        b"vkQueuePresentKHR" => queue::present as vk::PFN_vkQueuePresentKHR,
    }
}
