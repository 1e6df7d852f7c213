//! Waits and signals of a call: which part of it waits for what, and what the syncobjs hold afterwards
//! (`panthor_submit_ctx`). The same for the ops of a VM_BIND and the jobs of a GROUP_SUBMIT.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::io::Errno;

use crate::fence::{Fence, FenceSet};
use crate::handles::Handles;
use crate::kernel::File;
use crate::payload::Payload;
use crate::refusal::{ensure, refuse};
use crate::syncobj::Syncobj;
use crate::user_memory::{Objects, UserMemory};
use crate::vm::Edge;
use panvk_sparse::uapi::*;

/// The sync ops of op or job `index`, each with that number.
pub(super) fn read_syncs(
    mem: &dyn UserMemory,
    index: u32,
    array: &ObjArray,
) -> Result<Vec<(u32, SyncOp)>, Errno> {
    let size = size_of::<SyncOp>();
    let objects = Objects::read(mem, array, size, size)?;
    let sync = |bytes| (index, SyncOp::from_prefix(bytes));
    Ok(objects.iter().map(sync).collect())
}

const NO_FENCE: &str = "the syncobj has no fence for this point";

/// A point that ops of the call signal.
pub(super) struct Signal {
    syncobj: Arc<Syncobj>,
    point: u64,
    /// What a wait for this point waits for: what the syncobj held before the call, then the fence of the last op so
    /// far that signals it.
    current: Option<FenceSet>,
}

impl Signal {
    /// The syncobj gets the fence of the last op of the call that signals it.
    pub fn publish(&self) {
        let fences = self.current.clone().unwrap_or_default();
        self.syncobj.put(self.point, Payload::Fences(fences));
    }
}

/// Which op waits for what, as `panthor_submit_ctx` finds out.
pub(super) struct Graph<'a> {
    syncobjs: &'a Handles<Arc<Syncobj>>,
    take_waits_as_met: bool,
    pub signals: Vec<Signal>,
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
    ensure(
        fits,
        "a sync op with an unknown type, or a point of a binary syncobj",
    )
}

impl<'a> Graph<'a> {
    pub fn new(file: &File, syncobjs: &'a Handles<Arc<Syncobj>>) -> Self {
        Self {
            syncobjs,
            take_waits_as_met: file.options.take_waits_as_met,
            signals: Vec::new(),
            by_point: HashMap::new(),
        }
    }

    /// All signals first: a wait may be for one of an earlier op of the same call.
    pub fn collect_signals(&mut self, syncs: &[(u32, SyncOp)]) -> Result<(), Errno> {
        for (_, sync) in syncs.iter().filter(|(_, sync)| is_signal(sync)) {
            check_sync_op(sync)?;
            let point = sync.timeline_value;
            if self.by_point.contains_key(&(sync.handle, point)) {
                continue;
            }
            let syncobj = self.syncobjs.get(sync.handle);
            let syncobj =
                syncobj.ok_or_else(|| refuse(Errno::INVAL, "no syncobj has this handle"))?;
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

    pub fn edges(&mut self, syncs: &[(u32, SyncOp)]) -> Result<Vec<Edge>, Errno> {
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
            let fences = signal.current.as_ref();
            waits.extend(fences.ok_or_else(|| refuse(Errno::INVAL, NO_FENCE))?);
            return Ok(());
        }
        let syncobj = self.syncobjs.get(sync.handle);
        let syncobj = syncobj.ok_or_else(|| refuse(Errno::NOENT, "no syncobj has this handle"))?;
        if !self.take_waits_as_met {
            let fences = syncobj.find_fence(point);
            waits.extend(&fences.map_err(|errno| refuse(errno, NO_FENCE))?);
        }
        Ok(())
    }
}
