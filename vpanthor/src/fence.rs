//! Fences: promises that some work will end (`dma_fence`).
//!
//! A fence starts unsignalled, is signalled once, and stays so. In the virtual kernel two kinds of work make fences: a
//! queued VM_BIND op, and work that the model does not have, such as a job on the GPU ([`ForeignFence`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::kernel::Kernel;

/// The end of one piece of work.
#[derive(Debug, Default)]
pub(super) struct Fence {
    signalled: AtomicBool,
}

impl Fence {
    pub fn is_signalled(&self) -> bool {
        self.signalled.load(Ordering::Acquire)
    }

    /// Whoever calls this has to call [`Kernel::changed`] afterwards, holding no lock.
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

/// The fence of work that the virtual kernel does not model: a GPU job, another driver's work.
///
/// It keeps whatever waits for it waiting until [`signal`](Self::signal), or until it is dropped: a fence always
/// signals in the end. Made by [`File::attach_foreign_fence`](super::File::attach_foreign_fence).
#[derive(Debug)]
pub struct ForeignFence {
    pub(super) fence: Arc<Fence>,
    pub(super) kernel: Weak<Kernel>,
}

impl ForeignFence {
    /// The work is done: what waited for it runs before this returns.
    pub fn signal(self) {}
}

impl Drop for ForeignFence {
    fn drop(&mut self) {
        self.fence.signal();
        if let Some(kernel) = self.kernel.upgrade() {
            kernel.changed();
        }
    }
}
