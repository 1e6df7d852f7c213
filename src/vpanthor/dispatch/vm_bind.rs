//! VM_BIND: from bytes to ops, from ops to the VM.
//!
//! A synchronous bind runs op after op; where one fails, `ops.count` tells which. An asynchronous bind is checked as a
//! whole, then queued as a whole; each op becomes a job that waits for fences and has one of its own, and the jobs of one
//! VM run in order.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::io::Errno;

use crate::drm::uapi::*;
use crate::vpanthor::bo::Bo;
use crate::vpanthor::faults::OpStage;
use crate::vpanthor::fence::{Fence, FenceSet};
use crate::vpanthor::file::File;
use crate::vpanthor::handles::Handles;
use crate::vpanthor::kernel::lock;
use crate::vpanthor::syncobj::Syncobj;
use crate::vpanthor::user_memory::{Objects, UserMemory};
use crate::vpanthor::validate::{BindOp, Context, Mode, Validated, validate};
use crate::vpanthor::vm::{Batch, Edge, Vm};

/// Bits other than `VM_BIND_ASYNC` in `flags` are not looked at, as in the kernel.
pub(super) fn vm_bind(file: &File, args: &mut VmBind, mem: &dyn UserMemory) -> Result<u32, Errno> {
    let vm = file.vm(args.vm_id).ok_or(Errno::INVAL)?;
    let min_size = size_of::<VmBindOp>();
    let ops = Objects::read(mem, &args.ops, min_size, file.kernel.flavour().op_size())?;
    if args.flags & VM_BIND_ASYNC != 0 {
        bind_async(file, &vm, &ops, mem)?;
        return Ok(0);
    }
    bind_sync(file, &vm, &ops).map_err(|(failed, errno)| {
        args.ops.count = failed;
        errno
    })?;
    Ok(0)
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
    vm.run_now(valid)?;
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
        return Err(Errno::INVAL);
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
                let size = size_of::<SyncOp>();
                let objects = Objects::read(mem, &op_syncs, size, size)?;
                syncs.extend(
                    objects
                        .iter()
                        .map(|bytes| (index, SyncOp::from_prefix(bytes))),
                );
            }
        }
    }
    let (edges, signals) = {
        let syncobjs = lock(&file.syncobjs);
        let mut graph = Graph {
            syncobjs: &syncobjs,
            take_waits_as_met: file.options.take_waits_as_met,
            signals: Vec::new(),
            by_point: HashMap::new(),
        };
        graph.collect_signals(&syncs)?;
        (graph.edges(&syncs)?, graph.signals)
    };
    vm.submit(Batch::new(ops, edges));
    for signal in &signals {
        signal.publish();
    }
    if vm.has_queued() {
        file.kernel.watch(vm);
    }
    file.kernel.changed();
    Ok(())
}

/// A point that ops of the call signal.
struct Signal {
    syncobj: Arc<Syncobj>,
    point: u64,
    /// What a wait for this point waits for: what the syncobj held before the call, then the fence of the last op so
    /// far that signals it.
    current: Option<FenceSet>,
}

impl Signal {
    /// The syncobj gets the fence of the last op of the call that signals it.
    fn publish(&self) {
        let fences = self.current.clone().unwrap_or_default();
        if self.point > 0 {
            self.syncobj.add_point(self.point, fences);
        } else {
            self.syncobj.replace(fences);
        }
    }
}

/// Which op waits for what, as `panthor_submit_ctx` finds out.
struct Graph<'a> {
    syncobjs: &'a Handles<Arc<Syncobj>>,
    take_waits_as_met: bool,
    signals: Vec<Signal>,
    /// Handle and point to the index in `signals`.
    by_point: HashMap<(u32, u64), usize>,
}

fn is_signal(sync: &SyncOp) -> bool {
    sync.flags & SYNC_OP_SIGNAL != 0
}

/// `panthor_check_sync_op`.
fn check_sync_op(sync: &SyncOp) -> Result<(), Errno> {
    let fits = match sync.flags & !SYNC_OP_SIGNAL {
        SYNC_OP_HANDLE_TYPE_SYNCOBJ => sync.timeline_value == 0,
        SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(Errno::INVAL) }
}

impl Graph<'_> {
    /// All signals first: a wait may be for one of an earlier op of the same call.
    fn collect_signals(&mut self, syncs: &[(u32, SyncOp)]) -> Result<(), Errno> {
        for (_, sync) in syncs.iter().filter(|(_, sync)| is_signal(sync)) {
            check_sync_op(sync)?;
            let point = sync.timeline_value;
            if self.by_point.contains_key(&(sync.handle, point)) {
                continue;
            }
            let syncobj = self.syncobjs.get(sync.handle).ok_or(Errno::INVAL)?;
            self.by_point
                .insert((sync.handle, point), self.signals.len());
            self.signals.push(Signal {
                syncobj: syncobj.clone(),
                point,
                current: syncobj.find_fence(point).ok(),
            });
        }
        Ok(())
    }

    fn edges(&mut self, syncs: &[(u32, SyncOp)]) -> Result<Vec<Edge>, Errno> {
        let mut edges = Vec::new();
        for group in syncs.chunk_by(|a, b| a.0 == b.0) {
            let mut waits = FenceSet::default();
            for (_, sync) in group.iter().filter(|(_, sync)| !is_signal(sync)) {
                self.add_wait(sync, &mut waits)?;
            }
            let mut done = None;
            for (_, sync) in group.iter().filter(|(_, sync)| is_signal(sync)) {
                let fence: &Arc<Fence> = done.get_or_insert_default();
                let index = self.by_point.get(&(sync.handle, sync.timeline_value));
                let signal = index.and_then(|index| self.signals.get_mut(*index));
                signal.ok_or(Errno::INVAL)?.current = Some(FenceSet::of(fence.clone()));
            }
            edges.push(Edge {
                op: group[0].0,
                waits,
                done,
            });
        }
        Ok(edges)
    }

    /// # Errors
    /// `EINVAL` where there is no fence to wait for: only what is submitted can be waited for.
    fn add_wait(&self, sync: &SyncOp, waits: &mut FenceSet) -> Result<(), Errno> {
        check_sync_op(sync)?;
        let point = sync.timeline_value;
        if let Some(index) = self.by_point.get(&(sync.handle, point)) {
            if self.take_waits_as_met {
                return Ok(());
            }
            let signal = self.signals.get(*index).ok_or(Errno::INVAL)?;
            waits.extend(signal.current.as_ref().ok_or(Errno::INVAL)?);
            return Ok(());
        }
        let syncobj = self.syncobjs.get(sync.handle).ok_or(Errno::NOENT)?;
        if !self.take_waits_as_met {
            waits.extend(&syncobj.find_fence(point)?);
        }
        Ok(())
    }
}
