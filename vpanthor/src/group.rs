//! Groups: queues through which a process gives work to the GPU (`panthor_group`).
//!
//! The model has no GPU. A job ends as soon as what it waits for has happened and the jobs before it in its queue have
//! ended; nothing of its command stream is read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::fence::{Fence, FenceSet};
use super::queue::Queue;
use super::shared::lock;
use super::vm::Vm;

/// One job.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// It does not run before these.
    pub waits: FenceSet,
    /// Signalled when it has run.
    pub done: Option<Arc<Fence>>,
}

/// A group and its queues.
#[derive(Debug)]
pub(super) struct Group {
    /// The address space of its jobs, which lives as long as the group.
    _vm: Arc<Vm>,
    queues: Mutex<Vec<VecDeque<Job>>>,
    queue_count: u32,
}

impl Group {
    pub fn new(vm: Arc<Vm>, queue_count: u32) -> Arc<Self> {
        Arc::new(Self {
            _vm: vm,
            queues: Mutex::new((0..queue_count).map(|_| VecDeque::new()).collect()),
            queue_count,
        })
    }

    pub fn queue_count(&self) -> u32 {
        self.queue_count
    }

    /// Queues jobs, each with the index of its queue, and runs what need not wait. Afterwards the kernel has to be told:
    /// `Kernel::changed`.
    pub fn submit(&self, jobs: Vec<(u32, Job)>) {
        {
            let mut queues = lock(&self.queues);
            for (queue, job) in jobs {
                if let Some(queue) = queues.get_mut(queue as usize) {
                    queue.push_back(job);
                }
            }
        }
        self.run_queue();
    }

    /// GROUP_DESTROY: what has not run never will, and nobody waits for it. Afterwards the kernel has to be told.
    pub fn destroy(&self) {
        let mut queues = lock(&self.queues);
        for job in queues.iter_mut().flat_map(|queue| queue.drain(..)) {
            if let Some(done) = job.done {
                done.signal();
            }
        }
    }
}

impl Queue for Group {
    fn run_queue(&self) -> bool {
        let mut queues = lock(&self.queues);
        let mut progress = false;
        for queue in queues.iter_mut() {
            while queue.front().is_some_and(|job| job.waits.is_signalled()) {
                if let Some(done) = queue.pop_front().and_then(|job| job.done) {
                    done.signal();
                }
                progress = true;
            }
        }
        progress
    }

    fn has_queued(&self) -> bool {
        lock(&self.queues).iter().any(|queue| !queue.is_empty())
    }
}
