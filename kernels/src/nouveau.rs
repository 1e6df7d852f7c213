//! nouveau: NVIDIA's GPUs. A sparse range is a region of the VM: what is unmapped inside of it reads as zeros. So an unbound
//! range is an UNMAP.
//!
//! Rules: `drm/nouveau_drm.h`; `bind_validate_op`, `bind_validate_region` and `nouveau_uvmm_bind_job_submit` in `nouveau_uvmm.c`;
//! `nouveau_job_init` in `nouveau_sched.c`.

use std::mem::offset_of;

use panvk_sparse::bind::Target;
use panvk_sparse::uapi::{COMMAND_BASE, IOCTL_BASE, Ioctl as Number, SyncOp};
use rustix::ioctl::opcode;

use crate::ioctl::Ioctl;
use crate::seam::{Change, Limits, Names, Uapi, is_timeline};

panvk_sparse::uapi_structs! {
    drm_nouveau_vm_bind_op = VmBindOp (40) {
        0 => op: u32,
        /// [`FLAG_SPARSE`], or the kind of page of memory that is mapped: 0 for an ordinary one.
        4 => flags: u32,
        8 => handle: u32,
        12 => pad: u32,
        16 => addr: u64,
        24 => bo_offset: u64,
        32 => range: u64,
    }

    drm_nouveau_vm_bind = VmBind (40) {
        0 => op_count: u32,
        4 => flags: u32,
        8 => wait_count: u32,
        12 => sig_count: u32,
        /// Address of `wait_count` [`Sync`].
        16 => wait_ptr: u64,
        24 => sig_ptr: u64,
        /// Address of `op_count` [`VmBindOp`].
        32 => op_ptr: u64,
    }

    drm_nouveau_sync = Sync (16) {
        0 => flags: u32,
        4 => handle: u32,
        8 => timeline_value: u64,
    }
}

panvk_sparse::uapi_constants! {
    DRM_NOUVEAU_VM_BIND = VM_BIND: u8 = 0x11;
    DRM_NOUVEAU_VM_BIND_OP_MAP = OP_MAP: u32 = 0;
    DRM_NOUVEAU_VM_BIND_OP_UNMAP = OP_UNMAP: u32 = 1;
    /// The operation is about a region, not about memory.
    DRM_NOUVEAU_VM_BIND_SPARSE = FLAG_SPARSE: u32 = 1 << 8;
    /// Without it there are no waits and signals.
    DRM_NOUVEAU_VM_BIND_RUN_ASYNC = RUN_ASYNC: u32 = 1;
    DRM_NOUVEAU_SYNC_SYNCOBJ = SYNC_SYNCOBJ: u32 = 0;
    DRM_NOUVEAU_SYNC_TIMELINE_SYNCOBJ = SYNC_TIMELINE_SYNCOBJ: u32 = 1;
}

pub(super) const IOCTL: Number = Number {
    c_name: "DRM_IOCTL_NOUVEAU_VM_BIND",
    name: "VM_BIND",
    code: opcode::read_write::<VmBind>(IOCTL_BASE, COMMAND_BASE + VM_BIND) as u32,
};

#[derive(Debug)]
pub(crate) struct Nouveau;

impl Uapi for Nouveau {
    type Op = VmBindOp;

    const LIMITS: Limits = Limits {
        page: 4 << 10,
        memory_page: 4 << 10,
        addresses: (0, 1 << 47),
        max_ops: 1 << 16,
        max_waits: 1 << 10,
        max_signals: 1 << 10,
        timeline_waits: true,
        empty_ioctl: true,
        regions: true,
    };

    fn op(_: &Names, change: &Change) -> Result<VmBindOp, &'static str> {
        let run = change.run();
        let op = VmBindOp {
            addr: run.va.0,
            range: run.len,
            ..VmBindOp::default()
        };
        Ok(match (change, run.target) {
            (Change::Create(_), _) => VmBindOp {
                op: OP_MAP,
                flags: FLAG_SPARSE,
                ..op
            },
            (Change::Destroy(_), _) => VmBindOp {
                op: OP_UNMAP,
                flags: FLAG_SPARSE,
                ..op
            },
            (_, Target::Null) => VmBindOp { op: OP_UNMAP, ..op },
            (_, Target::Memory { flags, .. }) if flags.readonly() || flags.uncached() => {
                return Err("how memory is mapped is not for a bind to choose");
            }
            (_, Target::Memory { bo, offset, .. }) => VmBindOp {
                op: OP_MAP,
                handle: bo.handle.0,
                bo_offset: offset,
                ..op
            },
        })
    }

    fn ioctl(_: &Names, ops: &[VmBindOp], waits: &[SyncOp], signals: &[SyncOp]) -> Ioctl {
        let waits: Vec<Sync> = waits.iter().map(sync).collect();
        let signals: Vec<Sync> = signals.iter().map(sync).collect();
        let bind = VmBind {
            op_count: ops.len() as u32,
            flags: RUN_ASYNC,
            wait_count: waits.len() as u32,
            sig_count: signals.len() as u32,
            ..VmBind::default()
        };
        Ioctl::new(IOCTL.code, &bind)
            .attach(offset_of!(VmBind, op_ptr), ops)
            .attach(offset_of!(VmBind, wait_ptr), &waits)
            .attach(offset_of!(VmBind, sig_ptr), &signals)
    }
}

fn sync(sync: &SyncOp) -> Sync {
    let (flags, timeline_value) = match is_timeline(sync) {
        true => (SYNC_TIMELINE_SYNCOBJ, sync.timeline_value),
        false => (SYNC_SYNCOBJ, 0),
    };
    Sync {
        flags,
        handle: sync.handle,
        timeline_value,
    }
}
