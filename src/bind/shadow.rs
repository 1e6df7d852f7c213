//! What one VM maps now, as far as sparse resources go.

use super::{Run, Target, Tentative, Was};
use crate::spans::{Position, Span, Spans};
use crate::units::Va;

/// What one VM maps now: the driver's memory of the mappings that the kernel has taken.
///
/// A byte is unbound ([`Target::Null`]), bound to memory, or not part of any resource (a *hole*).
///
/// # Invariants
/// Extents are not empty, are disjoint, and no two neighbours could be one: what a byte maps to has one
/// representation only, so that equal states compare equal.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    extents: Spans<Run>,
}

impl Span for Run {
    #[inline]
    fn start(&self) -> u64 {
        self.va.0
    }

    #[inline]
    fn end(&self) -> u64 {
        Run::end(self).0
    }
}

impl PartialEq for Shadow {
    fn eq(&self, other: &Self) -> bool {
        let all = |shadow: &'_ Self| {
            shadow
                .extents
                .iter_from(Position::default())
                .copied()
                .collect()
        };
        let (one, two): (Vec<Run>, Vec<Run>) = (all(self), all(other));
        one == two
    }
}

impl Eq for Shadow {}

/// From this many runs on, [`Shadow::apply`] thinks about building the map anew instead of changing it.
const BULK: usize = 64;

/// A change of one extent in place costs about as much as this many extents when the map is built anew.
const CHANGE_TO_REBUILD: usize = 8;

impl Shadow {
    pub fn new() -> Self {
        Self::default()
    }

    /// What the byte at `va` is mapped to; the offset of memory is that of this byte. `None` in a hole.
    pub fn get(&self, va: Va) -> Option<Target> {
        let extent = self.extents.get(self.extents.seek(va.0))?;
        (extent.va <= va).then(|| extent.target.advanced(va.0 - extent.va.0))
    }

    /// The extents in `len` bytes from `va`, ascending, clipped to that range, without the holes.
    pub fn extents(&self, va: Va, len: u64) -> impl Iterator<Item = Run> + '_ {
        let end = Va(va.0.saturating_add(len));
        self.extents
            .iter_from(self.extents.seek(va.0))
            .take_while(move |extent| extent.va < end)
            .filter_map(move |extent| extent.clipped(va, end))
    }

    /// Makes the bytes of `runs` map what the runs say. `runs` is sorted by address and disjoint, as a plan is.
    ///
    /// One run costs O(log n) of n extents, and as much for each extent that it replaces; many runs cost
    /// O(n + runs).
    pub fn apply(&mut self, runs: &[Run]) {
        self.apply_telling(runs, Position::default(), &mut |_| {});
    }

    /// [`Shadow::apply`]. Tells what each byte of the runs was before, ascending. `near`, a place near the first run, only
    /// saves time.
    #[inline]
    pub(super) fn apply_telling(
        &mut self,
        runs: &[Run],
        mut near: Position,
        was: &mut impl FnMut(Was),
    ) {
        if runs.len() >= BULK && runs.len().saturating_mul(CHANGE_TO_REBUILD) > self.extents.count()
        {
            self.rebuild_with(runs, was);
            return;
        }
        for run in runs {
            near = self.put(run.va.0, run.end().0, Some(run.target), near, was);
        }
    }

    /// `len` bytes from `va` become a hole: the resource is gone.
    pub fn forget(&mut self, va: Va, len: u64) {
        let end = va.0.saturating_add(len);
        self.put(va.0, end, None, Position::default(), &mut |_| {});
    }

    /// A state on trial: dropped, it takes back all that was applied to it.
    pub fn tentative(&mut self) -> Tentative<'_> {
        self.tentative_with(Vec::new())
    }

    /// [`Shadow::tentative`], with a buffer for what [`Tentative::commit`] gives.
    pub(crate) fn tentative_with(&mut self, buffer: Vec<Was>) -> Tentative<'_> {
        Tentative::new(self, buffer)
    }

    /// A cursor that stands before everything.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        self.cursor_from(Position::default())
    }

    /// As [`Shadow::cursor`]. `near`, a place near the first one that is sought, only saves time.
    pub(crate) fn cursor_from(&self, near: Position) -> Cursor<'_> {
        Cursor {
            extents: &self.extents,
            place: near,
            current: None,
            placed: false,
        }
    }

    /// Makes `[start, end)` map `target`, or makes it a hole (`None`). Gives a position near it, for the next call; `near` is
    /// such a position, and only saves time.
    ///
    /// The range replaces some extents by at most three: what is left of the first one (`head`), the new extent (`new`), and
    /// what is left of the last one (`tail`). A neighbour that the new extent continues becomes part of it.
    fn put(
        &mut self,
        start: u64,
        end: u64,
        target: Option<Target>,
        near: Position,
        was: &mut impl FnMut(Was),
    ) -> Position {
        if start >= end {
            return near;
        }
        let mut new = target.map(|target| Run {
            va: Va(start),
            len: end - start,
            target,
        });
        let (mut head, mut tail) = (None, None);
        // Step 1: find the first extent to replace. We look one byte before the range, because an extent that ends where
        // the range starts may be continued by it. If it is, it grows by the new extent and is replaced; if it is not, it
        // stays, and we begin with the extent after it.
        let mut first = self.extents.seek_from(near, start.saturating_sub(1));
        let touching = self.extents.get(first);
        if let Some(before) = touching.filter(|before| before.end().0 == start) {
            match &mut new {
                Some(new) if continues(before, new) => *new = joined(before, new),
                _ => first = self.extents.next(first),
            }
        }
        // Step 2: walk over the extents that the range overlaps, and count them: they all go.
        let mut count = 0;
        let mut before = Before::new(Va(start), Va(end), was);
        for extent in self.extents.iter_from(first) {
            if extent.va.0 > end || (extent.va.0 == end && new.is_none()) {
                break;
            }
            // One that starts where the range ends goes only if it continues the new extent, which then takes it over.
            if extent.va.0 == end {
                if let Some(new) = new.as_mut().filter(|new| continues(new, extent)) {
                    *new = joined(new, extent);
                    count += 1;
                }
                break;
            }
            count += 1;
            // This is the one that was joined in step 1: nothing of it lies in the range.
            if extent.end().0 == start {
                continue;
            }
            before.tell(extent);
            // Only the first extent can reach out of the range below, and only the last one above. What reaches out stays,
            // either as a part of the new extent or as a piece of its own.
            if let Some(before) = extent.clipped(Va(0), Va(start)) {
                match &mut new {
                    Some(new) if continues(&before, new) => *new = joined(&before, new),
                    _ => head = Some(before),
                }
            }
            if let Some(after) = extent.clipped(Va(end), extent.end()) {
                match &mut new {
                    Some(new) if continues(new, &after) => *new = joined(new, &after),
                    _ => tail = Some(after),
                }
            }
        }
        before.tell_hole(Va(end));
        // Step 3: put what is left, in the order of addresses, in the place of those that were counted.
        let mut with = [Run {
            va: Va(0),
            len: 0,
            target: Target::Null,
        }; 3];
        let mut pieces = 0;
        let mut add = |piece: Option<Run>| {
            if let Some(piece) = piece {
                with[pieces] = piece;
                pieces += 1;
            }
        };
        add(head);
        add(new);
        add(tail);
        self.extents.replace(first, count, &with[..pieces]);
        first
    }

    /// [`Shadow::apply`] by merging the two lists.
    fn rebuild_with(&mut self, runs: &[Run], was: &mut impl FnMut(Was)) {
        let mut before = std::mem::take(&mut self.extents);
        let mut merged = Merged {
            extents: before.successor(),
            last: None,
        };
        let mut old = before.iter_from(Position::default()).copied();
        let mut rest = old.next();
        for run in runs {
            let mut tell = Before::new(run.va, run.end(), was);
            while let Some(extent) = rest {
                if let Some(below) = extent.clipped(Va(0), run.va) {
                    merged.push(below);
                }
                tell.tell(&extent);
                rest = extent.clipped(run.end(), extent.end());
                if rest.is_some() {
                    break;
                }
                rest = old.next();
            }
            tell.tell_hole(run.end());
            merged.push(*run);
        }
        for extent in rest.into_iter().chain(old) {
            merged.push(extent);
        }
        self.extents = merged.finish();
        self.extents.recycle(before);
    }
}

/// Tells what a range is before it changes, from its start to its end.
struct Before<'a, F> {
    /// All below is told.
    at: Va,
    end: Va,
    was: &'a mut F,
}

impl<'a, F: FnMut(Was)> Before<'a, F> {
    fn new(at: Va, end: Va, was: &'a mut F) -> Self {
        Before { at, end, was }
    }

    /// What of an extent lies in the range. The extents come in ascending order.
    #[inline]
    fn tell(&mut self, extent: &Run) {
        if let Some(part) = extent.clipped(self.at, self.end) {
            self.tell_hole(part.va);
            self.at = part.end();
            (self.was)(Was::Extent(part));
        }
    }

    /// That nothing is mapped up to `end`.
    #[inline]
    fn tell_hole(&mut self, end: Va) {
        if self.at < end {
            (self.was)(Was::Hole {
                va: self.at,
                len: end.0 - self.at.0,
            });
        }
    }
}

/// Whether `next`, which begins where `run` ends, maps what `run` would map there.
fn continues(run: &Run, next: &Run) -> bool {
    run.target.advanced(next.va.0 - run.va.0) == next.target
}

/// Both as one; the second continues the first.
fn joined(run: &Run, next: &Run) -> Run {
    Run {
        len: next.end().0 - run.va.0,
        ..*run
    }
}

/// Extents that grow at their end.
struct Merged {
    extents: Spans<Run>,
    /// The next one may continue it.
    last: Option<Run>,
}

impl Merged {
    fn push(&mut self, run: Run) {
        let run = Run {
            len: run.end().0 - run.va.0,
            ..run
        };
        if run.len == 0 {
            return;
        }
        match &mut self.last {
            Some(last) if last.end() == run.va && continues(last, &run) => last.len += run.len,
            last => {
                if let Some(complete) = last.replace(run) {
                    self.extents.push(complete);
                }
            }
        }
    }

    fn finish(mut self) -> Spans<Run> {
        if let Some(last) = self.last {
            self.extents.push(last);
        }
        self.extents
    }
}

/// A place in a [`Shadow`] that only moves up: walking both lists costs each of them once, and a jump over
/// many extents costs O(log n).
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    extents: &'a Spans<Run>,
    place: Position,
    current: Option<&'a Run>,
    placed: bool,
}

/// So many extents are stepped over before the cursor jumps.
const STEPS: usize = 4;

impl<'a> Cursor<'a> {
    /// Where it stands.
    pub fn place(&self) -> Position {
        self.place
    }

    /// The first extent that ends after `va`. No call may ask for a smaller address than the call before.
    #[inline]
    pub fn seek(&mut self, va: Va) -> Option<&'a Run> {
        match self.current {
            Some(extent) if extent.end() > va => self.current,
            None if self.placed => None,
            _ => self.advance(va),
        }
    }

    fn advance(&mut self, va: Va) -> Option<&'a Run> {
        if self.placed {
            for _ in 0..STEPS {
                self.place = self.extents.next(self.place);
                self.current = self.extents.get(self.place);
                match self.current {
                    Some(extent) if extent.end() <= va => {}
                    _ => return self.current,
                }
            }
        }
        self.placed = true;
        self.place = self.extents.seek_from(self.place, va.0);
        self.current = self.extents.get(self.place);
        self.current
    }

    /// Whether all of `len` bytes from `va` already have the mapping that starts with `target`.
    pub fn has(&mut self, va: Va, len: u64, target: Target) -> bool {
        // Neighbours that continue each other are one extent, so one extent it must be.
        self.seek(va).is_some_and(|extent| {
            extent.va <= va
                && extent.end().0 - va.0 >= len
                && extent.target.advanced(va.0 - extent.va.0) == target
        })
    }
}
