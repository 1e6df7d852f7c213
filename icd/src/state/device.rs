//! What is known of a device.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};
use hosted::Hosted;
use hosted::config::Dummy;
use hosted::{DUMMY_BYTES, HostedError, Stats};
use vulkan::below::DeviceTable;
use vulkan::calls::ResourceId;
use vulkan::handles::HandleMap;

use super::{Board, Instance, Queue, Requirements, Starts, Timelines};

/// What is known of a `VkDevice`.
#[derive(Debug)]
pub struct Device {
    pub handle: vk::Device,
    pub instance: Arc<Instance>,
    pub table: DeviceTable,
    /// `None` for a device that was created without the feature `sparseBinding`: nothing of it concerns
    /// this driver.
    pub hosted: Option<Hosted>,
    /// What this driver does for it in front of panvk; `None` where everything passes.
    pub board: Option<Board>,
    /// The sparse resources: what is said of others need not wait for a bind.
    pub(crate) sparse: Mutex<HashSet<ResourceId>>,
    /// The partially resident images, by handle.
    pub images: HandleMap<Requirements>,
    /// What unbound ranges are bound to, by memory type; empty but for `PANVK_SPARSE_DUMMY=alias`.
    pub(crate) dummies: Mutex<BTreeMap<u32, vk::DeviceMemory>>,
    /// The new resources that are being bound to them.
    pub starts: Starts,
    pub timelines: Timelines,
    /// For each queue family whether it binds sparse resources.
    pub(crate) binding_families: Vec<bool>,
    /// Whether the application has one queue at most whose family binds sparse resources.
    pub(crate) binds_on_one_queue: bool,
    /// Whether it was created with the feature `timelineSemaphore`.
    pub has_timelines: bool,
    /// The stats of a device that this driver does nothing for.
    pub(crate) untouched: Stats,
}

impl Device {
    /// A sparse resource was created.
    pub fn note_sparse(&self, id: ResourceId) {
        self.sparse().insert(id);
    }

    /// A buffer or an image is destroyed. Whether it is a sparse one.
    pub fn forget_sparse(&self, id: ResourceId) -> bool {
        self.sparse().remove(&id)
    }

    fn sparse(&self) -> MutexGuard<'_, HashSet<ResourceId>> {
        self.sparse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether unbound ranges of its resources are bound to a [`dummy`](Self::dummy).
    pub fn aliases(&self) -> bool {
        self.hosted.is_some() && self.instance.driver.config.dummy == Dummy::Alias
    }

    /// What there is to know of a queue of that family.
    pub fn queue(self: Arc<Self>, family: u32) -> Arc<Queue> {
        let binds = self.binding_families.get(family as usize);
        Arc::new(Queue {
            binds: binds.copied().unwrap_or(false),
            device: self,
        })
    }

    /// The memory that unbound ranges of a resource are bound to: none, but for `PANVK_SPARSE_DUMMY=alias`. It is of
    /// the first of the memory types that `types` has a bit for, and is made when it is first asked for.
    ///
    /// # Errors
    /// The base driver does not allocate it.
    pub fn dummy(&self, types: u32) -> Result<Option<u64>, HostedError> {
        if self.instance.driver.config.dummy == Dummy::Null {
            return Ok(None);
        }
        let ty = types.trailing_zeros();
        if let Some(known) = self.dummies().get(&ty) {
            return Ok(Some(known.as_raw()));
        }
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(DUMMY_BYTES)
            .memory_type_index(ty);
        let mut memory = vk::DeviceMemory::null();
        let allocate = self.table.allocate_memory;
        // SAFETY: a device of the base driver, structs that outlive the call.
        unsafe { allocate(self.handle, &info, std::ptr::null(), &mut memory) }
            .result()
            .map_err(HostedError::Base)?;
        let known = *self.dummies().entry(ty).or_insert(memory);
        if known != memory {
            // Another thread was quicker.
            // SAFETY: the memory was just allocated and nobody else has it.
            unsafe { (self.table.free_memory)(self.handle, memory, std::ptr::null()) };
        }
        Ok(Some(known.as_raw()))
    }

    fn dummies(&self) -> MutexGuard<'_, BTreeMap<u32, vk::DeviceMemory>> {
        self.dummies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the memory is a [`dummy`](Self::dummy).
    #[cfg(feature = "faults")]
    pub fn is_dummy(&self, memory: u64) -> bool {
        self.dummies()
            .values()
            .any(|known| known.as_raw() == memory)
    }

    /// Frees what this driver has allocated for itself.
    pub fn free_dummies(&self) {
        let dummies = std::mem::take(&mut *self.dummies());
        for memory in dummies.into_values() {
            // SAFETY: memory of this device, which is about to be destroyed and so has no work left.
            unsafe { (self.table.free_memory)(self.handle, memory, std::ptr::null()) };
        }
    }
}

/// Says an error in the log and gives its `VkResult`.
pub fn fail(what: &dyn fmt::Display, error: &HostedError) -> vk::Result {
    log::error!("{what}: {error}");
    error.result()
}
