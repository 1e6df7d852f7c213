//! A VM as the kernel's driver keeps it: the gpuvm, the queue of asynchronous binds, and whether it can still be used.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::changes::Change;
use super::faults::{Faults, OpStage};
use super::fence::{Fence, FenceSet};
use super::flavour::Flavour;
use super::gpuvm::Gpuvm;
use super::heaps::Heaps;
use super::page_table::PtStats;
use super::queue::Queue;
use super::shared::{Alive, lock};
use super::validate::Validated;

/// An address space of the GPU, shared by its id and by the binds queued on it.
///
/// Synchronous binds do not look at the queue: they run at once, as in the kernel.
#[derive(Debug)]
pub(super) struct Vm {
    /// Unlike the id, never used again.
    pub serial: u32,
    user_va_range: u64,
    flavour: Flavour,
    /// Locked after `queue` where both are.
    gpuvm: Mutex<Gpuvm>,
    queue: Mutex<VecDeque<QueuedBind>>,
    unusable: AtomicBool,
    faults: Arc<Faults>,
    pub(super) heaps: Heaps,
    _alive: Alive,
}

/// Counts of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmStats {
    /// What was done to the page table.
    pub pt: PtStats,
    /// Mappings (the kernel's gpuvas) that there are.
    pub mappings: usize,
    /// Asynchronous ops that have not run yet.
    pub queued_ops: usize,
}

/// The ops of one asynchronous VM_BIND.
///
/// # Invariants
/// `edges` ascends by op and names no op before `next`; `ops` holds those from `next` on.
#[derive(Debug)]
pub(super) struct QueuedBind {
    ops: std::vec::IntoIter<Validated>,
    next: u32,
    edges: VecDeque<Edge>,
}

/// What joins an op to the rest of the world.
#[derive(Debug)]
pub(super) struct Edge {
    /// Index in the VM_BIND.
    pub op: u32,
    /// The op does not run before these.
    pub waits: FenceSet,
    /// Signalled when the op has run, well or not.
    pub done: Option<Arc<Fence>>,
}

impl QueuedBind {
    pub fn new(ops: Vec<Validated>, edges: Vec<Edge>) -> Self {
        Self {
            ops: ops.into_iter(),
            next: 0,
            edges: edges.into(),
        }
    }

    /// Runs ops until one has to wait. `true`: all have run.
    fn run(&mut self, vm: &Vm, gpuvm: &mut Gpuvm, progress: &mut bool) -> bool {
        loop {
            let at_edge = self.edges.front().is_some_and(|edge| edge.op == self.next);
            if at_edge && !self.edges[0].waits.is_signalled() {
                return false;
            }
            let Some(op) = self.ops.next() else {
                return true;
            };
            if vm.run_op(op, gpuvm).is_err() {
                vm.set_unusable();
            }
            gpuvm.end_op();
            if at_edge {
                if let Some(done) = self.edges.pop_front().and_then(|edge| edge.done) {
                    done.signal();
                }
            }
            self.next += 1;
            *progress = true;
        }
    }
}

impl Vm {
    pub fn new(
        serial: u32,
        user_va_range: u64,
        flavour: Flavour,
        record_changes: bool,
        small_dummy: bool,
        faults: Arc<Faults>,
        alive: Alive,
    ) -> Arc<Self> {
        let mut gpuvm = Gpuvm::of_kernel(user_va_range, flavour);
        gpuvm.record_changes(record_changes);
        if small_dummy {
            gpuvm.use_small_dummy();
        }
        Arc::new(Self {
            serial,
            user_va_range,
            flavour,
            gpuvm: Mutex::new(gpuvm),
            queue: Mutex::default(),
            unusable: AtomicBool::new(false),
            faults,
            heaps: Heaps::new(user_va_range),
            _alive: alive,
        })
    }

    /// Bytes.
    pub fn user_va_range(&self) -> u64 {
        self.user_va_range
    }

    pub fn is_unusable(&self) -> bool {
        self.unusable.load(Ordering::Acquire)
    }

    pub fn set_unusable(&self) {
        self.unusable.store(true, Ordering::Release);
    }

    fn run_op(&self, op: Validated, gpuvm: &mut Gpuvm) -> Result<(), Errno> {
        match op {
            Validated::Map { .. } if self.is_unusable() => return Err(Errno::INVAL),
            Validated::Map { .. } | Validated::Unmap { .. } => self.faults.op(OpStage::Run)?,
            Validated::Nothing | Validated::SyncOnly => {}
        }
        op.apply(gpuvm)
    }

    /// Runs ops one after another.
    ///
    /// # Errors
    /// The index of the op that failed, and why. Those before it have run.
    pub fn run_now(&self, ops: Vec<Validated>) -> Result<(), (u32, Errno)> {
        let mut gpuvm = lock(&self.gpuvm);
        for (index, op) in (0..).zip(ops) {
            self.run_op(op, &mut gpuvm)
                .map_err(|errno| (index, errno))?;
            gpuvm.end_op();
        }
        Ok(())
    }

    /// Queues ops and runs what need not wait. Afterwards the kernel has to be told: [`super::Kernel::changed`].
    pub fn submit(&self, batch: QueuedBind) {
        lock(&self.queue).push_back(batch);
        self.run_queue();
    }

    /// VM_DESTROY: unmaps everything. Binds still queued run later, into a VM that nobody sees.
    pub fn destroy(&self) {
        let empty = Gpuvm::of_kernel(self.user_va_range, self.flavour);
        let old = std::mem::replace(&mut *lock(&self.gpuvm), empty);
        drop(old);
    }

    pub fn stats(&self) -> VmStats {
        let queued_ops = lock(&self.queue).iter().map(|batch| batch.ops.len()).sum();
        let gpuvm = lock(&self.gpuvm);
        VmStats {
            pt: gpuvm.stats(),
            mappings: gpuvm.mapping_count(),
            queued_ops,
        }
    }

    pub fn take_changes_into(&self, list: &mut Vec<Change>) {
        lock(&self.gpuvm).take_changes_into(list);
    }

    pub fn record_rewrites(&self, on: bool) {
        lock(&self.gpuvm).record_rewrites(on);
    }

    pub fn set_dummy(&self, bo: u64) {
        lock(&self.gpuvm).set_dummy(bo);
    }

    pub fn with_gpuvm<R>(&self, f: impl FnOnce(&Gpuvm) -> R) -> R {
        f(&lock(&self.gpuvm))
    }
}

impl Queue for Vm {
    /// Runs queued ops in order, up to the first that has to wait. `true`: some ran.
    fn run_queue(&self) -> bool {
        let mut queue = lock(&self.queue);
        if queue.is_empty() {
            return false;
        }
        let mut gpuvm = lock(&self.gpuvm);
        let mut progress = false;
        while let Some(batch) = queue.front_mut() {
            if !batch.run(self, &mut gpuvm, &mut progress) {
                break;
            }
            queue.pop_front();
        }
        progress
    }

    fn has_queued(&self) -> bool {
        !lock(&self.queue).is_empty()
    }
}
