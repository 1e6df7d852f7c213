//! The buffer objects that one VM maps, under small numbers that fit into a page-table entry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::bo::Bo;

/// The number of a buffer object within one VM, below 2^24. A number is free again when the last mapping is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoIndex(pub u32);

impl BoIndex {
    /// The kernel's own dummy.
    pub const KERNEL_DUMMY: BoIndex = BoIndex(0);
    /// How many numbers there are.
    pub const COUNT: u32 = 1 << 24;
}

#[derive(Debug)]
struct Slot {
    /// `None`: the kernel's dummy, or a free number.
    bo: Option<Arc<Bo>>,
    /// Mappings that show it.
    uses: u64,
    null: bool,
}

/// Numbers for buffer objects, counted by mapping. What is mapped stays alive.
#[derive(Debug)]
pub(super) struct BoTable {
    slots: Vec<Slot>,
    by_id: HashMap<u64, BoIndex>,
    free: Vec<BoIndex>,
    /// Ids whose pages count as null.
    dummies: HashSet<u64>,
    /// The last one asked for: binds come in series of the same buffer object.
    last: Option<(u64, BoIndex)>,
}

impl BoTable {
    pub fn new() -> Self {
        Self {
            slots: vec![Slot {
                bo: None,
                uses: 0,
                null: true,
            }],
            by_id: HashMap::new(),
            free: Vec::new(),
            dummies: HashSet::new(),
            last: None,
        }
    }

    /// The number for `bo`, for one more mapping of it. `None` if there are no numbers left.
    pub fn acquire(&mut self, bo: &Arc<Bo>) -> Option<BoIndex> {
        let known = match self.last {
            Some((id, index)) if id == bo.id => Some(index),
            _ => self.by_id.get(&bo.id).copied(),
        };
        let index = match known {
            Some(index) => index,
            None => self.add(bo)?,
        };
        self.last = Some((bo.id, index));
        self.slots[index.0 as usize].uses += 1;
        Some(index)
    }

    fn add(&mut self, bo: &Arc<Bo>) -> Option<BoIndex> {
        let slot = Slot {
            bo: Some(Arc::clone(bo)),
            uses: 0,
            null: self.dummies.contains(&bo.id),
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index.0 as usize] = slot;
                index
            }
            None => {
                let next = u32::try_from(self.slots.len()).ok()?;
                if next >= BoIndex::COUNT {
                    return None;
                }
                self.slots.push(slot);
                BoIndex(next)
            }
        };
        self.by_id.insert(bo.id, index);
        Some(index)
    }

    /// One more mapping of `index`, which has one already.
    pub fn retain(&mut self, index: BoIndex) {
        self.slots[index.0 as usize].uses += 1;
    }

    /// One mapping of `index` less.
    pub fn release(&mut self, index: BoIndex) {
        let slot = &mut self.slots[index.0 as usize];
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        // The kernel's dummy has no `bo` and keeps its number.
        if let Some(bo) = slot.bo.take() {
            self.by_id.remove(&bo.id);
            self.free.push(index);
            self.last = None;
        }
    }

    /// [`Bo::id`], 0 for the kernel's dummy.
    pub fn id(&self, index: BoIndex) -> u64 {
        self.slots[index.0 as usize]
            .bo
            .as_ref()
            .map_or(0, |bo| bo.id)
    }

    /// Whether pages of it count as null.
    pub fn is_null(&self, index: BoIndex) -> bool {
        self.slots[index.0 as usize].null
    }

    /// Lets pages of the buffer object with this id count as null, now and whenever it is mapped.
    pub fn set_dummy(&mut self, id: u64) {
        self.dummies.insert(id);
        if let Some(index) = self.by_id.get(&id) {
            self.slots[index.0 as usize].null = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bo(id: u64) -> Arc<Bo> {
        Arc::new(Bo::new(id, 4096, None))
    }

    #[test]
    fn a_bo_lives_until_its_last_use_and_its_number_is_used_again() {
        let mut table = BoTable::new();
        let first = bo(7);
        let index = table.acquire(&first).unwrap();
        assert_eq!(table.acquire(&first), Some(index));
        table.release(index);
        assert_eq!((Arc::strong_count(&first), table.id(index)), (2, 7));
        table.release(index);
        assert_eq!(Arc::strong_count(&first), 1);
        let second = bo(8);
        assert_eq!(table.acquire(&second), Some(index));
        assert_eq!(table.id(index), 8);
    }

    #[test]
    fn a_dummy_is_null_whether_named_before_or_after_it_is_mapped() {
        let mut table = BoTable::new();
        let (early, late) = (bo(1), bo(2));
        table.set_dummy(1);
        let early = table.acquire(&early).unwrap();
        let late = table.acquire(&late).unwrap();
        assert!(table.is_null(early) && !table.is_null(late));
        table.set_dummy(2);
        assert!(table.is_null(late) && table.is_null(BoIndex::KERNEL_DUMMY));
    }
}
