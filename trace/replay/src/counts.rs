//! What binds cost, in numbers.

use std::ops::{Add, Sub};

use serde::Serialize;

use hosted::Space;
use panvk_sparse::lower::Costs;

/// Counts over some part of a recording. The names are relied on by scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// `vkQueueBindSparse` calls that were carried out. What the kernel was asked to do for others counts all the same.
    pub queue_bind_sparse_calls: u64,
    /// `VkSparseMemoryBind` and `VkSparseImageMemoryBind` structs in these calls.
    pub binds: u64,
    /// Binds that changed nothing.
    pub binds_elided: u64,
    /// Ranges that these calls really changed.
    pub runs: u64,
    /// VM_BIND ioctls, those at the creation and destruction of resources among them.
    pub vm_bind_ioctls: u64,
    /// The operations in them: the sum of the next four.
    pub vm_bind_ops: u64,
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    pub sync_ops: u64,
    /// Bytes that the kernel copied in for them.
    pub bytes_to_kernel: u64,
    /// Page-table entries written and cleared, of 4 KiB and of 2 MiB.
    pub pte_writes: u64,
    /// Calls into the kernel's page-table code.
    pub pt_calls: u64,
    /// Nanoseconds that the VM_BINDs would take a real kernel, by the cost model.
    pub estimated_ns: u64,
    /// Calls of which a bind broke a rule, so that nothing of them happened: the driver of the recording said so.
    pub refused: u64,
    /// Calls that failed in the recording for another reason; what was done for them was taken back.
    pub failed: u64,
    /// Calls that the driver of the recording took, and that the replayed kernel did not.
    pub not_taken: u64,
    /// Binds that can't be placed: of resources, memory or devices that are not known, or against this driver's rules.
    pub skipped: u64,
    /// Resources and memories that can't be placed.
    pub unplaced: u64,
    /// Events that the recorder had no room for.
    pub lost_events: u64,
}

impl Counts {
    /// Of one device: what its kernel was asked to do.
    pub(super) fn of(space: &Space) -> Self {
        let stats = space.stats();
        let work = space.work();
        let estimated = work.map(|work| {
            let done = work.vm.pt.work(stats.vm_bind_ioctls, stats.vm_bind_ops);
            Costs::PANTHOR.time(&done).as_nanos() as u64
        });
        Self {
            queue_bind_sparse_calls: stats.queue_bind_sparse_calls,
            binds: stats.binds,
            binds_elided: stats.binds_elided,
            runs: work.map_or(0, |work| work.runs),
            vm_bind_ioctls: stats.vm_bind_ioctls,
            vm_bind_ops: stats.vm_bind_ops,
            map_ops: stats.map_ops,
            null_ops: stats.null_ops,
            unmap_ops: stats.unmap_ops,
            sync_ops: stats.sync_ops,
            bytes_to_kernel: work.map_or(0, |work| work.bytes_to_kernel),
            pte_writes: work.map_or(0, |work| work.vm.pt.pte_writes()),
            pt_calls: work.map_or(0, |work| work.vm.pt.pt_calls),
            estimated_ns: estimated.unwrap_or(0),
            ..Self::default()
        }
    }
}

/// Each field of one and of the other, joined by `$join`.
macro_rules! by_field {
    ($one:ident, $other:ident, $join:path) => {
        by_field!($one, $other, $join:
            queue_bind_sparse_calls binds binds_elided runs vm_bind_ioctls vm_bind_ops map_ops null_ops
            unmap_ops sync_ops bytes_to_kernel pte_writes pt_calls estimated_ns refused failed not_taken skipped unplaced
            lost_events)
    };
    ($one:ident, $other:ident, $join:path: $($field:ident)+) => {
        Counts { $($field: $join($one.$field, $other.$field)),+ }
    };
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        by_field!(self, other, u64::saturating_add)
    }
}

/// What was counted since `other`, an earlier state of the same counts.
impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        by_field!(self, other, u64::saturating_sub)
    }
}
