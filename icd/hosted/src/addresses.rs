//! Which addresses belong to which sparse resource.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use range_alloc::RangeAllocator;

use panvk_sparse::bind::Resource;
use panvk_sparse::layout::TileMap;
use panvk_sparse::units::{SZ_2M, SZ_4K, Va};
use vulkan::calls::ResourceId;

/// Bytes that a resource of `size` bytes reserves. One of 2 MiB or more takes whole slots of 2 MiB: so all of it can be
/// mapped to the dummy with large page-table entries.
pub fn whole_slots(size: u64) -> u64 {
    if size < SZ_2M {
        return size;
    }
    size.next_multiple_of(SZ_2M)
}

/// Bytes of address space that a resource has: whole pages.
pub fn mapped_bytes(resource: &Resource) -> u64 {
    resource.size.next_multiple_of(SZ_4K)
}

/// The address space of one VM, and the resources in it.
///
/// # Invariants
/// Every resource starts at a multiple of 2 MiB, so that huge pages line up, and between any two of them lies
/// at least one page that no resource has: a stray address hits neither. It is not mapped, or to the dummy ([`whole_slots`]).
#[derive(Debug)]
pub struct Addresses {
    /// In units of 2 MiB.
    free: RangeAllocator<u64>,
    slots: HashMap<ResourceId, Slot>,
    by_va: BTreeMap<Va, ResourceId>,
}

#[derive(Debug)]
struct Slot {
    resource: Resource,
    units: Range<u64>,
    /// Of a partially resident image.
    tiles: Option<TileMap>,
    /// What the base driver binds unbound ranges to.
    dummy: Option<u64>,
}

/// There is no free range that is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddresses {
    /// Bytes asked for.
    pub size: u64,
}

impl fmt::Display for NoAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no free range of {} bytes in the VM's address space",
            self.size
        )
    }
}

impl Addresses {
    /// The addresses from 2 MiB, so that 0 stays unmapped, to `user_va_range` (bytes).
    pub fn new(user_va_range: u64) -> Self {
        let end = (user_va_range / SZ_2M).max(1);
        Self {
            free: RangeAllocator::new(1..end),
            slots: HashMap::new(),
            by_va: BTreeMap::new(),
        }
    }

    /// Finds addresses for a resource of `size` bytes, rounded up to pages. `tiles` for a partially resident image.
    ///
    /// # Errors
    /// There is no range that is long enough.
    pub fn add(
        &mut self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        tiles: Option<TileMap>,
        dummy: Option<u64>,
    ) -> Result<&Resource, NoAddresses> {
        let none = NoAddresses { size };
        let mapped = size.checked_next_multiple_of(SZ_4K).ok_or(none)?;
        let with_guard = mapped.checked_add(SZ_4K).ok_or(none)?;
        let units = self
            .free
            .allocate_range(with_guard.div_ceil(SZ_2M))
            .map_err(|_| none)?;
        let va = Va(units.start * SZ_2M);
        let resource = Resource {
            name: id.to_string(),
            va,
            size,
            granularity,
        };
        self.by_va.insert(va, id);
        Ok(&self
            .slots
            .entry(id)
            .insert_entry(Slot {
                resource,
                units,
                tiles,
                dummy,
            })
            .into_mut()
            .resource)
    }

    /// Gives the addresses of a resource back.
    pub fn remove(&mut self, id: ResourceId) -> Option<Resource> {
        let slot = self.slots.remove(&id)?;
        self.by_va.remove(&slot.resource.va);
        self.free.free_range(slot.units);
        Some(slot.resource)
    }

    /// Forgets a resource and never uses its addresses again.
    pub fn retire(&mut self, id: ResourceId) {
        if let Some(slot) = self.slots.remove(&id) {
            self.by_va.remove(&slot.resource.va);
        }
    }

    pub fn get(&self, id: ResourceId) -> Option<&Resource> {
        self.slots.get(&id).map(|slot| &slot.resource)
    }

    /// Where the tiles of a partially resident image lie.
    pub fn tiles(&self, id: ResourceId) -> Option<&TileMap> {
        self.slots.get(&id)?.tiles.as_ref()
    }

    /// The `VkDeviceMemory` that the base driver binds unbound ranges to.
    pub fn dummy(&self, id: ResourceId) -> Option<u64> {
        self.slots.get(&id)?.dummy
    }

    /// The resource that `va` lies in.
    pub fn at(&self, va: Va) -> Option<(ResourceId, &Resource)> {
        let (_, &id) = self.by_va.range(..=va).next_back()?;
        let resource = self.get(id)?;
        (va.0 - resource.va.0 < mapped_bytes(resource)).then_some((id, resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ResourceId = ResourceId::Buffer(1);
    const B: ResourceId = ResourceId::Image(1);

    #[test]
    fn resources_are_apart_and_aligned_and_found_by_address() {
        let mut space = Addresses::new(1 << 47);
        let a = space.add(A, SZ_2M, SZ_4K, None, None).unwrap().va;
        let b = space.add(B, 100_000_000, SZ_4K, None, None).unwrap().va;
        assert_eq!((a.0 % SZ_2M, b.0 % SZ_2M), (0, 0));
        assert!(
            b.0 > a.0 + SZ_2M,
            "a full resource of 2 MiB has a guard behind it"
        );
        assert_eq!(mapped_bytes(space.get(B).unwrap()), 100_003_840);
        assert_eq!(space.at(Va(a.0 + SZ_2M - 1)).unwrap().0, A);
        assert!(space.at(Va(a.0 + SZ_2M)).is_none());
        assert!(space.at(Va(a.0 - 1)).is_none());
        assert_eq!(space.at(Va(b.0 + 100_003_839)).unwrap().0, B);
    }

    #[test]
    fn addresses_are_used_again_and_run_out() {
        let mut space = Addresses::new(16 * SZ_2M);
        let a = space.add(A, 8 * SZ_2M, SZ_4K, None, None).unwrap().va;
        assert_eq!(
            space.add(B, 8 * SZ_2M, SZ_4K, None, None),
            Err(NoAddresses { size: 8 * SZ_2M })
        );
        assert_eq!(
            space.add(B, u64::MAX, SZ_4K, None, None),
            Err(NoAddresses { size: u64::MAX })
        );
        assert_eq!(space.remove(A).unwrap().va, a);
        assert_eq!(
            space
                .add(B, 8 * SZ_2M, SZ_4K, None, None)
                .map(|resource| resource.va),
            Ok(a)
        );
        assert!(space.get(A).is_none());
    }
}
