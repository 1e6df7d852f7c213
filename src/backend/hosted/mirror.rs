//! From what changed in the page tables to binds on the base driver.

use super::address_space::AddressSpace;
use crate::backend::{Bind, ResourceId};
use crate::units::Va;
use crate::vpanthor::{Change, Place};
use crate::vulkan::handles::HandleHashMap;

/// Appends the binds that make the base driver's resources as `change` has made the page tables, joined with
/// the bind before where they continue it.
///
/// What is mapped to the dummy, or not at all, is not bound on the base driver.
pub fn reflect(
    change: &Change,
    spaces: &AddressSpace,
    memory_of_bo: &HandleHashMap<u64>,
    binds: &mut Vec<(ResourceId, Vec<Bind>)>,
) {
    let (mut va, end) = (change.va, change.va + change.len);
    let unbound = |place: Option<Place>| matches!(place, None | Some(Place::Null));
    if unbound(change.old) && unbound(change.new) {
        return;
    }
    while va < end {
        let Some((id, resource)) = spaces.at(Va(va)) else {
            // Addresses of no resource are not the base driver's matter.
            return;
        };
        let here = end.min(resource.va.0 + resource.size);
        let (memory, memory_offset) = match change.new {
            None | Some(Place::Null) => (None, 0),
            Some(Place::Memory { bo, offset }) => {
                (memory_of_bo.get(&bo).copied(), offset + (va - change.va))
            }
        };
        let bind = Bind {
            resource_offset: va - resource.va.0,
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

fn continues(previous: &Bind, next: &Bind) -> bool {
    previous.resource_offset + previous.size == next.resource_offset
        && previous.memory == next.memory
        && (next.memory.is_none() || previous.memory_offset + previous.size == next.memory_offset)
}
