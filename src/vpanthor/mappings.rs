//! The ordered set of a VM's mappings.
//!
//! Sparse resources are bound in pieces of 64 KiB, so there are tens of thousands of mappings, close together. They are
//! kept by the 2 MiB slot in which they start, in short sorted lists: finding one is a search among the slots and one
//! within the list, and cutting one moves no more than a list.

use std::collections::BTreeMap;

use crate::units::SZ_2M;

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

/// # Invariants
/// No two mappings overlap, none is empty. No list is empty; each is ascending and has what starts in its slot.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// By address / 2 MiB.
    slots: BTreeMap<u64, Vec<Placed>>,
    len: usize,
}

impl Mappings {
    /// All mappings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Placed> {
        self.slots.values().flatten()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The last mapping that starts before `va`.
    fn last_start_before(&self, va: u64) -> Option<&Placed> {
        let (slot, list) = self.slots.range(..=va / SZ_2M).next_back()?;
        match position(list, va) {
            0 => self.slots.range(..slot).next_back()?.1.last(),
            after => list.get(after - 1),
        }
    }

    /// The first mapping that starts before `end` and ends after `va`.
    pub fn first_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        match self.last_start_before(va) {
            Some(found) if found.end() > va => Some(*found),
            _ => self.first_start(va, end),
        }
    }

    /// The last mapping that starts before `end` and ends after `va`.
    pub fn last_overlap(&self, va: u64, end: u64) -> Option<Placed> {
        let last = self.last_start_before(end).copied();
        last.filter(|found| found.end() > va)
    }

    /// The first mapping that starts in `va..end`.
    pub fn first_start(&self, va: u64, end: u64) -> Option<Placed> {
        if va >= end {
            return None;
        }
        let mut lists = self.slots.range(va / SZ_2M..=(end - 1) / SZ_2M);
        let (_, list) = lists.next()?;
        let first = match list.get(position(list, va)) {
            Some(found) => found,
            None => lists.next()?.1.first()?,
        };
        (first.va < end).then_some(*first)
    }

    /// Adds a mapping to a range where there is none.
    pub fn insert(&mut self, va: u64, mapping: Mapping) {
        let list = self.slots.entry(va / SZ_2M).or_default();
        let at = position(list, va);
        debug_assert!(list.get(at).is_none_or(|next| next.va >= va + mapping.size));
        list.insert(at, Placed { va, mapping });
        self.len += 1;
    }

    /// Removes the mapping that starts at `va`.
    pub fn remove(&mut self, va: u64) {
        let slot = va / SZ_2M;
        let Some(list) = self.slots.get_mut(&slot) else {
            return;
        };
        let at = position(list, va);
        if list.get(at).is_some_and(|found| found.va == va) {
            list.remove(at);
            self.len -= 1;
            if list.is_empty() {
                self.slots.remove(&slot);
            }
        }
    }

    /// Lets the mapping that starts at `va` be `size` bytes long, which is less than it was.
    pub fn shorten(&mut self, va: u64, size: u64) {
        if let Some(list) = self.slots.get_mut(&(va / SZ_2M)) {
            let at = position(list, va);
            if let Some(found) = list.get_mut(at).filter(|found| found.va == va) {
                found.mapping.size = size;
            }
        }
    }
}

/// How many of the list start before `va`.
fn position(list: &[Placed], va: u64) -> usize {
    list.partition_point(|placed| placed.va < va)
}
