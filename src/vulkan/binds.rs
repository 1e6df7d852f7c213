//! From the structs of `vkQueueBindSparse` to what a backend understands.

use std::ffi::c_void;

use ash::vk::{self, Handle};

use super::pnext;
use crate::backend::{BackendError, Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};
use crate::layout::{Extent, Offset, Region};

/// A Vulkan array: `count` elements, or a pointer without meaning where there is none.
///
/// # Safety
/// `first` points to `count` valid elements that live as long as the result is used.
pub unsafe fn slice<'a, T>(first: *const T, count: u32) -> &'a [T] {
    if count == 0 || first.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count as usize) }
}

/// The backend's view of the arguments of a `vkQueueBindSparse`.
///
/// # Errors
/// A struct asks for what no backend has: binds of another device of a group, flags that are not known.
///
/// # Safety
/// All structs are valid, and so is all they point to.
pub unsafe fn read_call(
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
#[derive(Debug)]
pub struct Extensions<'a> {
    pub wait_values: &'a [u64],
    pub signal_values: &'a [u64],
    /// `resourceDeviceIndex` and `memoryDeviceIndex`.
    pub group: Option<(u32, u32)>,
    /// Whether there is a struct that is none of the two that are known here.
    unknown: bool,
}

impl Extensions<'_> {
    /// # Safety
    /// `p_next` is a valid chain.
    pub unsafe fn read(p_next: *const c_void) -> Self {
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
