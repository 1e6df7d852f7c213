//! The ordered set of a VM's mappings.

use std::collections::BTreeMap;

use super::mapping::Mapping;

/// # Invariants
/// No two mappings overlap, none is empty.
#[derive(Debug, Default)]
pub(super) struct Mappings(BTreeMap<u64, Mapping>);

impl Mappings {
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Mapping)> {
        self.0.iter().map(|(va, mapping)| (*va, mapping))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first mapping that starts before `end` and ends after `va`.
    pub fn first_overlap(&self, va: u64, end: u64) -> Option<(u64, Mapping)> {
        let before = self.0.range(..=va).next_back();
        let found = before.filter(|(start, mapping)| **start < end && *start + mapping.size > va);
        let (start, mapping) = match found {
            Some(found) => found,
            None if va < end => self.0.range(va..end).next()?,
            None => return None,
        };
        Some((*start, *mapping))
    }

    /// The last mapping that starts before `end` and ends after `va`.
    pub fn last_overlap(&self, va: u64, end: u64) -> Option<(u64, Mapping)> {
        let (start, mapping) = self.0.range(..end).next_back()?;
        (start + mapping.size > va).then_some((*start, *mapping))
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
