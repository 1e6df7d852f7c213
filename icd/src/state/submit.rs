//! Batches as the base driver's `vkQueueBindSparse` takes them.

use std::ffi::c_void;

use ash::vk::{self, Handle};
use hosted::BaseBatch;
use panvk_sparse::layout::Region;
use vulkan::binds::Extensions;
use vulkan::calls::{Bind, ImageBind, ResourceId};

use super::Device;

/// Calls the base driver's vkQueueBindSparse with one `VkBindSparseInfo` a batch.
///
/// # Safety
/// `infos` is valid, and the batches index into it.
pub unsafe fn submit(
    device: &Device,
    queue: vk::Queue,
    infos: &[vk::BindSparseInfo<'_>],
    batches: &[BaseBatch],
    fence: vk::Fence,
) -> Result<(), vk::Result> {
    #[cfg(feature = "faults")]
    let distorted = crate::faults::distorted(batches, &|memory| device.is_dummy(memory));
    #[cfg(feature = "faults")]
    let batches = &distorted;
    // Three passes, since each holds pointers into what the one before it has built.
    let mut binds: Vec<Vec<Vec<vk::SparseMemoryBind>>> = Vec::with_capacity(batches.len());
    for batch in batches {
        let lists = batch.binds.iter();
        let lists = lists.map(|(id, binds)| opaque_binds(device, *id, binds));
        binds.push(lists.collect::<Result<_, _>>()?);
    }
    let image_binds: Vec<Vec<Vec<vk::SparseImageMemoryBind>>> = batches
        .iter()
        .map(|batch| {
            let lists = batch.image_binds.iter();
            lists
                .map(|(_, binds)| binds.iter().map(base_image_bind).collect())
                .collect()
        })
        .collect();
    let mut parts: Vec<BatchParts<'_>> = Vec::with_capacity(batches.len());
    for ((batch, binds), image_binds) in batches.iter().zip(&binds).zip(&image_binds) {
        let mut part = BatchParts::default();
        for ((id, _), binds) in batch.binds.iter().zip(binds) {
            match *id {
                ResourceId::Buffer(handle) => part.buffers.push(
                    vk::SparseBufferMemoryBindInfo::default()
                        .buffer(vk::Buffer::from_raw(handle))
                        .binds(binds),
                ),
                ResourceId::Image(handle) => part.images.push(
                    vk::SparseImageOpaqueMemoryBindInfo::default()
                        .image(vk::Image::from_raw(handle))
                        .binds(binds),
                ),
            }
        }
        for ((image, _), binds) in batch.image_binds.iter().zip(image_binds) {
            let info = vk::SparseImageMemoryBindInfo::default();
            part.tiles
                .push(info.image(vk::Image::from_raw(*image)).binds(binds));
        }
        if batch.first != batch.last {
            // SAFETY: the caller's promise.
            let (first, last) = unsafe {
                (
                    Extensions::read(infos[batch.first].p_next),
                    Extensions::read(infos[batch.last].p_next),
                )
            };
            part.timeline = vk::TimelineSemaphoreSubmitInfo::default()
                .wait_semaphore_values(first.wait_values)
                .signal_semaphore_values(last.signal_values);
            if let Some((resource, memory)) = first.group {
                part.group = Some(
                    vk::DeviceGroupBindSparseInfo::default()
                        .resource_device_index(resource)
                        .memory_device_index(memory),
                );
            }
        }
        parts.push(part);
    }
    let base_infos: Vec<vk::BindSparseInfo<'_>> = batches
        .iter()
        .zip(&mut parts)
        .map(|(batch, part)| {
            let (first, last) = (&infos[batch.first], &infos[batch.last]);
            vk::BindSparseInfo {
                p_next: if batch.first == batch.last {
                    first.p_next
                } else {
                    part.chain()
                },
                wait_semaphore_count: first.wait_semaphore_count,
                p_wait_semaphores: first.p_wait_semaphores,
                signal_semaphore_count: last.signal_semaphore_count,
                p_signal_semaphores: last.p_signal_semaphores,
                ..vk::BindSparseInfo::default()
                    .buffer_binds(&part.buffers)
                    .image_opaque_binds(&part.images)
                    .image_binds(&part.tiles)
            }
        })
        .collect();
    let count =
        u32::try_from(base_infos.len()).map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
    // SAFETY: structs that are valid until the call returns, the application's own queue, semaphores and fence.
    unsafe { (device.table.queue_bind_sparse)(queue, count, base_infos.as_ptr(), fence) }.result()
}

/// What one base `VkBindSparseInfo` points to.
#[derive(Default)]
struct BatchParts<'a> {
    buffers: Vec<vk::SparseBufferMemoryBindInfo<'a>>,
    images: Vec<vk::SparseImageOpaqueMemoryBindInfo<'a>>,
    tiles: Vec<vk::SparseImageMemoryBindInfo<'a>>,
    timeline: vk::TimelineSemaphoreSubmitInfo<'a>,
    group: Option<vk::DeviceGroupBindSparseInfo<'a>>,
}

impl BatchParts<'_> {
    /// The chain of a batch that joins several infos: the device group's struct, where there is one, behind the
    /// timeline's, where there is a value. (A driver without timelines need not know the latter.)
    fn chain(&mut self) -> *const c_void {
        let group = self
            .group
            .as_ref()
            .map_or(std::ptr::null(), |group| (&raw const *group).cast());
        if self.timeline.wait_semaphore_value_count == 0
            && self.timeline.signal_semaphore_value_count == 0
        {
            return group;
        }
        self.timeline.p_next = group;
        (&raw const self.timeline).cast()
    }
}

/// The opaque binds of a resource, by the base driver's offsets: those of a partially resident image are not this driver's.
fn opaque_binds(
    device: &Device,
    id: ResourceId,
    binds: &[Bind],
) -> Result<Vec<vk::SparseMemoryBind>, vk::Result> {
    let of_image = match id {
        ResourceId::Image(image) => device.images.get(image),
        ResourceId::Buffer(_) => None,
    };
    if let Some(requirements) = of_image {
        let binds = requirements.for_base(binds).map_err(|error| {
            log::error!("{id}: {error}");
            vk::Result::ERROR_UNKNOWN
        })?;
        return Ok(binds.iter().map(base_bind).collect());
    }
    Ok(binds.iter().map(base_bind).collect())
}

fn base_memory(memory: Option<u64>) -> vk::DeviceMemory {
    memory.map_or(vk::DeviceMemory::null(), vk::DeviceMemory::from_raw)
}

fn base_bind(bind: &Bind) -> vk::SparseMemoryBind {
    vk::SparseMemoryBind {
        resource_offset: bind.resource_offset,
        size: bind.size,
        memory: base_memory(bind.memory),
        memory_offset: bind.memory_offset,
        flags: if bind.metadata {
            vk::SparseMemoryBindFlags::METADATA
        } else {
            vk::SparseMemoryBindFlags::empty()
        },
    }
}

fn base_image_bind(bind: &ImageBind) -> vk::SparseImageMemoryBind {
    let Region {
        aspect,
        level,
        layer,
        offset,
        extent,
    } = bind.region;
    vk::SparseImageMemoryBind {
        subresource: vk::ImageSubresource {
            aspect_mask: vk::ImageAspectFlags::from_raw(aspect),
            mip_level: level,
            array_layer: layer,
        },
        offset: vk::Offset3D {
            x: offset.x,
            y: offset.y,
            z: offset.z,
        },
        extent: vk::Extent3D {
            width: extent.width,
            height: extent.height,
            depth: extent.depth,
        },
        memory: base_memory(bind.memory),
        memory_offset: bind.memory_offset,
        flags: vk::SparseMemoryBindFlags::empty(),
    }
}
