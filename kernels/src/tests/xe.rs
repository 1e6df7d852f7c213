//! `xe_vm_bind_ioctl`.

use super::model::{Checked, Done, NAMES, Sync as Seen, User, Vm, rule};
use crate::Kernel;
use crate::xe::*;

pub fn vm_bind(vm: &mut Vm, user: &User<'_>) -> Checked<Done> {
    let args: VmBind = user.argument()?;
    rule(args.extensions == 0, "extensions")?;
    rule(args.pad == 0 && args.pad2 == 0, "pad")?;
    rule(args._reserved0 == 0 && args._reserved1 == 0, "reserved")?;
    rule(args.vm_id == NAMES.vm, "no such VM")?;
    rule(args.exec_queue_id == NAMES.queue, "no such queue")?;
    rule(args.num_syncs <= MAX_SYNCS, "too many syncs")?;
    let ops: Vec<VmBindOp> = match args.num_binds {
        0 => {
            rule(args.bind == VmBindOp::default(), "an operation too many")?;
            Vec::new()
        }
        1 => vec![args.bind],
        several => {
            let args: VmBindArray = user.argument()?;
            let rest = [
                args._unused0,
                args._unused1,
                args._unused2,
                args._unused3,
                args._unused4,
                args._unused5,
                args._unused6,
                args._unused7,
                args._unused8,
            ];
            rule(rest == [0; 9], "behind the address of operations")?;
            user.array(args.vector_of_binds, several)?
        }
    };
    let mut done = Done {
        ops: ops.len(),
        ..Done::default()
    };
    for sync in user.array::<Sync>(args.syncs, args.num_syncs)? {
        let (signal, seen) = check_sync(&sync)?;
        match signal {
            true => done.signals.push(seen),
            false => done.waits.push(seen),
        }
    }
    for op in &ops {
        check(vm, op)?;
    }
    for op in ops {
        match (op.op, op.flags & FLAG_NULL) {
            (OP_UNMAP, _) => vm.unmap(op.addr, op.range),
            (_, 0) => {
                let readonly = op.flags & FLAG_READONLY != 0;
                vm.map(op.addr, op.range, op.obj, op.obj_offset, readonly);
            }
            _ => vm.map_null(op.addr, op.range),
        }
    }
    Ok(done)
}

fn check(vm: &Vm, op: &VmBindOp) -> Checked<()> {
    rule(op.extensions == 0, "extensions of an operation")?;
    rule(op.pad == 0 && op.pad2 == 0, "pad of an operation")?;
    let reserved = op._reserved0 | op._reserved1 | op._reserved2;
    rule(reserved == 0, "reserved of an operation")?;
    rule(op.prefetch_mem_region_instance == 0, "prefetch")?;
    rule(op.op == OP_MAP || op.op == OP_UNMAP, "operation")?;
    rule(op.flags & !(FLAG_READONLY | FLAG_NULL) == 0, "flags")?;
    vm.range(op.addr, op.range, 4 << 10, (0, 1 << 47))?;
    let null = op.flags & FLAG_NULL != 0;
    if op.op == OP_UNMAP || null {
        rule(!null || op.op == OP_MAP, "NULL is for MAP")?;
        rule(op.flags & FLAG_READONLY == 0, "read-only without memory")?;
        rule(op.obj == 0, "a handle without memory")?;
        rule(op.obj_offset == 0, "an offset without memory")?;
        return rule(op.pat_index == 0, "caching without memory");
    }
    rule(op.obj != 0, "MAP without a handle")?;
    rule(op.pat_index == NAMES.pat_index, "PAT index")?;
    rule(op.obj_offset % (4 << 10) == 0, "alignment of the offset")?;
    if vm.kernel == Kernel::Xe64k {
        let all = op.obj_offset | op.addr | op.range;
        rule(all % (64 << 10) == 0, "64 KiB")?;
    }
    vm.inside(op.obj, op.obj_offset, op.range)
}

fn check_sync(sync: &Sync) -> Checked<(bool, Seen)> {
    rule(sync.extensions == 0, "extensions of a sync")?;
    rule(sync.flags & !SYNC_FLAG_SIGNAL == 0, "flags of a sync")?;
    rule(sync._upper == 0, "upper half of a handle")?;
    let reserved = sync._reserved0 | sync._reserved1;
    rule(reserved == 0, "reserved of a sync")?;
    rule(sync.handle != 0, "no such syncobj")?;
    match sync.r#type {
        SYNC_TYPE_SYNCOBJ => rule(sync.timeline_value == 0, "a point of a binary syncobj")?,
        SYNC_TYPE_TIMELINE_SYNCOBJ => rule(sync.timeline_value != 0, "point 0 of a timeline")?,
        _ => return Err("type of a sync".into()),
    }
    let signal = sync.flags & SYNC_FLAG_SIGNAL != 0;
    Ok((signal, (sync.handle, sync.timeline_value)))
}
