//! The operations of one `VM_BIND` ioctl.

use std::ops::Range;

use crate::uapi::{ObjArray, SyncOp, VM_BIND_OP_TYPE_UNMAP, VmBindOp, VmBindOpRepeat};
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
}

impl Default for Ops {
    fn default() -> Self {
        Ops {
            array: OpArray::Plain(Vec::new()),
            syncs: Vec::new(),
            attach: Vec::new(),
            counts: OpCounts::default(),
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
            ..Ops::default()
        }
    }

    pub fn len(&self) -> usize {
        self.array.len()
    }

    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
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
