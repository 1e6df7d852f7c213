//! The loader's part of the way down: structs that it puts into the chains of vkCreateInstance and vkCreateDevice,
//! and what it stores in a handle.
//!
//! Their shapes are those of `vulkan/vk_layer.h`, of version 2 of the interface between loader and layers.

use std::ffi::{c_char, c_void};

use ash::vk;
use vulkan::pnext;

/// The newest version of the interface that this layer speaks, and the oldest.
pub const INTERFACE: u32 = 2;

/// `VkNegotiateLayerInterface`.
#[repr(C)]
#[derive(Debug)]
pub struct NegotiateInterface {
    pub s_type: i32,
    pub p_next: *mut c_void,
    pub version: u32,
    pub get_instance_proc_addr: Option<vk::PFN_vkGetInstanceProcAddr>,
    pub get_device_proc_addr: Option<vk::PFN_vkGetDeviceProcAddr>,
    pub get_physical_device_proc_addr:
        Option<unsafe extern "system" fn(vk::Instance, *const c_char) -> vk::PFN_vkVoidFunction>,
}

/// `LAYER_NEGOTIATE_INTERFACE_STRUCT`.
pub const NEGOTIATE_INTERFACE: i32 = 1;

/// `VK_LAYER_LINK_INFO`: of the structs that share a type, the one that points to the next layer.
const LINK_INFO: i32 = 0;

/// `VkLayerInstanceLink`.
#[repr(C)]
#[derive(Debug)]
pub struct InstanceLink {
    next: *mut Self,
    pub get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    get_physical_device_proc_addr: *const c_void,
}

/// `VkLayerDeviceLink`.
#[repr(C)]
#[derive(Debug)]
pub struct DeviceLink {
    next: *mut Self,
    pub get_instance_proc_addr: vk::PFN_vkGetInstanceProcAddr,
    pub get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
}

/// `VkLayerInstanceCreateInfo` and `VkLayerDeviceCreateInfo` with their link.
#[repr(C)]
struct LinkInfo<L> {
    s_type: vk::StructureType,
    p_next: *const c_void,
    function: i32,
    link: *mut L,
}

/// A link that knows the next one.
trait Link: Copy {
    const TYPE: vk::StructureType;
    fn next(&self) -> *mut Self;
}

impl Clone for InstanceLink {
    fn clone(&self) -> Self {
        *self
    }
}
impl Copy for InstanceLink {}

impl Clone for DeviceLink {
    fn clone(&self) -> Self {
        *self
    }
}
impl Copy for DeviceLink {}

impl Link for InstanceLink {
    const TYPE: vk::StructureType = vk::StructureType::LOADER_INSTANCE_CREATE_INFO;

    fn next(&self) -> *mut Self {
        self.next
    }
}

impl Link for DeviceLink {
    const TYPE: vk::StructureType = vk::StructureType::LOADER_DEVICE_CREATE_INFO;

    fn next(&self) -> *mut Self {
        self.next
    }
}

/// The link of this layer; the chain names the next layer's afterwards, as that one expects.
///
/// # Safety
/// `p_next` is the chain of a vkCreateInstance that came through the loader.
pub unsafe fn take_instance_link(p_next: *const c_void) -> Option<InstanceLink> {
    // SAFETY: the caller's promise.
    unsafe { take(p_next) }
}

/// As [`take_instance_link`], of a vkCreateDevice.
///
/// # Safety
/// `p_next` is the chain of a vkCreateDevice that came through the loader.
pub unsafe fn take_device_link(p_next: *const c_void) -> Option<DeviceLink> {
    // SAFETY: the caller's promise.
    unsafe { take(p_next) }
}

/// # Safety
/// `p_next` is a chain in which structs of the type `L::TYPE` are the loader's.
unsafe fn take<L: Link>(p_next: *const c_void) -> Option<L> {
    // SAFETY: the caller's promise; the loader lets each layer write to its struct.
    unsafe {
        let info = pnext::chain(p_next)
            .filter(|&struct_| (*struct_).s_type == L::TYPE)
            .map(|struct_| struct_.cast::<LinkInfo<L>>())
            .find(|&info| (*info).function == LINK_INFO && !(*info).link.is_null())?;
        let link = *(*info).link;
        (*info).link = link.next();
        Some(link)
    }
}

/// What tells a dispatchable handle's instance or device from others: the loader's table, which the handle's memory
/// starts with. A device and its queues have the same.
///
/// # Safety
/// `handle` is a dispatchable handle that has come through the loader and is not destroyed.
pub unsafe fn dispatch_key<H: vk::Handle>(handle: H) -> u64 {
    // SAFETY: the caller's promise; the interface between loader and drivers says that the pointer is there.
    unsafe { *(handle.as_raw() as *const usize) as u64 }
}
