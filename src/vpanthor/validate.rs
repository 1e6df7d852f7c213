//! What panthor looks at in one `VM_BIND` op before it touches the VM, and in which order.
//!
//! Every refusal is `EINVAL`, so the order shows in two places only: a sync op on a synchronous bind is refused even where
//! the size is 0, and a synchronous op of size 0 is a success whatever else it says.

use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;

use crate::drm::uapi::{
    VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_READONLY, VM_BIND_OP_MAP_REPEAT, VM_BIND_OP_MAP_SPARSE,
    VM_BIND_OP_MAP_UNCACHED, VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_SYNC_ONLY,
    VM_BIND_OP_TYPE_UNMAP,
};
use crate::units::SZ_4K;

use super::bo::Bo;
use super::flavour::{Flavour, RepeatRule};
use super::gpuvm::Gpuvm;
use super::mapping::{MapFlags, Source};

/// The fields of a `struct drm_panthor_vm_bind_op` that are looked at here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindOp {
    /// Type and flags, raw.
    pub flags: u32,
    pub bo_handle: u32,
    /// Bytes.
    pub bo_offset: u64,
    pub va: u64,
    /// Bytes.
    pub size: u64,
    /// How many sync ops there are.
    pub sync_count: u32,
    /// Bytes; 0 where the op is too short to have the field.
    pub repeat_range: u64,
}

/// How the ops of a `VM_BIND` run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One after another, before the ioctl returns.
    Sync,
    /// Queued, with sync ops.
    Async,
}

/// The VM that an op is for, and what surrounds it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub flavour: Flavour,
    pub vm_id: u32,
    /// Bytes, see [`Gpuvm::user_va_range`].
    pub user_va_range: u64,
    /// The buffer object of a handle. Never asked for handle 0.
    pub bo: &'a dyn Fn(u32) -> Option<Arc<Bo>>,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("flavour", &self.flavour)
            .field("vm_id", &self.vm_id)
            .field("user_va_range", &self.user_va_range)
            .finish_non_exhaustive()
    }
}

/// An op that passed.
#[derive(Clone, Debug)]
pub enum Validated {
    /// A synchronous op of size 0.
    Nothing,
    /// Arguments of [`Gpuvm::map`].
    Map {
        va: u64,
        /// Bytes.
        size: u64,
        source: Source,
        flags: MapFlags,
    },
    /// Arguments of [`Gpuvm::unmap`].
    Unmap {
        va: u64,
        /// Bytes.
        size: u64,
    },
    /// Only the sync ops count.
    SyncOnly,
}

impl Validated {
    /// Does what the op asks for.
    ///
    /// # Errors
    /// As [`Gpuvm::map`] and [`Gpuvm::unmap`]; nothing has changed then.
    pub fn apply(self, vm: &mut Gpuvm) -> Result<(), Errno> {
        match self {
            Validated::Map {
                va,
                size,
                source,
                flags,
            } => vm.map(va, size, source, flags),
            Validated::Unmap { va, size } => vm.unmap(va, size),
            Validated::Nothing | Validated::SyncOnly => Ok(()),
        }
    }
}

/// Checks one op as `panthor_vm_bind_exec_sync_op`, `panthor_vm_bind_prepare_op_ctx` and what they call do.
///
/// The state of the VM does not matter here: that an unusable VM takes no maps is its owner's to say.
///
/// # Errors
/// `EINVAL`, whatever the reason. A repeat range that is no multiple of 4 KiB, or of 4 GiB or more, is refused too: the
/// series' kernels let the one pass and then write a broken page table, and keep the other in 32 bits.
pub fn validate(op: &BindOp, mode: Mode, context: &Context<'_>) -> Result<Validated, Errno> {
    let ensure = |holds: bool| if holds { Ok(()) } else { Err(Errno::INVAL) };

    if mode == Mode::Sync {
        ensure(op.sync_count == 0)?;
        if op.size == 0 {
            return Ok(Validated::Nothing);
        }
    }
    let &BindOp { va, size, .. } = op;
    ensure((va | size | op.bo_offset) % SZ_4K == 0)?;
    ensure(va < context.user_va_range && size <= context.user_va_range - va)?;

    let repeats = op.flags & VM_BIND_OP_MAP_REPEAT != 0;
    if context.flavour.repeat_rule() == Some(RepeatRule::V5) {
        ensure(repeats || op.repeat_range == 0)?;
    }
    let flags = op.flags & !VM_BIND_OP_TYPE_MASK;
    let names_bo = op.bo_handle != 0 || op.bo_offset != 0;
    match op.flags & VM_BIND_OP_TYPE_MASK {
        VM_BIND_OP_TYPE_MAP => {
            let source = validate_map(op, flags, context)?;
            Ok(Validated::Map {
                va,
                size,
                source,
                flags: MapFlags::from_op_flags(flags),
            })
        }
        VM_BIND_OP_TYPE_UNMAP => {
            ensure(flags == 0 && !names_bo)?;
            Ok(Validated::Unmap { va, size })
        }
        VM_BIND_OP_TYPE_SYNC_ONLY if mode == Mode::Async => {
            ensure(flags == 0 && !names_bo)?;
            ensure(va == 0 && size == 0 && op.sync_count != 0)?;
            Ok(Validated::SyncOnly)
        }
        _ => Err(Errno::INVAL),
    }
}

/// What a map shows.
fn validate_map(op: &BindOp, flags: u32, context: &Context<'_>) -> Result<Source, Errno> {
    let ensure = |holds: bool| if holds { Ok(()) } else { Err(Errno::INVAL) };

    let flavour = context.flavour;
    let (can_repeat, can_sparse) = (flavour.repeat_rule().is_some(), flavour.has_sparse());
    let mut known = VM_BIND_OP_MAP_READONLY | VM_BIND_OP_MAP_NOEXEC | VM_BIND_OP_MAP_UNCACHED;
    if can_repeat {
        known |= VM_BIND_OP_MAP_REPEAT;
    }
    if can_sparse {
        known |= VM_BIND_OP_MAP_SPARSE;
    }
    ensure(flags & !known == 0)?;

    if can_sparse && flags & VM_BIND_OP_MAP_SPARSE != 0 {
        ensure(flags & VM_BIND_OP_MAP_NOEXEC != 0)?;
        ensure(op.bo_handle == 0 && op.bo_offset == 0)?;
        return Ok(Source::Sparse);
    }

    ensure(op.bo_handle != 0)?;
    let bo = (context.bo)(op.bo_handle).ok_or(Errno::INVAL)?;
    ensure(bo.exclusive_vm.is_none_or(|vm| vm == context.vm_id))?;
    let offset = op.bo_offset;
    let fits = |len: u64| offset <= bo.size && len <= bo.size - offset;
    if can_repeat && flags & VM_BIND_OP_MAP_REPEAT != 0 {
        let range = op.repeat_range;
        ensure(range != 0 && range % SZ_4K == 0 && u32::try_from(range).is_ok())?;
        ensure(fits(range) && op.size % range == 0)?;
        return Ok(Source::Repeat { bo, offset, range });
    }
    ensure(fits(op.size))?;
    Ok(Source::Bo { bo, offset })
}
