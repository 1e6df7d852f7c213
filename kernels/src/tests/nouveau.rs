//! `nouveau_uvmm_ioctl_vm_bind`.

use super::model::{Checked, Done, Page, Sync as Seen, User, Vm, pages, rule};
use crate::nouveau::*;

pub fn vm_bind(vm: &mut Vm, user: &User<'_>) -> Checked<Done> {
    let args: VmBind = user.argument()?;
    rule(args.flags & !RUN_ASYNC == 0, "flags")?;
    rule(args.flags == RUN_ASYNC, "a synchronous bind in a queue")?;
    let ops: Vec<VmBindOp> = user.array(args.op_ptr, args.op_count)?;
    let done = Done {
        waits: syncs(user.array(args.wait_ptr, args.wait_count)?)?,
        signals: syncs(user.array(args.sig_ptr, args.sig_count)?)?,
        ops: ops.len(),
    };
    // Either all of it happens or nothing.
    let mut changed = vm.clone();
    for op in &ops {
        bind(&mut changed, op)?;
    }
    *vm = changed;
    Ok(done)
}

fn bind(vm: &mut Vm, op: &VmBindOp) -> Checked<()> {
    let (from, to) = (op.addr, op.addr.wrapping_add(op.range));
    rule(op.pad == 0, "pad")?;
    vm.range(from, op.range, 4 << 10, (0, 1 << 47))?;
    if op.op == OP_MAP && op.flags == 0 {
        rule(op.bo_offset % (4 << 10) == 0, "alignment of the offset")?;
        vm.inside(op.handle, op.bo_offset, op.range)?;
        let region = overlapping(vm, from, to);
        let contained = region.is_none_or(|(start, end)| start <= from && to <= end);
        rule(contained, "memory across the border of a region")?;
        vm.map(from, op.range, op.handle, op.bo_offset, false);
        return Ok(());
    }
    rule(
        op.handle == 0 && op.bo_offset == 0,
        "memory where none is mapped",
    )?;
    match (op.op, op.flags) {
        (OP_MAP, FLAG_SPARSE) => {
            rule(overlapping(vm, from, to).is_none(), "regions overlap")?;
            let empty = vm.pages.range(from..to).next().is_none();
            rule(empty, "a region over mappings")?;
            vm.regions.insert(from, to);
            vm.map_null(from, op.range);
        }
        (OP_UNMAP, FLAG_SPARSE) => {
            rule(vm.regions.get(&from) == Some(&to), "no such region")?;
            vm.regions.remove(&from);
            vm.unmap(from, op.range);
        }
        (OP_UNMAP, 0) => {
            // Inside of a region the sparse mapping shows again.
            for at in pages(from, op.range) {
                if overlapping(vm, at, at + 1).is_some() {
                    vm.pages.insert(at, Page::Null);
                } else {
                    vm.pages.remove(&at);
                }
            }
        }
        _ => return Err("operation or flags".into()),
    }
    Ok(())
}

/// The first region that has a byte of these addresses.
fn overlapping(vm: &Vm, from: u64, to: u64) -> Option<(u64, u64)> {
    let mut before = vm.regions.range(..to).map(|(&start, &end)| (start, end));
    before.find(|&(_, end)| end > from)
}

fn syncs(list: Vec<Sync>) -> Checked<Vec<Seen>> {
    let sync = |sync: Sync| {
        rule(sync.handle != 0, "no such syncobj")?;
        match sync.flags {
            SYNC_SYNCOBJ => rule(sync.timeline_value == 0, "a point of a binary syncobj")?,
            SYNC_TIMELINE_SYNCOBJ => rule(sync.timeline_value != 0, "point 0 of a timeline")?,
            _ => return Err("type of a sync".into()),
        }
        Ok((sync.handle, sync.timeline_value))
    };
    list.into_iter().map(sync).collect()
}
