//! What one VM maps now, as far as sparse resources go.

use std::collections::{BTreeMap, btree_map};

use super::{Run, Target, Tentative};
use crate::units::Va;

/// What one VM maps now: the driver's memory of the mappings that the kernel has taken.
///
/// A byte is unbound ([`Target::Null`]), bound to memory, or not part of any resource (a *hole*).
///
/// # Invariants
/// Extents are not empty, are disjoint, and no two neighbours could be one: what a byte maps to has one
/// representation only, so that equal states compare equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shadow {
    /// By first address.
    extents: BTreeMap<u64, Extent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    len: u64,
    target: Target,
}

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
        let (&start, extent) = self.extents.range(..=va.0).next_back()?;
        let distance = va.0 - start;
        (distance < extent.len).then(|| extent.target.advanced(distance))
    }

    /// The extents in `len` bytes from `va`, ascending, clipped to that range, without the holes.
    pub fn extents(&self, va: Va, len: u64) -> impl Iterator<Item = Run> + '_ {
        let end = Va(va.0.saturating_add(len));
        let first = self
            .extents
            .range(..va.0)
            .next_back()
            .map_or(va.0, |(&start, _)| start);
        self.extents
            .range(first..end.0.max(first))
            .filter_map(move |(&start, extent)| extent.as_run(start).clipped(va, end))
    }

    /// Number of extents in the whole VM.
    pub fn extent_count(&self) -> usize {
        self.extents.len()
    }

    /// Makes the bytes of `runs` map what the runs say. `runs` is sorted by address and disjoint, as a plan is.
    ///
    /// One run costs O(log n) of n extents, and as much for each extent that it replaces; many runs cost
    /// O(n + runs).
    pub fn apply(&mut self, runs: &[Run]) {
        if runs.len() >= BULK && runs.len().saturating_mul(CHANGE_TO_REBUILD) > self.extents.len() {
            self.rebuild_with(runs);
            return;
        }
        for run in runs {
            self.set(*run);
        }
    }

    /// `len` bytes from `va` become a hole: the resource is gone.
    pub fn forget(&mut self, va: Va, len: u64) {
        self.clear(va.0, va.0.saturating_add(len));
    }

    /// A state on trial: dropped, it takes back all that was applied to it.
    pub fn tentative(&mut self) -> Tentative<'_> {
        Tentative::new(self)
    }

    /// A cursor that stands before everything.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor {
            extents: &self.extents,
            ahead: self.extents.range(0..0),
            current: None,
            placed: false,
        }
    }

    fn set(&mut self, run: Run) {
        if run.len == 0 {
            return;
        }
        let mut start = run.va.0;
        let mut end = run.end().0;
        let mut target = run.target;
        self.clear(start, end);
        // Neighbours that the run continues become one extent with it.
        if let Some((&before, extent)) = self.extents.range(..start).next_back()
            && before + extent.len == start
            && extent.target.advanced(extent.len) == target
        {
            (start, target) = (before, extent.target);
        }
        if let Some(extent) = self.extents.get(&end)
            && target.advanced(end - start) == extent.target
        {
            let after = end;
            end += extent.len;
            self.extents.remove(&after);
        }
        self.extents.insert(
            start,
            Extent {
                len: end - start,
                target,
            },
        );
    }

    /// Makes `[start, end)` a hole.
    fn clear(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let mut tail = None;
        if let Some((&before, extent)) = self.extents.range_mut(..start).next_back() {
            let run = extent.as_run(before);
            tail = run.clipped(Va(end), run.end());
            extent.len = extent.len.min(start - before);
        }
        let inside = self.extents.range(start..end).count();
        if let Some((&last, extent)) = self.extents.range(start..end).next_back() {
            let run = extent.as_run(last);
            tail = run.clipped(Va(end), run.end());
        }
        if inside > BULK && inside.saturating_mul(CHANGE_TO_REBUILD) > self.extents.len() {
            let mut after = self.extents.split_off(&start).split_off(&end);
            self.extents.append(&mut after);
        } else {
            for _ in 0..inside {
                let Some((&first, _)) = self.extents.range(start..end).next() else {
                    break;
                };
                self.extents.remove(&first);
            }
        }
        if let Some(tail) = tail {
            self.extents.insert(
                end,
                Extent {
                    len: tail.len,
                    target: tail.target,
                },
            );
        }
    }

    /// [`Shadow::apply`] by merging the two lists.
    fn rebuild_with(&mut self, runs: &[Run]) {
        let old = std::mem::take(&mut self.extents);
        let mut merged = Merged {
            list: Vec::with_capacity(old.len() + runs.len()),
        };
        let mut old = old.into_iter().map(|(start, extent)| extent.as_run(start));
        let mut rest = old.next();
        for run in runs {
            while let Some(extent) = rest {
                if let Some(before) = extent.clipped(Va(0), run.va) {
                    merged.push(before);
                }
                rest = extent.clipped(run.end(), extent.end());
                if rest.is_some() {
                    break;
                }
                rest = old.next();
            }
            merged.push(*run);
        }
        for extent in rest.into_iter().chain(old) {
            merged.push(extent);
        }
        self.extents = merged
            .list
            .into_iter()
            .map(|run| {
                (
                    run.va.0,
                    Extent {
                        len: run.len,
                        target: run.target,
                    },
                )
            })
            .collect();
    }
}

impl Extent {
    fn as_run(&self, start: u64) -> Run {
        Run {
            va: Va(start),
            len: self.len,
            target: self.target,
        }
    }
}

/// A list of extents that grows at its end.
struct Merged {
    list: Vec<Run>,
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
        match self.list.last_mut() {
            Some(last) if last.end() == run.va && last.target.advanced(last.len) == run.target => {
                last.len += run.len
            }
            _ => self.list.push(run),
        }
    }
}

/// A place in a [`Shadow`] that only moves up: walking both lists costs each of them once, and a jump over
/// many extents costs O(log n).
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    extents: &'a BTreeMap<u64, Extent>,
    ahead: btree_map::Range<'a, u64, Extent>,
    current: Option<Run>,
    placed: bool,
}

/// So many extents are stepped over before the cursor jumps: a jump costs about that many steps.
const STEPS: usize = 16;

impl Cursor<'_> {
    /// The first extent that ends after `va`. No call may ask for a smaller address than the call before.
    #[inline]
    pub fn seek(&mut self, va: Va) -> Option<Run> {
        match self.current {
            Some(extent) if extent.end() > va => self.current,
            None if self.placed => None,
            _ => self.advance(va),
        }
    }

    fn advance(&mut self, va: Va) -> Option<Run> {
        if self.placed {
            for _ in 0..STEPS {
                self.current = self
                    .ahead
                    .next()
                    .map(|(&start, extent)| extent.as_run(start));
                match self.current {
                    Some(extent) if extent.end() <= va => {}
                    _ => return self.current,
                }
            }
        }
        self.placed = true;
        let first = match self.extents.range(..=va.0).next_back() {
            Some((&start, extent)) if extent.as_run(start).end() > va => start,
            _ => va.0,
        };
        self.ahead = self.extents.range(first..);
        self.current = self
            .ahead
            .next()
            .map(|(&start, extent)| extent.as_run(start));
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
