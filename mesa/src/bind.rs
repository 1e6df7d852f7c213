//! From the structs of a call to the component's requests.

use std::ops::Range;

use panvk_sparse::bind::{BindFlags, Request, Target};
use panvk_sparse::uapi::{self, SyncOp};
use panvk_sparse::units::{BoHandle, SZ_4K, Va};
use panvk_sparse::vm::{Batch, SparseVm};

use crate::border::Failure;
use crate::types::{PVS_BIND_READONLY, PVS_BIND_UNCACHED, PvsBatch, PvsBind, PvsSync};

/// An array of the caller.
///
/// # Safety
/// `start` is NULL, or leads to `len` structs that nobody changes while the slice is used.
pub unsafe fn slice<'a, T>(name: &str, start: *const T, len: u32) -> Result<&'a [T], Failure> {
    match len {
        0 => Ok(&[]),
        _ if start.is_null() => Err(Failure::invalid(format!("{name} is NULL, expected {len}"))),
        // SAFETY: the caller's contract.
        _ => Ok(unsafe { std::slice::from_raw_parts(start, len as usize) }),
    }
}

/// What the batches of a call became, kept for the buffers' sake.
#[derive(Debug, Default)]
pub struct Scratch {
    requests: Vec<Request>,
    /// Of each bind, how many requests of its batch it and those before it became.
    ends: Vec<usize>,
    syncs: Vec<SyncOp>,
    batches: Vec<Parts>,
}

/// Where the parts of a batch lie.
#[derive(Debug)]
struct Parts {
    waits: Range<usize>,
    signals: Range<usize>,
    requests: Range<usize>,
    ends: Range<usize>,
}

impl Scratch {
    /// Carries out a call.
    ///
    /// # Safety
    /// The arrays of the batches are NULL, or as long as the counts say.
    pub unsafe fn bind(&mut self, vm: &mut SparseVm, batches: &[PvsBatch]) -> Result<(), Failure> {
        self.requests.clear();
        self.ends.clear();
        self.syncs.clear();
        self.batches.clear();
        for batch in batches {
            // SAFETY: the caller's contract.
            unsafe { self.add(vm, batch) }?;
        }
        let parts = self.batches.iter();
        let batches: Vec<_> = parts
            .map(|parts| Batch {
                waits: &self.syncs[parts.waits.clone()],
                signals: &self.syncs[parts.signals.clone()],
                requests: &self.requests[parts.requests.clone()],
                ends: &self.ends[parts.ends.clone()],
                // The kernel carries out the binds of a VM in the order of the calls.
                unordered: false,
            })
            .collect();
        Ok(vm.bind_for_good(&batches)?)
    }

    /// # Safety
    /// As for [`Scratch::bind`].
    unsafe fn add(&mut self, vm: &SparseVm, batch: &PvsBatch) -> Result<(), Failure> {
        // SAFETY: the caller's contract, for all three.
        let (waits, signals, binds) = unsafe {
            (
                slice("pvs_batch.waits", batch.waits, batch.wait_count)?,
                slice("pvs_batch.signals", batch.signals, batch.signal_count)?,
                slice("pvs_batch.binds", batch.binds, batch.bind_count)?,
            )
        };
        let waits = self.add_syncs(waits, uapi::SYNC_OP_WAIT);
        let signals = self.add_syncs(signals, uapi::SYNC_OP_SIGNAL);
        let (first, first_end) = (self.requests.len(), self.ends.len());
        for bind in binds {
            self.add_bind(vm, bind)?;
            self.ends.push(self.requests.len() - first);
        }
        self.batches.push(Parts {
            waits,
            signals,
            requests: first..self.requests.len(),
            ends: first_end..self.ends.len(),
        });
        Ok(())
    }

    fn add_syncs(&mut self, syncs: &[PvsSync], direction: u32) -> Range<usize> {
        let first = self.syncs.len();
        self.syncs.extend(syncs.iter().map(|sync| {
            let kind = match sync.point {
                0 => uapi::SYNC_OP_HANDLE_TYPE_SYNCOBJ,
                _ => uapi::SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
            };
            SyncOp {
                flags: direction | kind,
                handle: sync.handle,
                timeline_value: sync.point,
            }
        }));
        first..self.syncs.len()
    }

    fn add_bind(&mut self, vm: &SparseVm, bind: &PvsBind) -> Result<(), Failure> {
        check(vm, bind)?;
        let mut target = target(vm, bind);
        for slice in 0..u64::from(bind.slices.max(1)) {
            for row in 0..u64::from(bind.rows.max(1)) {
                // `check` has seen that the last piece does not reach beyond 2^64.
                let va = Va(bind.va + slice * slice_stride(bind) + row * row_stride(bind));
                self.requests.push(Request {
                    va,
                    len: bind.size,
                    target,
                });
                target = target.advanced(bind.size);
            }
        }
        Ok(())
    }
}

fn row_stride(bind: &PvsBind) -> u64 {
    if bind.rows > 1 { bind.row_stride } else { 0 }
}

fn slice_stride(bind: &PvsBind) -> u64 {
    if bind.slices > 1 {
        bind.slice_stride
    } else {
        0
    }
}

fn target(vm: &SparseVm, bind: &PvsBind) -> Target {
    let flag = |bit, flag| match bind.flags & bit {
        0 => BindFlags::NONE,
        _ => flag,
    };
    match bind.bo_handle {
        0 => Target::Null,
        handle => Target::Memory {
            bo: vm.memory(BoHandle(handle)),
            offset: bind.bo_offset,
            flags: flag(PVS_BIND_READONLY, BindFlags::READONLY)
                .and(flag(PVS_BIND_UNCACHED, BindFlags::UNCACHED)),
        },
    }
}

/// What the component cannot see in the single pieces, and what would make endlessly many of them.
fn check(vm: &SparseVm, bind: &PvsBind) -> Result<(), Failure> {
    let bad = |why: String| {
        Err(Failure::invalid(format!(
            "bind of {} bytes at {:#x}: {why}",
            bind.size, bind.va
        )))
    };
    let known = match bind.bo_handle {
        0 => 0,
        _ => PVS_BIND_READONLY | PVS_BIND_UNCACHED,
    };
    if bind.flags & !known != 0 {
        return bad(format!(
            "its flags are {:#x}, expected none beside {known:#x}",
            bind.flags
        ));
    }
    if bind.bo_handle != 0 && (bind.bo_offset % SZ_4K != 0) {
        return bad(format!(
            "bo_offset is {}, expected a multiple of 4096",
            bind.bo_offset
        ));
    }
    let (rows, slices) = (u64::from(bind.rows.max(1)), u64::from(bind.slices.max(1)));
    if rows == 1 && slices == 1 {
        return Ok(());
    }
    let (row_stride, slice_stride) = (row_stride(bind), slice_stride(bind));
    if (row_stride | slice_stride | bind.size) % SZ_4K != 0 || bind.size == 0 {
        return bad(format!(
            "row_stride is {row_stride} and slice_stride is {slice_stride}, expected multiples of 4096"
        ));
    }
    let of_rows = u128::from(rows - 1) * u128::from(row_stride) + u128::from(bind.size);
    let all = u128::from(slices - 1) * u128::from(slice_stride) + of_rows;
    if rows > 1 && row_stride < bind.size {
        return bad(format!(
            "row_stride is {row_stride}, expected at least the size"
        ));
    }
    if slices > 1 && u128::from(slice_stride) < of_rows {
        return bad(format!(
            "slice_stride is {slice_stride}, expected at least the {of_rows} bytes of the rows"
        ));
    }
    let range = vm.ranges().at(Va(bind.va));
    let end = range.map_or(0, |range| range.va.0.saturating_add(range.len));
    if u128::from(bind.va) + all > u128::from(end) {
        return bad(format!(
            "its {rows} rows and {slices} slices take {all} bytes, expected them to lie in one sparse range"
        ));
    }
    let pieces = u128::from(rows) * u128::from(slices);
    if u128::from(bind.bo_offset) + pieces * u128::from(bind.size) > u128::from(u64::MAX) {
        return bad(format!("bo_offset is {}, expected less", bind.bo_offset));
    }
    Ok(())
}
