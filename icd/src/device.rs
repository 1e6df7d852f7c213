//! Devices: creation and destruction, the base driver's functions of a device, memory, sparse resources,
//! semaphores and fences. Each function calls the base driver's and tells the backend of it.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

use ash::vk::{self, Handle};
use panvk_sparse::backend::hosted::Hosted;
use panvk_sparse::backend::{Backend, BackendError, ResourceId};
use panvk_sparse::vulkan::base::first_proc;
use panvk_sparse::vulkan::pnext;

use crate::guard::{guard, guard_result};
use crate::instance::Instance;
use crate::physical_device::{base_driver_name, device_properties, take_away};
use crate::state::{DEVICES, QUEUES, device_of, instance_of};

/// The base driver's functions of a device that this driver calls. All are Vulkan 1.0's, but the last.
#[derive(Debug)]
pub struct DeviceTable {
    pub destroy_device: vk::PFN_vkDestroyDevice,
    pub get_device_queue: vk::PFN_vkGetDeviceQueue,
    pub allocate_memory: vk::PFN_vkAllocateMemory,
    pub free_memory: vk::PFN_vkFreeMemory,
    pub create_buffer: vk::PFN_vkCreateBuffer,
    pub destroy_buffer: vk::PFN_vkDestroyBuffer,
    pub get_buffer_memory_requirements: vk::PFN_vkGetBufferMemoryRequirements,
    pub create_image: vk::PFN_vkCreateImage,
    pub destroy_image: vk::PFN_vkDestroyImage,
    pub get_image_memory_requirements: vk::PFN_vkGetImageMemoryRequirements,
    pub create_semaphore: vk::PFN_vkCreateSemaphore,
    pub destroy_semaphore: vk::PFN_vkDestroySemaphore,
    pub destroy_fence: vk::PFN_vkDestroyFence,
    pub queue_bind_sparse: vk::PFN_vkQueueBindSparse,
    pub get_device_queue2: Option<vk::PFN_vkGetDeviceQueue2>,
}

impl DeviceTable {
    /// `None` where one of the functions of Vulkan 1.0 is missing.
    fn load(get: impl Fn(&CStr) -> vk::PFN_vkVoidFunction + Copy) -> Option<Self> {
        // SAFETY: each field's type is that of its name, and `get` answers the base driver's pointers.
        unsafe {
            Some(Self {
                destroy_device: first_proc(&[c"vkDestroyDevice"], get)?,
                get_device_queue: first_proc(&[c"vkGetDeviceQueue"], get)?,
                allocate_memory: first_proc(&[c"vkAllocateMemory"], get)?,
                free_memory: first_proc(&[c"vkFreeMemory"], get)?,
                create_buffer: first_proc(&[c"vkCreateBuffer"], get)?,
                destroy_buffer: first_proc(&[c"vkDestroyBuffer"], get)?,
                get_buffer_memory_requirements: first_proc(
                    &[c"vkGetBufferMemoryRequirements"],
                    get,
                )?,
                create_image: first_proc(&[c"vkCreateImage"], get)?,
                destroy_image: first_proc(&[c"vkDestroyImage"], get)?,
                get_image_memory_requirements: first_proc(&[c"vkGetImageMemoryRequirements"], get)?,
                create_semaphore: first_proc(&[c"vkCreateSemaphore"], get)?,
                destroy_semaphore: first_proc(&[c"vkDestroySemaphore"], get)?,
                destroy_fence: first_proc(&[c"vkDestroyFence"], get)?,
                queue_bind_sparse: first_proc(&[c"vkQueueBindSparse"], get)?,
                get_device_queue2: first_proc(&[c"vkGetDeviceQueue2"], get),
            })
        }
    }
}

/// What is known of a `VkDevice`.
pub struct Device {
    pub handle: vk::Device,
    pub instance: Arc<Instance>,
    pub table: DeviceTable,
    /// `None` for a device that was created without the feature `sparseBinding`: nothing of it concerns
    /// this driver.
    pub backend: Option<Box<dyn Backend>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// Says an error in the log and gives its `VkResult`.
pub fn fail(what: &dyn fmt::Display, error: &BackendError) -> vk::Result {
    log::error!("{what}: {error}");
    error.result()
}

/// The features of Vulkan 1.0 that a device is created with.
///
/// # Safety
/// `create_info` is valid.
unsafe fn enabled_features(create_info: &vk::DeviceCreateInfo<'_>) -> vk::PhysicalDeviceFeatures {
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

pub unsafe extern "system" fn create_device(
    physical_device: vk::PhysicalDevice,
    create_info: *const vk::DeviceCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    device: *mut vk::Device,
) -> vk::Result {
    guard_result(|| {
        let Some(instance) = instance_of(physical_device) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let (Some(create), Some(get)) = (
            instance.table.create_device,
            instance.table.get_device_proc_addr,
        ) else {
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        // SAFETY: `create_info` is valid, by the function's specification.
        let mut enabled = unsafe { enabled_features(&*create_info) };
        let sparse = enabled.sparse_binding != vk::FALSE;
        let refused = take_away(&mut enabled);
        if !refused.is_empty() {
            log::error!(
                "vkCreateDevice: {} asked for, which this driver does not have",
                refused.join(", ")
            );
            return vk::Result::ERROR_FEATURE_NOT_PRESENT;
        }
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { create(physical_device, create_info, allocator, device) };
        if result != vk::Result::SUCCESS {
            return result;
        }
        // SAFETY: the base driver has succeeded, so it has written the handle.
        let handle = unsafe { *device };
        // SAFETY: a device of the base driver, a name that ends with NUL.
        let base_proc = |name: &CStr| unsafe { get(handle, name.as_ptr()) };
        let Some(table) = DeviceTable::load(base_proc) else {
            log::error!("vkCreateDevice: the base driver lacks functions of Vulkan 1.0");
            return vk::Result::ERROR_INITIALIZATION_FAILED;
        };
        let backend = if sparse {
            let (name, _) = device_properties(&instance, physical_device);
            let config = &instance.driver.config;
            match Hosted::new(
                &config.kernel,
                config.null,
                name,
                base_driver_name(&instance, physical_device),
            ) {
                Ok(hosted) => Some(Box::new(hosted) as Box<dyn Backend>),
                Err(error) => {
                    // SAFETY: the device was just created and nobody else has it.
                    unsafe { (table.destroy_device)(handle, allocator) };
                    log::error!("vkCreateDevice: {error}");
                    return vk::Result::ERROR_INITIALIZATION_FAILED;
                }
            }
        } else {
            None
        };
        DEVICES.insert(
            handle.as_raw(),
            Arc::new(Device {
                handle,
                instance,
                table,
                backend,
            }),
        );
        vk::Result::SUCCESS
    })
}

pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        if device == vk::Device::null() {
            return;
        }
        let Some(known) = DEVICES.remove(device.as_raw()) else {
            return;
        };
        QUEUES.remove_where(|of| of.handle == device);
        if let (Some(backend), Some(sink)) = (&known.backend, &known.instance.driver.config.stats) {
            if let Err(error) = backend.stats().write_to(sink) {
                log::error!("{}: {error}", panvk_sparse::config::STATS);
            }
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_device)(device, allocator) }
    });
}

pub unsafe extern "system" fn get_device_queue(
    device: vk::Device,
    family: u32,
    index: u32,
    queue: *mut vk::Queue,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; then the handle is written.
        let handle = unsafe {
            (known.table.get_device_queue)(device, family, index, queue);
            *queue
        };
        QUEUES.insert(handle.as_raw(), known);
    });
}

pub unsafe extern "system" fn get_device_queue2(
    device: vk::Device,
    info: *const vk::DeviceQueueInfo2<'_>,
    queue: *mut vk::Queue,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        let Some(get) = known.table.get_device_queue2 else {
            return;
        };
        // SAFETY: the application's own arguments, passed on; then the handle is written, null where the flags
        // do not fit.
        let handle = unsafe {
            get(device, info, queue);
            *queue
        };
        if handle != vk::Queue::null() {
            QUEUES.insert(handle.as_raw(), known);
        }
    });
}

pub unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = device_of(device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (known.table.allocate_memory)(device, info, allocator, memory) };
        let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| result == vk::Result::SUCCESS)
        else {
            return result;
        };
        // SAFETY: valid by the function's specification; the base driver has written the handle.
        let (handle, size) = unsafe { (*memory, (*info).allocation_size) };
        if let Err(error) = backend.add_memory(handle.as_raw(), size) {
            // SAFETY: the memory was just allocated and nobody else has it.
            unsafe { (known.table.free_memory)(device, handle, allocator) };
            return fail(&"vkAllocateMemory", &error);
        }
        result
    })
}

pub unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        if let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| memory != vk::DeviceMemory::null())
        {
            backend.remove_memory(memory.as_raw());
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.free_memory)(device, memory, allocator) }
    });
}

pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = device_of(device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (known.table.create_buffer)(device, info, allocator, buffer) };
        // SAFETY: `info` is valid, by the function's specification.
        let sparse = unsafe { (*info).flags }.contains(vk::BufferCreateFlags::SPARSE_BINDING);
        let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| sparse && result == vk::Result::SUCCESS)
        else {
            return result;
        };
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: the base driver has written the handle of a new buffer of this device.
        let handle = unsafe {
            (known.table.get_buffer_memory_requirements)(device, *buffer, &mut needs);
            *buffer
        };
        let id = ResourceId::Buffer(handle.as_raw());
        if let Err(error) = backend.add_resource(id, needs.size, needs.alignment) {
            // SAFETY: the buffer was just created and nobody else has it.
            unsafe { (known.table.destroy_buffer)(device, handle, allocator) };
            return fail(&"vkCreateBuffer", &error);
        }
        result
    })
}

pub unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        if let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| buffer != vk::Buffer::null())
        {
            backend.remove_resource(ResourceId::Buffer(buffer.as_raw()));
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_buffer)(device, buffer, allocator) }
    });
}

pub unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = device_of(device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: `info` is valid, by the function's specification.
        let flags = unsafe { (*info).flags };
        if known.backend.is_some() && flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
            let error = BackendError::Invalid(
                "VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT set, but sparseResidencyImage2D and 3D are not supported"
                    .into(),
            );
            return fail(&"vkCreateImage", &error);
        }
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (known.table.create_image)(device, info, allocator, image) };
        let sparse = flags.contains(vk::ImageCreateFlags::SPARSE_BINDING);
        let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| sparse && result == vk::Result::SUCCESS)
        else {
            return result;
        };
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: the base driver has written the handle of a new image of this device.
        let handle = unsafe {
            (known.table.get_image_memory_requirements)(device, *image, &mut needs);
            *image
        };
        let id = ResourceId::Image(handle.as_raw());
        if let Err(error) = backend.add_resource(id, needs.size, needs.alignment) {
            // SAFETY: the image was just created and nobody else has it.
            unsafe { (known.table.destroy_image)(device, handle, allocator) };
            return fail(&"vkCreateImage", &error);
        }
        result
    })
}

pub unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        if let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| image != vk::Image::null())
        {
            backend.remove_resource(ResourceId::Image(image.as_raw()));
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_image)(device, image, allocator) }
    });
}

pub unsafe extern "system" fn create_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    guard_result(|| {
        let Some(known) = device_of(device) else {
            return vk::Result::ERROR_UNKNOWN;
        };
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (known.table.create_semaphore)(device, info, allocator, semaphore) };
        if let Some(backend) = known
            .backend
            .as_ref()
            .filter(|_| result == vk::Result::SUCCESS)
        {
            // SAFETY: valid by the function's specification; the base driver has written the handle.
            unsafe {
                let kind = pnext::find::<vk::SemaphoreTypeCreateInfo>((*info).p_next);
                if kind.is_some_and(|kind| (*kind).semaphore_type == vk::SemaphoreType::TIMELINE) {
                    backend.add_timeline((*semaphore).as_raw());
                }
            }
        }
        result
    })
}

pub unsafe extern "system" fn destroy_semaphore(
    device: vk::Device,
    semaphore: vk::Semaphore,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        if let Some(backend) = &known.backend {
            backend.remove_semaphore(semaphore.as_raw());
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_semaphore)(device, semaphore, allocator) }
    });
}

pub unsafe extern "system" fn destroy_fence(
    device: vk::Device,
    fence: vk::Fence,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard((), || {
        let Some(known) = device_of(device) else {
            return;
        };
        if let Some(backend) = &known.backend {
            backend.remove_fence(fence.as_raw());
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_fence)(device, fence, allocator) }
    });
}
