//! Runs that one operation can do together, because what lies between them is so already.
//!
//! A plan leaves out every byte that has the wanted mapping. Where a gap between two runs is mapped the way the
//! runs want it, an operation over all three has the same effect, and one operation is cheaper than two:
//! unbinding every second piece of a buffer whose other pieces are unbound is one operation.
//!
//! While the kernel maps a gap again, the GPU may be using it, unless the application named it. A kernel with a region lock
//! makes the GPU wait; on others the GPU can fault, so there only named gaps are bridged (docs/kernel-locks.md).

use super::{Costs, NullMap};
use crate::bind::{Cursor, Run, Shadow, Target};
use crate::units::SZ_4K;

/// The longest gap that is mapped again for the sake of one operation less, in bytes: clearing and writing the entries of a
/// longer one costs the kernel more than the operation.
pub const LONGEST_BRIDGE: u64 = {
    let costs = Costs::PANTHOR;
    // It may lie in two slots, and in each the old entries are one call and the new ones another.
    (costs.op - 4 * costs.call) / (2 * costs.entry) * SZ_4K
};

/// Decides which neighbours are joined. Asked for ascending runs, one pair after another.
pub(super) struct Bridge<'a> {
    cursor: Cursor<'a>,
    longest: u64,
    /// See [`Lowering::with_region_lock`](super::Lowering::with_region_lock).
    region_lock: bool,
    null: Null,
}

/// Where a gap between two null runs can save an operation.
enum Null {
    Anywhere,
    /// Inside one aligned range of so many bytes; an operation ends at its end in any case.
    Within(u64),
    /// Each page is an operation of its own.
    Nowhere,
}

impl<'a> Bridge<'a> {
    /// `shadow` is the state that the runs change.
    pub fn new(shadow: &'a Shadow, longest: u64, region_lock: bool, null: &NullMap) -> Self {
        let null = match null {
            NullMap::Sparse | NullMap::Repeat { .. } => Null::Anywhere,
            NullMap::Chunk { .. } => Null::Within(null.dummy_size()),
            NullMap::Page { .. } => Null::Nowhere,
        };
        Bridge {
            cursor: shadow.cursor(),
            longest,
            region_lock,
            null,
        }
    }

    /// Whether one mapping may reach from the start of `run` to the end of `next`. `named` tells whether the requests name all
    /// of the gap between them.
    #[inline]
    pub fn joins(&mut self, run: &Run, next: &Run, named: impl FnOnce() -> bool) -> bool {
        if run.target.advanced(next.va.0 - run.va.0) != next.target {
            return false;
        }
        if next.target == Target::Null {
            match self.null {
                Null::Anywhere => {}
                Null::Within(size) if (run.end().0 - 1) / size == next.va.0 / size => {}
                Null::Within(_) | Null::Nowhere => return false,
            }
        }
        let gap = next.va.0 - run.end().0;
        gap == 0
            || gap <= self.longest
                && (self.region_lock || named())
                && self
                    .cursor
                    .has(run.end(), gap, run.target.advanced(run.len))
    }
}
