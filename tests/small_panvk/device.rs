//! Devices and what belongs to them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use ash::vk::{self, Handle};
use panvk_sparse::uapi::{
    BO_NO_MMAP, BoCreate, IOCTL_BO_CREATE, IOCTL_VM_BIND, IOCTL_VM_CREATE, IOCTL_VM_DESTROY,
    ObjArray, VM_BIND_ASYNC, VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_SPARSE, VM_BIND_OP_TYPE_MAP,
    VM_BIND_OP_TYPE_UNMAP, VmBind, VmBindOp, VmCreate, VmDestroy,
};
use panvk_sparse::units::{SZ_2M, SZ_4K};
use vulkan::pnext;

use crate::queue::Queue;
use crate::{
    LOADER, Physical, destroyed, drmCloseBufferHandle, drmIoctl, drmSyncobjCreate,
    drmSyncobjDestroy, drmSyncobjQuery, drmSyncobjReset, drmSyncobjTimelineSignal,
    drmSyncobjTimelineWait, handle, ioctl, is, object,
};

#[repr(C)]
pub struct Device {
    loader: usize,
    pub file: File,
    vm: u32,
    next_va: AtomicU64,
    /// 0: there is none yet.
    dummy: AtomicU32,
    pub is_lost: AtomicBool,
    pub queues: [Queue; 2],
}

#[repr(C)]
pub struct Memory {
    pub bo: u32,
    va: u64,
    size: u64,
}

#[repr(C)]
pub struct Buffer {
    pub va: u64,
    size: u64,
    is_sparse: bool,
}

/// A semaphore or a fence.
pub struct Sync {
    pub syncobj: u32,
    pub is_timeline: bool,
}

impl Device {
    pub fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    fn call<T>(&self, request: u32, arg: &mut T) -> i32 {
        let arg = (&raw mut *arg).cast();
        // SAFETY: the argument is of the request, and what it points to is there.
        unsafe {
            match is("ioctl") {
                true => ioctl(self.fd(), request.into(), arg),
                false => drmIoctl(self.fd(), request.into(), arg),
            }
        }
    }

    fn create_bo(&self, size: u64, flags: u32, exclusive_vm_id: u32) -> u32 {
        let mut bo = BoCreate {
            size,
            flags,
            exclusive_vm_id,
            ..BoCreate::default()
        };
        assert_eq!(self.call(IOCTL_BO_CREATE, &mut bo), 0);
        bo.handle
    }

    fn close(&self, bo: u32) {
        // SAFETY: numbers.
        unsafe { drmCloseBufferHandle(self.fd(), bo) };
    }

    /// One VM_BIND.
    pub fn bind(&self, ops: &[VmBindOp], is_async: bool) -> i32 {
        let mut bind = VmBind {
            vm_id: self.vm,
            flags: if is_async { VM_BIND_ASYNC } else { 0 },
            ops: ObjArray {
                stride: size_of::<VmBindOp>() as u32,
                count: ops.len() as u32,
                array: ops.as_ptr() as u64,
            },
        };
        self.call(IOCTL_VM_BIND, &mut bind)
    }

    fn allocate_va(&self, size: u64) -> u64 {
        self.next_va
            .fetch_add(size.next_multiple_of(SZ_2M) + SZ_2M, Ordering::Relaxed)
    }

    pub fn map(&self, bo: u32, bo_offset: u64, va: u64, size: u64) -> VmBindOp {
        let flags = VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC;
        VmBindOp {
            flags,
            bo_handle: bo,
            bo_offset,
            va,
            size,
            ..VmBindOp::default()
        }
    }

    /// What maps nothing: with a dummy of its own, one operation for each 2 MiB.
    pub fn nothing(&self, va: u64, size: u64) -> Vec<VmBindOp> {
        if !is("dummy") && !is("stray") {
            let sparse = VmBindOp {
                va,
                size,
                ..self.map(0, 0, va, size)
            };
            return vec![VmBindOp {
                flags: sparse.flags | VM_BIND_OP_MAP_SPARSE,
                ..sparse
            }];
        }
        if self.dummy.load(Ordering::Acquire) == 0 {
            self.dummy.store(
                self.create_bo(SZ_2M, BO_NO_MMAP, self.vm),
                Ordering::Release,
            );
        }
        let (mut at, mut ops) = (va, Vec::new());
        while at < va + size {
            let len = (SZ_2M - at % SZ_2M).min(va + size - at);
            ops.push(self.map(self.dummy.load(Ordering::Acquire), at % SZ_2M, at, len));
            at += len;
        }
        ops
    }
}

pub unsafe extern "system" fn create_device(
    physical: vk::PhysicalDevice,
    _: *const vk::DeviceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Device,
) -> vk::Result {
    // SAFETY: a physical device.
    let Ok(file) = unsafe { object::<Physical>(physical) }.file.try_clone() else {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    };
    let mut device = Device {
        loader: LOADER,
        file,
        vm: 0,
        next_va: AtomicU64::new(4 << 30),
        dummy: AtomicU32::new(0),
        is_lost: AtomicBool::new(false),
        queues: [Queue::default(), Queue::default()],
    };
    let mut vm = VmCreate::default();
    if device.call(IOCTL_VM_CREATE, &mut vm) != 0 {
        return vk::Result::ERROR_INITIALIZATION_FAILED;
    }
    device.vm = vm.id;
    let created: vk::Device = handle(device);
    // SAFETY: the device was just made; the caller has room for a handle.
    unsafe {
        for queue in &object::<Device>(created).queues {
            queue.belong_to(created);
        }
        *out = created;
    }
    vk::Result::SUCCESS
}

pub unsafe extern "system" fn destroy_device(
    device: vk::Device,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: a device that nobody uses.
    unsafe {
        for queue in &object::<Device>(device).queues {
            queue.stop();
        }
        if let Some(device) = destroyed::<Device>(device) {
            device.call(
                IOCTL_VM_DESTROY,
                &mut VmDestroy {
                    id: device.vm,
                    pad: 0,
                },
            );
            let dummy = device.dummy.load(Ordering::Acquire);
            if dummy != 0 {
                device.close(dummy);
            }
        }
    }
}

pub unsafe extern "system" fn get_queue(
    device: vk::Device,
    _: u32,
    index: u32,
    out: *mut vk::Queue,
) {
    // SAFETY: a device; the caller has room for a handle.
    unsafe {
        *out =
            vk::Queue::from_raw(&raw const object::<Device>(device).queues[index as usize] as u64)
    };
}

pub unsafe extern "system" fn allocate_memory(
    device: vk::Device,
    info: *const vk::MemoryAllocateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::DeviceMemory,
) -> vk::Result {
    // SAFETY: a device, valid structs, room for a handle.
    unsafe {
        let device = object::<Device>(device);
        let size = (*info).allocation_size.next_multiple_of(SZ_4K);
        let (bo, va) = (device.create_bo(size, 0, 0), device.allocate_va(size));
        if device.bind(&[device.map(bo, 0, va, size)], false) != 0 {
            return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        }
        *out = handle(Memory { bo, va, size });
    }
    vk::Result::SUCCESS
}

pub unsafe extern "system" fn free_memory(
    device: vk::Device,
    memory: vk::DeviceMemory,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: a device, and memory that nobody uses.
    unsafe {
        let device = object::<Device>(device);
        if let Some(memory) = destroyed::<Memory>(memory) {
            let unmap = VmBindOp {
                flags: VM_BIND_OP_TYPE_UNMAP,
                va: memory.va,
                size: memory.size,
                ..VmBindOp::default()
            };
            device.bind(&[unmap], false);
            device.close(memory.bo);
        }
    }
}

pub unsafe extern "system" fn create_buffer(
    device: vk::Device,
    info: *const vk::BufferCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Buffer,
) -> vk::Result {
    // SAFETY: a device, valid structs, room for a handle.
    unsafe {
        let device = object::<Device>(device);
        let size = (*info).size.next_multiple_of(SZ_4K);
        let is_sparse = (*info)
            .flags
            .contains(vk::BufferCreateFlags::SPARSE_BINDING);
        let va = if is_sparse {
            device.allocate_va(size)
        } else {
            0
        };
        if (*info)
            .flags
            .contains(vk::BufferCreateFlags::SPARSE_RESIDENCY)
        {
            let mapped = if is("strange") { size / 2 } else { size };
            for ops in device.nothing(va, mapped).chunks(16) {
                if device.bind(ops, false) != 0 {
                    return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
                }
            }
        }
        *out = handle(Buffer {
            va,
            size,
            is_sparse,
        });
    }
    vk::Result::SUCCESS
}

pub unsafe extern "system" fn destroy_buffer(
    device: vk::Device,
    buffer: vk::Buffer,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: a device, and a buffer that nobody uses.
    unsafe {
        if let Some(buffer) = destroyed::<Buffer>(buffer).filter(|buffer| buffer.is_sparse) {
            let unmap = VmBindOp {
                flags: VM_BIND_OP_TYPE_UNMAP,
                va: buffer.va,
                size: buffer.size,
                ..VmBindOp::default()
            };
            object::<Device>(device).bind(&[unmap], false);
        }
    }
}

pub unsafe extern "system" fn buffer_needs(
    _: vk::Device,
    buffer: vk::Buffer,
    needs: *mut vk::MemoryRequirements,
) {
    // SAFETY: a buffer, and a struct to write to.
    unsafe {
        *needs = vk::MemoryRequirements {
            size: object::<Buffer>(buffer).size,
            alignment: SZ_4K,
            memory_type_bits: 1,
        };
    }
}

/// # Safety
/// A device, and room for a handle.
unsafe fn create_sync<H: Handle>(device: vk::Device, is_timeline: bool, out: *mut H) -> vk::Result {
    let mut syncobj = 0;
    // SAFETY: the caller's promise.
    unsafe {
        if drmSyncobjCreate(object::<Device>(device).fd(), 0, &mut syncobj) != 0 {
            return vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
        }
        *out = handle(Sync {
            syncobj,
            is_timeline,
        });
    }
    vk::Result::SUCCESS
}

/// # Safety
/// A device, and a semaphore or a fence that nobody uses.
unsafe fn destroy_sync(device: vk::Device, sync: impl Handle) {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(sync) = destroyed::<Sync>(sync) {
            drmSyncobjDestroy(object::<Device>(device).fd(), sync.syncobj);
        }
    }
}

pub unsafe extern "system" fn create_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Semaphore,
) -> vk::Result {
    // SAFETY: the caller's arguments.
    unsafe {
        let kind = pnext::find::<vk::SemaphoreTypeCreateInfo>((*info).p_next);
        let is_timeline =
            kind.is_some_and(|kind| (*kind).semaphore_type == vk::SemaphoreType::TIMELINE);
        create_sync(device, is_timeline, out)
    }
}

pub unsafe extern "system" fn destroy_semaphore(
    device: vk::Device,
    semaphore: vk::Semaphore,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the caller's arguments.
    unsafe { destroy_sync(device, semaphore) };
}

pub unsafe extern "system" fn signal_semaphore(
    device: vk::Device,
    info: *const vk::SemaphoreSignalInfo<'_>,
) -> vk::Result {
    // SAFETY: the caller's arguments.
    unsafe {
        let (syncobj, mut point) = (object::<Sync>((*info).semaphore).syncobj, (*info).value);
        drmSyncobjTimelineSignal(object::<Device>(device).fd(), &syncobj, &mut point, 1);
    }
    vk::Result::SUCCESS
}

pub unsafe extern "system" fn get_semaphore_counter_value(
    device: vk::Device,
    semaphore: vk::Semaphore,
    value: *mut u64,
) -> vk::Result {
    // SAFETY: the caller's arguments; arrays of one element.
    unsafe {
        let mut handle = object::<Sync>(semaphore).syncobj;
        match drmSyncobjQuery(object::<Device>(device).fd(), &mut handle, value, 1) {
            0 => vk::Result::SUCCESS,
            _ => vk::Result::ERROR_DEVICE_LOST,
        }
    }
}

pub unsafe extern "system" fn create_fence(
    device: vk::Device,
    _: *const vk::FenceCreateInfo<'_>,
    _: *const vk::AllocationCallbacks<'_>,
    out: *mut vk::Fence,
) -> vk::Result {
    // SAFETY: the caller's arguments.
    unsafe { create_sync(device, false, out) }
}

pub unsafe extern "system" fn destroy_fence(
    device: vk::Device,
    fence: vk::Fence,
    _: *const vk::AllocationCallbacks<'_>,
) {
    // SAFETY: the caller's arguments.
    unsafe { destroy_sync(device, fence) };
}

pub unsafe extern "system" fn reset_fences(
    device: vk::Device,
    _: u32,
    fences: *const vk::Fence,
) -> vk::Result {
    // SAFETY: a device and a fence.
    unsafe {
        drmSyncobjReset(
            object::<Device>(device).fd(),
            &object::<Sync>(*fences).syncobj,
            1,
        )
    };
    vk::Result::SUCCESS
}

pub unsafe extern "system" fn wait_for_fences(
    device: vk::Device,
    _: u32,
    fences: *const vk::Fence,
    _: vk::Bool32,
    _: u64,
) -> vk::Result {
    // SAFETY: a device and a fence.
    unsafe {
        let device = object::<Device>(device);
        loop {
            if device.is_lost.load(Ordering::Acquire) {
                return vk::Result::ERROR_DEVICE_LOST;
            }
            if wait(device, object::<Sync>(*fences).syncobj, 0, 2) {
                return vk::Result::SUCCESS;
            }
            std::thread::yield_now();
        }
    }
}

/// Whether a point of a syncobj is there now, in the way that `flags` say.
pub fn wait(device: &Device, syncobj: u32, point: u64, flags: u32) -> bool {
    let (mut handles, mut points, mut first) = ([syncobj], [point], 0);
    // SAFETY: arrays of one element.
    unsafe {
        drmSyncobjTimelineWait(
            device.fd(),
            handles.as_mut_ptr(),
            points.as_mut_ptr(),
            1,
            0,
            flags,
            &mut first,
        ) == 0
    }
}
