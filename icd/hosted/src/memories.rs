//! The buffer objects that stand for `VkDeviceMemory`, and how much of each is mapped.

use std::collections::HashMap;

use panvk_sparse::bind::{Memory, Shadow, Target};
use panvk_sparse::drm::Bo;
use panvk_sparse::units::{BoRef, Va};
use panvk_sparse::vm::{Changes, SparseVm};
use vulkan::handles::HandleHashMap;

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
    by_handle: HandleHashMap<Known>,
    backings: HashMap<BoRef, Backing>,
    /// The `VkDeviceMemory` of each buffer object, by vpanthor's id; none once it is freed.
    by_id: HandleHashMap<u64>,
    /// Those that may be neither allocated nor mapped any more.
    unused: Vec<BoRef>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    memory: Memory,
    id: u64,
}

#[derive(Debug)]
struct Backing {
    /// Closes its handle when it goes.
    bo: Bo,
    allocated: bool,
    /// Bytes of address space that are mapped to it.
    mapped: u64,
}

impl Memories {
    /// A `VkDeviceMemory` of `size` bytes, for which `bo`, known to vpanthor as `id`, was made.
    pub fn add(&mut self, vm: &mut SparseVm, memory: u64, size: u64, bo: Bo, id: u64) {
        // A handle that comes again without its end having been seen is a new object.
        self.free(memory);
        let reference = vm.memory(bo.handle());
        let known = Known {
            memory: Memory {
                bo: reference,
                size,
            },
            id,
        };
        let backing = Backing {
            bo,
            allocated: true,
            mapped: 0,
        };
        self.by_handle.insert(memory, known);
        self.by_id.insert(id, memory);
        self.backings.insert(reference, backing);
    }

    /// The memory is freed. Its buffer object stays until nothing is mapped to it, and [`Memories::collect`] is called.
    pub fn free(&mut self, memory: u64) {
        let Some(known) = self.by_handle.remove(&memory) else {
            return;
        };
        self.by_id.remove(&known.id);
        if let Some(backing) = self.backings.get_mut(&known.memory.bo) {
            backing.allocated = false;
            self.unused.push(known.memory.bo);
        }
    }

    pub fn get(&self, memory: u64) -> Option<Memory> {
        self.by_handle.get(&memory).map(|known| known.memory)
    }

    /// The `VkDeviceMemory` that the buffer object of this id stands for, if it is not freed.
    pub fn of_bo(&self, id: u64) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    /// A call has changed what is mapped.
    pub fn note(&mut self, changes: &Changes) {
        changes.each_memory(&mut |bo, bytes| self.count(bo, bytes));
    }

    /// What `shadow` shows in these bytes will be unmapped.
    pub fn note_unmapped(&mut self, shadow: &Shadow, va: Va, len: u64) {
        for extent in shadow.extents(va, len) {
            if let Target::Memory { bo, .. } = extent.target {
                self.count(bo, extent.len.wrapping_neg());
            }
        }
    }

    /// Wrapping: what was unmapped may be counted before what was mapped. In the end the sum is right.
    fn count(&mut self, bo: BoRef, bytes: u64) {
        if let Some(backing) = self.backings.get_mut(&bo) {
            backing.mapped = backing.mapped.wrapping_add(bytes);
            if backing.mapped == 0 && !backing.allocated {
                self.unused.push(bo);
            }
        }
    }

    /// What was noted stays as it is: closes the buffer objects that nothing needs any more.
    pub fn collect(&mut self, vm: &mut SparseVm) {
        for bo in self.unused.drain(..) {
            let unused = |backing: &Backing| !backing.allocated && backing.mapped == 0;
            if self.backings.get(&bo).is_some_and(unused) {
                if let Some(backing) = self.backings.remove(&bo) {
                    vm.memory_gone(backing.bo.handle());
                }
            }
        }
    }
}
