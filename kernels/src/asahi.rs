//! asahi: Apple's GPUs. An unbound range is a bind with SINGLE_PAGE: one page of a buffer object, over and over. Pages are of
//! 16 KiB, and the ioctl knows no waits and no signals: it has bound when it returns.
//!
//! Rules: `drm/asahi_drm.h`; `File::vm_bind`, `do_gem_bind` and `do_gem_unbind` in `file.rs` of the driver, which is not in mainline.

use std::mem::offset_of;

use panvk_sparse::bind::Target;
use panvk_sparse::uapi::{COMMAND_BASE, IOCTL_BASE, Ioctl as Number, SyncOp};
use rustix::ioctl::opcode;

use crate::ioctl::Ioctl;
use crate::seam::{Change, Limits, Names, Uapi};

panvk_sparse::uapi_structs! {
    drm_asahi_gem_bind_op = GemBindOp (32) {
        0 => flags: u32,
        4 => handle: u32,
        /// Bytes, a multiple of 16 KiB, as `range` and `addr`.
        8 => offset: u64,
        16 => range: u64,
        24 => addr: u64,
    }

    drm_asahi_vm_bind = VmBind (24) {
        0 => vm_id: u32,
        4 => num_binds: u32,
        8 => stride: u32,
        12 => pad: u32,
        /// Address of `num_binds` [`GemBindOp`].
        16 => userptr: u64,
    }
}

panvk_sparse::uapi_constants! {
    DRM_ASAHI_VM_BIND = VM_BIND: u8 = 4;
    DRM_ASAHI_BIND_UNBIND = BIND_UNBIND: u32 = 1 << 0;
    DRM_ASAHI_BIND_READ = BIND_READ: u32 = 1 << 1;
    DRM_ASAHI_BIND_WRITE = BIND_WRITE: u32 = 1 << 2;
    DRM_ASAHI_BIND_SINGLE_PAGE = BIND_SINGLE_PAGE: u32 = 1 << 3;
}

pub(super) const IOCTL: Number = Number {
    c_name: "DRM_IOCTL_ASAHI_VM_BIND",
    name: "VM_BIND",
    code: opcode::write::<VmBind>(IOCTL_BASE, COMMAND_BASE + VM_BIND) as u32,
};

#[derive(Debug)]
pub(crate) struct Asahi;

impl Uapi for Asahi {
    type Op = GemBindOp;

    const LIMITS: Limits = Limits {
        page: 16 << 10,
        memory_page: 16 << 10,
        // 39 bits, without the first page and the last two. A part of it is the kernel's, where the driver says.
        addresses: (16 << 10, (1 << 39) - (32 << 10)),
        // The kernel copies them into one piece of contiguous memory, of which it has little.
        max_ops: 1 << 12,
        max_waits: 0,
        max_signals: 0,
        timeline_waits: false,
        empty_ioctl: false,
        regions: false,
    };

    fn op(names: &Names, change: &Change) -> Result<GemBindOp, &'static str> {
        let run = change.run();
        let op = GemBindOp {
            range: run.len,
            addr: run.va.0,
            ..GemBindOp::default()
        };
        Ok(match (change, run.target) {
            (Change::Destroy(_), _) => GemBindOp {
                flags: BIND_UNBIND,
                ..op
            },
            (_, Target::Null) => GemBindOp {
                flags: BIND_READ | BIND_WRITE | BIND_SINGLE_PAGE,
                handle: names.scratch.0,
                ..op
            },
            (_, Target::Memory { flags, .. }) if flags.uncached() => {
                return Err("caching is not for a bind to choose");
            }
            (_, Target::Memory { bo, offset, flags }) => GemBindOp {
                flags: BIND_READ | if flags.readonly() { 0 } else { BIND_WRITE },
                handle: bo.handle.0,
                offset,
                ..op
            },
        })
    }

    fn ioctl(names: &Names, ops: &[GemBindOp], _: &[SyncOp], _: &[SyncOp]) -> Ioctl {
        let bind = VmBind {
            vm_id: names.vm,
            num_binds: ops.len() as u32,
            stride: size_of::<GemBindOp>() as u32,
            ..VmBind::default()
        };
        Ioctl::new(IOCTL.code, &bind).attach(offset_of!(VmBind, userptr), ops)
    }
}
