//! The ordered set of a VM's mappings.
//!
//! Sparse resources are bound in pieces of 64 KiB, so there are tens of thousands of mappings, close together.

use panvk_sparse::spans::{Position, Span, Spans};

use super::mapping::Mapping;

/// A mapping and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub va: u64,
    pub mapping: Mapping,
}

impl Placed {
    /// The first address behind it.
    pub fn end(&self) -> u64 {
        self.va + self.mapping.size
    }
}

impl Span for Placed {
    #[inline]
    fn start(&self) -> u64 {
        self.va
    }

    #[inline]
    fn end(&self) -> u64 {
        self.va + self.mapping.size
    }
}

/// # Invariants
/// No two mappings overlap, none is empty.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    spans: Spans<Placed>,
    /// Where the last change was: the next look is close by as a rule.
    near: Position,
}

impl Mappings {
    /// All mappings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.spans.iter_from(Position::default())
    }

    pub fn len(&self) -> usize {
        self.spans.count()
    }

    /// The mappings that start before `end` and end after `va`. An empty range is in a mapping that begins before it.
    pub fn overlap(&self, va: u64, end: u64) -> Overlap {
        let at = self.spans.seek_from(self.near, va);
        let mut found = self.from(at).take_while(|placed| placed.va < end);
        let first = found.next().copied();
        let (mut count, mut last) = (usize::from(first.is_some()), first);
        // The look at one more is saved where the first reaches as far.
        if first.is_some_and(|first| first.end() < end) {
            for placed in found {
                (count, last) = (count + 1, Some(*placed));
            }
        }
        let ends = first.zip(last);
        Overlap { at, count, ends }
    }

    /// All mappings from a place on.
    fn from(&self, at: Position) -> impl Iterator<Item = &Placed> {
        self.spans.iter_from(at)
    }

    /// The mappings of `overlap`, ascending.
    pub fn of(&self, overlap: &Overlap) -> impl Iterator<Item = &Placed> {
        self.from(overlap.at).take(overlap.count)
    }

    /// Puts what `with` has, ascending, where the mappings of `overlap` are. Nothing has changed since that was found.
    pub fn replace(&mut self, overlap: &Overlap, with: [Option<Placed>; 3]) {
        self.near = overlap.at;
        let pieces = || with.into_iter().flatten();
        let mut list = pieces().next().map(|any| [any; 3]);
        let list = list.as_mut().map_or(&mut [][..], |list| &mut list[..]);
        let mut len = 0;
        for (place, piece) in list.iter_mut().zip(pieces()) {
            *place = piece;
            len += 1;
        }
        self.spans.replace(overlap.at, overlap.count, &list[..len]);
    }
}

/// The mappings that a range overlaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlap {
    /// Of the first, or of where one would be.
    at: Position,
    count: usize,
    /// The first and the last, which may be the same.
    pub ends: Option<(Placed, Placed)>,
}
