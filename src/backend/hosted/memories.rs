//! The buffer objects that stand for `VkDeviceMemory`, and how much of each is mapped.

use crate::bind::Memory;
use crate::drm;
use crate::vpanthor::{Change, Place};
use crate::vulkan::handles::HandleHashMap;

/// The memories of one device, by handle and by vpanthor's id of the buffer object.
///
/// Memory can be freed while it is bound. Its handle is gone then, but not its buffer object: a bind over it
/// that fails later on the way has to be taken back, and the kernel maps nothing that has no handle.
///
/// # Invariants
/// A buffer object is here as long as it is of a memory that is not freed, or is mapped, or was before what
/// [`Memories::note`] has been told since the last [`Memories::collect`].
#[derive(Debug, Default)]
pub struct Memories {
    by_handle: HandleHashMap<(u64, Memory)>,
    by_id: HandleHashMap<Backing>,
    /// Ids of those that may be neither allocated nor mapped any more.
    unused: Vec<u64>,
}

#[derive(Debug)]
struct Backing {
    /// Closes its handle when it goes.
    _bo: drm::Bo,
    /// The `VkDeviceMemory`; `None` once it is freed.
    memory: Option<u64>,
    /// Bytes of address space that are mapped to it.
    mapped: u64,
}

impl Memories {
    /// A `VkDeviceMemory` of `size` bytes, for which `bo`, known to vpanthor as `id`, was made.
    pub fn add(&mut self, memory: u64, size: u64, bo: drm::Bo, id: u64) {
        // A handle that comes again without its end having been seen is a new object.
        self.free(memory);
        let known = Memory {
            bo: bo.reference(),
            size,
        };
        let backing = Backing {
            _bo: bo,
            memory: Some(memory),
            mapped: 0,
        };
        self.by_handle.insert(memory, (id, known));
        self.by_id.insert(id, backing);
    }

    /// The memory is freed. Its buffer object stays until nothing is mapped to it.
    pub fn free(&mut self, memory: u64) {
        let Some((id, _)) = self.by_handle.remove(&memory) else {
            return;
        };
        if let Some(backing) = self.by_id.get_mut(&id) {
            backing.memory = None;
            self.unused.push(id);
        }
        self.collect();
    }

    pub fn get(&self, memory: u64) -> Option<Memory> {
        self.by_handle.get(&memory).map(|&(_, known)| known)
    }

    /// The `VkDeviceMemory` that the buffer object stands for, if it is not freed.
    pub fn of_bo(&self, id: u64) -> Option<u64> {
        self.by_id.get(&id)?.memory
    }

    /// The page tables have changed.
    pub fn note(&mut self, changes: &[Change]) {
        // Neighbouring changes share their memories as a rule: one look-up for all of them.
        let (mut mapped, mut unmapped) = ((0, 0), (0, 0));
        for change in changes {
            if let Some(Place::Memory { bo, .. }) = change.new {
                if mapped.0 != bo {
                    self.count(mapped);
                    mapped = (bo, 0);
                }
                mapped.1 += change.len;
            }
            if let Some(Place::Memory { bo, .. }) = change.old {
                if unmapped.0 != bo {
                    self.count(unmapped);
                    unmapped = (bo, 0);
                }
                unmapped.1 = unmapped.1.wrapping_sub(change.len);
            }
        }
        self.count(mapped);
        self.count(unmapped);
    }

    /// Wrapping: what was unmapped may be counted before what was mapped. In the end the sum is right.
    fn count(&mut self, (id, bytes): (u64, u64)) {
        if let Some(backing) = self.by_id.get_mut(&id) {
            backing.mapped = backing.mapped.wrapping_add(bytes);
            if backing.mapped == 0 && backing.memory.is_none() {
                self.unused.push(id);
            }
        }
    }

    /// What was noted stays as it is: closes the buffer objects that nothing needs any more.
    pub fn collect(&mut self) {
        for id in self.unused.drain(..) {
            let unused = |backing: &Backing| backing.memory.is_none() && backing.mapped == 0;
            if self.by_id.get(&id).is_some_and(unused) {
                self.by_id.remove(&id);
            }
        }
    }
}
