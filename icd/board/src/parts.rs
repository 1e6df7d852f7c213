//! Operations that wait and signal as one, gathered from several VM_BINDs of the base driver.

use panvk_sparse::uapi::SyncOp;

use crate::op::{Kind, MOST_KEPT, Op, is_signal};

/// Operations in parts, each of which waits and signals as one.
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
        let syncs = self.waits.capacity().max(self.signals.capacity());
        if self.ops.capacity().max(syncs) > MOST_KEPT {
            *self = Parts::default();
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
