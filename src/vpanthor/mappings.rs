//! The ordered set of a VM's mappings.

use std::collections::BTreeMap;

use super::mapping::Mapping;

/// A mapping and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub va: u64,
    pub mapping: Mapping,
}

impl Placed {
    pub fn end(&self) -> u64 {
        self.va + self.mapping.size
    }
}

fn placed((va, mapping): (&u64, &Mapping)) -> Placed {
    Placed {
        va: *va,
        mapping: *mapping,
    }
}

/// # Invariants
/// No two mappings overlap, none is empty.
#[derive(Debug, Default)]
pub(super) struct Mappings(BTreeMap<u64, Mapping>);

impl Mappings {
    pub fn iter(&self) -> impl Iterator<Item = Placed> {
        self.0.iter().map(placed)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first mapping that starts before `end` and ends after `va`.
    pub fn first_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        let before = self.0.range(..=va).next_back().map(placed);
        before
            .filter(|found| found.va < end && found.end() > va)
            .or_else(|| self.first_start(va, end))
    }

    /// The last mapping that starts before `end` and ends after `va`.
    pub fn last_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        let last = self.0.range(..end).next_back().map(placed);
        last.filter(|found| found.end() > va)
    }

    /// The first mapping that starts in `va..end`.
    pub fn first_start(&self, va: u64, end: u64) -> Option<Placed> {
        if va >= end {
            return None;
        }
        self.0.range(va..end).next().map(placed)
    }

    pub fn insert(&mut self, va: u64, mapping: Mapping) {
        let before = self.0.insert(va, mapping);
        debug_assert!(before.is_none(), "a mapping starts at {va:#x} already");
    }

    pub fn remove(&mut self, va: u64) {
        self.0.remove(&va);
    }

    /// Lets the mapping that starts at `va` be `size` bytes long.
    pub fn resize(&mut self, va: u64, size: u64) {
        if let Some(mapping) = self.0.get_mut(&va) {
            mapping.size = size;
        }
    }
}
