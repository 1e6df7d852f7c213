//! A process of the virtual kernel: an open file, some memory, and ioctls as function calls.

mod backend;
pub mod bytes;
pub mod ioctls;

use std::cell::Cell;
use std::sync::Arc;

use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::{Arena, Flavour, Kernel, OpenOptions, UserMemory};

pub use backend::{Backend, Memory};

pub const PAGE: u64 = 4096;
pub const MIB: u64 = 1 << 20;
/// Where a process of these tests has its memory.
pub const BASE: u64 = 0x7000_0000;
const ARENA: usize = 1 << 20;

/// Set in a process that has a node for each flavour, the first of which is renderD128.
pub const NODES: &str = "PANVK_SPARSE_TEST_NODES";

/// Whether the tests have a node for each flavour.
pub fn is_on_nodes() -> bool {
    std::env::var_os(NODES).is_some()
}

/// Whether this thread may ask the kernel for high priorities.
pub fn has_privileges() -> bool {
    let sets = rustix::thread::capabilities(None).unwrap();
    (sets.effective).contains(rustix::thread::CapabilitySet::SYS_NICE)
}

pub struct Process {
    pub file: Backend,
    pub mem: Memory,
    /// Memory below is in use.
    next: Cell<u64>,
}

impl Process {
    /// An open file of a kernel of this flavour: of the model, or of a node where there are nodes.
    pub fn new(flavour: Flavour) -> Self {
        if !is_on_nodes() {
            return Self::model(flavour);
        }
        let mem = Memory::Real(Vec::leak(vec![0; ARENA / 8]));
        Self {
            next: Cell::new(mem.base()),
            file: Backend::node(flavour),
            mem,
        }
    }

    /// An open file of the model, for a look inside.
    pub fn model(flavour: Flavour) -> Self {
        Self::on(&Kernel::new(flavour), OpenOptions::default())
    }

    pub fn on(kernel: &Arc<Kernel>, options: OpenOptions) -> Self {
        Self {
            file: Backend::Model(Box::new(kernel.open(options))),
            mem: Memory::Arena(Arena::new(BASE, ARENA)),
            next: Cell::new(BASE),
        }
    }

    /// The address of a copy of `bytes`.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        let addr = self.next.get();
        self.mem.write(addr, bytes).unwrap();
        self.next.set(addr + bytes.len().next_multiple_of(8) as u64);
        addr
    }

    pub fn put_all<T: Plain>(&self, values: &[T]) -> u64 {
        self.put(T::slice_as_bytes(values))
    }

    pub fn get<T: Plain>(&self, addr: u64) -> T {
        let mut value = T::default();
        self.mem.read(addr, value.as_bytes_mut()).unwrap();
        value
    }

    /// Calls an ioctl with a copy of `args`, which comes back as the kernel left it.
    pub fn call<T: Plain>(&self, code: u32, args: &mut T) -> Result<(), Errno> {
        let top = self.next.get();
        let addr = self.put(args.as_bytes());
        let result = self.file.ioctl(code, addr, &self.mem);
        *args = self.get(addr);
        self.next.set(top);
        result.map(|value| assert_eq!(value, 0))
    }

    pub fn vm(&self) -> u32 {
        let mut args = VmCreate::default();
        self.call(IOCTL_VM_CREATE, &mut args).unwrap();
        args.id
    }

    pub fn bo(&self, size: u64) -> u32 {
        let mut args = BoCreate {
            size,
            ..Default::default()
        };
        self.call(IOCTL_BO_CREATE, &mut args).unwrap();
        args.handle
    }

    pub fn syncobj(&self, signalled: bool) -> u32 {
        let mut args = SyncobjCreate {
            flags: u32::from(signalled),
            ..Default::default()
        };
        self.call(IOCTL_SYNCOBJ_CREATE, &mut args).unwrap();
        args.handle
    }

    pub fn usable(&self, vm_id: u32) -> bool {
        let mut args = VmGetState { vm_id, state: 77 };
        self.call(IOCTL_VM_GET_STATE, &mut args).unwrap();
        match args.state {
            VM_STATE_USABLE => true,
            VM_STATE_UNUSABLE => false,
            other => panic!("state {other}"),
        }
    }

    /// VM_BIND; `ops.count` as it was at the end, and the result.
    pub fn bind_raw(
        &self,
        vm_id: u32,
        flags: u32,
        stride: u32,
        ops: &[u8],
    ) -> (u32, Result<(), Errno>) {
        let top = self.next.get();
        let array = self.put(ops);
        let mut args = VmBind {
            vm_id,
            flags,
            ops: ObjArray {
                stride,
                count: (ops.len() / stride as usize) as u32,
                array,
            },
        };
        let result = self.call(IOCTL_VM_BIND, &mut args);
        self.next.set(top);
        (args.ops.count, result)
    }

    pub fn bind(&self, vm_id: u32, ops: &[VmBindOp]) -> Result<(), Errno> {
        self.bind_raw(vm_id, 0, 48, VmBindOp::slice_as_bytes(ops)).1
    }

    pub fn bind_repeat(&self, vm_id: u32, ops: &[VmBindOpRepeat]) -> Result<(), Errno> {
        self.bind_raw(vm_id, 0, 56, VmBindOpRepeat::slice_as_bytes(ops))
            .1
    }

    /// An asynchronous VM_BIND; each op with its sync ops.
    pub fn bind_async(&self, vm_id: u32, ops: &[(VmBindOp, &[SyncOp])]) -> Result<(), Errno> {
        let top = self.next.get();
        let ops: Vec<VmBindOp> = ops
            .iter()
            .map(|(op, syncs)| VmBindOp {
                syncs: ObjArray {
                    stride: 16,
                    count: syncs.len() as u32,
                    array: self.put_all(syncs),
                },
                ..*op
            })
            .collect();
        let result = self.bind_raw(vm_id, VM_BIND_ASYNC, 48, VmBindOp::slice_as_bytes(&ops));
        self.next.set(top);
        result.1
    }

    /// The pages mapped in `0..pages`, as (BO id, page of the BO).
    pub fn pages(&self, vm_id: u32, pages: u64) -> Vec<Option<(u64, u64)>> {
        self.file
            .with_gpuvm(vm_id, |vm| {
                (0..pages)
                    .map(|page| vm.translate(page * PAGE).map(|t| (t.bo, t.offset / PAGE)))
                    .collect()
            })
            .unwrap()
    }

    pub fn is_mapped(&self, vm_id: u32, va: u64) -> bool {
        self.file
            .with_gpuvm(vm_id, |vm| vm.translate(va).is_some())
            .unwrap()
    }

    fn array(&self, code: u32, handles: &[u32]) -> Result<(), Errno> {
        let mut args = SyncobjArray {
            handles: self.put_all(handles),
            count_handles: handles.len() as u32,
            pad: 0,
        };
        self.call(code, &mut args)
    }

    pub fn signal(&self, handles: &[u32]) -> Result<(), Errno> {
        self.array(IOCTL_SYNCOBJ_SIGNAL, handles)
    }

    pub fn reset(&self, handles: &[u32]) -> Result<(), Errno> {
        self.array(IOCTL_SYNCOBJ_RESET, handles)
    }

    pub fn signal_point(&self, handle: u32, point: u64) -> Result<(), Errno> {
        let mut args = SyncobjTimelineArray {
            handles: self.put_all(&[handle]),
            points: self.put_all(&[point]),
            count_handles: 1,
            flags: 0,
        };
        self.call(IOCTL_SYNCOBJ_TIMELINE_SIGNAL, &mut args)
    }

    pub fn query(&self, handle: u32, flags: u32) -> u64 {
        let points = self.put_all(&[u64::MAX]);
        let mut args = SyncobjTimelineArray {
            handles: self.put_all(&[handle]),
            points,
            count_handles: 1,
            flags,
        };
        self.call(IOCTL_SYNCOBJ_QUERY, &mut args).unwrap();
        self.get(points)
    }

    /// SYNCOBJ_WAIT; the index that came back.
    pub fn wait(&self, handles: &[u32], flags: u32, timeout_nsec: i64) -> Result<u32, Errno> {
        let mut args = SyncobjWait {
            handles: self.put_all(handles),
            timeout_nsec,
            count_handles: handles.len() as u32,
            flags,
            first_signaled: 1234,
            ..Default::default()
        };
        self.call(IOCTL_SYNCOBJ_WAIT, &mut args)?;
        Ok(args.first_signaled)
    }

    /// SYNCOBJ_TIMELINE_WAIT of (handle, point) pairs; the index that came back.
    pub fn wait_points(
        &self,
        points: &[(u32, u64)],
        flags: u32,
        timeout_nsec: i64,
    ) -> Result<u32, Errno> {
        let (handles, points): (Vec<u32>, Vec<u64>) = points.iter().copied().unzip();
        let mut args = SyncobjTimelineWait {
            handles: self.put_all(&handles),
            points: self.put_all(&points),
            timeout_nsec,
            count_handles: handles.len() as u32,
            flags,
            first_signaled: 1234,
            ..Default::default()
        };
        self.call(IOCTL_SYNCOBJ_TIMELINE_WAIT, &mut args)?;
        Ok(args.first_signaled)
    }

    /// Whether the syncobj is signalled now.
    pub fn is_signalled(&self, handle: u32) -> bool {
        match self.wait(&[handle], SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, 0) {
            Ok(_) => true,
            Err(Errno::TIME) => false,
            Err(errno) => panic!("{errno}"),
        }
    }

    /// SYNCOBJ_TRANSFER of a point to a point.
    pub fn transfer(&self, from: (u32, u64), to: (u32, u64), flags: u32) -> Result<(), Errno> {
        let mut args = SyncobjTransfer {
            src_handle: from.0,
            dst_handle: to.0,
            src_point: from.1,
            dst_point: to.1,
            flags,
            pad: 0,
        };
        self.call(IOCTL_SYNCOBJ_TRANSFER, &mut args)
    }

    pub fn destroy_syncobj(&self, handle: u32) -> Result<(), Errno> {
        self.call(
            IOCTL_SYNCOBJ_DESTROY,
            &mut SyncobjDestroy { handle, pad: 0 },
        )
    }

    pub fn syncobj_to_fd(&self, handle: u32, flags: u32) -> Result<i32, Errno> {
        let mut args = SyncobjHandle {
            handle,
            flags,
            fd: -1,
            ..Default::default()
        };
        self.call(IOCTL_SYNCOBJ_HANDLE_TO_FD, &mut args)?;
        Ok(args.fd)
    }

    /// `handle` is looked at with IMPORT_SYNC_FILE only.
    pub fn syncobj_from_fd(&self, fd: i32, flags: u32, handle: u32) -> Result<u32, Errno> {
        let mut args = SyncobjHandle {
            handle,
            flags,
            fd,
            ..Default::default()
        };
        self.call(IOCTL_SYNCOBJ_FD_TO_HANDLE, &mut args)?;
        Ok(args.handle)
    }

    pub fn bo_to_fd(&self, handle: u32) -> Result<i32, Errno> {
        let mut args = PrimeHandle {
            handle,
            flags: CLOEXEC | RDWR,
            fd: -1,
        };
        self.call(IOCTL_PRIME_HANDLE_TO_FD, &mut args)?;
        Ok(args.fd)
    }

    pub fn bo_from_fd(&self, fd: i32) -> Result<u32, Errno> {
        let mut args = PrimeHandle {
            handle: 0,
            flags: 0,
            fd,
        };
        self.call(IOCTL_PRIME_FD_TO_HANDLE, &mut args)?;
        Ok(args.handle)
    }

    pub fn close_bo(&self, handle: u32) -> Result<(), Errno> {
        self.call(IOCTL_GEM_CLOSE, &mut GemClose { handle, pad: 0 })
    }
}

/// Closes a file descriptor that the kernel has handed out.
pub fn close(fd: i32) {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: the kernel gave this number to us, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

pub fn map(bo_handle: u32, bo_offset: u64, va: u64, size: u64) -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC,
        bo_handle,
        bo_offset,
        va,
        size,
        ..Default::default()
    }
}

pub fn sparse(va: u64, size: u64) -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC | VM_BIND_OP_MAP_SPARSE,
        va,
        size,
        ..Default::default()
    }
}

pub fn unmap(va: u64, size: u64) -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_UNMAP,
        va,
        size,
        ..Default::default()
    }
}

pub fn sync_only() -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_SYNC_ONLY,
        ..Default::default()
    }
}

pub fn repeat(bo_handle: u32, va: u64, size: u64, bo_repeat_range: u64) -> VmBindOpRepeat {
    let op = map(bo_handle, 0, va, size);
    VmBindOpRepeat {
        op: VmBindOp {
            flags: op.flags | VM_BIND_OP_MAP_REPEAT,
            ..op
        },
        bo_repeat_range,
    }
}

pub fn wait_for(handle: u32) -> SyncOp {
    SyncOp {
        flags: SYNC_OP_HANDLE_TYPE_SYNCOBJ,
        handle,
        timeline_value: 0,
    }
}

pub fn signal(handle: u32) -> SyncOp {
    SyncOp {
        flags: SYNC_OP_HANDLE_TYPE_SYNCOBJ | SYNC_OP_SIGNAL,
        ..wait_for(handle)
    }
}

pub fn wait_for_point(handle: u32, point: u64) -> SyncOp {
    SyncOp {
        flags: SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
        handle,
        timeline_value: point,
    }
}

pub fn signal_point(handle: u32, point: u64) -> SyncOp {
    let op = wait_for_point(handle, point);
    SyncOp {
        flags: op.flags | SYNC_OP_SIGNAL,
        ..op
    }
}
