//! The way of one call: plan, lower, VM_BIND, shadow; or back to where it started.

use std::ops::Range;

use super::{SparseVm, Totals, VmError};
use crate::bind::{Planner, Request, Run, Shadow, SparseRange, Target, Tentative, Was};
use crate::drm::{BindFailure, BindMode};
use crate::lower::PlannedBatch;
use crate::uapi::SyncOp;
use crate::units::{BoRef, SZ_4K, Va};

/// Requests that wait and signal as one: a `VkBindSparseInfo`, or several with no semaphore between them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// Before any of the requests. Without the signal bit. Each must have a fence already.
    pub waits: &'a [SyncOp],
    /// After all of the requests. With the signal bit.
    pub signals: &'a [SyncOp],
    /// In the order of the application: a later request wins over an earlier one.
    pub requests: &'a [Request],
    /// For each bind of the application, how many requests it and those before it became. Empty: each request is a bind.
    /// Only counts go by it. The numbers ascend, and the last one is that of all requests.
    pub ends: &'a [usize],
    /// Whether the requests may happen earlier or later than this call says, as seen from other binds of the same bytes. They
    /// are then mapped whatever the shadow says, and leave holes in it.
    pub unordered: bool,
}

/// What a call that succeeded came to.
#[derive(Debug)]
pub struct Bound {
    /// For each batch its operations, counted over the whole call.
    pub ops: Vec<Range<usize>>,
    /// For each batch its runs, counted over [`Changes::runs`].
    pub runs: Vec<Range<usize>>,
    /// Binds that changed nothing: it was so already, or a later one of the same batch wrote over them.
    pub elided: u64,
    /// Size of an operation as the kernel got it, in bytes; the larger one if there were two. 0 without operations.
    pub stride: usize,
    pub changes: Changes,
}

/// What a call has changed, and what takes it back: see [`SparseVm::take_back`].
#[derive(Debug, Default)]
pub struct Changes {
    /// What each range was before, oldest change first.
    was: Vec<Was>,
    /// What the call made of them, in the order of its batches.
    runs: Vec<Run>,
    /// What it added to the totals.
    totals: Totals,
}

impl Changes {
    /// The ranges that got a new mapping, batch after batch, those of one batch ascending.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Tells of each memory how many bytes more, or (as a negative number, wrapped) fewer, are mapped to it. A memory can
    /// be named several times; the sum counts.
    pub fn each_memory(&self, visit: &mut dyn FnMut(BoRef, u64)) {
        let was = self.was.iter().filter_map(|was| match was {
            Was::Extent(run) => Some((run.target, run.len.wrapping_neg())),
            Was::Hole { .. } => None,
        });
        let is = self.runs.iter().map(|run| (run.target, run.len));
        // Neighbours share their memories as a rule: one visit for all of them.
        let mut latest: Option<(BoRef, u64)> = None;
        for (target, bytes) in was.chain(is) {
            let Target::Memory { bo, .. } = target else {
                continue;
            };
            match &mut latest {
                Some((known, sum)) if *known == bo => *sum = sum.wrapping_add(bytes),
                _ => {
                    if let Some((bo, bytes)) = latest.replace((bo, bytes)) {
                        visit(bo, bytes);
                    }
                }
            }
        }
        if let Some((bo, bytes)) = latest {
            visit(bo, bytes);
        }
    }
}

/// What the latest call came to; and buffers for the next, which are as large as the largest call needed them.
#[derive(Debug, Default)]
pub(super) struct Latest {
    changes: Changes,
    /// See [`Bound::ops`].
    ops: Vec<Range<usize>>,
    /// See [`Bound::runs`].
    runs: Vec<Range<usize>>,
}

/// See the fields of [`Bound`].
struct Done {
    elided: u64,
    stride: usize,
}

impl SparseVm {
    /// Carries out the batches in order, asynchronously, with one VM_BIND (several beyond 65,536 operations).
    ///
    /// Without an operation and without a sync the kernel is not asked.
    ///
    /// # Errors
    /// [`VmError::BadRequest`], [`VmError::Refused`]: nothing of the call happens, except that beyond 65,536 operations a
    /// batch of an ioctl that the kernel took before it refused another has signalled. [`VmError::Lost`].
    pub fn bind(&mut self, batches: &[Batch<'_>]) -> Result<Bound, VmError> {
        let done = self.carry_out(batches, BindMode::Async)?;
        Ok(self.bound(done))
    }

    /// As [`SparseVm::bind`], for a caller that will not take the call back: all of its memory is that of earlier calls, which
    /// is kept in the size that the largest of them needed.
    ///
    /// # Errors
    /// As for [`SparseVm::bind`].
    pub fn bind_for_good(&mut self, batches: &[Batch<'_>]) -> Result<(), VmError> {
        self.carry_out(batches, BindMode::Async)?;
        Ok(())
    }

    /// Carries out the requests before it returns. It does not wait for what was bound asynchronously before.
    ///
    /// # Errors
    /// As for [`SparseVm::bind`].
    pub fn bind_now(&mut self, requests: &[Request]) -> Result<Bound, VmError> {
        let batch = Batch {
            requests,
            ..Batch::default()
        };
        let done = self.carry_out(&[batch], BindMode::Sync)?;
        Ok(self.bound(done))
    }

    /// What the latest call came to.
    fn bound(&mut self, done: Done) -> Bound {
        let latest = std::mem::take(&mut self.latest);
        Bound {
            ops: latest.ops,
            runs: latest.runs,
            elided: done.elided,
            stride: done.stride,
            changes: latest.changes,
        }
    }

    /// Leaves in [`SparseVm::latest`] what it comes to.
    fn carry_out(&mut self, batches: &[Batch<'_>], mode: BindMode) -> Result<Done, VmError> {
        self.alive()?;
        self.check_requests(batches)?;
        let null = self.null.map();
        let was = std::mem::take(&mut self.latest.changes.was);
        let Latest {
            changes: Changes { runs, totals, .. },
            ops,
            runs: batch_runs,
        } = &mut self.latest;
        runs.clear();
        ops.clear();
        batch_runs.clear();
        let mut elided = 0;

        // Each batch is planned against what those before it leave. Dropping the trial puts the shadow back.
        let mut trial = self.shadow.tentative_with(was);
        let mut call = self.lowering.begin(&null, &self.ranges);
        for batch in batches {
            let first = runs.len();
            if batch.unordered {
                forget(&mut trial, batch.requests);
            }
            elided += plan(&mut self.planner, batch, trial.shadow(), runs);
            let planned = PlannedBatch {
                waits: batch.waits,
                signals: batch.signals,
                runs: &runs[first..],
                after_named_gap: self.planner.after_named_gap(),
            };
            ops.push(call.batch(&planned, trial.shadow()));
            trial.apply_near(&runs[first..], self.planner.near());
            batch_runs.push(first..runs.len());
            if batch.unordered {
                forget(&mut trial, batch.requests);
            }
        }

        let (mut stride, mut taken) = (0, 0);
        for ioctl in call.finish() {
            if let Err(failure) = self.vm.bind(ioctl, mode) {
                drop(trial);
                let runs = std::mem::take(runs);
                return Err(self.fail(failure, taken, &runs, mode));
            }
            stride = stride.max(ioctl.array.stride());
            taken += 1;
        }
        // The kernel has taken all of it.
        let was = trial.commit();
        *totals = Totals {
            calls: 1,
            binds: batches.iter().map(|batch| batch.binds() as u64).sum(),
            elided,
            runs: runs.len() as u64,
        };
        self.totals += *totals;
        self.latest.changes.was = was;
        Ok(Done { elided, stride })
    }

    /// The kernel refused an ioctl of a call, after it had taken `taken` others: it gets back to the shadow's state.
    fn fail(
        &mut self,
        failure: BindFailure,
        taken: usize,
        runs: &[Run],
        mode: BindMode,
    ) -> VmError {
        let error = self.refused(failure);
        if self.lost.is_some() || (taken == 0 && failure.applied == 0) {
            return error;
        }
        let changed: Vec<_> = runs.iter().map(|run| (run.va, run.len)).collect();
        match self.restore(&self.shadow.clone(), &changed, mode) {
            Ok(_) => error,
            Err(lost) => lost,
        }
    }

    /// No call will be taken back with these changes: the next call uses their buffers. Only its time goes by that, as large
    /// buffers are dear to make.
    pub fn keep(&mut self, changes: Changes) {
        if changes.runs.capacity() > self.latest.changes.runs.capacity() {
            self.latest.changes = changes;
        }
    }

    /// Maps again what a call has changed as it was before. What a later call has made of it stays, unless that is the same
    /// as this call has made of it: a call that must not be undone so is [`Batch::unordered`]. Where memory was freed since,
    /// or what was mapped is not known, the mapping stays, and is unknown. Gives what that changes.
    ///
    /// # Errors
    /// [`VmError::Lost`]: the kernel refused.
    pub fn take_back(&mut self, changes: Changes) -> Result<Changes, VmError> {
        self.alive()?;
        let mut was = Shadow::new();
        // The oldest change is applied last: it says what was before all of them.
        for change in changes.was.iter().rev() {
            change.restore(&mut was);
        }
        // What the call left: of each byte, what the last of its runs says.
        let mut left = Vec::new();
        let as_requests: Vec<Request> = changes.runs.iter().map(Run::request).collect();
        self.planner.plan(&as_requests, &Shadow::new(), &mut left);
        let mut still_so = Vec::new();
        for run in left {
            let now = self.shadow.extents(run.va, run.len);
            let ours = now.filter(|now| now.target == run.target.advanced(now.va.0 - run.va.0));
            still_so.extend(ours.map(|now| (now.va, now.len)));
        }
        let back = self.restore(&was, &still_so, BindMode::Async)?;
        self.totals -= changes.totals;
        Ok(back)
    }

    /// Has the kernel map these ranges as `state` says, and the shadow say so.
    fn restore(
        &mut self,
        state: &Shadow,
        ranges: &[(Va, u64)],
        mode: BindMode,
    ) -> Result<Changes, VmError> {
        let extents = ranges
            .iter()
            .flat_map(|&(va, len)| state.extents(va, len))
            .filter(|extent| self.is_mappable(extent.target));
        let requests: Vec<Request> = extents.map(|extent| extent.request()).collect();
        let mut changes = Changes::default();
        for &(va, len) in ranges {
            changes
                .was
                .extend(self.shadow.extents(va, len).map(Was::Extent));
            self.shadow.forget(va, len);
        }
        self.planner
            .plan(&requests, &Shadow::new(), &mut changes.runs);
        if let Err(failure) = self.map(&changes.runs, mode) {
            return Err(self.lose(format!(
                "the VM is in an unknown state: a bind could not be taken back: {failure}"
            )));
        }
        self.shadow.apply(&changes.runs);
        Ok(changes)
    }

    /// Whether the kernel can map it: memory that was freed has no handle any more.
    fn is_mappable(&self, target: Target) -> bool {
        match target {
            Target::Null => true,
            Target::Memory { bo, .. } => self.memory(bo.handle) == bo,
        }
    }

    /// # Errors
    /// A request of no whole pages, outside every range, or of memory that is freed.
    fn check_requests(&self, batches: &[Batch<'_>]) -> Result<(), VmError> {
        // Neighbouring requests are of one resource and one memory as a rule.
        let (mut range, mut memory) = (0..0, None);
        for Batch { requests, ends, .. } in batches {
            let ascend = ends.is_sorted() && ends.last().is_none_or(|&end| end == requests.len());
            if !ascend {
                return Err(VmError::BadRequest(format!(
                    "ends of binds are {ends:?}, expected them to ascend to {} requests",
                    requests.len()
                )));
            }
            for request in *requests {
                let Request { va, len, target } = *request;
                let bad =
                    |why: &str| VmError::BadRequest(format!("bind of {len} bytes at {va}: {why}"));
                let offset = match target {
                    Target::Null => 0,
                    Target::Memory { bo, offset, .. } => {
                        if memory != Some(bo) {
                            if self.memory(bo.handle) != bo {
                                return Err(bad("its memory is freed"));
                            }
                            memory = Some(bo);
                        }
                        offset
                    }
                };
                if (va.0 | len | offset) % SZ_4K != 0 || len == 0 {
                    return Err(bad("expected whole pages of 4096 bytes, at least one"));
                }
                if !range.contains(&va.0) {
                    let found = self.ranges.at(va).map(va_range);
                    let found = found.filter(|found| found.contains(&va.0));
                    range = found.ok_or_else(|| bad("no sparse range is there"))?;
                }
                if len > range.end - va.0 {
                    return Err(bad("it reaches beyond the sparse range there"));
                }
            }
        }
        Ok(())
    }
}

/// The addresses that requests may name.
fn va_range(range: &SparseRange) -> Range<u64> {
    range.va.0..range.va.0.saturating_add(range.len)
}

impl Batch<'_> {
    fn binds(&self) -> usize {
        if self.ends.is_empty() {
            self.requests.len()
        } else {
            self.ends.len()
        }
    }
}

/// What these requests name is not known any more.
fn forget(trial: &mut Tentative<'_>, requests: &[Request]) {
    for request in requests {
        trial.forget(request.va, request.len);
    }
}

/// Appends the runs of a batch. Gives the number of binds that changed nothing.
fn plan(planner: &mut Planner, batch: &Batch<'_>, shadow: &Shadow, runs: &mut Vec<Run>) -> u64 {
    if batch.binds() == batch.requests.len() {
        return planner.plan(batch.requests, shadow, runs).elided;
    }
    let contributed = planner.plan_marking(batch.requests, shadow, runs);
    let mut first = 0;
    let elided = batch.ends.iter().filter(|&&end| {
        let bind = std::mem::replace(&mut first, end)..end;
        !contributed[bind].contains(&true)
    });
    elided.count() as u64
}
