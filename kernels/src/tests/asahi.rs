//! `File::vm_bind` of the driver.

use super::model::{Checked, Done, NAMES, SCRATCH, User, Vm, rule};
use crate::asahi::*;

const PAGE: u64 = 16 << 10;

pub fn vm_bind(vm: &mut Vm, user: &User<'_>) -> Checked<Done> {
    let args: VmBind = user.argument()?;
    rule(args.stride == 32 && args.pad == 0, "headers")?;
    rule(args.vm_id == NAMES.vm, "no such VM")?;
    rule(args.num_binds > 0, "nothing to bind")?;
    let ops: Vec<GemBindOp> = user.array(args.userptr, args.num_binds)?;
    // One after the other: what comes before one that is refused has happened.
    for op in &ops {
        bind(vm, op)?;
    }
    Ok(Done {
        ops: ops.len(),
        ..Done::default()
    })
}

fn bind(vm: &mut Vm, op: &GemBindOp) -> Checked<()> {
    let usable = (PAGE, (1 << 39) - 2 * PAGE);
    if op.flags & BIND_UNBIND != 0 {
        let rest = op.flags & !BIND_UNBIND | op.handle;
        rule(
            rest == 0 && op.offset == 0,
            "UNBIND with something that it unbinds",
        )?;
        vm.range(op.addr, op.range, PAGE, usable)?;
        vm.unmap(op.addr, op.range);
        return Ok(());
    }
    let known = BIND_READ | BIND_WRITE | BIND_SINGLE_PAGE;
    rule(op.flags & !known == 0, "flags")?;
    rule(op.flags & (BIND_READ | BIND_WRITE) != 0, "no access")?;
    rule(op.flags & BIND_READ != 0, "write-only")?;
    rule(op.offset % PAGE == 0, "alignment of the offset")?;
    vm.range(op.addr, op.range, PAGE, usable)?;
    if op.flags & BIND_SINGLE_PAGE != 0 {
        vm.inside(op.handle, op.offset, PAGE)?;
        // Any page of the scratch object would do; it has one.
        rule(
            op.handle == SCRATCH && op.offset == 0,
            "memory of the application repeated",
        )?;
        rule(
            op.flags & BIND_WRITE != 0,
            "writes to unbound ranges have to be harmless",
        )?;
        vm.map_null(op.addr, op.range);
        return Ok(());
    }
    vm.inside(op.handle, op.offset, op.range)?;
    rule(op.handle != SCRATCH, "the scratch page is no memory")?;
    let readonly = op.flags & BIND_WRITE == 0;
    vm.map(op.addr, op.range, op.handle, op.offset, readonly);
    Ok(())
}
