//! Syncobjs that stand in for the application's semaphores and fences.
//!
//! On a board a semaphore *is* a syncobj, and the operations of a bind wait for it and signal it. Here the real
//! ones belong to the base driver, whose queue enforces their order. The stand-ins give the operations the form
//! that they have on a board, and the virtual kernel takes those that it should wait for as met.

use panvk_sparse::drm::{Device, IoctlError, Syncobj};
use panvk_sparse::uapi::{
    SYNC_OP_HANDLE_TYPE_SYNCOBJ, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SYNC_OP_SIGNAL, SyncOp,
};
use vulkan::calls::{BindCall, Semaphore};
use vulkan::handles::HandleHashMap;

use crate::HostedError;
use crate::error::unmade;
use crate::resolve::Resolved;

/// The stand-ins of one device, made when they are first used.
#[derive(Debug, Default)]
pub struct StandIns {
    semaphores: HandleHashMap<StandIn>,
    fences: HandleHashMap<Syncobj>,
}

#[derive(Debug, Default)]
struct StandIn {
    timeline: bool,
    syncobj: Option<Syncobj>,
}

impl StandIns {
    /// Gives each batch the sync ops of its semaphores, and the last one that of the fence.
    ///
    /// # Errors
    /// The kernel has no syncobj left.
    pub fn attach(
        &mut self,
        device: &Device,
        call: &BindCall,
        resolved: &mut Resolved,
    ) -> Result<(), HostedError> {
        let failed = |error| unmade("a stand-in for a semaphore", error);
        let batches = &mut resolved.batches;
        for batch in batches.iter_mut() {
            // The batch of a fence alone stands for no info.
            let Some(infos) = call.infos.get(batch.first..=batch.last) else {
                continue;
            };
            let (Some(first), Some(last)) = (infos.first(), infos.last()) else {
                continue;
            };
            for &semaphore in &first.waits {
                let wait = self.sync_op(device, semaphore, 0).map_err(failed)?;
                batch.waits.push(wait);
            }
            for &semaphore in &last.signals {
                let signal = self.sync_op(device, semaphore, SYNC_OP_SIGNAL);
                batch.signals.push(signal.map_err(failed)?);
            }
        }
        if let (Some(fence), Some(last)) = (call.fence, batches.last_mut()) {
            last.signals
                .push(self.fence(device, fence).map_err(failed)?);
        }
        Ok(())
    }

    /// The semaphore is a timeline. Those that nothing is said of are binary.
    pub fn add_timeline(&mut self, semaphore: u64) {
        let new = StandIn {
            timeline: true,
            syncobj: None,
        };
        self.semaphores.insert(semaphore, new);
    }

    /// A semaphore is destroyed.
    pub fn remove_semaphore(&mut self, semaphore: u64) {
        self.semaphores.remove(&semaphore);
    }

    /// A fence is destroyed.
    pub fn remove_fence(&mut self, fence: u64) {
        self.fences.remove(&fence);
    }

    fn sync_op(
        &mut self,
        device: &Device,
        semaphore: Semaphore,
        signal: u32,
    ) -> Result<SyncOp, IoctlError> {
        let stand_in = self.semaphores.entry(semaphore.handle).or_default();
        let syncobj = match &mut stand_in.syncobj {
            Some(syncobj) => syncobj,
            none => none.insert(device.create_syncobj(false)?),
        };
        let kind = if stand_in.timeline {
            SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ
        } else {
            SYNC_OP_HANDLE_TYPE_SYNCOBJ
        };
        Ok(SyncOp {
            flags: kind | signal,
            handle: syncobj.handle().0,
            timeline_value: if stand_in.timeline {
                semaphore.value
            } else {
                0
            },
        })
    }

    fn fence(&mut self, device: &Device, fence: u64) -> Result<SyncOp, IoctlError> {
        use std::collections::hash_map::Entry;
        let syncobj = match self.fences.entry(fence) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(device.create_syncobj(false)?),
        };
        Ok(SyncOp {
            flags: SYNC_OP_HANDLE_TYPE_SYNCOBJ | SYNC_OP_SIGNAL,
            handle: syncobj.handle().0,
            timeline_value: 0,
        })
    }
}
