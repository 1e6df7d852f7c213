//! The operations of one `VM_BIND` ioctl.

use std::ops::Range;

use crate::bind::Run;
use crate::drm::uapi::{ObjArray, SyncOp, VM_BIND_OP_TYPE_UNMAP, VmBindOp, VmBindOpRepeat};
use crate::units::Va;

/// The operations, in the size of struct that they need.
#[derive(Clone, Debug)]
pub enum OpArray {
    /// 48 bytes each, understood by every kernel.
    Plain(Vec<VmBindOp>),
    /// 56 bytes each: at least one operation has a repeat range.
    Repeat(Vec<VmBindOpRepeat>),
}

impl OpArray {
    pub fn len(&self) -> usize {
        match self {
            OpArray::Plain(ops) => ops.len(),
            OpArray::Repeat(ops) => ops.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of one operation in bytes: what goes into `obj_array.stride`.
    pub fn stride(&self) -> usize {
        match self {
            OpArray::Plain(_) => size_of::<VmBindOp>(),
            OpArray::Repeat(_) => size_of::<VmBindOpRepeat>(),
        }
    }

    /// Operation `index`; its repeat range is 0 where it has none.
    pub fn get(&self, index: usize) -> Option<VmBindOpRepeat> {
        match self {
            OpArray::Plain(ops) => ops.get(index).map(|&op| VmBindOpRepeat {
                op,
                bo_repeat_range: 0,
            }),
            OpArray::Repeat(ops) => ops.get(index).copied(),
        }
    }

    /// All operations in order; the repeat range is 0 where there is none.
    pub fn iter(&self) -> impl Iterator<Item = VmBindOpRepeat> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The part of operation `index` that all kernels know.
    pub fn op_mut(&mut self, index: usize) -> Option<&mut VmBindOp> {
        match self {
            OpArray::Plain(ops) => ops.get_mut(index),
            OpArray::Repeat(ops) => ops.get_mut(index).map(|op| &mut op.op),
        }
    }
}

/// The sync ops that belong to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Index of the operation in [`Ops::array`].
    pub op: usize,
    /// Indices in [`Ops::syncs`].
    pub syncs: Range<usize>,
}

/// The operations of one ioctl that come from one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which batch of the call, from 0.
    pub batch: usize,
    /// Indices in [`Ops::array`]. A SYNC_ONLY is one of them.
    pub ops: Range<usize>,
}

/// Operations by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Maps of an application's memory.
    pub map: u64,
    /// Maps of the dummy.
    pub null: u64,
    pub unmap: u64,
    /// SYNC_ONLY operations.
    pub sync: u64,
}

/// What one `VM_BIND` ioctl gets.
///
/// # Invariants
/// - An operation that has sync ops has `syncs.stride` and `syncs.count` set and is named once in `attach`;
///   its `syncs.array` is 0 until the caller of the ioctl writes the address there.
/// - `attach` is sorted by operation, its ranges cover `syncs` in order.
#[derive(Clone, Debug)]
pub struct Ops {
    pub array: OpArray,
    pub syncs: Vec<SyncOp>,
    pub attach: Vec<Attach>,
    pub counts: OpCounts,
    /// Which operations come from which batch, ascending; what the shadow needs when the kernel takes a part only.
    pub parts: Vec<Part>,
}

impl Default for Ops {
    fn default() -> Self {
        Ops {
            array: OpArray::Plain(Vec::new()),
            syncs: Vec::new(),
            attach: Vec::new(),
            counts: OpCounts::default(),
            parts: Vec::new(),
        }
    }
}

impl Ops {
    /// A single operation without syncs, such as that of [`unmap_op`].
    pub fn unmap(va: Va, len: u64) -> Ops {
        Ops {
            array: OpArray::Plain(vec![unmap_op(va, len)]),
            counts: OpCounts {
                unmap: 1,
                ..OpCounts::default()
            },
            parts: vec![Part {
                batch: 0,
                ops: 0..1,
            }],
            ..Ops::default()
        }
    }

    pub fn len(&self) -> usize {
        self.array.len()
    }

    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }

    /// What of the runs of `batch` is in place once the first `count` operations are: what the shadow takes
    /// when the kernel has stopped half-way.
    pub fn applied<'a>(
        &self,
        count: usize,
        batch: usize,
        runs: &'a [Run],
    ) -> impl Iterator<Item = Run> + 'a {
        // Operations ascend inside a batch, and cover every run that lies between the first and the last.
        let reach = self
            .parts
            .iter()
            .find(|part| part.batch == batch)
            .and_then(|part| {
                let first = self.array.get(part.ops.start)?.op;
                let last = self.array.get(part.ops.end.min(count).checked_sub(1)?)?.op;
                (part.ops.start < count)
                    .then_some((Va(first.va), Va(last.va.saturating_add(last.size))))
            });
        let (from, to) = reach.unwrap_or_default();
        runs.iter().filter_map(move |run| run.clipped(from, to))
    }
}

/// The operation that leaves `len` bytes from `va` without any mapping: the end of a resource.
pub fn unmap_op(va: Va, len: u64) -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_UNMAP,
        bo_handle: 0,
        bo_offset: 0,
        va: va.0,
        size: len,
        syncs: ObjArray::default(),
    }
}
