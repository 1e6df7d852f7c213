//! `msm_ioctl_vm_bind`.

use super::model::{Checked, Done, NAMES, Sync, User, Vm, rule};
use crate::msm::*;

pub fn vm_bind(vm: &mut Vm, user: &User<'_>) -> Checked<Done> {
    let args: VmBind = user.argument()?;
    rule(args.flags & !(FENCE_FD_IN | FENCE_FD_OUT) == 0, "flags")?;
    rule(
        args.flags == 0 && args.fence_fd == 0,
        "a sync file that is not there",
    )?;
    rule(args.queue_id == NAMES.queue, "no such queue")?;
    rule(args.syncobj_stride == 16, "stride of syncobjs")?;
    rule(args.op_stride == 40, "stride of operations")?;
    let ops: Vec<VmBindOp> = match args.nr_ops {
        0 => {
            rule(args.op == VmBindOp::default(), "an operation too many")?;
            Vec::new()
        }
        1 => vec![args.op],
        several => {
            let args: VmBindArray = user.argument()?;
            let rest = args._unused0 | args._unused1 | args._unused2 | args._unused3;
            rule(rest == 0, "behind the address of operations")?;
            user.array(args.ops, several)?
        }
    };
    let done = Done {
        waits: syncs(user.array(args.in_syncobjs, args.nr_in_syncobjs)?)?,
        signals: syncs(user.array(args.out_syncobjs, args.nr_out_syncobjs)?)?,
        ops: ops.len(),
    };
    for op in &ops {
        check(vm, op)?;
    }
    for op in ops {
        match op.op {
            OP_UNMAP => vm.unmap(op.iova, op.range),
            OP_MAP_NULL => vm.map_null(op.iova, op.range),
            _ => vm.map(op.iova, op.range, op.handle, op.obj_offset, false),
        }
    }
    Ok(done)
}

fn check(vm: &Vm, op: &VmBindOp) -> Checked<()> {
    rule(op.flags == 0, "flags of an operation")?;
    rule(op.pad == 0, "pad")?;
    rule(op.obj_offset % (4 << 10) == 0, "alignment of the offset")?;
    vm.range(op.iova, op.range, 4 << 10, (4 << 10, 1 << 47))?;
    match op.op {
        OP_MAP => {
            rule(op.handle != 0, "MAP without a handle")?;
            vm.inside(op.handle, op.obj_offset, op.range)
        }
        OP_MAP_NULL | OP_UNMAP => {
            rule(op.handle == 0, "a handle without memory")?;
            rule(op.obj_offset == 0, "an offset without memory")
        }
        _ => Err("operation".into()),
    }
}

fn syncs(list: Vec<Syncobj>) -> Checked<Vec<Sync>> {
    let sync = |sync: Syncobj| {
        rule(sync.handle != 0, "no such syncobj")?;
        rule(sync.flags == 0, "flags of a syncobj")?;
        Ok((sync.handle, sync.point))
    };
    list.into_iter().map(sync).collect()
}
