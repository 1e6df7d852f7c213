//! msm: Qualcomm's Adreno. An unbound range is a MAP_NULL: the kernel maps a dummy page of its own where the GPU has partially
//! resident regions (MSM_PARAM_HAS_PRR).
//!
//! Rules: `drm/msm_drm.h` of Linux 6.17 or later; `lookup_op` and `msm_ioctl_vm_bind` in `msm_gem_vma.c`; `msm_syncobj.c`.

use std::mem::offset_of;

use panvk_sparse::bind::Target;
use panvk_sparse::uapi::{COMMAND_BASE, IOCTL_BASE, Ioctl as Number, SyncOp};
use rustix::ioctl::opcode;

use crate::ioctl::Ioctl;
use crate::seam::{Change, Limits, Names, Uapi, is_timeline};

panvk_sparse::uapi_structs! {
    drm_msm_vm_bind_op = VmBindOp (40) {
        0 => op: u32,
        /// 0 where no memory is mapped, as `obj_offset`.
        4 => handle: u32,
        8 => obj_offset: u64,
        16 => iova: u64,
        24 => range: u64,
        32 => flags: u32,
        36 => pad: u32,
    }

    /// With its only operation inside.
    drm_msm_vm_bind = VmBind (88) {
        0 => flags: u32,
        4 => nr_ops: u32,
        /// A sync file, if the flags say so.
        8 => fence_fd: i32,
        12 => queue_id: u32,
        /// Address of `nr_in_syncobjs` [`Syncobj`].
        16 => in_syncobjs: u64,
        24 => out_syncobjs: u64,
        32 => nr_in_syncobjs: u32,
        36 => nr_out_syncobjs: u32,
        40 => syncobj_stride: u32,
        44 => op_stride: u32,
        48 => op: VmBindOp,
    }

    /// The same with several operations.
    drm_msm_vm_bind = VmBindArray (88) {
        0 => flags: u32,
        4 => nr_ops: u32,
        8 => fence_fd: i32,
        12 => queue_id: u32,
        16 => in_syncobjs: u64,
        24 => out_syncobjs: u64,
        32 => nr_in_syncobjs: u32,
        36 => nr_out_syncobjs: u32,
        40 => syncobj_stride: u32,
        44 => op_stride: u32,
        /// Address of `nr_ops` [`VmBindOp`].
        48 => ops: u64,
        56 => _unused0: u64,
        64 => _unused1: u64,
        72 => _unused2: u64,
        80 => _unused3: u64,
    }

    drm_msm_syncobj = Syncobj (16) {
        0 => handle: u32,
        4 => flags: u32,
        /// 0 for a binary one.
        8 => point: u64,
    }
}

panvk_sparse::uapi_constants! {
    DRM_MSM_VM_BIND = VM_BIND: u8 = 0x0d;
    MSM_VM_BIND_OP_UNMAP = OP_UNMAP: u32 = 0;
    MSM_VM_BIND_OP_MAP = OP_MAP: u32 = 1;
    MSM_VM_BIND_OP_MAP_NULL = OP_MAP_NULL: u32 = 2;
    MSM_VM_BIND_FENCE_FD_IN = FENCE_FD_IN: u32 = 1;
    MSM_VM_BIND_FENCE_FD_OUT = FENCE_FD_OUT: u32 = 2;
}

pub(super) const IOCTL: Number = Number {
    c_name: "DRM_IOCTL_MSM_VM_BIND",
    name: "VM_BIND",
    code: opcode::read_write::<VmBind>(IOCTL_BASE, COMMAND_BASE + VM_BIND) as u32,
};

#[derive(Debug)]
pub(crate) struct Msm;

impl Uapi for Msm {
    type Op = VmBindOp;

    const LIMITS: Limits = Limits {
        page: 4 << 10,
        memory_page: 4 << 10,
        // The device says which (MSM_PARAM_VA_START and VA_SIZE); these are the most there can be.
        addresses: (4 << 10, 1 << 47),
        // The kernel copies them into one piece of contiguous memory, of which it has little.
        max_ops: 1 << 12,
        max_waits: 1 << 10,
        max_signals: 1 << 10,
        timeline_waits: true,
        empty_ioctl: true,
        regions: false,
    };

    fn op(_: &Names, change: &Change) -> Result<VmBindOp, &'static str> {
        let run = change.run();
        let op = VmBindOp {
            iova: run.va.0,
            range: run.len,
            ..VmBindOp::default()
        };
        Ok(match (change, run.target) {
            (Change::Destroy(_), _) => VmBindOp { op: OP_UNMAP, ..op },
            (_, Target::Null) => VmBindOp {
                op: OP_MAP_NULL,
                ..op
            },
            (_, Target::Memory { flags, .. }) if flags.readonly() || flags.uncached() => {
                return Err("how memory is mapped is chosen when a buffer object is made");
            }
            (_, Target::Memory { bo, offset, .. }) => VmBindOp {
                op: OP_MAP,
                handle: bo.handle.0,
                obj_offset: offset,
                ..op
            },
        })
    }

    fn ioctl(names: &Names, ops: &[VmBindOp], waits: &[SyncOp], signals: &[SyncOp]) -> Ioctl {
        let waits: Vec<Syncobj> = waits.iter().map(syncobj).collect();
        let signals: Vec<Syncobj> = signals.iter().map(syncobj).collect();
        let (inside, array) = match ops {
            [op] => (*op, &[][..]),
            ops => (VmBindOp::default(), ops),
        };
        let bind = VmBind {
            nr_ops: ops.len() as u32,
            queue_id: names.queue,
            nr_in_syncobjs: waits.len() as u32,
            nr_out_syncobjs: signals.len() as u32,
            syncobj_stride: size_of::<Syncobj>() as u32,
            op_stride: size_of::<VmBindOp>() as u32,
            op: inside,
            ..VmBind::default()
        };
        Ioctl::new(IOCTL.code, &bind)
            .attach(offset_of!(VmBindArray, ops), array)
            .attach(offset_of!(VmBind, in_syncobjs), &waits)
            .attach(offset_of!(VmBind, out_syncobjs), &signals)
    }
}

fn syncobj(sync: &SyncOp) -> Syncobj {
    Syncobj {
        handle: sync.handle,
        point: if is_timeline(sync) {
            sync.timeline_value
        } else {
            0
        },
        ..Syncobj::default()
    }
}
