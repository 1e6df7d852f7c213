//! The application's sparse objects in one VM, by their Vulkan handles.

use std::ops::Range;

use panvk_sparse::bind::{Ranges, SparseRange, Target};
use panvk_sparse::drm::{Bo, Device};
use panvk_sparse::layout::{Image, TileMap};
use panvk_sparse::lower::{PlannedBatch, Strategy};
use panvk_sparse::units::{SZ_4K, Va};
use panvk_sparse::vm::{Bound, Changes, Initial, SparseVm, VmError};
use vpanthor::{Virtual, VmStats};
use vulkan::calls::{BindCall, ResourceId};

use crate::addresses::{Addresses, mapped_bytes, whole_slots};
use crate::error::{out_of_memory, unmade};
use crate::memories::Memories;
use crate::resolve::Resolved;
use crate::stand_ins::StandIns;
use crate::{HostedError, Stats};

/// The memories and the sparse resources of one VkDevice, and the VM that they are in.
///
/// Each `VkDeviceMemory` has a buffer object, each sparse resource a range of addresses. What a bind says of handles and
/// offsets becomes requests of addresses here, and the VM carries them out.
#[derive(Debug)]
pub struct Space {
    pub(crate) device: Device,
    pub(crate) vm: SparseVm,
    pub(crate) addresses: Addresses,
    pub(crate) memories: Memories,
    labels: Labels,
}

/// What the stats line says beside the numbers.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    pub device: String,
    pub base_driver: String,
    pub kernel: String,
}

/// Is told of the batches of a call, with the sparse resources there are, and of a batch more if the call is taken back.
pub type Changed<'a> = &'a mut dyn FnMut(&[PlannedBatch<'_>], &Ranges);

/// What binds cost, beside what [`Stats`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of the plans of the calls that succeeded.
    pub runs: u64,
    /// Bytes that the kernel copied in for VM_BIND, from the creation of the device on.
    pub bytes_to_kernel: u64,
    /// What was done to the page tables, and how many mappings there are now.
    pub vm: VmStats,
}

impl Space {
    pub(crate) fn on(device: Device, vm: SparseVm, labels: Labels) -> Space {
        Space {
            addresses: Addresses::new(vm.vm().user_va_range()),
            memories: Memories::default(),
            device,
            vm,
            labels,
        }
    }

    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.vm.strategy()
    }

    /// A `VkDeviceMemory` of `size` bytes was allocated.
    ///
    /// # Errors
    /// The kernel has no buffer object for it.
    pub fn add_memory(&mut self, memory: u64, size: u64) -> Result<(), HostedError> {
        let bo = buffer_object(&self.device, memory, size)?;
        self.add_memory_with(memory, size, bo);
        Ok(())
    }

    /// As [`Space::add_memory`], with the [`buffer_object`] for it.
    pub(crate) fn add_memory_with(&mut self, memory: u64, size: u64, bo: Bo) {
        let file = self.device.vpanthor();
        let id = file.and_then(|file| file.bo_id(bo.handle().0)).unwrap_or(0);
        self.memories.add(&mut self.vm, memory, size, bo, id);
    }

    /// A `VkDeviceMemory` is freed. Where it is bound it stays bound until something else is.
    pub fn remove_memory(&mut self, memory: u64) {
        self.memories.free(memory);
        self.settle();
    }

    /// A sparse resource was created. It takes `size` bytes of address space, can be bound in pieces of `granularity` bytes
    /// (both of `VkMemoryRequirements`), and starts unbound.
    ///
    /// `dummy`: a `VkDeviceMemory` that the base driver has unbound ranges of it bound to.
    ///
    /// # Errors
    /// No address space or no memory for page tables: then nothing of it stays.
    pub fn add_resource(
        &mut self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        dummy: Option<u64>,
    ) -> Result<(), HostedError> {
        self.add(id, size, granularity.max(SZ_4K), None, dummy)
    }

    /// A partially resident `VkImage` was created: one that is bound tile by tile, and starts unbound.
    ///
    /// # Errors
    /// As of [`Space::add_resource`]; also where `layout` contradicts itself.
    pub fn add_image(
        &mut self,
        image: u64,
        layout: &Image,
        dummy: Option<u64>,
    ) -> Result<(), HostedError> {
        let id = ResourceId::Image(image);
        let tiles =
            TileMap::new(layout).map_err(|error| HostedError::Refused(format!("{id}: {error}")))?;
        let (size, granularity) = (tiles.size(), tiles.tile_bytes());
        self.add(id, size, granularity, Some(tiles), dummy)
    }

    /// Finds addresses for a new resource and maps them to the dummy.
    fn add(
        &mut self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        tiles: Option<TileMap>,
        dummy: Option<u64>,
    ) -> Result<(), HostedError> {
        self.vm.alive()?;
        // A handle that comes again without its end having been seen is a new object.
        self.remove_resource(id);
        let resource = self
            .addresses
            .add(id, size, granularity, tiles, dummy)
            .map_err(|error| out_of_memory(&id.to_string(), error))?;
        let (va, len) = (resource.va, mapped_bytes(resource));
        let range = SparseRange::new(va, len, split_at(granularity, self.addresses.tiles(id)))
            .reserving(whole_slots(len));
        let mapped = self.vm.add_range(range, Initial::Unbound);
        match mapped {
            Ok(()) => {}
            Err(VmError::StillMapped(_)) => self.addresses.retire(id),
            Err(_) => drop(self.addresses.remove(id)),
        }
        mapped.map_err(|error| HostedError::of_vm(&id.to_string(), error))
    }

    /// A sparse resource is destroyed; its binds go with it. As after a call, buffer objects stay until [`Space::settle`].
    pub fn remove_resource(&mut self, id: ResourceId) {
        let Some(resource) = self.addresses.get(id) else {
            return;
        };
        let (va, len) = (resource.va, mapped_bytes(resource));
        self.memories.note_unmapped(self.vm.shadow(), va, len);
        match self.vm.remove_range(va) {
            Ok(()) => drop(self.addresses.remove(id)),
            Err(error) => {
                log::error!("{id}: {error}");
                self.addresses.retire(id);
            }
        }
    }

    /// Whether all binds of a call can be carried out, without doing it.
    ///
    /// # Errors
    /// As of [`Space::resolve`].
    pub fn check(&self, call: &BindCall) -> Result<(), HostedError> {
        self.resolve(call).map(drop)
    }

    /// Turns a call into requests. Changes nothing.
    ///
    /// # Errors
    /// [`HostedError::Invalid`]: a bind breaks a rule of Vulkan. [`HostedError::DeviceLost`].
    pub fn resolve(&self, call: &BindCall) -> Result<Resolved, HostedError> {
        self.vm.alive()?;
        Resolved::new(&self.addresses, &self.memories, call)
    }

    /// Carries out one `vkQueueBindSparse`. Buffer objects that nothing needs any more stay until
    /// [`Space::settle`]: a call may have to be taken back.
    ///
    /// # Errors
    /// The kernel's. Nothing of the call has happened then, or the device is lost.
    pub fn carry_out(&mut self, call: &Resolved) -> Result<Bound, HostedError> {
        let batches: Vec<_> = call.batches.iter().map(|batch| batch.as_batch()).collect();
        let bound = self.vm.bind(&batches)?;
        self.memories.note(&bound.changes);
        self.vm.check_usable()?;
        Ok(bound)
    }

    /// Takes a call back: what it has changed is mapped as before.
    ///
    /// # Errors
    /// The device is lost.
    pub fn take_back(&mut self, changes: Changes) -> Result<(), HostedError> {
        self.put_back(changes).map(drop)
    }

    /// [`Space::take_back`], and gives what it has changed.
    fn put_back(&mut self, changes: Changes) -> Result<Changes, HostedError> {
        let back = self.vm.take_back(changes)?;
        self.memories.note(&back);
        Ok(back)
    }

    /// No call that was carried out will be taken back.
    pub fn settle(&mut self) {
        self.memories.collect(&mut self.vm);
    }

    /// As a caller that has no base driver does it: resolves the call, carries it out, and takes it back if `taken` says
    /// that the base driver refused it. `changed` is told of what changes, as [`Changed`] says.
    ///
    /// # Errors
    /// As of [`Space::resolve`] and [`Space::carry_out`].
    pub fn bind_alone(
        &mut self,
        stand_ins: &mut StandIns,
        call: &BindCall,
        taken: bool,
        changed: Changed<'_>,
    ) -> Result<(), HostedError> {
        let mut resolved = self.resolve(call)?;
        stand_ins.attach(&self.device, call, &mut resolved)?;
        let bound = self.carry_out(&resolved)?;
        let batches = resolved.batches.iter().zip(&bound.runs);
        let batches: Vec<_> = batches
            .map(|(batch, runs)| PlannedBatch {
                waits: &batch.waits,
                signals: &batch.signals,
                runs: &bound.changes.runs()[runs.clone()],
                ..PlannedBatch::default()
            })
            .collect();
        changed(&batches, self.vm.ranges());
        if taken {
            self.vm.keep(bound.changes);
        } else {
            let back = self.put_back(bound.changes)?;
            let batch = PlannedBatch {
                runs: back.runs(),
                ..PlannedBatch::default()
            };
            changed(&[batch], self.vm.ranges());
        }
        self.settle();
        Ok(())
    }

    /// The counters, from the creation of the device up to now.
    pub fn stats(&self) -> Stats {
        // First, for a node may have to finish.
        let beside = self.device.tee().map(vpanthor::Tee::counts);
        let (kernel, totals) = (self.vm.kernel_counters(), self.vm.totals());
        Stats {
            device: self.labels.device.clone(),
            base_driver: self.labels.base_driver.clone(),
            kernel: self.labels.kernel.clone(),
            strategy: self.strategy().to_string(),
            queue_bind_sparse_calls: totals.calls,
            binds: totals.binds,
            vm_bind_ioctls: kernel.vm_bind_ioctls,
            vm_bind_ops: kernel.vm_bind_ops,
            map_ops: kernel.map_ops,
            null_ops: kernel.null_ops,
            unmap_ops: kernel.unmap_ops,
            sync_ops: kernel.sync_ops,
            binds_elided: totals.elided,
            model: beside.as_ref().map(|beside| beside.model.clone()),
            node_ioctls: beside.as_ref().map(|beside| beside.node.vm_bind_ioctls),
            node_ops: beside.as_ref().map(|beside| beside.node.vm_bind_ops),
            differences: beside.as_ref().map(|beside| beside.differences),
            ..Stats::default()
        }
    }

    /// What the binds cost beside what [`Space::stats`] says, from the creation of the device up to now. `None` only
    /// where the kernel has no such VM any more.
    pub fn work(&self) -> Option<Work> {
        Some(Work {
            runs: self.vm.totals().runs,
            bytes_to_kernel: self.vm.kernel_counters().bytes_to_kernel,
            vm: self.device.vpanthor()?.vm_stats(self.vm.vm().id().0)?,
        })
    }

    /// The addresses of a resource.
    pub fn resource_range(&self, id: ResourceId) -> Option<SparseRange> {
        let resource = self.addresses.get(id)?;
        self.vm.ranges().at(resource.va).copied()
    }

    /// Bytes of address space that a resource has; of a partially resident image, those of its tile map.
    pub fn resource_size(&self, id: ResourceId) -> Option<u64> {
        self.addresses.get(id).map(mapped_bytes)
    }

    /// Every range that is bound to memory, by resource: bytes from its start, and length in bytes.
    ///
    /// Those of a partially resident image are offsets in its tile map. Ranges of one resource ascend.
    pub fn each_bound(&self, visit: &mut dyn FnMut(ResourceId, Range<u64>)) {
        let mut latest: Option<(ResourceId, Range<u64>)> = None;
        for extent in self.vm.shadow().extents(Va(0), u64::MAX) {
            if extent.target == Target::Null {
                continue;
            }
            let (id, base) = match &latest {
                Some((id, range)) if range.contains(&extent.va.0) => (*id, range.start),
                _ => {
                    let Some((id, resource)) = self.addresses.at(extent.va) else {
                        continue;
                    };
                    let from = resource.va.0;
                    latest = Some((id, from..from + mapped_bytes(resource)));
                    (id, from)
                }
            };
            let from = extent.va.0 - base;
            visit(id, from..from + extent.len);
        }
    }

    /// The buffer object that unbound ranges are mapped to, where the kernel does not have its own.
    pub fn dummy(&self) -> Option<&Bo> {
        self.vm.dummy()
    }
}

/// A buffer object that stands for a `VkDeviceMemory` of `size` bytes.
///
/// # Errors
/// The kernel has none.
pub(crate) fn buffer_object(device: &Device, memory: u64, size: u64) -> Result<Bo, HostedError> {
    // Imported memory may come without a size; it can't be bound then.
    let bo = device.create_bo(size.max(SZ_4K), 0, None);
    bo.map_err(|error| {
        unmade(
            &format!("VkDeviceMemory {memory:#x} of {size} bytes"),
            error,
        )
    })
}

/// What all distances in a resource are a multiple of at which binds split it: its granularity, or less if mip tails end inside
/// a tile.
fn split_at(granularity: u64, tiles: Option<&TileMap>) -> u64 {
    let tails = tiles.iter().flat_map(|tiles| tiles.tails());
    let all = tails.fold(granularity, |all, tail| all | tail.size);
    all & all.wrapping_neg()
}
