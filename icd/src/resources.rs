//! Memory, sparse buffers and images, semaphores and fences. Each function calls the base driver's and tells
//! [`Hosted`] of it.

use std::sync::Arc;

use ash::vk::{self, Handle};
use hosted::{Hosted, HostedError};
use vulkan::calls::ResourceId;
use vulkan::pnext;

use crate::device::{Device, fail};
use crate::guard::{guard, guard_result};
use crate::requirements::Requirements;
use crate::state::device_of;

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
        let Some(hosted) = known
            .hosted
            .as_ref()
            .filter(|_| result == vk::Result::SUCCESS)
        else {
            return result;
        };
        // SAFETY: valid by the function's specification; the base driver has written the handle.
        let (handle, size) = unsafe { (*memory, (*info).allocation_size) };
        if let Err(error) = hosted.add_memory(handle.as_raw(), size) {
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
        if let Some(hosted) = known
            .hosted
            .as_ref()
            .filter(|_| memory != vk::DeviceMemory::null())
        {
            hosted.remove_memory(memory.as_raw());
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
        let Some(hosted) = known
            .hosted
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
        let added = known
            .dummy(needs.memory_type_bits)
            .and_then(|dummy| hosted.add_resource(id, needs.size, needs.alignment, dummy));
        if let Err(error) = added {
            // SAFETY: the buffer was just created and nobody else has it.
            unsafe { (known.table.destroy_buffer)(device, handle, allocator) };
            return fail(&"vkCreateBuffer", &error);
        }
        known.note_sparse(id);
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
        let id = ResourceId::Buffer(buffer.as_raw());
        if let Some(hosted) = known.forget_sparse(id) {
            // First, so that no other thread's submit starts it from here on.
            hosted.remove_resource(id);
            known.starts.settle(&known, id);
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
        // SAFETY: the application's own arguments, passed on.
        let result = unsafe { (known.table.create_image)(device, info, allocator, image) };
        let sparse = flags.contains(vk::ImageCreateFlags::SPARSE_BINDING);
        let Some(hosted) = known
            .hosted
            .as_ref()
            .filter(|_| sparse && result == vk::Result::SUCCESS)
        else {
            return result;
        };
        // SAFETY: the base driver has written the handle of a new image of this device.
        let handle = unsafe { *image };
        // SAFETY: as above; `info` is valid, by the function's specification.
        let added = unsafe { add_image(&known, hosted, handle, &*info) };
        if let Err(error) = added {
            // SAFETY: the image was just created and nobody else has it.
            unsafe { (known.table.destroy_image)(device, handle, allocator) };
            return fail(&"vkCreateImage", &error);
        }
        known.note_sparse(ResourceId::Image(handle.as_raw()));
        result
    })
}

/// # Safety
/// `image` is an image of the device, with sparse binding, created by `info`.
unsafe fn add_image(
    device: &Device,
    hosted: &Hosted,
    image: vk::Image,
    info: &vk::ImageCreateInfo<'_>,
) -> Result<(), HostedError> {
    let mut needs = vk::MemoryRequirements::default();
    // SAFETY: the caller's promise.
    unsafe { (device.table.get_image_memory_requirements)(device.handle, image, &mut needs) };
    let dummy = device.dummy(needs.memory_type_bits)?;
    let id = ResourceId::Image(image.as_raw());
    if !info.flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        return hosted.add_resource(id, needs.size, needs.alignment, dummy);
    }
    // SAFETY: the caller's promise.
    let (requirements, layout) = unsafe { Requirements::of(device, image, info) }
        .map_err(|error| HostedError::Refused(format!("{id}: {error}")))?;
    hosted.add_image(image.as_raw(), &layout, dummy)?;
    device.images.insert(image.as_raw(), Arc::new(requirements));
    Ok(())
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
        let id = ResourceId::Image(image.as_raw());
        if let Some(hosted) = known.forget_sparse(id) {
            // First, so that no other thread's submit starts it from here on.
            hosted.remove_resource(id);
            known.starts.settle(&known, id);
            known.images.remove(image.as_raw());
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
        if let Some(hosted) = known
            .hosted
            .as_ref()
            .filter(|_| result == vk::Result::SUCCESS)
        {
            // SAFETY: valid by the function's specification; the base driver has written the handle.
            unsafe {
                let kind = pnext::find::<vk::SemaphoreTypeCreateInfo>((*info).p_next);
                if kind.is_some_and(|kind| (*kind).semaphore_type == vk::SemaphoreType::TIMELINE) {
                    hosted.add_timeline((*semaphore).as_raw());
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
        if let Some(hosted) = &known.hosted {
            hosted.remove_semaphore(semaphore.as_raw());
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
        if let Some(hosted) = &known.hosted {
            hosted.remove_fence(fence.as_raw());
        }
        // SAFETY: the application's own arguments, passed on.
        unsafe { (known.table.destroy_fence)(device, fence, allocator) }
    });
}
