//! What an application asked for, and what really has to change.
//!
//! A *request* is one `VkSparseMemoryBind` with its handles turned into addresses. A *run* is a range of
//! the address space that has to get a new mapping. The *shadow* is what the VM maps now. The *plan*
//! turns requests and shadow into the fewest runs. Nothing here knows panthor, does I/O or reads a clock.

#![forbid(unsafe_code)]

mod image;
mod order;
mod plan;
mod ranges;
mod request;
mod shadow;
mod sweep;
mod tentative;
#[cfg(test)]
mod tests;

pub use image::{
    ImageBindError, ImageBindErrorKind, TileBind, resolve_image, resolve_image_opaque,
};
pub use plan::{PlanStats, Planner};
pub use ranges::{Ranges, SparseRange};
pub use request::{BindError, BindErrorKind, Memory, MemoryBind, Resource, resolve};
pub(crate) use shadow::Cursor;
pub use shadow::Shadow;
pub use tentative::Tentative;
pub(crate) use tentative::Was;

use crate::units::{BoRef, Va};

/// What a range of a sparse resource is, or shall be, mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Not bound to memory. On the GPU it is mapped all the same, to the dummy, so that an access does not fault.
    Null,
    /// Byte `i` of the range is byte `offset + i` of the buffer object.
    Memory {
        bo: BoRef,
        /// Bytes.
        offset: u64,
        flags: BindFlags,
    },
}

/// How memory is mapped, beside that no mapping of a sparse resource can be executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BindFlags(u32);

impl BindFlags {
    /// The GPU may read and write it, through its caches.
    pub const NONE: BindFlags = BindFlags(0);
    /// The GPU may not write to it.
    pub const READONLY: BindFlags = BindFlags(1 << 0);
    /// The GPU does not keep it in its caches.
    pub const UNCACHED: BindFlags = BindFlags(1 << 1);

    /// These flags and those.
    pub const fn and(self, other: BindFlags) -> BindFlags {
        BindFlags(self.0 | other.0)
    }

    pub const fn readonly(self) -> bool {
        self.0 & Self::READONLY.0 != 0
    }

    pub const fn uncached(self) -> bool {
        self.0 & Self::UNCACHED.0 != 0
    }
}

impl Target {
    /// Memory that the GPU may read and write, from byte `offset` of the buffer object on.
    pub const fn memory(bo: BoRef, offset: u64) -> Target {
        Target::Memory {
            bo,
            offset,
            flags: BindFlags::NONE,
        }
    }

    /// What the byte `distance` bytes further on is mapped to, when the range goes on that far.
    #[inline]
    pub fn advanced(self, distance: u64) -> Target {
        match self {
            Target::Null => Target::Null,
            // Wrapping: offsets in a buffer object stay far below 2^64, and a range that is
            // nonsense must not panic here.
            Target::Memory { bo, offset, flags } => Target::Memory {
                bo,
                offset: offset.wrapping_add(distance),
                flags,
            },
        }
    }
}

/// One bind of the application: `len` bytes from `va` shall be mapped to `target`. `len` is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub va: Va,
    /// Bytes.
    pub len: u64,
    pub target: Target,
}

/// A range that has to get a new mapping: an element of a plan. Same shape as a request, but part of a
/// list that is sorted, disjoint and as short as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub va: Va,
    /// Bytes.
    pub len: u64,
    pub target: Target,
}

impl Run {
    /// The first address after the run.
    #[inline]
    pub fn end(&self) -> Va {
        Va(self.va.0.saturating_add(self.len))
    }

    /// The request that this run would answer.
    pub fn request(&self) -> Request {
        Request {
            va: self.va,
            len: self.len,
            target: self.target,
        }
    }

    /// The part of the run in `[from, to)`, if there is one.
    pub fn clipped(&self, from: Va, to: Va) -> Option<Run> {
        let va = self.va.max(from);
        let end = self.end().min(to);
        (va < end).then(|| Run {
            va,
            len: end.0 - va.0,
            target: self.target.advanced(va.0 - self.va.0),
        })
    }
}
