//! Syncobjs that stand in for the application's semaphores and fences.
//!
//! On a board a semaphore *is* a syncobj, and the operations of a bind wait for it and signal it. Here the real
//! ones belong to the base driver, whose queue enforces their order. The stand-ins give the operations the form
//! that they have on a board, and the virtual kernel takes those that it should wait for as met.

use crate::backend::Semaphore;
use crate::drm::uapi::{
    SYNC_OP_HANDLE_TYPE_SYNCOBJ, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SYNC_OP_SIGNAL, SyncOp,
};
use crate::drm::{Device, IoctlError, Syncobj};
use crate::units::SyncobjHandle;
use crate::vulkan::handles::HandleHashMap;

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
    /// The semaphore is a timeline. Those that nothing is said of are binary.
    ///
    /// Gives the handle that is free again, where the semaphore's number was that of another one.
    pub fn add_timeline(&mut self, semaphore: u64) -> Option<SyncobjHandle> {
        let new = StandIn {
            timeline: true,
            syncobj: None,
        };
        let old = self.semaphores.insert(semaphore, new);
        old?.syncobj.map(|syncobj| syncobj.handle())
    }

    /// Gives the handle that is free again.
    pub fn remove_semaphore(&mut self, semaphore: u64) -> Option<SyncobjHandle> {
        let old = self.semaphores.remove(&semaphore);
        old?.syncobj.map(|syncobj| syncobj.handle())
    }

    /// Gives the handle that is free again.
    pub fn remove_fence(&mut self, fence: u64) -> Option<SyncobjHandle> {
        self.fences.remove(&fence).map(|syncobj| syncobj.handle())
    }

    /// The sync op that waits for a semaphore.
    ///
    /// # Errors
    /// The kernel has no syncobj left.
    pub fn wait(&mut self, device: &Device, semaphore: Semaphore) -> Result<SyncOp, IoctlError> {
        self.sync_op(device, semaphore, 0)
    }

    /// The sync op that signals a semaphore.
    ///
    /// # Errors
    /// The kernel has no syncobj left.
    pub fn signal(&mut self, device: &Device, semaphore: Semaphore) -> Result<SyncOp, IoctlError> {
        self.sync_op(device, semaphore, SYNC_OP_SIGNAL)
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

    /// The sync op that signals a fence.
    ///
    /// # Errors
    /// The kernel has no syncobj left.
    pub fn fence(&mut self, device: &Device, fence: u64) -> Result<SyncOp, IoctlError> {
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
