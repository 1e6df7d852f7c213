//! Where operations go: into one ioctl until it is full, then into the next.

use super::ops::{Attach, OpArray, OpCounts, Ops};
use super::order::{Ground, Group, arrange};
use crate::uapi::{ObjArray, SyncOp, VmBindOp, VmBindOpRepeat};

/// Fills ioctls with operations. Every ioctl but the last is full.
///
/// Buffers are kept from one call to the next: a million operations are 48 MB, and fresh memory of that size
/// costs more than writing the operations.
#[derive(Debug)]
pub(super) struct Sink {
    max_ops: usize,
    /// Those of this call, and behind them empty ones of earlier calls, for their buffers.
    ioctls: Vec<Ops>,
    /// How many are of this call.
    used: usize,
    spare_plain: Vec<Vec<VmBindOp>>,
    spare_repeat: Vec<Vec<VmBindOpRepeat>>,
}

/// What an operation is counted as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Map,
    Null,
    Sync,
}

impl Sink {
    /// `max_ops`: operations in one ioctl, at least 1.
    pub fn new(max_ops: usize) -> Self {
        Sink {
            max_ops: max_ops.max(1),
            ioctls: Vec::new(),
            used: 0,
            spare_plain: Vec::new(),
            spare_repeat: Vec::new(),
        }
    }

    /// Forgets the operations, keeps their buffers.
    pub fn clear(&mut self) {
        // In reverse, so that the first ioctl gets the first one's buffer again, which is the largest.
        for ops in self.ioctls[..self.used].iter_mut().rev() {
            match &mut ops.array {
                OpArray::Plain(list) => list.clear(),
                OpArray::Repeat(list) => {
                    list.clear();
                    self.spare_repeat.push(std::mem::take(list));
                    ops.array = OpArray::Plain(self.spare_plain.pop().unwrap_or_default());
                }
            }
            ops.syncs.clear();
            ops.attach.clear();
            ops.counts = OpCounts::default();
        }
        self.used = 0;
    }

    pub fn ioctls(&mut self) -> &mut [Ops] {
        &mut self.ioctls[..self.used]
    }

    /// Number of operations in all ioctls: the position of the next one.
    pub fn len(&self) -> usize {
        match self.ioctls[..self.used].last() {
            Some(last) => (self.used - 1) * self.max_ops + last.len(),
            None => 0,
        }
    }

    /// Puts the last operations, which are `group`, in the order that suits the kernel. Those that lie in two
    /// ioctls stay as they are.
    pub fn arrange(&mut self, group: Group, ground: &mut Ground<'_>) {
        let Some(ops) = self.ioctls().last_mut().filter(|_| group.count > 1) else {
            return;
        };
        let end = ops.len();
        let Some(start) = end.checked_sub(group.count) else {
            return;
        };
        match &mut ops.array {
            OpArray::Plain(list) => arrange(&mut list[start..end], group.crosses, ground),
            OpArray::Repeat(list) => arrange(&mut list[start..end], group.crosses, ground),
        }
    }

    #[inline]
    pub fn push(&mut self, op: VmBindOp, kind: Kind) {
        let ops = self.open();
        kind.count(&mut ops.counts);
        match &mut ops.array {
            OpArray::Plain(list) => list.push(op),
            OpArray::Repeat(list) => list.push(VmBindOpRepeat {
                op,
                bo_repeat_range: 0,
            }),
        }
    }

    /// An operation with a repeat range. Makes all operations of its ioctl 56 bytes.
    pub fn push_repeat(&mut self, op: VmBindOpRepeat, kind: Kind) {
        let spare_of = self.spare_repeat.pop();
        let ops = self.open();
        kind.count(&mut ops.counts);
        match &mut ops.array {
            OpArray::Repeat(list) => {
                list.push(op);
                self.spare_repeat.extend(spare_of);
            }
            OpArray::Plain(plain) => {
                let mut plain = std::mem::take(plain);
                let mut list = spare_of.unwrap_or_default();
                list.extend(plain.iter().map(|&op| VmBindOpRepeat {
                    op,
                    bo_repeat_range: 0,
                }));
                list.push(op);
                ops.array = OpArray::Repeat(list);
                plain.clear();
                self.spare_plain.push(plain);
            }
        }
    }

    /// The ioctl that takes the next operation.
    #[inline]
    fn open(&mut self) -> &mut Ops {
        let last = self.ioctls[..self.used].last();
        if last.is_none_or(|ops| ops.len() >= self.max_ops) {
            if self.used == self.ioctls.len() {
                self.ioctls.push(Ops::default());
            }
            self.used += 1;
        }
        &mut self.ioctls[self.used - 1]
    }

    /// Gives the operation at `position` sync ops, after those that it has.
    pub fn attach(&mut self, position: usize, syncs: &[SyncOp]) {
        if syncs.is_empty() {
            return;
        }
        let max_ops = self.max_ops;
        let Some(ops) = self.ioctls().get_mut(position / max_ops) else {
            return;
        };
        let op = position % max_ops;
        let start = ops.syncs.len();
        ops.syncs.extend_from_slice(syncs);
        let end = ops.syncs.len();
        let range = match ops.attach.last_mut() {
            Some(last) if last.op == op => {
                last.syncs.end = end;
                last.syncs.clone()
            }
            _ => {
                ops.attach.push(Attach {
                    op,
                    syncs: start..end,
                });
                start..end
            }
        };
        if let Some(op) = ops.array.op_mut(op) {
            op.syncs = ObjArray {
                stride: size_of::<SyncOp>() as u32,
                count: range.len() as u32,
                array: 0,
            };
        }
    }
}

impl Kind {
    #[inline]
    fn count(self, counts: &mut OpCounts) {
        match self {
            Kind::Map => counts.map += 1,
            Kind::Null => counts.null += 1,
            Kind::Sync => counts.sync += 1,
        }
    }
}
