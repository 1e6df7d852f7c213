//! The order of operations inside a 2 MiB slot: the one in which the kernel writes fewest page-table entries.
//!
//! An MMU cannot show a part of a 2 MiB entry. So when an operation cuts a mapping that may have such an entry, panthor
//! (`unmap_hugepage_align` of `panthor_mmu.c`) clears the slot on each side of the cut up to the slot's edge, and writes what
//! remains there as 4 KiB entries. It does so on a side only if the mapping reaches the edge of the slot on that side.
//! That decides how dear an operation is:
//! - The first cut into a slot that one mapping covers writes all the rest of the slot, whichever piece it is.
//! - After it, what is left below starts at or before the slot and ends inside it: a cut there writes only what lies between the
//!   slot's start and the cut. So the lowest piece comes next, and then nothing is left that reaches the slot's start.
//! - What is left above is the mirror image: the highest piece comes next.
//! - Every other piece lies in what is left between two pieces, and writes nothing but itself.
//!
//! In ascending order, each operation writes the rest of the slot once more.
//!
//! The runs of a plan are disjoint, so any order has the same effect.

use crate::bind::{Cursor, Ranges, Shadow, Target};
use crate::uapi::{VmBindOp, VmBindOpRepeat};
use crate::units::{SZ_2M, Va};

/// An operation, by its addresses.
pub(super) trait Located: Copy {
    fn op(&self) -> &VmBindOp;

    fn end(&self) -> u64 {
        self.op().va.saturating_add(self.op().size)
    }

    /// The number of the slot that it starts in, and of the one that it ends in.
    fn slots(&self) -> (u64, u64) {
        (self.op().va / SZ_2M, (self.end() - 1) / SZ_2M)
    }

    fn crosses(&self) -> bool {
        let (first, last) = self.slots();
        first != last
    }
}

impl Located for VmBindOp {
    fn op(&self) -> &VmBindOp {
        self
    }
}

impl Located for VmBindOpRepeat {
    fn op(&self) -> &VmBindOp {
        &self.op
    }
}

/// The state that operations change, seen at ascending addresses.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    cursor: Cursor<'a>,
    /// Where unbound ranges go on to what their resources reserve: see [`Ranges::end_of_null`].
    reserved: Option<&'a Ranges>,
}

impl<'a> Ground<'a> {
    pub fn new(shadow: &'a Shadow, reserved: Option<&'a Ranges>) -> Self {
        Ground {
            cursor: shadow.cursor(),
            reserved,
        }
    }

    /// First and last address (behind it) of the first mapping that ends after `va`. No call may ask for a smaller address
    /// than the call before.
    fn seek(&mut self, va: u64) -> Option<(u64, u64)> {
        let extent = self.cursor.seek(Va(va))?;
        let end = match self.reserved.filter(|_| extent.target == Target::Null) {
            Some(ranges) => ranges.end_of_null(extent.end()),
            None => extent.end(),
        };
        Some((extent.va.0, end.0))
    }
}

/// Follows operations that come in ascending order, and finds those that share slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// The operations at the end of the list.
    group: Group,
    /// The slot that the last of them ends in.
    last: u64,
}

/// Operations in a row that share slots, each with the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub count: usize,
    /// Whether one of them goes on from one slot into the next.
    pub crosses: bool,
}

impl Slots {
    /// Another operation comes. Gives those before it if they share slots with no later one: they are complete.
    #[inline]
    pub fn next(&mut self, op: &VmBindOp) -> Option<Group> {
        let (first, last) = op.slots();
        let complete = (first > self.last).then(|| std::mem::take(&mut self.group));
        self.group.count += 1;
        self.group.crosses |= first != last;
        self.last = last;
        complete
    }

    /// No more operations come. Gives those at the end.
    pub fn finish(&mut self) -> Group {
        std::mem::take(self).group
    }
}

/// Puts operations that ascend, and each of which shares a slot with the one before it, in order.
///
/// An operation that crosses from one slot into the next is the highest piece of one and the lowest of the other. All that
/// cross stand between the pieces that have to come before them, one a slot at most, and the other pieces.
pub(super) fn arrange<T: Located>(group: &mut [T], crosses: bool, ground: &mut Ground<'_>) {
    if !crosses {
        arrange_inner(group, &[], ground, &mut |_| {});
        return;
    }
    let (crossing, mut inner): (Vec<T>, Vec<T>) = group.iter().partition(|op| op.crosses());
    let mut leaders = Vec::new();
    arrange_inner(&mut inner, &crossing, ground, &mut |index| {
        leaders.push(index)
    });
    let first: Vec<T> = leaders.iter().map(|&index| inner[index]).collect();
    let mut leaders = leaders.iter().peekable();
    let others = inner.into_iter().enumerate();
    let others = others.filter(|(index, _)| leaders.next_if_eq(&index).is_none());
    let ordered = first.into_iter().chain(crossing);
    let ordered = ordered.chain(others.map(|(_, op)| op));
    for (place, op) in group.iter_mut().zip(ordered) {
        *place = op;
    }
}

/// Puts the operations inside each slot in order. `lead` is told the index of each that has to come before those that cross.
fn arrange_inner<T: Located>(
    ops: &mut [T],
    crossing: &[T],
    ground: &mut Ground<'_>,
    lead: &mut dyn FnMut(usize),
) {
    let mut first = 0;
    while let Some(slot) = ops.get(first).map(|op| op.slots().0) {
        let count = ops[first..].partition_point(|op| op.slots().0 == slot);
        let edges = Edges {
            below: find(crossing, slot, |op| op.slots().1).map(T::end),
            above: find(crossing, slot, |op| op.slots().0).map(|op| op.op().va),
        };
        if arrange_slot(&mut ops[first..first + count], slot * SZ_2M, &edges, ground) {
            lead(first);
        }
        first += count;
    }
}

/// The operation that crosses at this slot. They ascend, and so do the slots that `of` gives.
fn find<T: Located>(crossing: &[T], slot: u64, of: impl Fn(&T) -> u64) -> Option<&T> {
    let place = crossing.partition_point(|op| of(op) < slot);
    crossing.get(place).filter(|op| of(op) == slot)
}

/// What crosses the edges of a slot: where the operation ends that comes from below, and where the one starts that goes on
/// above.
struct Edges {
    below: Option<u64>,
    above: Option<u64>,
}

/// Puts the pieces of one slot, which ascend, in order. Gives whether the first of them has to come before those that cross
/// the slot's edges.
fn arrange_slot<T: Located>(
    pieces: &mut [T],
    start: u64,
    edges: &Edges,
    ground: &mut Ground<'_>,
) -> bool {
    let end = start + SZ_2M;
    let crossed = edges.below.is_some() || edges.above.is_some();
    let (Some(&lowest), Some(&highest)) = (pieces.first(), pieces.last()) else {
        return false;
    };
    let last = pieces.len() - 1;
    if last == 0 && !crossed {
        return false;
    }
    // Only a mapping that reaches an edge of the slot is written up to that edge.
    let below = ground.seek(start);
    let covered = below.filter(|&(from, _)| from <= start);
    if covered.is_some_and(|(_, to)| to >= end) {
        // Whichever is first writes the slot without itself; and then, unless they are first themselves, the lowest piece
        // writes what is below it once more, and the highest what is above it.
        let below_all = edges.below.map_or(lowest.op().va - start, |_| 0);
        let above_all = edges.above.map_or(end - highest.end(), |_| 0);
        let saved = |index: usize| {
            let again_below = if index == 0 { below_all } else { 0 };
            let again_above = if index == last { above_all } else { 0 };
            pieces[index].op().size + again_below + again_above
        };
        let best = (0..=last).max_by_key(|&index| saved(index)).unwrap_or(0);
        let crossing = edges
            .below
            .map_or(0, |to| to - start)
            .max(edges.above.map_or(0, |from| end - from));
        let leads = crossed && saved(best) > crossing;
        // The first one, the lowest, the highest; the others cost the same in any order. Behind one that crosses, the lowest
        // is the first.
        let first = if leads || !crossed { best } else { 0 };
        pieces.swap(0, first);
        let mut next = 1;
        if first != 0 {
            // The lowest lies where the first one was.
            pieces.swap(1, first);
            next = 2;
        }
        if first != last && next < last {
            pieces.swap(next, last);
        }
        return leads;
    }
    // It may be the same one, which then reaches behind the slot's last resource only because of what that reserves.
    let above = below
        .filter(|&(_, to)| to >= end)
        .or_else(|| ground.seek(end - 1));
    let reaches_end =
        above.is_some_and(|(from, _)| from < highest.op().va) && edges.above.is_none();
    if reaches_end && last > 0 {
        // The lowest, which was first, becomes the second.
        pieces.swap(0, last);
        pieces.swap(1, last);
        return false;
    }
    covered.is_some() && edges.below.is_none() && edges.above.is_some()
}
