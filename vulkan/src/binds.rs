//! From the structs of `vkQueueBindSparse` to plain numbers.

use std::ffi::c_void;

use ash::vk::{self, Handle};

use super::pnext;
use crate::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};
use panvk_sparse::layout::{Extent, Offset, Region};

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

/// A call that asks for what Vulkan forbids, or what no driver of this project can do; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCall(pub String);

/// What the arguments of a `vkQueueBindSparse` say.
///
/// # Errors
/// A struct asks for what no driver of this project has: binds of another device of a group, flags that are not known.
///
/// # Safety
/// All structs are valid, and so is all they point to.
pub unsafe fn read_call(
    infos: &[vk::BindSparseInfo<'_>],
    fence: vk::Fence,
) -> Result<BindCall, InvalidCall> {
    for info in infos {
        // SAFETY: the caller's promise.
        unsafe {
            Extensions::read(info.p_next).check()?;
            check_flags(info)?;
        }
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { describe_call(infos, fence) })
}

/// What a `vkQueueBindSparse` asks of the address space of the first device, also where [`read_call`] refuses it: flags
/// that are not known are not there, binds of resources of another device of a group are left out.
///
/// # Safety
/// All structs are valid, and so is all they point to.
pub unsafe fn describe_call(infos: &[vk::BindSparseInfo<'_>], fence: vk::Fence) -> BindCall {
    let mut call = BindCall {
        infos: Vec::with_capacity(infos.len()),
        fence: (fence != vk::Fence::null()).then_some(fence.as_raw()),
    };
    let mut previous: Option<Extensions> = None;
    for info in infos {
        // SAFETY: the caller's promise.
        let extensions = unsafe { Extensions::read(info.p_next) };
        // SAFETY: as above.
        let mut read = unsafe { read_info(info, &extensions) };
        read.joins_previous = previous.is_some_and(|previous| previous.allows_joining(&extensions));
        previous = Some(extensions);
        call.infos.push(read);
    }
    call
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
    fn check(&self) -> Result<(), InvalidCall> {
        match self.group {
            None | Some((0, 0)) => Ok(()),
            Some((resource, memory)) => Err(InvalidCall(format!(
                "VkDeviceGroupBindSparseInfo: resourceDeviceIndex is {resource} and memoryDeviceIndex is {memory}, \
                 expected 0: there is one address space, that of device 0"
            ))),
        }
    }
}

/// # Errors
/// A bind has flags that are not known.
///
/// # Safety
/// `info` is valid, and so is all it points to.
unsafe fn check_flags(info: &vk::BindSparseInfo<'_>) -> Result<(), InvalidCall> {
    let check = |id: ResourceId, binds: &[vk::SparseMemoryBind]| {
        let unknown = |bind: &&vk::SparseMemoryBind| {
            !(bind.flags & !vk::SparseMemoryBindFlags::METADATA).is_empty()
        };
        match binds.iter().find(unknown) {
            None => Ok(()),
            Some(bind) => Err(InvalidCall(format!(
                "{id}: bind with flags {:#x}; expected 0 or VK_SPARSE_MEMORY_BIND_METADATA_BIT",
                bind.flags.as_raw()
            ))),
        }
    };
    // SAFETY: the caller's promise, for each of the arrays.
    unsafe {
        for bind in slice(info.p_buffer_binds, info.buffer_bind_count) {
            let id = ResourceId::Buffer(bind.buffer.as_raw());
            check(id, slice(bind.p_binds, bind.bind_count))?;
        }
        for bind in slice(info.p_image_opaque_binds, info.image_opaque_bind_count) {
            let id = ResourceId::Image(bind.image.as_raw());
            check(id, slice(bind.p_binds, bind.bind_count))?;
        }
    }
    Ok(())
}

/// # Safety
/// `info` is valid and `extensions` were read from its chain.
unsafe fn read_info(info: &vk::BindSparseInfo<'_>, extensions: &Extensions<'_>) -> BindInfo {
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
    let mut read = BindInfo {
        waits: semaphores(waits, extensions.wait_values),
        signals: semaphores(signals, extensions.signal_values),
        ..BindInfo::default()
    };
    if extensions.group.is_some_and(|(resource, _)| resource != 0) {
        return read;
    }
    read.binds.reserve_exact(buffers.len() + opaque.len());
    for bind in buffers {
        // SAFETY: the caller's promise.
        let binds = unsafe { slice(bind.p_binds, bind.bind_count) };
        let id = ResourceId::Buffer(bind.buffer.as_raw());
        read.binds.push((id, binds.iter().map(read_bind).collect()));
    }
    for bind in opaque {
        // SAFETY: the caller's promise.
        let binds = unsafe { slice(bind.p_binds, bind.bind_count) };
        let id = ResourceId::Image(bind.image.as_raw());
        read.binds.push((id, binds.iter().map(read_bind).collect()));
    }
    read.image_binds.reserve_exact(images.len());
    for bind in images {
        // SAFETY: the caller's promise.
        let binds = unsafe { slice(bind.p_binds, bind.bind_count) };
        let binds = binds.iter().map(read_image_bind).collect();
        read.image_binds.push((bind.image.as_raw(), binds));
    }
    read
}

fn read_bind(bind: &vk::SparseMemoryBind) -> Bind {
    Bind {
        resource_offset: bind.resource_offset,
        size: bind.size,
        memory: memory_of(bind.memory),
        memory_offset: bind.memory_offset,
        metadata: bind.flags.contains(vk::SparseMemoryBindFlags::METADATA),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A call with one bind, of these flags, for these devices of a group.
    fn with_call(
        flags: u32,
        resource: u32,
        memory: u32,
        check: impl FnOnce(&[vk::BindSparseInfo<'_>]),
    ) {
        let binds = [vk::SparseMemoryBind {
            size: 0x1000,
            flags: vk::SparseMemoryBindFlags::from_raw(flags),
            ..Default::default()
        }];
        let buffers = [vk::SparseBufferMemoryBindInfo::default()
            .buffer(vk::Buffer::from_raw(0xb))
            .binds(&binds)];
        let signals = [vk::Semaphore::from_raw(0x5)];
        let mut group = vk::DeviceGroupBindSparseInfo::default()
            .resource_device_index(resource)
            .memory_device_index(memory);
        let info = vk::BindSparseInfo::default()
            .buffer_binds(&buffers)
            .signal_semaphores(&signals)
            .push_next(&mut group);
        check(&[info]);
    }

    #[test]
    fn what_is_refused_can_still_be_described() {
        for (flags, resource, memory, refused, binds) in [
            (0, 0, 0, None, 1),
            (1, 0, 0, None, 1),
            (2, 0, 0, Some("VkBuffer 0xb: bind with flags 0x2"), 1),
            (0, 1, 0, Some("resourceDeviceIndex is 1"), 0),
            (0, 0, 1, Some("memoryDeviceIndex is 1"), 1),
        ] {
            with_call(flags, resource, memory, |infos| {
                // SAFETY: valid structs.
                let (read, described) = unsafe {
                    (
                        read_call(infos, vk::Fence::null()),
                        describe_call(infos, vk::Fence::null()),
                    )
                };
                assert_eq!(described.infos[0].binds.len(), binds);
                assert_eq!(described.infos[0].signals[0].handle, 5);
                match (read, refused) {
                    (Ok(read), None) => assert_eq!(read, described),
                    (Err(error), Some(part)) => {
                        let message = error.0;
                        assert!(message.contains(part), "{message}");
                    }
                    (read, _) => panic!("{read:?}"),
                }
            });
        }
    }
}
