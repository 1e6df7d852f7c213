//! `vkQueueBindSparse`: from Vulkan structs to the backend's call, and from its batches back to the base driver.

use std::ffi::c_void;

use ash::vk::{self, Handle};
use panvk_sparse::backend::{
    BackendError, BaseBatch, Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore,
};
use panvk_sparse::layout::{Extent, Offset, Region};
use panvk_sparse::vulkan::pnext;

use crate::device::{Device, fail};
use crate::guard::guard_result;
use crate::state::QUEUES;

pub unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    guard_result(|| {
        let Some(device) = QUEUES.get(queue.as_raw()) else {
            log::error!(
                "vkQueueBindSparse: VkQueue {:#x} is not known",
                queue.as_raw()
            );
            return vk::Result::ERROR_UNKNOWN;
        };
        let Some(backend) = &device.backend else {
            // SAFETY: the application's own arguments, passed on.
            return unsafe { (device.table.queue_bind_sparse)(queue, count, infos, fence) };
        };
        // SAFETY: `infos` points to `count` valid structs, by the function's specification.
        let infos = unsafe { slice(infos, count) };
        // SAFETY: the structs are valid, and so is all they point to.
        let call = match unsafe { read_call(infos, fence) } {
            Ok(call) => call,
            Err(error) => return fail(&"vkQueueBindSparse", &error),
        };
        // SAFETY: `infos` is what `call` was read from, and the batches are of that call.
        let mut base =
            |batches: &[BaseBatch]| unsafe { submit(&device, queue, infos, batches, fence) };
        match backend.bind(&call, &mut base) {
            Ok(()) => vk::Result::SUCCESS,
            Err(error) => fail(&"vkQueueBindSparse", &error),
        }
    })
}

/// A Vulkan array: `count` elements, or a pointer without meaning where there is none.
///
/// # Safety
/// `first` points to `count` valid elements that live as long as the result is used.
unsafe fn slice<'a, T>(first: *const T, count: u32) -> &'a [T] {
    if count == 0 || first.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count as usize) }
}

/// # Safety
/// All structs are valid.
unsafe fn read_call(
    infos: &[vk::BindSparseInfo<'_>],
    fence: vk::Fence,
) -> Result<BindCall, BackendError> {
    let mut call = BindCall {
        infos: Vec::with_capacity(infos.len()),
        fence: (fence != vk::Fence::null()).then_some(fence.as_raw()),
    };
    let mut previous: Option<Extensions> = None;
    for info in infos {
        // SAFETY: the caller's promise.
        let extensions = unsafe { Extensions::read(info.p_next) };
        extensions.check()?;
        // SAFETY: as above.
        let mut read = unsafe { read_info(info, &extensions)? };
        read.joins_previous = previous.is_some_and(|previous| previous.allows_joining(&extensions));
        previous = Some(extensions);
        call.infos.push(read);
    }
    Ok(call)
}

/// What stands in the `pNext` chain of a `VkBindSparseInfo`.
struct Extensions<'a> {
    wait_values: &'a [u64],
    signal_values: &'a [u64],
    /// `resourceDeviceIndex` and `memoryDeviceIndex`.
    group: Option<(u32, u32)>,
    /// Whether there is a struct that is none of the two that are known here.
    unknown: bool,
}

impl Extensions<'_> {
    /// # Safety
    /// `p_next` is a valid chain.
    unsafe fn read(p_next: *const c_void) -> Self {
        let mut read = Self {
            wait_values: &[],
            signal_values: &[],
            group: None,
            unknown: false,
        };
        // SAFETY: the caller's promise; a link's type says what it is.
        for link in unsafe { pnext::chain(p_next) } {
            // SAFETY: as above.
            unsafe {
                match (*link).s_type {
                    vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO => {
                        let timeline = &*link.cast::<vk::TimelineSemaphoreSubmitInfo<'_>>();
                        read.wait_values = slice(
                            timeline.p_wait_semaphore_values,
                            timeline.wait_semaphore_value_count,
                        );
                        read.signal_values = slice(
                            timeline.p_signal_semaphore_values,
                            timeline.signal_semaphore_value_count,
                        );
                    }
                    vk::StructureType::DEVICE_GROUP_BIND_SPARSE_INFO => {
                        let group = &*link.cast::<vk::DeviceGroupBindSparseInfo<'_>>();
                        read.group = Some((group.resource_device_index, group.memory_device_index));
                    }
                    _ => read.unknown = true,
                }
            }
        }
        read
    }

    /// Whether an info with these may be one with the info before it.
    fn allows_joining(&self, next: &Self) -> bool {
        !self.unknown && !next.unknown
    }

    /// # Errors
    /// The binds are for another device of a group than the first.
    fn check(&self) -> Result<(), BackendError> {
        match self.group {
            None | Some((0, 0)) => Ok(()),
            Some((resource, memory)) => Err(BackendError::Invalid(format!(
                "VkDeviceGroupBindSparseInfo: resourceDeviceIndex is {resource} and memoryDeviceIndex is {memory}, \
                 expected 0: there is one address space, that of device 0"
            ))),
        }
    }
}

/// # Safety
/// `info` is valid and `extensions` were read from its chain.
unsafe fn read_info(
    info: &vk::BindSparseInfo<'_>,
    extensions: &Extensions<'_>,
) -> Result<BindInfo, BackendError> {
    let semaphores = |handles: &[vk::Semaphore], values: &[u64]| -> Vec<Semaphore> {
        handles
            .iter()
            .enumerate()
            .map(|(i, handle)| Semaphore {
                handle: handle.as_raw(),
                value: values.get(i).copied().unwrap_or(0),
            })
            .collect()
    };
    // SAFETY: the caller's promise, for each of the arrays.
    let (waits, signals, buffers, opaque, images) = unsafe {
        (
            slice(info.p_wait_semaphores, info.wait_semaphore_count),
            slice(info.p_signal_semaphores, info.signal_semaphore_count),
            slice(info.p_buffer_binds, info.buffer_bind_count),
            slice(info.p_image_opaque_binds, info.image_opaque_bind_count),
            slice(info.p_image_binds, info.image_bind_count),
        )
    };
    let mut binds = Vec::with_capacity(buffers.len() + opaque.len());
    for bind in buffers {
        let id = ResourceId::Buffer(bind.buffer.as_raw());
        // SAFETY: the caller's promise.
        binds.push((
            id,
            read_binds(id, unsafe { slice(bind.p_binds, bind.bind_count) })?,
        ));
    }
    for bind in opaque {
        let id = ResourceId::Image(bind.image.as_raw());
        // SAFETY: the caller's promise.
        binds.push((
            id,
            read_binds(id, unsafe { slice(bind.p_binds, bind.bind_count) })?,
        ));
    }
    let mut image_binds = Vec::with_capacity(images.len());
    for bind in images {
        // SAFETY: the caller's promise.
        let binds = unsafe { slice(bind.p_binds, bind.bind_count) };
        let image = bind.image.as_raw();
        image_binds.push((image, binds.iter().map(read_image_bind).collect()));
    }
    Ok(BindInfo {
        waits: semaphores(waits, extensions.wait_values),
        signals: semaphores(signals, extensions.signal_values),
        binds,
        image_binds,
        joins_previous: false,
    })
}

fn read_binds(id: ResourceId, binds: &[vk::SparseMemoryBind]) -> Result<Vec<Bind>, BackendError> {
    let unknown = |bind: &&vk::SparseMemoryBind| {
        !(bind.flags & !vk::SparseMemoryBindFlags::METADATA).is_empty()
    };
    if let Some(bind) = binds.iter().find(unknown) {
        return Err(BackendError::Invalid(format!(
            "{id}: bind with flags {:#x}; expected 0 or VK_SPARSE_MEMORY_BIND_METADATA_BIT",
            bind.flags.as_raw()
        )));
    }
    Ok(binds
        .iter()
        .map(|bind| Bind {
            resource_offset: bind.resource_offset,
            size: bind.size,
            memory: memory_of(bind.memory),
            memory_offset: bind.memory_offset,
            metadata: bind.flags.contains(vk::SparseMemoryBindFlags::METADATA),
        })
        .collect())
}

fn read_image_bind(bind: &vk::SparseImageMemoryBind) -> ImageBind {
    let vk::Offset3D { x, y, z } = bind.offset;
    let vk::Extent3D {
        width,
        height,
        depth,
    } = bind.extent;
    ImageBind {
        region: Region {
            aspect: bind.subresource.aspect_mask.as_raw(),
            level: bind.subresource.mip_level,
            layer: bind.subresource.array_layer,
            offset: Offset::new(x, y, z),
            extent: Extent::new(width, height, depth),
        },
        memory: memory_of(bind.memory),
        memory_offset: bind.memory_offset,
    }
}

fn memory_of(memory: vk::DeviceMemory) -> Option<u64> {
    (memory != vk::DeviceMemory::null()).then_some(memory.as_raw())
}

/// Calls the base driver's vkQueueBindSparse with one `VkBindSparseInfo` a batch.
///
/// # Safety
/// `infos` is valid, and the batches index into it.
unsafe fn submit(
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
    let binds: Vec<Vec<Vec<vk::SparseMemoryBind>>> = batches
        .iter()
        .map(|batch| {
            batch
                .binds
                .iter()
                .map(|(_, binds)| binds.iter().map(base_bind).collect())
                .collect()
        })
        .collect();
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
