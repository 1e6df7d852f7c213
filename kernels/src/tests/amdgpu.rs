//! `amdgpu_gem_va_ioctl`.

use super::model::{Checked, Done, User, Vm, rule};
use crate::amdgpu::*;

pub fn gem_va(vm: &mut Vm, user: &User<'_>) -> Checked<Done> {
    let args: GemVa = user.argument()?;
    rule(args._pad == 0, "pad")?;
    let handles: Vec<u32> =
        user.array(args.input_fence_syncobj_handles, args.num_syncobj_handles)?;
    rule(!handles.contains(&0), "no such syncobj")?;
    let mut done = Done {
        waits: handles.into_iter().map(|handle| (handle, 0)).collect(),
        ops: 1,
        ..Done::default()
    };
    match args.vm_timeline_syncobj_out {
        0 => rule(args.vm_timeline_point == 0, "a point of nothing")?,
        out => done.signals.push((out, args.vm_timeline_point)),
    }
    let (va, len) = (args.va_address, args.map_size);
    // The lower half, where applications are; the addresses above it are a hole.
    vm.range(va, len, 4 << 10, (64 << 10, 1 << 47))?;
    let access = PAGE_READABLE | PAGE_WRITEABLE | MTYPE_UC;
    // The driver takes the flags of memory or those of PRT, not both.
    rule(
        args.flags & !access == 0 || args.flags & !PAGE_PRT == 0,
        "flags",
    )?;
    if args.operation == OP_REPLACE && args.flags != PAGE_PRT {
        rule(args.flags & PAGE_READABLE != 0, "no access")?;
        rule(args.flags & MTYPE_UC == 0, "nobody asked for that caching")?;
        rule(
            args.offset_in_bo % (4 << 10) == 0,
            "alignment of the offset",
        )?;
        vm.inside(args.handle, args.offset_in_bo, len)?;
        let readonly = args.flags & PAGE_WRITEABLE == 0;
        vm.map(va, len, args.handle, args.offset_in_bo, readonly);
        return Ok(done);
    }
    rule(
        args.handle == 0 && args.offset_in_bo == 0,
        "memory where none is mapped",
    )?;
    match args.operation {
        OP_REPLACE => vm.map_null(va, len),
        OP_CLEAR => {
            rule(args.flags == 0, "flags of CLEAR")?;
            vm.unmap(va, len);
        }
        _ => return Err("operation".into()),
    }
    Ok(done)
}
