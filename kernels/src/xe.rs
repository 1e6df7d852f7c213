//! xe: Intel's GPUs. An unbound range is a MAP with the flag NULL, which needs no memory.
//!
//! Rules: `drm/xe_drm.h`; `vm_bind_ioctl_check_args` and `xe_vm_bind_ioctl_validate_bo` in `xe_vm.c`; `xe_sync_entry_parse` in
//! `xe_sync.c`.

use std::mem::offset_of;

use panvk_sparse::bind::Target;
use panvk_sparse::uapi::{COMMAND_BASE, IOCTL_BASE, Ioctl as Number, SyncOp};
use rustix::ioctl::opcode;

use crate::ioctl::Ioctl;
use crate::seam::{Change, Limits, Names, Uapi, is_timeline};

panvk_sparse::uapi_structs! {
    drm_xe_vm_bind_op = VmBindOp (80) {
        /// 0.
        0 => extensions: u64,
        /// 0 where no memory is mapped.
        8 => obj: u32,
        12 => pat_index: u16,
        14 => pad: u16,
        16 => obj_offset: u64,
        24 => range: u64,
        32 => addr: u64,
        40 => op: u32,
        44 => flags: u32,
        48 => prefetch_mem_region_instance: u32,
        52 => pad2: u32,
        56 => _reserved0: u64,
        64 => _reserved1: u64,
        72 => _reserved2: u64,
    }

    /// With its only operation inside.
    drm_xe_vm_bind = VmBind (136) {
        /// 0.
        0 => extensions: u64,
        8 => vm_id: u32,
        12 => exec_queue_id: u32,
        16 => pad: u32,
        20 => num_binds: u32,
        24 => bind: VmBindOp,
        104 => pad2: u32,
        108 => num_syncs: u32,
        /// Address of `num_syncs` [`Sync`].
        112 => syncs: u64,
        120 => _reserved0: u64,
        128 => _reserved1: u64,
    }

    /// The same with several operations.
    drm_xe_vm_bind = VmBindArray (136) {
        0 => extensions: u64,
        8 => vm_id: u32,
        12 => exec_queue_id: u32,
        16 => pad: u32,
        20 => num_binds: u32,
        /// Address of `num_binds` [`VmBindOp`].
        24 => vector_of_binds: u64,
        32 => _unused0: u64,
        40 => _unused1: u64,
        48 => _unused2: u64,
        56 => _unused3: u64,
        64 => _unused4: u64,
        72 => _unused5: u64,
        80 => _unused6: u64,
        88 => _unused7: u64,
        96 => _unused8: u64,
        104 => pad2: u32,
        108 => num_syncs: u32,
        112 => syncs: u64,
        120 => _reserved0: u64,
        128 => _reserved1: u64,
    }

    drm_xe_sync = Sync (48) {
        /// 0.
        0 => extensions: u64,
        8 => r#type: u32,
        12 => flags: u32,
        16 => handle: u32,
        /// The rest of a union with an address; 0.
        20 => _upper: u32,
        24 => timeline_value: u64,
        32 => _reserved0: u64,
        40 => _reserved1: u64,
    }
}

panvk_sparse::uapi_constants! {
    DRM_XE_VM_BIND = VM_BIND: u8 = 0x05;
    DRM_XE_VM_BIND_OP_MAP = OP_MAP: u32 = 0;
    DRM_XE_VM_BIND_OP_UNMAP = OP_UNMAP: u32 = 1;
    DRM_XE_VM_BIND_FLAG_READONLY = FLAG_READONLY: u32 = 1 << 0;
    /// Reads give zeros, and writes are dropped.
    DRM_XE_VM_BIND_FLAG_NULL = FLAG_NULL: u32 = 1 << 2;
    DRM_XE_SYNC_TYPE_SYNCOBJ = SYNC_TYPE_SYNCOBJ: u32 = 0;
    DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ = SYNC_TYPE_TIMELINE_SYNCOBJ: u32 = 1;
    DRM_XE_SYNC_FLAG_SIGNAL = SYNC_FLAG_SIGNAL: u32 = 1 << 0;
    DRM_XE_MAX_SYNCS = MAX_SYNCS: u32 = 1024;
}

pub(super) const IOCTL: Number = Number {
    c_name: "DRM_IOCTL_XE_VM_BIND",
    name: "VM_BIND",
    code: opcode::write::<VmBind>(IOCTL_BASE, COMMAND_BASE + VM_BIND) as u32,
};

#[derive(Debug)]
pub(crate) struct Xe;

impl Uapi for Xe {
    type Op = VmBindOp;

    const LIMITS: Limits = Limits {
        page: 4 << 10,
        memory_page: 4 << 10,
        addresses: (0, 1 << 47),
        // The kernel takes as many as it has memory for, and says ENOBUFS beyond.
        max_ops: 1 << 16,
        max_waits: MAX_SYNCS as usize / 2,
        max_signals: MAX_SYNCS as usize / 2,
        timeline_waits: true,
        empty_ioctl: true,
        regions: false,
    };

    fn op(names: &Names, change: &Change) -> Result<VmBindOp, &'static str> {
        let run = change.run();
        let op = VmBindOp {
            range: run.len,
            addr: run.va.0,
            ..VmBindOp::default()
        };
        Ok(match (change, run.target) {
            (Change::Destroy(_), _) => VmBindOp { op: OP_UNMAP, ..op },
            (_, Target::Null) => VmBindOp {
                op: OP_MAP,
                flags: FLAG_NULL,
                ..op
            },
            (_, Target::Memory { flags, .. }) if flags.uncached() => {
                return Err("caching is chosen by the PAT index of the VM's memory");
            }
            (_, Target::Memory { bo, offset, flags }) => VmBindOp {
                obj: bo.handle.0,
                pat_index: names.pat_index,
                obj_offset: offset,
                op: OP_MAP,
                flags: if flags.readonly() { FLAG_READONLY } else { 0 },
                ..op
            },
        })
    }

    fn ioctl(names: &Names, ops: &[VmBindOp], waits: &[SyncOp], signals: &[SyncOp]) -> Ioctl {
        let waits = waits.iter().map(|wait| sync(wait, 0));
        let signals = signals.iter().map(|signal| sync(signal, SYNC_FLAG_SIGNAL));
        let syncs: Vec<Sync> = waits.chain(signals).collect();
        let (inside, array) = match ops {
            [op] => (*op, &[][..]),
            ops => (VmBindOp::default(), ops),
        };
        let bind = VmBind {
            vm_id: names.vm,
            exec_queue_id: names.queue,
            num_binds: ops.len() as u32,
            bind: inside,
            num_syncs: syncs.len() as u32,
            ..VmBind::default()
        };
        Ioctl::new(IOCTL.code, &bind)
            .attach(offset_of!(VmBindArray, vector_of_binds), array)
            .attach(offset_of!(VmBind, syncs), &syncs)
    }
}

fn sync(sync: &SyncOp, flags: u32) -> Sync {
    let (r#type, timeline_value) = match is_timeline(sync) {
        true => (SYNC_TYPE_TIMELINE_SYNCOBJ, sync.timeline_value),
        false => (SYNC_TYPE_SYNCOBJ, 0),
    };
    Sync {
        r#type,
        flags,
        handle: sync.handle,
        timeline_value,
        ..Sync::default()
    }
}
