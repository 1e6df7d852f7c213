//! Changes of a VM become the ioctls of one kernel: what all kernels share. What each says in its own way is behind [`Uapi`].

use std::fmt;

use panvk_sparse::bind::{Ranges, Run, SparseRange, Target};
use panvk_sparse::lower::{OpCounts, PlannedBatch};
use panvk_sparse::uapi::SyncOp;
use panvk_sparse::units::{BoHandle, Va};

use crate::amdgpu::Amdgpu;
use crate::asahi::Asahi;
use crate::ioctl::Step;
use crate::kernel::Kernel;
use crate::msm::Msm;
use crate::nouveau::Nouveau;
use crate::seam::{Change, Kind, Names, Uapi, is_timeline};
use crate::xe::Xe;

/// What cannot be said to a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub kernel: Kernel,
    pub va: Va,
    /// Bytes.
    pub len: u64,
    pub why: String,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unfit {
            kernel,
            va,
            len,
            why,
        } = self;
        write!(f, "{kernel} cannot bind {len} bytes at {va}: {why}")
    }
}

impl std::error::Error for Unfit {}

/// Says changes of one VM to one kernel. It keeps no state.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    pub kernel: Kernel,
    pub names: Names,
}

impl Encoder {
    /// For who only counts: whatever the names are, the bytes are as many.
    pub fn to_count(kernel: Kernel) -> Encoder {
        let names = Names {
            vm: 1,
            queue: 1,
            pat_index: 0,
            scratch: BoHandle(1),
        };
        Encoder { kernel, names }
    }

    /// A sparse range is created: it starts unbound.
    ///
    /// # Errors
    /// The kernel cannot have such a range.
    pub fn create(&self, range: &SparseRange) -> Result<Vec<Step>, Unfit> {
        self.encode(&[Group::of(Change::Create(whole(range)))])
    }

    /// A sparse range is destroyed: nothing is mapped there.
    ///
    /// # Errors
    /// As of [`Encoder::create`].
    pub fn destroy(&self, range: &SparseRange) -> Result<Vec<Step>, Unfit> {
        self.encode(&[Group::of(Change::Destroy(whole(range)))])
    }

    /// Carries out a call: its batches in order. `ranges`: those that were created.
    ///
    /// # Errors
    /// A run that the kernel cannot bind.
    pub fn call(&self, batches: &[PlannedBatch<'_>], ranges: &Ranges) -> Result<Vec<Step>, Unfit> {
        let regions = self.kernel.limits().regions;
        let changes = |runs: &[Run]| -> Vec<Change> {
            let runs = runs.iter().filter(|run| run.len > 0);
            match regions {
                true => runs.flat_map(|&run| pieces(run, ranges)).collect(),
                false => runs.copied().map(Change::Bind).collect(),
            }
        };
        let groups: Vec<_> = batches
            .iter()
            .map(|batch| Group {
                waits: batch.waits,
                signals: batch.signals,
                changes: changes(batch.runs),
            })
            .collect();
        self.encode(&groups)
    }

    fn encode(&self, groups: &[Group<'_>]) -> Result<Vec<Step>, Unfit> {
        match self.kernel {
            Kernel::Xe | Kernel::Xe64k => self.encode_as::<Xe>(groups),
            Kernel::Msm => self.encode_as::<Msm>(groups),
            Kernel::Asahi => self.encode_as::<Asahi>(groups),
            Kernel::Nouveau => self.encode_as::<Nouveau>(groups),
            Kernel::Amdgpu => self.encode_as::<Amdgpu>(groups),
        }
    }

    fn encode_as<U: Uapi>(&self, groups: &[Group<'_>]) -> Result<Vec<Step>, Unfit> {
        let mut pending = Pending::<U>::new(self.names);
        for group in groups {
            // Waits and signals are of a whole ioctl. So a signal ends one, and a wait begins one.
            if !(pending.signals.is_empty() && group.waits.is_empty()) {
                pending.flush();
            }
            // A timeline is at 0 from the start.
            let waits = (group.waits.iter()).filter(|s| !is_timeline(s) || s.timeline_value > 0);
            pending.waits.extend(waits.copied());
            pending.signals.extend_from_slice(group.signals);
            for change in &group.changes {
                self.check(change)?;
                let op = U::op(&self.names, change);
                let op = op.map_err(|why| self.unfit(change.run(), why.to_owned()))?;
                pending.ops.push(op);
                pending.kinds.push(change.kind());
            }
        }
        pending.flush();
        Ok(pending.steps)
    }

    fn check(&self, change: &Change) -> Result<(), Unfit> {
        let limits = self.kernel.limits();
        let run = change.run();
        let (page, offset) = match run.target {
            Target::Null => (limits.page, 0),
            Target::Memory { offset, .. } => (limits.memory_page, offset),
        };
        if (run.va.0 | run.len | offset) % page != 0 || run.len == 0 {
            let why = format!("expected multiples of {page} bytes, also of the offset {offset}");
            return Err(self.unfit(run, why));
        }
        let (first, end) = limits.addresses;
        if run.va.0 < first || run.end().0 > end {
            let why = format!("expected addresses from {first:#x} to {end:#x}");
            return Err(self.unfit(run, why));
        }
        Ok(())
    }

    fn unfit(&self, run: &Run, why: String) -> Unfit {
        Unfit {
            kernel: self.kernel,
            va: run.va,
            len: run.len,
            why,
        }
    }
}

struct Group<'a> {
    waits: &'a [SyncOp],
    signals: &'a [SyncOp],
    changes: Vec<Change>,
}

impl Group<'_> {
    fn of(change: Change) -> Self {
        Group {
            waits: &[],
            signals: &[],
            changes: vec![change],
        }
    }
}

fn whole(range: &SparseRange) -> Run {
    Run {
        va: range.va,
        len: range.len,
        target: Target::Null,
    }
}

/// The run; if it maps memory, cut at the ends of the ranges that it reaches over.
fn pieces(run: Run, ranges: &Ranges) -> impl Iterator<Item = Change> {
    let mut at = run.va;
    std::iter::from_fn(move || {
        let range = ranges.at(at).filter(|_| run.target != Target::Null);
        let range_end = range.map(|range| Va(range.va.0 + range.len));
        let end = range_end.filter(|&end| end > at).unwrap_or(run.end());
        let piece = run.clipped(at, end)?;
        at = end;
        Some(Change::Bind(piece))
    })
}

/// What the next ioctl has to do.
struct Pending<U: Uapi> {
    names: Names,
    ops: Vec<U::Op>,
    /// Of each operation.
    kinds: Vec<Kind>,
    waits: Vec<SyncOp>,
    signals: Vec<SyncOp>,
    steps: Vec<Step>,
}

impl<U: Uapi> Pending<U> {
    fn new(names: Names) -> Self {
        Pending {
            names,
            ops: Vec::new(),
            kinds: Vec::new(),
            waits: Vec::new(),
            signals: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn flush(&mut self) {
        let limits = U::LIMITS;
        // The driver itself waits and signals where no ioctl can.
        let (mut max_waits, mut max_signals) = (limits.max_waits, limits.max_signals);
        if self.ops.is_empty() && !limits.empty_ioctl {
            (max_waits, max_signals) = (0, 0);
        }
        let (mut waits, mut signals) = (Vec::new(), std::mem::take(&mut self.signals));
        for wait in self.waits.drain(..) {
            if waits.len() < max_waits && (limits.timeline_waits || !is_timeline(&wait)) {
                waits.push(wait);
            } else {
                self.steps.push(Step::Wait(wait));
            }
        }
        let rest = signals.split_off(signals.len().min(max_signals));

        let ioctls = match self.ops.len().div_ceil(limits.max_ops) {
            0 => usize::from(!(waits.is_empty() && signals.is_empty())),
            ioctls => ioctls,
        };
        for i in 0..ioctls {
            let first = i * limits.max_ops;
            let end = (first + limits.max_ops).min(self.ops.len());
            let waits = if i == 0 { &waits[..] } else { &[] };
            let signals = if i + 1 == ioctls { &signals[..] } else { &[] };
            let mut ioctl = U::ioctl(&self.names, &self.ops[first..end], waits, signals);
            ioctl.counts = count(&self.kinds[first..end]);
            self.steps.push(Step::Ioctl(ioctl));
        }
        self.steps.extend(rest.into_iter().map(Step::Signal));
        self.ops.clear();
        self.kinds.clear();
    }
}

fn count(kinds: &[Kind]) -> OpCounts {
    let mut counts = OpCounts::default();
    for kind in kinds {
        match kind {
            Kind::Map => counts.map += 1,
            Kind::Null => counts.null += 1,
            Kind::Unmap => counts.unmap += 1,
        }
    }
    counts
}
