//! Memory, sparse buffers and images, semaphores and fences. Each function calls the base driver's and tells
//! [`Hosted`] of it.

use std::sync::Arc;

use ash::vk::{self, Handle};
use hosted::{Hosted, HostedError};
use vulkan::below::DeviceTable;
use vulkan::calls::ResourceId;
use vulkan::pnext;

use crate::guard::guard_some;
use crate::state::Requirements;
use crate::state::device_of;
use crate::state::{Device, fail};

/// Calls `create` and, where it succeeds, has `tell` say so to [`Hosted`]. If that fails, the new object is taken back by
/// `destroy`, and the function called `name` fails.
///
/// # Safety
/// `handle` is written by `create` where that succeeds.
unsafe fn created<H: Copy>(
    name: &str,
    device: vk::Device,
    handle: *const H,
    create: impl FnOnce(&DeviceTable) -> vk::Result,
    tell: impl FnOnce(&Device, &Hosted, H) -> Result<(), HostedError>,
    destroy: impl FnOnce(&DeviceTable, H),
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        let known = device_of(device)?;
        let result = create(&known.table);
        let told = known
            .hosted
            .as_ref()
            .filter(|_| result == vk::Result::SUCCESS);
        let Some(hosted) = told else {
            return Some(result);
        };
        // SAFETY: the caller's promise.
        let handle = unsafe { *handle };
        Some(match tell(&known, hosted, handle) {
            Ok(()) => result,
            Err(error) => {
                destroy(&known.table, handle);
                fail(&name, &error)
            }
        })
    })
}

/// Has `tell` say that an object goes, and calls `destroy`.
fn destroyed(
    device: vk::Device,
    tell: impl FnOnce(&Device, &Hosted),
    destroy: impl FnOnce(&DeviceTable),
) {
    guard_some((), || {
        let known = device_of(device)?;
        if let Some(hosted) = &known.hosted {
            tell(&known, hosted);
        }
        destroy(&known.table);
        Some(())
    });
}

/// A buffer or an image goes, which may be a sparse one. `destroy` destroys it.
fn resource_destroyed(device: vk::Device, id: ResourceId, destroy: impl FnOnce(&DeviceTable)) {
    guard_some((), || {
        let known = device_of(device)?;
        let hosted = known.hosted.as_ref();
        let Some(hosted) = hosted.filter(|_| known.forget_sparse(id)) else {
            destroy(&known.table);
            return Some(());
        };
        // First, so that no other thread's submit starts it from here on.
        hosted.remove_resource(id);
        // A start of it that another thread is submitting comes first.
        let turn = known.aliases().then(|| known.starts.turn());
        if let ResourceId::Image(image) = id {
            known.images.remove(image);
        }
        match turn {
            Some(turn) => known.starts.destroy(&known, id, &turn),
            None => destroy(&known.table),
        }
        Some(())
    });
}

/// The allocator that the base driver makes a resource with. It may destroy a sparse one at a time when the application does
/// not expect calls of its own.
fn allocator_of<'a>(
    device: vk::Device,
    is_sparse: bool,
    allocator: *const vk::AllocationCallbacks<'a>,
) -> *const vk::AllocationCallbacks<'a> {
    match device_of(device) {
        Some(known) if is_sparse && known.aliases() => std::ptr::null(),
        _ => allocator,
    }
}

pub unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on; `info` is valid, by the function's specification. Nobody else
    // has what was just created.
    unsafe {
        created(
            "vkAllocateMemory",
            device,
            memory,
            |table| (table.allocate_memory)(device, info, allocator, memory),
            |_, hosted, memory| hosted.add_memory(memory.as_raw(), (*info).allocation_size),
            |table, memory| (table.free_memory)(device, memory, allocator),
        )
    }
}

pub unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    destroyed(
        device,
        |_, hosted| {
            if memory != vk::DeviceMemory::null() {
                hosted.remove_memory(memory.as_raw());
            }
        },
        // SAFETY: the application's own arguments, passed on.
        |table| unsafe { (table.free_memory)(device, memory, allocator) },
    );
}

pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: as in `allocate_memory`.
    unsafe {
        let is_sparse = (*info)
            .flags
            .contains(vk::BufferCreateFlags::SPARSE_BINDING);
        let allocator = allocator_of(device, is_sparse, allocator);
        created(
            "vkCreateBuffer",
            device,
            buffer,
            |table| (table.create_buffer)(device, info, allocator, buffer),
            |known, hosted, buffer| add_buffer(known, hosted, buffer, &*info),
            |table, buffer| (table.destroy_buffer)(device, buffer, allocator),
        )
    }
}

/// # Safety
/// `buffer` is a buffer of the device, created by `info`.
unsafe fn add_buffer(
    device: &Device,
    hosted: &Hosted,
    buffer: vk::Buffer,
    info: &vk::BufferCreateInfo<'_>,
) -> Result<(), HostedError> {
    if !info.flags.contains(vk::BufferCreateFlags::SPARSE_BINDING) {
        return Ok(());
    }
    let mut needs = vk::MemoryRequirements::default();
    // SAFETY: the caller's promise.
    unsafe { (device.table.get_buffer_memory_requirements)(device.handle, buffer, &mut needs) };
    let id = ResourceId::Buffer(buffer.as_raw());
    let dummy = device.dummy(needs.memory_type_bits)?;
    hosted.add_resource(id, needs.size, needs.alignment, dummy)?;
    device.note_sparse(id);
    Ok(())
}

pub unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    resource_destroyed(
        device,
        ResourceId::Buffer(buffer.as_raw()),
        // SAFETY: the application's own arguments, passed on.
        |table| unsafe { (table.destroy_buffer)(device, buffer, allocator) },
    );
}

pub unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: as in `allocate_memory`.
    unsafe {
        let is_sparse = (*info).flags.contains(vk::ImageCreateFlags::SPARSE_BINDING);
        let allocator = allocator_of(device, is_sparse, allocator);
        created(
            "vkCreateImage",
            device,
            image,
            |table| (table.create_image)(device, info, allocator, image),
            |known, hosted, image| add_image(known, hosted, image, &*info),
            |table, image| (table.destroy_image)(device, image, allocator),
        )
    }
}

/// # Safety
/// `image` is an image of the device, created by `info`.
unsafe fn add_image(
    device: &Device,
    hosted: &Hosted,
    image: vk::Image,
    info: &vk::ImageCreateInfo<'_>,
) -> Result<(), HostedError> {
    if !info.flags.contains(vk::ImageCreateFlags::SPARSE_BINDING) {
        return Ok(());
    }
    let mut needs = vk::MemoryRequirements::default();
    // SAFETY: the caller's promise.
    unsafe { (device.table.get_image_memory_requirements)(device.handle, image, &mut needs) };
    let dummy = device.dummy(needs.memory_type_bits)?;
    let id = ResourceId::Image(image.as_raw());
    if info.flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        // SAFETY: the caller's promise.
        let (requirements, layout) = unsafe { Requirements::of(device, image, info) }
            .map_err(|error| HostedError::Refused(format!("{id}: {error}")))?;
        // First, for another thread's submit may start the image as soon as `Hosted` knows it.
        device.images.insert(image.as_raw(), Arc::new(requirements));
        hosted
            .add_image(image.as_raw(), &layout, dummy)
            .inspect_err(|_| drop(device.images.remove(image.as_raw())))?;
    } else {
        hosted.add_resource(id, needs.size, needs.alignment, dummy)?;
    }
    device.note_sparse(id);
    Ok(())
}

pub unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    resource_destroyed(
        device,
        ResourceId::Image(image.as_raw()),
        // SAFETY: the application's own arguments, passed on.
        |table| unsafe { (table.destroy_image)(device, image, allocator) },
    );
}

pub unsafe extern "system" fn create_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY: as in `allocate_memory`.
    unsafe {
        let kind = pnext::find::<vk::SemaphoreTypeCreateInfo>((*info).p_next);
        let is_timeline =
            kind.is_some_and(|kind| (*kind).semaphore_type == vk::SemaphoreType::TIMELINE);
        // A timeline that is kept is destroyed when the application does not expect calls of its allocator.
        let is_kept = is_timeline && device_of(device).is_some_and(|known| known.hosted.is_some());
        let allocator = if is_kept { std::ptr::null() } else { allocator };
        created(
            "vkCreateSemaphore",
            device,
            semaphore,
            |table| (table.create_semaphore)(device, info, allocator, semaphore),
            |known, hosted, semaphore| {
                if is_timeline {
                    hosted.add_timeline(semaphore.as_raw());
                    known.timelines.add(semaphore);
                }
                Ok(())
            },
            |table, semaphore| (table.destroy_semaphore)(device, semaphore, allocator),
        )
    }
}

pub unsafe extern "system" fn destroy_semaphore(
    device: vk::Device,
    semaphore: vk::Semaphore,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    guard_some((), || {
        let known = device_of(device)?;
        if let Some(hosted) = &known.hosted {
            hosted.remove_semaphore(semaphore.as_raw());
        }
        if !known.timelines.destroy(&known, semaphore) {
            // SAFETY: the application's own arguments, passed on.
            unsafe { (known.table.destroy_semaphore)(device, semaphore, allocator) };
        }
        Some(())
    });
}

pub unsafe extern "system" fn destroy_fence(
    device: vk::Device,
    fence: vk::Fence,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    destroyed(
        device,
        |_, hosted| hosted.remove_fence(fence.as_raw()),
        // SAFETY: the application's own arguments, passed on.
        |table| unsafe { (table.destroy_fence)(device, fence, allocator) },
    );
}
