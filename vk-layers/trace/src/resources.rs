//! Memory, buffers, images, semaphores and fences: down, and into the recording.
//!
//! What was created is recorded after the call, what is destroyed before it: a driver may use the number of a destroyed
//! object again as soon as that is gone, for another thread.

use std::sync::Arc;

use ash::vk::{self, Handle};
use panvk_sparse::layout::Extent;
use trace::{BufferCreated, Event, ImageCreated, MemoryRequirements, SparseMemoryRequirements};
use vulkan::below::{DeviceTable, list};
use vulkan::calls::ResourceId;
use vulkan::guard::{guard, guard_some};
use vulkan::pnext;

use crate::device::Device;
use crate::device::device_of;

/// Calls `create` and, where it succeeds, records what `event` makes of the new handle.
///
/// # Safety
/// `device` is alive, `handle` is written by `create` where that succeeds.
unsafe fn created<H: Copy>(
    device: vk::Device,
    handle: *const H,
    create: impl FnOnce(&DeviceTable) -> vk::Result,
    event: impl FnOnce(&Device, &DeviceTable, H) -> Option<Event>,
) -> vk::Result {
    guard_some(vk::Result::ERROR_UNKNOWN, || {
        // SAFETY: the caller's promise.
        let known = unsafe { device_of(device) }?;
        let table = known.table()?;
        let result = create(table);
        if result == vk::Result::SUCCESS && known.recorder().is_some() {
            // What the driver answered stands, whatever becomes of the record.
            guard((), || {
                // SAFETY: the caller's promise.
                if let Some(event) = event(&known, table, unsafe { *handle }) {
                    known.record(event);
                }
            });
        }
        Some(result)
    })
}

/// Records that an object goes, and calls `destroy`.
///
/// # Safety
/// `device` is alive.
unsafe fn destroyed<H: Handle + Copy>(
    device: vk::Device,
    handle: H,
    event: impl FnOnce(u64, u64) -> Event,
    destroy: impl FnOnce(&DeviceTable),
) {
    guard_some((), || {
        // SAFETY: the caller's promise.
        let known: Arc<Device> = unsafe { device_of(device) }?;
        if !handle.is_null() {
            known.record(event(known.id(), handle.as_raw()));
        }
        known.table().map(destroy)
    });
}

fn requirements(needs: &vk::MemoryRequirements) -> MemoryRequirements {
    MemoryRequirements {
        size: needs.size,
        alignment: needs.alignment,
        memory_type_bits: needs.memory_type_bits,
    }
}

fn extent(extent: vk::Extent3D) -> Extent {
    Extent::new(extent.width, extent.height, extent.depth)
}

pub unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    memory: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on; `info` is valid, by the function's specification.
    unsafe {
        created(
            device,
            memory,
            |table| (table.allocate_memory)(device, info, allocator, memory),
            |known, _, memory| {
                Some(Event::MemoryAllocated {
                    device: known.id(),
                    memory: memory.as_raw(),
                    size: (*info).allocation_size,
                    memory_type: (*info).memory_type_index,
                })
            },
        )
    }
}

pub unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        destroyed(
            device,
            memory,
            |device, memory| Event::MemoryFreed { device, memory },
            |table| (table.free_memory)(device, memory, allocator),
        );
    }
}

pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    buffer: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on; `info` is valid, by the function's specification.
    unsafe {
        created(
            device,
            buffer,
            |table| (table.create_buffer)(device, info, allocator, buffer),
            |known, table, buffer| buffer_event(known, table, buffer, &*info),
        )
    }
}

/// # Safety
/// `buffer` is a buffer of the device, created by `info`, which is valid.
unsafe fn buffer_event(
    device: &Device,
    table: &DeviceTable,
    buffer: vk::Buffer,
    info: &vk::BufferCreateInfo<'_>,
) -> Option<Event> {
    if !info.flags.contains(vk::BufferCreateFlags::SPARSE_BINDING) {
        return None;
    }
    let mut needs = vk::MemoryRequirements::default();
    // SAFETY: the caller's promise.
    let usage = unsafe {
        (table.get_buffer_memory_requirements)(device.handle, buffer, &mut needs);
        // Where it is there, the usage of the struct itself has no meaning.
        match pnext::find::<vk::BufferUsageFlags2CreateInfoKHR>(info.p_next) {
            // The flags that 32 bits hold are the same.
            Some(usage) => (*usage).usage.as_raw() as u32,
            None => info.usage.as_raw(),
        }
    };
    Some(Event::BufferCreated(BufferCreated {
        device: device.id(),
        buffer: buffer.as_raw(),
        flags: info.flags.as_raw(),
        size: info.size,
        usage,
        requirements: requirements(&needs),
    }))
}

pub unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        destroyed(
            device,
            buffer,
            |device, buffer| Event::ResourceDestroyed {
                device,
                resource: ResourceId::Buffer(buffer),
            },
            |table| (table.destroy_buffer)(device, buffer, allocator),
        );
    }
}

pub unsafe extern "system" fn create_image(
    device: vk::Device,
    info: *const vk::ImageCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    image: *mut vk::Image,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on; `info` is valid, by the function's specification.
    unsafe {
        created(
            device,
            image,
            |table| (table.create_image)(device, info, allocator, image),
            |known, table, image| image_event(known, table, image, &*info),
        )
    }
}

/// # Safety
/// `image` is an image of the device, created by `info`.
unsafe fn image_event(
    device: &Device,
    table: &DeviceTable,
    image: vk::Image,
    info: &vk::ImageCreateInfo<'_>,
) -> Option<Event> {
    if !info.flags.contains(vk::ImageCreateFlags::SPARSE_BINDING) {
        return None;
    }
    let mut needs = vk::MemoryRequirements::default();
    // SAFETY: the caller's promise.
    unsafe { (table.get_image_memory_requirements)(device.handle, image, &mut needs) };
    let aspects = if info.flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        let get = table.get_image_sparse_memory_requirements;
        // SAFETY: the caller's promise; `list` is null or has room for `count` structs.
        list(|count, list| unsafe { get(device.handle, image, count, list) })
    } else {
        Vec::new()
    };
    let sparse_requirements = aspects.iter().map(|aspect| SparseMemoryRequirements {
        aspect_mask: aspect.format_properties.aspect_mask.as_raw(),
        granularity: extent(aspect.format_properties.image_granularity),
        flags: aspect.format_properties.flags.as_raw(),
        mip_tail_first_lod: aspect.image_mip_tail_first_lod,
        mip_tail_size: aspect.image_mip_tail_size,
        mip_tail_offset: aspect.image_mip_tail_offset,
        mip_tail_stride: aspect.image_mip_tail_stride,
    });
    Some(Event::ImageCreated(ImageCreated {
        device: device.id(),
        image: image.as_raw(),
        flags: info.flags.as_raw(),
        image_type: info.image_type.as_raw(),
        format: info.format.as_raw(),
        extent: extent(info.extent),
        mip_levels: info.mip_levels,
        array_layers: info.array_layers,
        samples: info.samples.as_raw(),
        tiling: info.tiling.as_raw(),
        usage: info.usage.as_raw(),
        requirements: requirements(&needs),
        sparse_requirements: sparse_requirements.collect(),
    }))
}

pub unsafe extern "system" fn destroy_image(
    device: vk::Device,
    image: vk::Image,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        destroyed(
            device,
            image,
            |device, image| Event::ResourceDestroyed {
                device,
                resource: ResourceId::Image(image),
            },
            |table| (table.destroy_image)(device, image, allocator),
        );
    }
}

pub unsafe extern "system" fn create_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    allocator: *const vk::AllocationCallbacks<'_>,
    semaphore: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on; `info` is valid, by the function's specification.
    unsafe {
        created(
            device,
            semaphore,
            |table| (table.create_semaphore)(device, info, allocator, semaphore),
            |known, _, semaphore| {
                let kind = pnext::find::<vk::SemaphoreTypeCreateInfo>((*info).p_next)?;
                ((*kind).semaphore_type == vk::SemaphoreType::TIMELINE).then(|| {
                    Event::TimelineCreated {
                        device: known.id(),
                        semaphore: semaphore.as_raw(),
                    }
                })
            },
        )
    }
}

pub unsafe extern "system" fn destroy_semaphore(
    device: vk::Device,
    semaphore: vk::Semaphore,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        destroyed(
            device,
            semaphore,
            |device, semaphore| Event::SemaphoreDestroyed { device, semaphore },
            |table| (table.destroy_semaphore)(device, semaphore, allocator),
        );
    }
}

pub unsafe extern "system" fn destroy_fence(
    device: vk::Device,
    fence: vk::Fence,
    allocator: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the application's own arguments, passed on.
    unsafe {
        destroyed(
            device,
            fence,
            |device, fence| Event::FenceDestroyed { device, fence },
            |table| (table.destroy_fence)(device, fence, allocator),
        );
    }
}
