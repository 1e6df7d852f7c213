//! A shadow on trial, for a call of several batches.

use super::{Run, Shadow};
use crate::spans::Position;
use crate::units::Va;

/// A [`Shadow`] with changes that may yet be taken back.
///
/// The batches of one call follow one another: the plan of the second needs the state after the first, before
/// the kernel has taken any of it. `commit` keeps what was applied; without it, dropping the value
/// restores the state before, exactly.
#[derive(Debug)]
pub struct Tentative<'a> {
    shadow: &'a mut Shadow,
    /// Oldest first.
    was: Vec<Was>,
}

/// A range that was changed, and what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    Extent(Run),
    Hole { va: Va, len: u64 },
}

impl Was {
    /// Makes the range what it was.
    pub fn restore(&self, shadow: &mut Shadow) {
        match *self {
            Was::Extent(run) => shadow.apply(&[run]),
            Was::Hole { va, len } => shadow.forget(va, len),
        }
    }
}

impl<'a> Tentative<'a> {
    pub(super) fn new(shadow: &'a mut Shadow, mut was: Vec<Was>) -> Self {
        was.clear();
        Tentative { shadow, was }
    }

    /// The state with everything applied so far.
    pub fn shadow(&self) -> &Shadow {
        self.shadow
    }

    /// [`Shadow::apply`], until further notice.
    pub fn apply(&mut self, runs: &[Run]) {
        self.apply_near(runs, Position::default());
    }

    /// [`Tentative::apply`]. `near`, a place near the first run, only saves time.
    pub(crate) fn apply_near(&mut self, runs: &[Run], near: Position) {
        let was = &mut self.was;
        self.shadow
            .apply_telling(runs, near, &mut |change| record(was, change));
    }

    /// [`Shadow::forget`], until further notice.
    pub fn forget(&mut self, va: Va, len: u64) {
        let known = self.shadow.extents(va, len).map(Was::Extent);
        self.was.extend(known);
        self.shadow.forget(va, len);
    }

    /// The kernel has taken it: what was applied stays. Gives what was there before, the oldest change first.
    pub(crate) fn commit(mut self) -> Vec<Was> {
        std::mem::take(&mut self.was)
    }
}

/// Appends, or extends the last entry: runs that sit side by side often cut up what was one extent.
#[inline]
fn record(changes: &mut Vec<Was>, change: Was) {
    match (changes.last_mut(), &change) {
        (Some(Was::Extent(last)), Was::Extent(next))
            if last.end() == next.va && last.target.advanced(last.len) == next.target =>
        {
            last.len += next.len;
        }
        _ => changes.push(change),
    }
}

impl Drop for Tentative<'_> {
    fn drop(&mut self) {
        if self.was.is_empty() {
            return;
        }
        let mut ascending: Vec<Run> = Vec::new();
        // From the youngest change to the oldest. What came of one `apply` is ascending; taken together it
        // goes back in one piece.
        while let Some(change) = self.was.pop() {
            match change {
                Was::Extent(run) => {
                    if ascending.last().is_some_and(|above| run.end() > above.va) {
                        restore(self.shadow, &mut ascending);
                    }
                    ascending.push(run);
                }
                Was::Hole { .. } => {
                    restore(self.shadow, &mut ascending);
                    change.restore(self.shadow);
                }
            }
        }
        restore(self.shadow, &mut ascending);
    }
}

/// Applies runs that were collected from the highest address down.
fn restore(shadow: &mut Shadow, descending: &mut Vec<Run>) {
    descending.reverse();
    shadow.apply(descending);
    descending.clear();
}
