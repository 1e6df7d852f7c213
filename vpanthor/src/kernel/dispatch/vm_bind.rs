//! VM_BIND: from bytes to ops, from ops to the VM.
//!
//! A synchronous bind runs op after op; where one fails, `ops.count` tells which. An asynchronous bind is checked as a
//! whole, then queued as a whole; each op becomes a job that waits for fences and has one of its own, and the jobs of one
//! VM run in order.

use std::sync::Arc;

use rustix::io::Errno;

use crate::bo::Bo;
use crate::faults::OpStage;
use crate::kernel::File;
use crate::kernel::snapshot::BindCounts;
use crate::mapping::Source;
use crate::queue::Queue;
use crate::refusal::refuse;
use crate::shared::lock;
use crate::user_memory::{Objects, UserMemory};
use crate::validate::{BindOp, Context, Mode, Validated, validate};
use crate::vm::{QueuedBind, Vm};
use panvk_sparse::uapi::*;

use super::Answer;
use super::syncs::{Graph, read_syncs};

/// Bits other than `VM_BIND_ASYNC` in `flags` are not looked at, as in the kernel.
pub(super) fn vm_bind(file: &File, args: &mut VmBind, mem: &dyn UserMemory) -> Answer {
    let vm = file.vm(args.vm_id);
    let vm = vm.ok_or_else(|| refuse(Errno::INVAL, "no VM has this id"))?;
    let min_size = size_of::<VmBindOp>();
    let ops = Objects::read(mem, &args.ops, min_size, file.kernel.flavour().op_size())?;
    if args.flags & VM_BIND_ASYNC != 0 {
        return bind_async(file, &vm, &ops, mem);
    }
    bind_sync(file, &vm, &ops).map_err(|(failed, errno)| {
        args.ops.count = failed;
        errno
    })
}

/// The fields of one op; what the caller's struct is too short for is zero.
fn decode(bytes: &[u8]) -> (BindOp, ObjArray) {
    let VmBindOpRepeat {
        op,
        bo_repeat_range,
    } = VmBindOpRepeat::from_prefix(bytes);
    let fields = BindOp {
        flags: op.flags,
        bo_handle: op.bo_handle,
        bo_offset: op.bo_offset,
        va: op.va,
        size: op.size,
        sync_count: op.syncs.count,
        repeat_range: bo_repeat_range,
    };
    (fields, op.syncs)
}

/// What `validate` needs to know of the VM. Serials take the place of ids: a buffer object exclusive to a VM that is gone
/// must not be taken for that of a later one with the same id.
fn context<'a>(file: &File, vm: &Vm, bo: &'a dyn Fn(u32) -> Option<Arc<Bo>>) -> Context<'a> {
    Context {
        flavour: file.kernel.flavour(),
        vm_id: vm.serial,
        user_va_range: vm.user_va_range(),
        bo,
    }
}

fn bind_sync(file: &File, vm: &Vm, ops: &Objects) -> Result<(), (u32, Errno)> {
    let mut valid = Vec::with_capacity(ops.iter().len());
    let mut refused = None;
    {
        let bos = lock(&file.bos);
        let find = |handle| bos.get(handle).cloned();
        let context = context(file, vm, &find);
        for (index, bytes) in (0..).zip(ops.iter()) {
            let (op, _) = decode(bytes);
            let result = validate(&op, Mode::Sync, &context).and_then(|op| {
                if !matches!(op, Validated::Nothing) {
                    file.faults.op(OpStage::Prepare)?;
                }
                Ok(op)
            });
            match result {
                Ok(op) => valid.push(op),
                Err(errno) => {
                    refused = Some((index, errno));
                    break;
                }
            }
        }
    }
    let kinds: Vec<_> = valid.iter().map(kind).collect();
    let ran = vm.run_now(valid);
    let count = match ran {
        Ok(()) => kinds.len(),
        Err((failed, _)) => failed as usize,
    };
    count_ops(file, kinds.into_iter().take(count));
    ran?;
    refused.map_or(Ok(()), Err)
}

fn bind_async(
    file: &File,
    vm: &Arc<Vm>,
    objects: &Objects,
    mem: &dyn UserMemory,
) -> Result<(), Errno> {
    let count = objects.iter().len();
    if count == 0 {
        return Ok(());
    }
    if vm.is_unusable() {
        return Err(refuse(Errno::INVAL, "the VM is unusable"));
    }
    let mut ops = Vec::with_capacity(count);
    let mut syncs = Vec::new();
    {
        let bos = lock(&file.bos);
        let find = |handle| bos.get(handle).cloned();
        let context = context(file, vm, &find);
        for (index, bytes) in (0..).zip(objects.iter()) {
            let (op, op_syncs) = decode(bytes);
            file.faults.op(OpStage::Prepare)?;
            ops.push(validate(&op, Mode::Async, &context)?);
            if op_syncs.count != 0 {
                syncs.extend(read_syncs(mem, index, &op_syncs)?);
            }
        }
    }
    let (edges, signals) = {
        let syncobjs = lock(&file.syncobjs);
        let mut graph = Graph::new(file, &syncobjs);
        graph.collect_signals(&syncs)?;
        (graph.edges(&syncs)?, graph.signals)
    };
    count_ops(file, ops.iter().map(kind));
    vm.submit(QueuedBind::new(ops, edges));
    for signal in &signals {
        signal.publish();
    }
    if vm.has_queued() {
        file.kernel.watch(vm);
    }
    file.kernel.changed();
    Ok(())
}

/// The counter of an op's kind.
type Kind = fn(&mut BindCounts) -> &mut u64;

fn kind(op: &Validated) -> Kind {
    match op {
        Validated::Map { source, .. } => match source {
            Source::Bo { .. } => |counts| &mut counts.map,
            Source::Repeat { .. } => |counts| &mut counts.repeat,
            Source::Sparse => |counts| &mut counts.sparse,
        },
        Validated::Unmap { .. } => |counts| &mut counts.unmap,
        Validated::SyncOnly => |counts| &mut counts.sync_only,
        Validated::Nothing => |counts| &mut counts.nothing,
    }
}

fn count_ops(file: &File, kinds: impl Iterator<Item = Kind>) {
    let mut counts = lock(&file.bind_counts);
    for kind in kinds {
        counts.ops += 1;
        *kind(&mut counts) += 1;
    }
}
