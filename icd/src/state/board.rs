//! What is known of a device in front of panvk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::board::BoardVm;
use ash::vk;
use hosted::Stats;
use hosted::stats::Mode;

/// What this driver does for a device.
#[derive(Debug)]
pub struct Board {
    pub vm: Arc<BoardVm>,
    /// What is bound instead of nothing, if the base driver binds nothing at the wrong place.
    pub stand_in: Option<vk::DeviceMemory>,
    /// `vkQueueBindSparse` calls that succeeded.
    calls: AtomicU64,
    /// Binds in them.
    binds: AtomicU64,
}

impl Board {
    pub fn new(vm: Arc<BoardVm>, stand_in: Option<vk::DeviceMemory>) -> Self {
        Board {
            vm,
            stand_in,
            calls: AtomicU64::new(0),
            binds: AtomicU64::new(0),
        }
    }

    /// A `vkQueueBindSparse` with so many binds has succeeded.
    pub fn count(&self, binds: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.binds.fetch_add(binds, Ordering::Relaxed);
    }

    /// The counters, from the creation of the device up to now.
    pub fn stats(&self, untouched: &Stats) -> Stats {
        let counts = self.vm.counts();
        let kernel = &counts.kernel;
        Stats {
            mode: Mode::Board,
            strategy: self.vm.strategy().to_string(),
            queue_bind_sparse_calls: self.calls.load(Ordering::Relaxed),
            binds: self.binds.load(Ordering::Relaxed),
            vm_bind_ioctls: kernel.vm_bind_ioctls + counts.unmaps.0,
            vm_bind_ops: kernel.vm_bind_ops + counts.unmaps.1,
            map_ops: kernel.map_ops,
            null_ops: kernel.null_ops,
            unmap_ops: kernel.unmap_ops + counts.unmaps.1,
            sync_ops: kernel.sync_ops,
            binds_elided: counts.totals.elided,
            driver_ioctls: Some(counts.asked.0),
            driver_ops: Some(counts.asked.1),
            other_ioctls: Some(counts.others.0),
            other_ops: Some(counts.others.1),
            ..untouched.clone()
        }
    }
}
