//! The buffer objects that stand for `VkDeviceMemory`, and how much of each is mapped.

use std::collections::HashSet;

use crate::bind::{Memory, Shadow, Target};
use crate::drm;
use crate::units::{BoRef, Va};
use crate::vpanthor::{Change, Place};
use crate::vulkan::handles::HandleHashMap;

/// The memories of one device, by handle and by vpanthor's id of the buffer object.
///
/// Memory can be freed while it is bound. Its handle is gone then, but not its buffer object: a bind over it
/// that fails later on the way has to be taken back, and the kernel maps nothing that has no handle.
///
/// # Invariants
/// A buffer object is here as long as it is of a memory that is not freed, or is mapped, or was before what
/// [`Memories::note`] has been told since the last [`Memories::collect`]. Where nothing is noted, it is here until a
/// [`Memories::sweep`] does not find it.
#[derive(Debug)]
pub struct Memories {
    by_handle: HandleHashMap<(u64, Memory)>,
    by_id: HandleHashMap<Backing>,
    /// Ids of those that may be neither allocated nor mapped any more.
    unused: Vec<u64>,
    /// So many of these are waited for before a sweep; `None` where changes are noted.
    sweep_at: Option<usize>,
}

/// Freed memories that are swept at once at least: a sweep looks at every extent of the shadow.
const SWEEP: usize = 1024;

#[derive(Debug)]
struct Backing {
    /// Closes its handle when it goes.
    bo: drm::Bo,
    /// That of a node beside the virtual kernel.
    _node_bo: Option<drm::Bo>,
    /// The `VkDeviceMemory`; `None` once it is freed.
    memory: Option<u64>,
    /// Bytes of address space that are mapped to it.
    mapped: u64,
}

impl Memories {
    /// `noted`: whether [`Memories::note`] is told of every change of the page tables.
    pub fn new(noted: bool) -> Self {
        Self {
            by_handle: HandleHashMap::default(),
            by_id: HandleHashMap::default(),
            unused: Vec::new(),
            sweep_at: (!noted).then_some(SWEEP),
        }
    }

    /// A `VkDeviceMemory` of `size` bytes, for which `bo`, known to vpanthor as `id`, was made, and `node_bo` on a node.
    pub fn add(&mut self, memory: u64, size: u64, bo: drm::Bo, id: u64, node_bo: Option<drm::Bo>) {
        // A handle that comes again without its end having been seen is a new object.
        self.free(memory);
        let known = Memory {
            bo: bo.reference(),
            size,
        };
        let backing = Backing {
            bo,
            _node_bo: node_bo,
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
        if self.sweep_at.is_some() {
            return;
        }
        for id in self.unused.drain(..) {
            let unused = |backing: &Backing| backing.memory.is_none() && backing.mapped == 0;
            if self.by_id.get(&id).is_some_and(unused) {
                self.by_id.remove(&id);
            }
        }
    }

    /// Where changes are not noted: closes, once there are many, the buffer objects of freed memories that `shadow`
    /// does not show. Between two binds it shows all that is mapped.
    pub fn sweep(&mut self, shadow: &Shadow) {
        if self.sweep_at.is_none_or(|many| self.unused.len() < many) {
            return;
        }
        let mapped: HashSet<BoRef> = shadow
            .extents(Va(0), u64::MAX)
            .filter_map(|extent| match extent.target {
                Target::Memory { bo, .. } => Some(bo),
                Target::Null => None,
            })
            .collect();
        let by_id = &mut self.by_id;
        self.unused.retain(|id| {
            let keep = by_id
                .get(id)
                .is_some_and(|backing| mapped.contains(&backing.bo.reference()));
            if !keep {
                by_id.remove(id);
            }
            keep
        });
        // So that the sweeps cost each freed memory no more than a few extents.
        let many = (2 * self.unused.len()).max(shadow.extent_count() / 4);
        self.sweep_at = Some(many.max(SWEEP));
    }
}
