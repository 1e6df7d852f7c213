//! What work costs the kernel: the measure by which operations are chosen.
//!
//! An operation is dear and a page-table entry is cheap, but an operation can write a quarter of a million entries. So the
//! fewest operations are not always the least work. This model adds up what panthor does for a VM_BIND.

use std::time::Duration;

/// What panthor does for operations, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// VM_BIND ioctls.
    pub ioctls: u64,
    /// Operations in them.
    pub ops: u64,
    /// Calls into the page-table code, without those that `repetitions` counts.
    pub calls: u64,
    /// Further calls for the same 2 MiB slot of a mapping that repeats: one for each repetition in it after the first.
    pub repetitions: u64,
    /// 4 KiB entries that are written or cleared.
    pub entries: u64,
    /// 2 MiB entries that are written or cleared.
    pub large_entries: u64,
    /// Pages taken to hold entries: one for each 2 MiB slot that gets 4 KiB entries.
    pub tables: u64,
    /// Of the ioctls, those that are asynchronous, and the operations in them.
    pub async_ioctls: u64,
    pub async_ops: u64,
}

impl Work {
    /// What was done since `before`, of which this is a later count.
    pub fn since(&self, before: &Work) -> Work {
        Work {
            ioctls: self.ioctls - before.ioctls,
            ops: self.ops - before.ops,
            calls: self.calls - before.calls,
            repetitions: self.repetitions - before.repetitions,
            entries: self.entries - before.entries,
            large_entries: self.large_entries - before.large_entries,
            tables: self.tables - before.tables,
            async_ioctls: self.async_ioctls - before.async_ioctls,
            async_ops: self.async_ops - before.async_ops,
        }
    }

    /// The same work, if all of its ioctls are asynchronous.
    pub fn asynchronously(self) -> Work {
        Work {
            async_ioctls: self.ioctls,
            async_ops: self.ops,
            ..self
        }
    }
}

/// What each part of [`Work`] costs, in picoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    pub ioctl: u64,
    pub op: u64,
    pub call: u64,
    pub repetition: u64,
    pub entry: u64,
    pub large_entry: u64,
    pub table: u64,
    /// What an asynchronous ioctl and an operation in it cost more than synchronous ones, until the signal.
    pub async_ioctl: u64,
    pub async_op: u64,
}

impl Costs {
    /// Those of Linux 7.3.4's panthor for a synchronous bind, in User Mode Linux on an x86-64 machine, where an ioctl costs
    /// more than on hardware: what `panvk-sparse probe --costs` fits to the times of 50 of its 52 binds, 37 of them synchronous.
    /// Two are not from there. That of a large entry is a guess, as the kernel has none in User Mode Linux. That of a repetition
    /// comes from a kernel with version 4 of the repeat series. See docs/performance.md.
    pub const PANTHOR: Costs = Costs {
        ioctl: 9_300_000,
        op: 650_000,
        call: 90_000,
        repetition: 50_000,
        entry: 1_600,
        large_entry: 10_000,
        table: 400_000,
        async_ioctl: 20_000_000,
        async_op: 1_000_000,
    };

    /// The time that the work takes.
    ///
    /// ```
    /// use panvk_sparse::lower::{Costs, Work};
    /// // 100,003,840 bytes in one operation: as repetitions of 4 KiB, and as 2 MiB entries with a 4 KiB tail.
    /// let small = Work { ops: 1, calls: 48, repetitions: 24_367, entries: 24_415, tables: 48, ..Work::default() };
    /// let large = Work { ops: 2, calls: 48, entries: 351, large_entries: 47, tables: 1, ..Work::default() };
    /// assert!(Costs::PANTHOR.time(&small) > 50 * Costs::PANTHOR.time(&large));
    /// ```
    pub fn time(&self, work: &Work) -> Duration {
        let parts = [
            (self.ioctl, work.ioctls),
            (self.op, work.ops),
            (self.call, work.calls),
            (self.repetition, work.repetitions),
            (self.entry, work.entries),
            (self.large_entry, work.large_entries),
            (self.table, work.tables),
            (self.async_ioctl, work.async_ioctls),
            (self.async_op, work.async_ops),
        ];
        let picoseconds: u128 = parts
            .iter()
            .map(|&(cost, count)| u128::from(cost) * u128::from(count))
            .sum();
        Duration::from_nanos(u64::try_from(picoseconds / 1000).unwrap_or(u64::MAX))
    }
}
