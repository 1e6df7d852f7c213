//! The functions that this driver answers itself in front of panvk.

use ash::vk;

use super::{bind, device, instance, resources};
use crate::device::{get_device_queue, get_device_queue2};
use crate::hooks::Level;
use crate::instance::{
    destroy_instance, enumerate_physical_device_groups, enumerate_physical_devices,
};

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
        b"vkDestroyInstance" => destroy_instance as vk::PFN_vkDestroyInstance,
        b"vkEnumeratePhysicalDevices" => enumerate_physical_devices as vk::PFN_vkEnumeratePhysicalDevices,
        b"vkEnumeratePhysicalDeviceGroups" | b"vkEnumeratePhysicalDeviceGroupsKHR" =>
            enumerate_physical_device_groups as vk::PFN_vkEnumeratePhysicalDeviceGroups,
    }
    PhysicalDevice {
        b"vkGetPhysicalDeviceProperties2" | b"vkGetPhysicalDeviceProperties2KHR" =>
            instance::get_properties2 as vk::PFN_vkGetPhysicalDeviceProperties2,
        b"vkCreateDevice" => device::create_device as vk::PFN_vkCreateDevice,
    }
    Device {
        b"vkGetDeviceProcAddr" => crate::get_device_proc_addr as vk::PFN_vkGetDeviceProcAddr,
        b"vkDestroyDevice" => device::destroy_device as vk::PFN_vkDestroyDevice,
    }
    SparseDevice {
        b"vkGetDeviceQueue" => get_device_queue as vk::PFN_vkGetDeviceQueue,
        b"vkGetDeviceQueue2" => get_device_queue2 as vk::PFN_vkGetDeviceQueue2,
        b"vkCreateBuffer" => resources::create_buffer as vk::PFN_vkCreateBuffer,
        b"vkCreateImage" => resources::create_image as vk::PFN_vkCreateImage,
        b"vkQueueBindSparse" => bind::queue_bind_sparse as vk::PFN_vkQueueBindSparse,
    }
}
