//! The end of work that the model does not have.

use std::sync::{Arc, Weak};

use super::Kernel;
use crate::fence::Fence;

/// The fence of work that the virtual kernel does not model: a GPU job, another driver's work.
///
/// It keeps whatever waits for it waiting until [`signal`](Self::signal), or until it is dropped: a fence always
/// signals in the end. Made by [`File::attach_foreign_fence`](crate::File::attach_foreign_fence).
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
