//! The kernel boundary against the virtual kernel, in every flavour, and against nodes that are no panthor's.

mod bind;
mod device;
mod probe;

use panvk_sparse::drm::{Bo, Device, Syncobj, Vm};
use panvk_sparse::lower::{OpArray, OpCounts, Ops, unmap_op};
use panvk_sparse::uapi::{self, SyncOp, VmBindOp, ioctl_nr};
use panvk_sparse::units::{SZ_4K, Va};
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, Kernel, Objects, OpenOptions};
use vpanthor::{KernelSpec, Virtual};

/// Set in a process that has a node for each flavour, the first of which is renderD128.
pub const NODES: &str = "PANVK_SPARSE_TEST_NODES";

/// A virtual kernel of this flavour: in this process, or behind a node.
fn open(flavour: Flavour) -> Device {
    if std::env::var_os(NODES).is_none() {
        return open_model(flavour);
    }
    let index = Flavour::ALL.iter().position(|one| *one == flavour).unwrap();
    let path = format!("/dev/dri/renderD{}", 128 + index);
    KernelSpec::Node(path.into()).open().unwrap()
}

/// A virtual kernel of this flavour in this process, opened once, for a look inside.
fn open_model(flavour: Flavour) -> Device {
    vpanthor::device(Kernel::new(flavour).open(OpenOptions::default())).unwrap()
}

/// All objects of the kernel behind the device, whoever keeps them.
fn objects(device: &Device) -> Objects {
    device.vpanthor().unwrap().kernel().objects()
}

/// The `nth` call from now of the ioctl with this request number fails.
fn fail_ioctl(device: &Device, request: u32, nth: u64, errno: Errno) {
    device.vpanthor().unwrap().inject(Fault::Ioctl {
        number: ioctl_nr(request),
        nth,
        errno,
    });
}

/// A map of `size` bytes of the BO, from its start.
pub fn map_op(bo: &Bo, va: u64, size: u64) -> VmBindOp {
    VmBindOp {
        flags: uapi::VM_BIND_OP_TYPE_MAP | uapi::VM_BIND_OP_MAP_NOEXEC,
        bo_handle: bo.handle().0,
        va,
        size,
        ..VmBindOp::default()
    }
}

pub fn plain(ops: Vec<VmBindOp>) -> Ops {
    let unmaps = ops
        .iter()
        .filter(|op| op.flags == uapi::VM_BIND_OP_TYPE_UNMAP)
        .count() as u64;
    let counts = OpCounts {
        map: ops.len() as u64 - unmaps,
        unmap: unmaps,
        ..OpCounts::default()
    };
    Ops {
        array: OpArray::Plain(ops),
        counts,
        ..Ops::default()
    }
}

/// Maps of one page each, `count` of them, 8 KiB apart.
pub fn scattered(bo: &Bo, count: u64) -> Ops {
    plain(
        (0..count)
            .map(|i| map_op(bo, (1 << 30) + i * 2 * SZ_4K, SZ_4K))
            .collect(),
    )
}

fn unmap(va: u64, len: u64) -> Ops {
    plain(vec![unmap_op(Va(va), len)])
}

/// How many mappings the VM has.
fn mappings(vm: &Vm) -> usize {
    vm.device()
        .vpanthor()
        .unwrap()
        .vm_stats(vm.id().0)
        .unwrap()
        .mappings
}

/// A wait for a point of a timeline, or a signal of it, for a bind.
pub fn point_op(timeline: &Syncobj, wait_or_signal: u32, point: u64) -> SyncOp {
    SyncOp {
        flags: wait_or_signal | uapi::SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
        handle: timeline.handle().0,
        timeline_value: point,
    }
}
