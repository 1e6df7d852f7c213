//! Runs become `VM_BIND` operations: the few that one kernel takes, with the same effect on its page tables.
//!
//! [`bind`](crate::bind) says *what* has to change; this module says it in panthor's words. How an unbound
//! range is said depends on the kernel ([`Strategy`], [`NullMap`]); everything else is the same everywhere.
//! What comes out is one [`Ops`] for each ioctl, complete but for the addresses of the sync ops, which only
//! the caller of the ioctl can know.
//!
//! What holds for all that comes out:
//! - applying the operations to a page table gives the same table as applying the runs page by page;
//! - there is one ioctl for a call, or the fewest possible above [`MAX_OPS_PER_IOCTL`] operations;
//! - no operation is empty, and none is one that the kernel of the given [`NullMap`] refuses;
//! - every mapping carries NOEXEC, for nothing in a sparse resource is a program.
#![forbid(unsafe_code)]

mod bridge;
mod cost;
mod lowering;
mod ops;
mod order;
mod sink;
mod strategy;
#[cfg(test)]
mod tests;

pub use bridge::LONGEST_BRIDGE;
pub use cost::{Costs, Work};
pub use lowering::{Call, Lowering, PlannedBatch};
pub use ops::{Attach, OpArray, OpCounts, Ops, unmap_op};
pub use strategy::{NullMap, Strategy, UnknownStrategy};

/// The most operations that go into one `VM_BIND`. The rest of a call goes into the next.
///
/// The kernel copies the array into memory of its own, and each operation of an asynchronous bind becomes a
/// scheduler job: a bound keeps one call from asking for more than a few MiB at once.
pub const MAX_OPS_PER_IOCTL: usize = 65_536;
