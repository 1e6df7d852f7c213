//! In front of panvk on a board: the Vulkan side of [`board`].
//!
//! The handles are panvk's own, and so are nearly all functions. Those here tell [`board`] which call of the application a
//! thread is in: the creation of a sparse resource, or a `vkQueueBindSparse`.

mod bind;
mod device;
pub mod hooks;
mod instance;
mod resources;
mod trial;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ash::vk;
use board::BoardVm;
use hosted::Stats;
use hosted::stats::Mode;

pub use instance::binds_sparse;

/// Of a panvk without sparse binding.
pub const NO_SPARSE: &str = "this panvk has no sparse binding: Mesa's has it from 26.1 on, and docs/panvk.md says how to build one \
     that has it from the source of Mesa 25.0";

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
    fn new(vm: Arc<BoardVm>, stand_in: Option<vk::DeviceMemory>) -> Self {
        Board {
            vm,
            stand_in,
            calls: AtomicU64::new(0),
            binds: AtomicU64::new(0),
        }
    }

    fn count(&self, binds: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.binds.fetch_add(binds, Ordering::Relaxed);
    }

    /// The counters, from the creation of the device up to now.
    fn stats(&self, untouched: &Stats) -> Stats {
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
