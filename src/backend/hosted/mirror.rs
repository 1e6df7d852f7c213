//! From what changed in the page tables to binds on the base driver.

use std::ops::Range;

use super::address_space::AddressSpace;
use super::memories::Memories;
use crate::backend::{Bind, ResourceId};
use crate::units::Va;
use crate::vpanthor::{Change, Place};

/// Turns changes of addresses back into binds of resources. Remembers the latest resource and memory: neighbouring
/// changes share them as a rule.
pub struct Mirror<'a> {
    spaces: &'a AddressSpace,
    memories: &'a Memories,
    resource: Option<(ResourceId, Range<u64>)>,
    memory: Option<(u64, Option<u64>)>,
}

impl<'a> Mirror<'a> {
    pub fn new(spaces: &'a AddressSpace, memories: &'a Memories) -> Self {
        Self {
            spaces,
            memories,
            resource: None,
            memory: None,
        }
    }

    /// Appends the binds that make the base driver's resources as `change` has made the page tables, joined with
    /// the bind before where they continue it.
    ///
    /// What is mapped to the dummy, or not at all, is not bound on the base driver.
    pub fn reflect(&mut self, change: &Change, binds: &mut Vec<(ResourceId, Vec<Bind>)>) {
        let unbound = |place: Option<Place>| matches!(place, None | Some(Place::Null));
        if unbound(change.old) && unbound(change.new) {
            return;
        }
        let (mut va, end) = (change.va, change.va + change.len);
        while va < end {
            // Addresses of no resource are not the base driver's matter.
            let Some((id, range)) = self.resource_at(va) else {
                return;
            };
            let here = end.min(range.end);
            let (memory, memory_offset) = match change.new {
                None | Some(Place::Null) => (None, 0),
                Some(Place::Memory { bo, offset }) => (self.memory(bo), offset + (va - change.va)),
            };
            let bind = Bind {
                resource_offset: va - range.start,
                size: here - va,
                memory,
                memory_offset,
            };
            match binds.last_mut() {
                Some((last, list)) if *last == id => match list.last_mut() {
                    Some(previous) if continues(previous, &bind) => previous.size += bind.size,
                    _ => list.push(bind),
                },
                _ => binds.push((id, vec![bind])),
            }
            va = here;
        }
    }

    fn resource_at(&mut self, va: u64) -> Option<(ResourceId, Range<u64>)> {
        match &self.resource {
            Some((id, range)) if range.contains(&va) => Some((*id, range.clone())),
            _ => {
                let (id, resource) = self.spaces.at(Va(va))?;
                let range = resource.va.0..resource.va.0 + resource.size;
                self.resource.insert((id, range)).clone().into()
            }
        }
    }

    fn memory(&mut self, bo: u64) -> Option<u64> {
        match self.memory {
            Some((known, memory)) if known == bo => memory,
            _ => self.memory.insert((bo, self.memories.of_bo(bo))).1,
        }
    }
}

fn continues(previous: &Bind, next: &Bind) -> bool {
    previous.resource_offset + previous.size == next.resource_offset
        && previous.memory == next.memory
        && (next.memory.is_none() || previous.memory_offset + previous.size == next.memory_offset)
}
