//! Queues of work that waits for fences: the asynchronous binds of a VM, the jobs of a group.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use super::shared::lock;

/// Something that holds work in order, some of which may have to wait.
pub(super) trait Queue: Debug + Send + Sync {
    /// Runs what need not wait any more. `true`: some ran.
    fn run_queue(&self) -> bool;

    fn has_queued(&self) -> bool;
}

/// The queues of one kernel that have work in them.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<Vec<Arc<dyn Queue>>>);

impl Queues {
    pub fn add(&self, queue: Arc<dyn Queue>) {
        let mut queues = lock(&self.0);
        if !queues.iter().any(|other| Arc::ptr_eq(other, &queue)) {
            queues.push(queue);
        }
    }

    /// Runs all there is to run, and forgets the queues that are empty then. To be called without a lock held.
    pub fn run(&self) {
        loop {
            let queues = lock(&self.0).clone();
            let mut progress = false;
            for queue in &queues {
                progress |= queue.run_queue();
            }
            if !progress {
                break;
            }
        }
        // Also a queue that was emptied without running anything.
        lock(&self.0).retain(|queue| queue.has_queued());
    }
}
