//! The operations of a VM_BIND as the base driver hands it over.

use panvk_sparse::bind::BindFlags;
use panvk_sparse::uapi::{
    ObjArray, SYNC_OP_SIGNAL, SyncOp, VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_READONLY,
    VM_BIND_OP_MAP_SPARSE, VM_BIND_OP_MAP_UNCACHED, VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_MASK,
    VM_BIND_OP_TYPE_SYNC_ONLY, VM_BIND_OP_TYPE_UNMAP, VmBind, VmBindOp,
};
use panvk_sparse::units::{BoHandle, SZ_4K, Va};

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With [`VM_BIND_OP_MAP_SPARSE`]: the kernel maps its own dummy.
    Sparse,
    Memory {
        bo: BoHandle,
        /// Bytes.
        offset: u64,
        /// Beside that nothing of a sparse resource is executed: Mesa 26.1 leaves NOEXEC out.
        flags: BindFlags,
    },
    Unmap,
    SyncOnly,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub va: Va,
    /// Bytes.
    pub len: u64,
    pub kind: Kind,
}

impl Op {
    /// `None`: it is none that this crate knows.
    fn read(op: &VmBindOp) -> Option<Op> {
        let has = |bit: u32| op.flags & bit != 0;
        let flag = |bit, flag| if has(bit) { flag } else { BindFlags::NONE };
        let known = VM_BIND_OP_TYPE_MASK
            | VM_BIND_OP_MAP_READONLY
            | VM_BIND_OP_MAP_NOEXEC
            | VM_BIND_OP_MAP_UNCACHED
            | VM_BIND_OP_MAP_SPARSE;
        if op.flags & !known != 0
            || (op.syncs.count > 0 && op.syncs.stride as usize != size_of::<SyncOp>())
        {
            return None;
        }
        let kind = match op.flags & VM_BIND_OP_TYPE_MASK {
            VM_BIND_OP_TYPE_MAP if has(VM_BIND_OP_MAP_SPARSE) => {
                if op.bo_handle != 0 || op.bo_offset != 0 {
                    return None;
                }
                Kind::Sparse
            }
            VM_BIND_OP_TYPE_MAP => Kind::Memory {
                bo: BoHandle(op.bo_handle),
                offset: op.bo_offset,
                flags: flag(VM_BIND_OP_MAP_READONLY, BindFlags::READONLY)
                    .and(flag(VM_BIND_OP_MAP_UNCACHED, BindFlags::UNCACHED)),
            },
            VM_BIND_OP_TYPE_UNMAP => Kind::Unmap,
            VM_BIND_OP_TYPE_SYNC_ONLY => Kind::SyncOnly,
            _ => return None,
        };
        let has_range = matches!(kind, Kind::Sparse | Kind::Memory { .. } | Kind::Unmap);
        if has_range != (op.size > 0)
            || (op.va | op.size | op.bo_offset) % SZ_4K != 0
            || op.va.checked_add(op.size).is_none()
        {
            return None;
        }
        Some(Op {
            va: Va(op.va),
            len: op.size,
            kind,
        })
    }

    /// The first address after it.
    pub fn end(&self) -> Va {
        Va(self.va.0 + self.len)
    }
}

pub fn is_signal(sync: &SyncOp) -> bool {
    sync.flags & SYNC_OP_SIGNAL != 0
}

/// Operations with their waits and signals.
pub type Read<'a> = Vec<(Op, &'a [SyncOp])>;

/// The operations of a VM_BIND, in `list`, which is empty. `None`: one of them is none that this crate knows; the kernel
/// may know better.
///
/// # Safety
/// The base driver is calling VM_BIND with this.
pub unsafe fn read<'a>(bind: &'a VmBind, mut list: Read<'a>) -> Option<Read<'a>> {
    if bind.ops.count > 0 && bind.ops.stride as usize != size_of::<VmBindOp>() {
        return None;
    }
    // SAFETY: the caller's promise: the argument points to so many operations of this size.
    let ops: &[VmBindOp] = unsafe { array(&bind.ops) };
    for op in ops {
        // SAFETY: as above; `Op::read` has seen that the size is right.
        list.push((Op::read(op)?, unsafe { array(&op.syncs) }));
    }
    Some(list)
}

/// Buffers for so many operations are kept from call to call: less than 2 MiB for each thread that binds.
pub const MOST_KEPT: usize = 16_384;

/// An empty list, with the buffer of `list` if it is not too large: what is collected from a vector's own elements stays where
/// they were.
pub fn emptied<'a>(mut list: Read<'_>) -> Read<'a> {
    if list.capacity() > MOST_KEPT {
        return Vec::new();
    }
    list.clear();
    list.into_iter().map_while(|_| None).collect()
}

/// # Safety
/// The array is there, with elements of this type.
unsafe fn array<T>(array: &ObjArray) -> &[T] {
    let first = array.array as *const T;
    if array.count == 0 || first.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, array.count as usize) }
}
