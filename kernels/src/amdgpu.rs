//! amdgpu: AMD's GPUs. An unbound range is a mapping without memory with the flag PRT (partially resident texture). An ioctl is
//! one operation.
//!
//! Rules: `drm/amdgpu_drm.h`, whose waits and signals are of Linux 6.15 and later; `amdgpu_gem_va_ioctl` in `amdgpu_gem.c`;
//! `amdgpu_vm_verify_parameters` in `amdgpu_vm.c`.

use std::mem::offset_of;

use panvk_sparse::bind::Target;
use panvk_sparse::uapi::{COMMAND_BASE, IOCTL_BASE, Ioctl as Number, SyncOp};
use rustix::ioctl::opcode;

use crate::ioctl::Ioctl;
use crate::seam::{Change, Limits, Names, Uapi, is_timeline};

panvk_sparse::uapi_structs! {
    drm_amdgpu_gem_va = GemVa (64) {
        /// 0 where no memory is mapped.
        0 => handle: u32,
        4 => _pad: u32,
        8 => operation: u32,
        12 => flags: u32,
        /// Bytes, a multiple of 4 KiB, as `offset_in_bo` and `map_size`.
        16 => va_address: u64,
        24 => offset_in_bo: u64,
        32 => map_size: u64,
        /// 0 for a binary syncobj.
        40 => vm_timeline_point: u64,
        /// 0 for none.
        48 => vm_timeline_syncobj_out: u32,
        52 => num_syncobj_handles: u32,
        /// Address of `num_syncobj_handles` u32.
        56 => input_fence_syncobj_handles: u64,
    }
}

panvk_sparse::uapi_constants! {
    DRM_AMDGPU_GEM_VA = GEM_VA: u8 = 0x08;
    /// Leaves a range without any mapping, whatever is mapped there.
    AMDGPU_VA_OP_CLEAR = OP_CLEAR: u32 = 3;
    /// Maps a range, whatever is mapped there.
    AMDGPU_VA_OP_REPLACE = OP_REPLACE: u32 = 4;
    AMDGPU_VM_PAGE_READABLE = PAGE_READABLE: u32 = 1 << 1;
    AMDGPU_VM_PAGE_WRITEABLE = PAGE_WRITEABLE: u32 = 1 << 2;
    AMDGPU_VM_PAGE_PRT = PAGE_PRT: u32 = 1 << 4;
    AMDGPU_VM_MTYPE_UC = MTYPE_UC: u32 = 4 << 5;
}

pub(super) const IOCTL: Number = Number {
    c_name: "DRM_IOCTL_AMDGPU_GEM_VA",
    name: "GEM_VA",
    code: opcode::write::<GemVa>(IOCTL_BASE, COMMAND_BASE + GEM_VA) as u32,
};

#[derive(Debug)]
pub(crate) struct Amdgpu;

impl Uapi for Amdgpu {
    type Op = GemVa;

    const LIMITS: Limits = Limits {
        page: 4 << 10,
        memory_page: 4 << 10,
        // The first 64 KiB are reserved, and a hole begins at 2^47.
        addresses: (64 << 10, 1 << 47),
        max_ops: 1,
        max_waits: 1 << 10,
        max_signals: 1,
        timeline_waits: false,
        empty_ioctl: false,
        regions: false,
    };

    fn op(_: &Names, change: &Change) -> Result<GemVa, &'static str> {
        let run = change.run();
        let op = GemVa {
            va_address: run.va.0,
            map_size: run.len,
            ..GemVa::default()
        };
        Ok(match (change, run.target) {
            (Change::Destroy(_), _) => GemVa {
                operation: OP_CLEAR,
                ..op
            },
            (_, Target::Null) => GemVa {
                operation: OP_REPLACE,
                flags: PAGE_PRT,
                ..op
            },
            (_, Target::Memory { bo, offset, flags }) => {
                let bit = |set, bit| if set { bit } else { 0 };
                GemVa {
                    handle: bo.handle.0,
                    operation: OP_REPLACE,
                    flags: PAGE_READABLE
                        | bit(!flags.readonly(), PAGE_WRITEABLE)
                        | bit(flags.uncached(), MTYPE_UC),
                    offset_in_bo: offset,
                    ..op
                }
            }
        })
    }

    fn ioctl(_: &Names, ops: &[GemVa], waits: &[SyncOp], signals: &[SyncOp]) -> Ioctl {
        let handles: Vec<u32> = waits.iter().map(|wait| wait.handle).collect();
        let mut va = ops.first().copied().unwrap_or_default();
        va.num_syncobj_handles = handles.len() as u32;
        if let Some(signal) = signals.first() {
            va.vm_timeline_syncobj_out = signal.handle;
            va.vm_timeline_point = if is_timeline(signal) {
                signal.timeline_value
            } else {
                0
            };
        }
        Ioctl::new(IOCTL.code, &va).attach(offset_of!(GemVa, input_fence_syncobj_handles), &handles)
    }
}
