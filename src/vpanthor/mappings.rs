//! The ordered set of a VM's mappings.
//!
//! Sparse resources are bound in pieces of 64 KiB, so there are tens of thousands of mappings, close together.

use crate::spans::{Place, Span, Spans};

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
    near: Place,
}

impl Mappings {
    /// All mappings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.spans.iter_from(Place::default())
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The first mapping that starts before `end` and ends after `va`.
    pub fn first_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        let found = self.spans.get(self.seek(va))?;
        // An empty range is in a mapping where that begins before it.
        (found.va < end).then_some(*found)
    }

    /// The last mapping that starts before `end` and ends after `va`.
    pub fn last_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        let last = end.checked_sub(1)?;
        let at = self.seek(last);
        let here = self.spans.get(at).filter(|found| found.va < end);
        let found = match here {
            Some(found) => found,
            None => self.spans.get(self.spans.previous(at)?)?,
        };
        (found.end() > va).then_some(*found)
    }

    /// The first mapping that starts in `va..end`.
    pub fn first_start(&self, va: u64, end: u64) -> Option<Placed> {
        if va >= end {
            return None;
        }
        let at = self.seek(va);
        let found = match self.spans.get(at) {
            Some(found) if found.va < va => self.spans.get(self.spans.next(at))?,
            found => found?,
        };
        (found.va < end).then_some(*found)
    }

    /// Adds a mapping to a range where there is none.
    pub fn insert(&mut self, va: u64, mapping: Mapping) {
        let at = self.seek(va);
        self.near = at;
        debug_assert!(
            self.spans
                .get(at)
                .is_none_or(|next| next.va >= va + mapping.size)
        );
        self.spans.replace(at, 0, &[Placed { va, mapping }]);
    }

    /// Removes the mapping that starts at `va`.
    pub fn remove(&mut self, va: u64) {
        if let Some(at) = self.starting_at(va) {
            self.near = at;
            self.spans.replace(at, 1, &[]);
        }
    }

    /// Lets the mapping that starts at `va` be `size` bytes long, which is less than it was.
    pub fn shorten(&mut self, va: u64, size: u64) {
        let found = self
            .starting_at(va)
            .and_then(|at| Some((at, *self.spans.get(at)?)));
        if let Some((at, mut placed)) = found {
            self.near = at;
            placed.mapping.size = size;
            self.spans.replace(at, 1, &[placed]);
        }
    }

    /// The first mapping that ends after `va`.
    fn seek(&self, va: u64) -> Place {
        self.spans.seek_from(self.near, va)
    }

    fn starting_at(&self, va: u64) -> Option<Place> {
        let at = self.seek(va);
        self.spans
            .get(at)
            .is_some_and(|found| found.va == va)
            .then_some(at)
    }
}
