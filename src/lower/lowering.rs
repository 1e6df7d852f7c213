//! The batches of one call become the operations of its ioctls.

use std::ops::Range;
use std::time::Duration;

use super::bridge::{Bridge, LONGEST_BRIDGE};
use super::cost::{Costs, Work};
use super::ops::Ops;
use super::order::{Ground, Slots};
use super::sink::{Kind, Sink};
use super::{MAX_OPS_PER_IOCTL, NullMap};
use crate::bind::{BindFlags, Ranges, Run, Shadow, Target};
use crate::uapi::{
    ObjArray, SyncOp, VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_READONLY, VM_BIND_OP_MAP_REPEAT,
    VM_BIND_OP_MAP_SPARSE, VM_BIND_OP_MAP_UNCACHED, VM_BIND_OP_TYPE_MAP, VM_BIND_OP_TYPE_SYNC_ONLY,
    VmBindOp, VmBindOpRepeat,
};
use crate::units::{SZ_2M, SZ_4K, Va};

/// The part of a call that waits and signals as one: the binds of one `VkBindSparseInfo`, planned.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlannedBatch<'a> {
    /// Go on the first operation. Without the signal bit.
    pub waits: &'a [SyncOp],
    /// Go on the last operation. With the signal bit.
    pub signals: &'a [SyncOp],
    /// A plan: sorted, disjoint, in whole pages.
    pub runs: &'a [Run],
    /// The positions of `runs`, ascending, that follow a gap all of which the requests of this batch name.
    pub after_named_gap: &'a [usize],
}

/// Makes operations. Holds buffers that the next call uses again, and no other state.
///
/// ```
/// # use panvk_sparse::{bind::{Ranges, Run, Shadow, Target}, lower::{Lowering, NullMap, PlannedBatch}, units::Va};
/// let mut lowering = Lowering::new();
/// let ranges = Ranges::default();
/// let mut call = lowering.begin(&NullMap::Sparse, &ranges);
/// let runs = [Run { va: Va(0x10000), len: 0x20000, target: Target::Null }];
/// call.batch(&PlannedBatch { runs: &runs, ..PlannedBatch::default() }, &Shadow::new());
/// let ioctls = call.finish();
/// assert_eq!((ioctls.len(), ioctls[0].len()), (1, 1));
/// ```
#[derive(Debug)]
pub struct Lowering {
    sink: Sink,
    slots: Slots,
    longest_bridge: u64,
    region_lock: bool,
}

impl Default for Lowering {
    fn default() -> Self {
        Self::with_limits(MAX_OPS_PER_IOCTL, LONGEST_BRIDGE)
    }
}

impl Lowering {
    /// With the limits [`MAX_OPS_PER_IOCTL`] and [`LONGEST_BRIDGE`].
    pub fn new() -> Self {
        Self::default()
    }

    /// `max_ops`: operations in one ioctl, at least 1. `longest_bridge`: the longest gap, in bytes, that is mapped
    /// again to save an operation; 0 for none.
    pub fn with_limits(max_ops: usize, longest_bridge: u64) -> Self {
        Lowering {
            sink: Sink::new(max_ops),
            slots: Slots::default(),
            longest_bridge,
            region_lock: false,
        }
    }

    /// Whether the kernel holds the GPU back at the addresses of an operation until all of it is mapped. If not, which is
    /// taken for granted at first, a gap is mapped again only if the requests name it.
    pub(crate) fn with_region_lock(self, region_lock: bool) -> Self {
        Lowering {
            region_lock,
            ..self
        }
    }

    /// Begins a call. What the call before it left here is gone.
    ///
    /// `ranges` are the resources of the VM: later binds split a mapping at no other distance than their granularity.
    /// Only [`NullMap::Repeat`] asks.
    pub fn begin<'a>(&'a mut self, null: &'a NullMap, ranges: &'a Ranges) -> Call<'a> {
        self.sink.clear();
        Call {
            sink: &mut self.sink,
            slots: &mut self.slots,
            longest_bridge: self.longest_bridge,
            region_lock: self.region_lock,
            null,
            ranges,
        }
    }
}

/// A call whose batches are being added, in order.
#[derive(Debug)]
pub struct Call<'a> {
    sink: &'a mut Sink,
    slots: &'a mut Slots,
    longest_bridge: u64,
    region_lock: bool,
    null: &'a NullMap,
    ranges: &'a Ranges,
}

impl<'a> Call<'a> {
    /// Adds a batch. `shadow` is the state before this batch and after those before it, the one that the runs
    /// were planned against.
    ///
    /// A batch without an operation that has syncs becomes one SYNC_ONLY; without syncs it becomes nothing.
    ///
    /// Gives the positions of its operations among all of the call's.
    pub fn batch(&mut self, batch: &PlannedBatch<'_>, shadow: &Shadow) -> Range<usize> {
        let first = self.sink.len();
        if let [run] = batch.runs {
            if let Some(op) = map_memory(run).filter(|_| run.len > 0) {
                // One mapping of memory is one operation, with nothing to join or to put in order.
                self.sink.push(op, Kind::Map);
                self.sink.attach(first, batch.waits);
                self.sink.attach(first, batch.signals);
                return first..first + 1;
            }
        }
        let mut after_named_gap = batch.after_named_gap.iter().peekable();
        let runs = batch.runs.iter().enumerate();
        let mut runs = runs.filter(|(_, run)| run.len > 0);
        if let Some((_, &run)) = runs.next() {
            let mut bridge = Bridge::new(shadow, self.longest_bridge, self.region_lock, self.null);
            let mut ground = Ground::new(shadow, self.reserving());
            let mut pending = run;
            loop {
                let next = runs.next();
                if let Some((position, next)) = next {
                    let named = || {
                        while after_named_gap.next_if(|&&p| p < position).is_some() {}
                        after_named_gap.next_if_eq(&&position).is_some()
                    };
                    if bridge.joins(&pending, next, named) {
                        pending.len = next.va.0 - pending.va.0 + next.len;
                        continue;
                    }
                }
                self.lower(&pending, &mut ground);
                match next {
                    Some((_, next)) => pending = *next,
                    None => break,
                }
            }
            let last = self.slots.finish();
            self.sink.arrange(last, &mut ground);
        } else if !(batch.waits.is_empty() && batch.signals.is_empty()) {
            self.sink.push(sync_only(), Kind::Sync);
        }
        let end = self.sink.len();
        if first < end {
            self.sink.attach(first, batch.waits);
            self.sink.attach(end - 1, batch.signals);
        }
        first..end
    }

    /// What the call asks of the kernel, one element an ioctl, to be issued in this order. None is empty.
    pub fn finish(self) -> &'a mut [Ops] {
        self.sink.ioctls()
    }

    /// The resources, if unbound ranges go on to what they reserve.
    fn reserving(&self) -> Option<&'a Ranges> {
        match self.null {
            // A page more would be an operation more, or one more repetition.
            NullMap::Page { .. } | NullMap::Repeat { max_range: 0, .. } => None,
            _ => Some(self.ranges),
        }
    }

    #[inline(always)]
    fn lower(&mut self, run: &Run, ground: &mut Ground<'_>) {
        match map_memory(run) {
            Some(op) => self.push(op, 0, Kind::Map, ground),
            None => self.lower_null(run, ground),
        }
    }

    #[inline]
    fn push(&mut self, op: VmBindOp, repeat_range: u64, kind: Kind, ground: &mut Ground<'_>) {
        if let Some(complete) = self.slots.next(&op) {
            self.sink.arrange(complete, ground);
        }
        if repeat_range == 0 {
            return self.sink.push(op, kind);
        }
        let op = VmBindOpRepeat {
            op,
            bo_repeat_range: repeat_range,
        };
        self.sink.push_repeat(op, kind);
    }

    fn lower_null(&mut self, run: &Run, ground: &mut Ground<'_>) {
        let run = &match self.reserving() {
            None => *run,
            Some(ranges) => Run {
                len: ranges.end_of_null(run.end()).0 - run.va.0,
                ..*run
            },
        };
        match *self.null {
            NullMap::Sparse => {
                let mut op = map(run, 0, 0);
                op.flags |= VM_BIND_OP_MAP_SPARSE;
                self.push(op, 0, Kind::Null, ground);
            }
            NullMap::Repeat {
                dummy, dummy_size, ..
            } if run.len <= dummy_size => {
                // It fits: a plain mapping is a smaller op, and the kernel may split it anywhere.
                self.push(map(run, dummy.0, 0), 0, Kind::Null, ground);
            }
            NullMap::Repeat {
                dummy, max_range, ..
            } => {
                let (middle, range) = self.repeated(run, max_range);
                let piece = |va: Va| map_null(va, dummy.0, va.0 % range);
                self.lower_pieces(&between(run.va, middle.va), range, ground, piece);
                let mut op = map(&middle, dummy.0, 0);
                if range == middle.len {
                    self.push(op, 0, Kind::Null, ground);
                } else {
                    op.flags |= VM_BIND_OP_MAP_REPEAT;
                    self.push(op, range, Kind::Null, ground);
                }
                self.lower_pieces(&between(middle.end(), run.end()), range, ground, piece);
            }
            NullMap::Chunk { dummy, .. } => {
                // The dummy repeats at multiples of its size, so that a 2 MiB dummy and a 2 MiB slot line up.
                let size = self.null.dummy_size();
                self.lower_pieces(run, size, ground, |va| map_null(va, dummy.0, va.0 % size));
            }
            NullMap::Page { dummy } => {
                self.lower_pieces(run, SZ_4K, ground, |va| map_null(va, dummy.0, 0));
            }
        }
    }

    /// Which part of a null run is one repeated mapping, and its repeat range: all of it, or the whole pieces of the largest
    /// range that the kernel was seen to cut, if that costs less with the operations for what is left at both ends.
    fn repeated(&self, run: &Run, max_range: u64) -> (Run, u64) {
        let all = (*run, self.repeat_range(run, max_range));
        let largest = self.null.dummy_size().min(max_range);
        let pieces = whole_pieces(run, largest).map(|pieces| (pieces, largest));
        let cheaper = pieces.filter(|&pieces| repeat_cost(run, pieces) < repeat_cost(run, all));
        cheaper.unwrap_or(all)
    }

    /// One operation for each aligned piece of `size` bytes that the run touches.
    fn lower_pieces(
        &mut self,
        run: &Run,
        size: u64,
        ground: &mut Ground<'_>,
        op: impl Fn(Va) -> VmBindOp,
    ) {
        let (mut at, end) = (run.va, run.end());
        while at < end {
            let len = (size - at.0 % size).min(end.0 - at.0);
            let op = VmBindOp {
                size: len,
                ..op(at)
            };
            self.push(op, 0, Kind::Null, ground);
            at.0 += len;
        }
    }

    /// A power of two that divides the length of the run and, unless the kernel was seen to manage without,
    /// every address at which the run can later be split.
    fn repeat_range(&self, run: &Run, max_range: u64) -> u64 {
        let shape = lowest_bit(run.va.0 | run.len);
        // Nothing is smaller than a page, so there the resources needn't be asked.
        let safe = if shape <= SZ_4K {
            shape
        } else {
            lowest_bit(shape | self.ranges.granularity(run.va, run.len))
        };
        let seen_to_work = if max_range == 0 {
            0
        } else {
            lowest_bit(run.len | max_range)
        };
        safe.max(seen_to_work).min(self.null.dummy_size())
    }
}

/// An unbound range.
fn between(start: Va, end: Va) -> Run {
    Run {
        va: start,
        len: end.0 - start.0,
        target: Target::Null,
    }
}

/// The aligned pieces of `size` bytes that lie in a run as a whole. `None` if there are none, or the size is 0.
fn whole_pieces(run: &Run, size: u64) -> Option<Run> {
    let start = run.va.0.checked_next_multiple_of(size)?;
    let end = run.end().0 - run.end().0 % size;
    (start < end).then(|| between(Va(start), Va(end)))
}

/// What it costs to map a run so that `middle` of it repeats every `range` bytes, and the rest is mapped plainly.
fn repeat_cost(run: &Run, (middle, range): (Run, u64)) -> Duration {
    let edges = u64::from(run.va < middle.va) + u64::from(middle.end() < run.end());
    let large = range % SZ_2M == 0 && middle.va.0 % SZ_2M == 0;
    let large_entries = if large { middle.len / SZ_2M } else { 0 };
    let pieces = middle.len / range;
    let slots = pieces.min(middle.len.div_ceil(SZ_2M));
    Costs::PANTHOR.time(&Work {
        ops: 1 + edges,
        calls: slots + edges,
        repetitions: pieces - slots,
        entries: run.len / SZ_4K - large_entries * (SZ_2M / SZ_4K),
        large_entries,
        ..Work::default()
    })
}

fn flag_bits(flags: BindFlags) -> u32 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(flags.readonly(), VM_BIND_OP_MAP_READONLY) | bit(flags.uncached(), VM_BIND_OP_MAP_UNCACHED)
}

/// The largest power of two that divides `value`, which isn't 0.
fn lowest_bit(value: u64) -> u64 {
    value & value.wrapping_neg()
}

#[inline]
fn map(run: &Run, bo_handle: u32, bo_offset: u64) -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC,
        bo_handle,
        bo_offset,
        va: run.va.0,
        size: run.len,
        syncs: ObjArray::default(),
    }
}

/// The operation of a run that is not null.
#[inline]
fn map_memory(run: &Run) -> Option<VmBindOp> {
    let Target::Memory { bo, offset, flags } = run.target else {
        return None;
    };
    let mut op = map(run, bo.handle.0, offset);
    op.flags |= flag_bits(flags);
    Some(op)
}

/// A map of the dummy that is given its size later.
fn map_null(va: Va, bo_handle: u32, bo_offset: u64) -> VmBindOp {
    map(
        &Run {
            va,
            len: 0,
            target: Target::Null,
        },
        bo_handle,
        bo_offset,
    )
}

fn sync_only() -> VmBindOp {
    VmBindOp {
        flags: VM_BIND_OP_TYPE_SYNC_ONLY,
        ..VmBindOp::default()
    }
}
