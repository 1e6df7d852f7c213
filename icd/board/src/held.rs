//! Asynchronous VM_BINDs of one call, held until the last of them is there.

use std::sync::Arc;

use panvk_sparse::uapi::SyncOp;
use rustix::io::Errno;

use crate::op::{Kind, MOST_KEPT, Op, is_signal};
use crate::vm::BoardVm;

/// Operations that an ioctl of the base driver has room for. One with fewer is the last of its submission.
const FULL: usize = 16;

/// What a thread holds for one VM.
#[derive(Debug)]
pub struct Held {
    pub vm: Arc<BoardVm>,
    pub parts: Parts,
}

impl Held {
    /// # Errors
    /// See [`BoardVm::bind`].
    pub fn carry_out(self) -> Result<(), Errno> {
        self.vm.bind(&self.parts)
    }
}

/// Operations, those that wait and signal as one being a part.
#[derive(Debug, Default)]
pub struct Parts {
    waits: Vec<SyncOp>,
    ops: Vec<Op>,
    signals: Vec<SyncOp>,
    /// Where each part begins in these.
    starts: Vec<Start>,
    /// VM_BINDs of the base driver that asked for them, and the operations of these.
    pub asked: (u64, u64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Start {
    waits: usize,
    ops: usize,
    signals: usize,
}

/// Operations that wait and signal as one.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub waits: &'a [SyncOp],
    pub ops: &'a [Op],
    pub signals: &'a [SyncOp],
}

impl Parts {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// None are left. Keeps the buffers, if they are not too large.
    pub fn clear(&mut self) {
        if self.ops.capacity() > MOST_KEPT {
            self.ops = Vec::new();
        }
        self.waits.clear();
        self.ops.clear();
        self.signals.clear();
        self.starts.clear();
        self.asked = (0, 0);
    }

    /// The end of the last part.
    fn end(&self) -> Start {
        Start {
            waits: self.waits.len(),
            ops: self.ops.len(),
            signals: self.signals.len(),
        }
    }

    /// All of it, if it is one part.
    pub fn only(&self) -> Option<Part<'_>> {
        (self.starts.len() == 1).then_some(Part {
            waits: &self.waits,
            ops: &self.ops,
            signals: &self.signals,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = Part<'_>> {
        let ends = self.starts.iter().skip(1).copied().chain([self.end()]);
        self.starts.iter().zip(ends).map(|(start, end)| Part {
            waits: &self.waits[start.waits..end.waits],
            ops: &self.ops[start.ops..end.ops],
            signals: &self.signals[start.signals..end.signals],
        })
    }

    /// Whether an operation with these syncs can go to the kernel with the others: no ioctl may wait for a syncobj that it
    /// signals.
    pub fn goes_with(&self, syncs: &[SyncOp]) -> bool {
        let clash = |sync: &SyncOp| {
            let others = if is_signal(sync) {
                &self.waits
            } else {
                &self.signals
            };
            others.iter().any(|other| other.handle == sync.handle)
        };
        !syncs.iter().any(clash)
    }

    /// Adds an operation with its waits and signals, which [go with](Parts::goes_with) the others.
    pub fn add(&mut self, op: Op, syncs: &[SyncOp]) {
        let waits = syncs.iter().filter(|sync| !is_signal(sync));
        let signals = syncs.iter().filter(|sync| is_signal(sync));
        let has_waits = waits.clone().next().is_some();
        let end = self.end();
        if self
            .starts
            .last()
            .is_none_or(|start| end.signals > start.signals || (has_waits && end.ops > start.ops))
        {
            self.starts.push(end);
        }
        self.waits.extend(waits);
        if op.kind != Kind::SyncOnly {
            self.ops.push(op);
        }
        self.signals.extend(signals);
    }
}

/// Whether an ioctl of that many operations, the last of which signals or not, ends its submission.
pub fn ends(ops: usize, signals: bool) -> bool {
    signals || ops < FULL
}
