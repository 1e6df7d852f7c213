//! Fences: promises that some work will end (`dma_fence`).
//!
//! A fence starts unsignalled, is signalled once, and stays so. In the virtual kernel two kinds of work make fences: a
//! queued VM_BIND op, and work that the model does not have, such as a job on the GPU ([`ForeignFence`](crate::ForeignFence)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The end of one piece of work.
#[derive(Debug, Default)]
pub(super) struct Fence {
    signalled: AtomicBool,
}

impl Fence {
    pub fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::Acquire)
    }

    /// Whoever calls this has to call [`Kernel::changed`](crate::Kernel) afterwards, holding no lock.
    pub fn signal(&self) {
        self.signalled.store(true, Ordering::Release);
    }
}

/// Fences that all have to be signalled. Empty means: nothing to wait for, as the kernel's stub fence.
#[derive(Clone, Debug, Default)]
pub(super) struct FenceSet(Vec<Arc<Fence>>);

impl FenceSet {
    pub fn of(fence: Arc<Fence>) -> Self {
        Self(vec![fence])
    }

    pub fn is_signalled(&self) -> bool {
        self.0.iter().all(|fence| fence.is_signalled())
    }

    /// Adds what `other` still waits for.
    pub fn extend(&mut self, other: &FenceSet) {
        self.0.extend(
            other
                .0
                .iter()
                .filter(|fence| !fence.is_signalled())
                .cloned(),
        );
    }
}
