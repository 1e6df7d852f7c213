//! What an application asked for, and what really has to change.
//!
//! A *request* is one `VkSparseMemoryBind` with its handles turned into addresses. A *run* is a range of
//! the address space that has to get a new mapping. The *shadow* is what the VM maps now. The *plan*
//! turns requests and shadow into the fewest runs. Nothing here knows panthor, does I/O or reads a clock.

use crate::units::{BoRef, Va};

/// What a range of a sparse resource is, or shall be, mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Not bound to memory. On the GPU it is mapped all the same, to the dummy, so that an access does not fault.
    Null,
    /// Byte `i` of the range is byte `offset + i` of the buffer object.
    Memory { bo: BoRef, offset: u64 },
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
