//! Hosted: any base driver with sparse binding, and a virtual kernel in this process.
//!
//! Each VkDevice has an open file of vpanthor and one VM in it. Each `VkDeviceMemory` has a buffer object, each
//! sparse resource a range of addresses. A bind goes the whole way that it would go on a board: requests, plan,
//! operations, one VM_BIND. Then the *mirror* asks vpanthor's page tables what has changed, and binds just that
//! on the base driver. So what a shader reads has passed through all of it, or it is wrong.
//!
//! On a board a render node can be asked the same as the virtual kernel, side by side, to see whether it takes it: see
//! [`Hosted::beside`].

mod address_space;
mod bind;
mod differences;
mod memories;
mod mirror;
mod node;
mod setup;
mod stand_ins;

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use address_space::AddressSpace;
use memories::Memories;
use mirror::{Mirror, Mirrored};
use node::Node;
pub use node::model_of;
use stand_ins::StandIns;

use super::{Backend, BackendError, BaseBatch, BaseQueue, BindCall, ResourceId, Stats};
use crate::bind::{Planner, Run, Shadow, Target};
use crate::drm::{self, BindFailure, BindMode, Counters, NullBacking};
use crate::layout::{Image, TileMap};
use crate::lower::{Lowering, Ops, Strategy};
use crate::units::{BoHandle, SZ_4K, SyncobjHandle, Va};
use crate::vpanthor::VmStats;

/// The hosted backend of one VkDevice.
pub struct Hosted {
    device: drm::Device,
    null: NullBacking,
    /// What opening and probing the kernel cost, and the dummy: not the application's doing.
    before: Counters,
    labels: Labels,
    state: Mutex<State>,
}

/// What the stats line says beside the numbers.
#[derive(Clone, Debug)]
struct Labels {
    device: String,
    base_driver: String,
    kernel: String,
}

/// What changes. One lock holds it all: a bind has to see, and leave, one state of the VM.
struct State {
    vm: drm::Vm,
    /// The real kernel that is asked the same.
    node: Option<Node>,
    shadow: Shadow,
    spaces: AddressSpace,
    memories: Memories,
    stand_ins: StandIns,
    planner: Planner,
    lowering: Lowering,
    counts: Counts,
    /// Resources whose unbound ranges the base driver has not yet bound to their dummy.
    fresh: Vec<ResourceId>,
    /// Why the VM is lost, once it is.
    lost: Option<String>,
    /// Whether the base driver is told what changed.
    mirrors: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    binds: u64,
    elided: u64,
    runs: u64,
}

/// What the binds of a device cost, beside what its [`Stats`] say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Of the plans of the calls that succeeded.
    pub runs: u64,
    /// Bytes that the kernel copied in for VM_BIND, from the creation of the device on.
    pub bytes_to_kernel: u64,
    /// What was done to the page tables, and how many mappings there are now.
    pub vm: VmStats,
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// For errors of ioctls outside a bind: what was asked, and the kernel's answer.
fn out_of_memory(what: &str, error: impl fmt::Display) -> BackendError {
    BackendError::OutOfDeviceMemory(format!("{what}: {error}"))
}

impl Hosted {
    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.null.strategy()
    }

    /// The buffer object that unbound ranges are mapped to, where the kernel does not have its own.
    pub fn dummy(&self) -> Option<BoHandle> {
        self.null.dummy().map(drm::Bo::handle)
    }

    /// The kernel, for tests that look at it or make it fail.
    pub fn kernel(&self) -> &drm::Device {
        &self.device
    }

    /// Looks at the node beside the virtual kernel and its VM there, for tests; None where there is none.
    pub fn with_node<R>(&self, look: impl FnOnce(&drm::Device, &drm::Vm) -> R) -> Option<R> {
        let state = self.state();
        let node = state.node.as_ref()?;
        Some(look(node.device(), node.vm()))
    }

    /// What the binds cost beside what [`Backend::stats`] says, from the creation of the device up to now. `None` only
    /// where the kernel has no such VM any more.
    pub fn work(&self) -> Option<Work> {
        let state = self.state();
        Some(Work {
            runs: state.counts.runs,
            bytes_to_kernel: self.device.counters().bytes_to_kernel - self.before.bytes_to_kernel,
            vm: self.device.vpanthor()?.vm_stats(state.vm.id().0)?,
        })
    }

    /// Bytes of address space that a resource has; of a partially resident image, those of its tile map.
    pub fn resource_size(&self, id: ResourceId) -> Option<u64> {
        self.state().spaces.get(id).map(|resource| resource.size)
    }

    /// Every range that is bound to memory, by resource: bytes from its start, and length in bytes.
    ///
    /// Those of a partially resident image are offsets in its tile map. Ranges of one resource ascend.
    pub fn each_bound(&self, visit: &mut dyn FnMut(ResourceId, Range<u64>)) {
        let state = self.state();
        let mut latest: Option<(ResourceId, Range<u64>)> = None;
        for extent in state.shadow.extents(Va(0), u64::MAX) {
            if extent.target == Target::Null {
                continue;
            }
            let (id, base) = match &latest {
                Some((id, range)) if range.contains(&extent.va.0) => (*id, range.start),
                _ => {
                    let Some((id, resource)) = state.spaces.at(extent.va) else {
                        continue;
                    };
                    let from = resource.va.0;
                    latest = Some((id, from..from + resource.size));
                    (id, from)
                }
            };
            let from = extent.va.0 - base;
            visit(id, from..from + extent.len);
        }
    }

    /// Finds addresses for a new resource and maps them to the dummy.
    fn add(
        &self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        tiles: Option<TileMap>,
        dummy: Option<u64>,
    ) -> Result<(), BackendError> {
        let mut state = self.state();
        state.alive()?;
        let (va, len) = state
            .spaces
            .add(id, size, granularity, tiles, dummy)
            .map(|resource| (resource.va, resource.size))
            .map_err(|error| out_of_memory(&id.to_string(), error))?;
        let runs = [Run {
            va,
            len,
            target: Target::Null,
        }];
        let result = state.bind_now(&self.null.map(), &runs);
        match result {
            Ok(()) => {
                state.shadow.apply(&runs);
                state.fresh.extend(dummy.map(|_| id));
            }
            Err(_) => state.release(id),
        }
        state.note_changes(&self.device);
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left the state as it was at some step of a bind. What the kernel has
        // is still asked of the kernel, so the worst is an error of a later bind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the virtual kernel carry out `ops`, and the node beside it. What the virtual one says is the answer.
fn bind_both(
    vm: &drm::Vm,
    node: &mut Option<Node>,
    ops: &mut Ops,
    mode: BindMode,
) -> Result<(), BindFailure> {
    let answer = vm.bind(ops, mode);
    if let Some(node) = node {
        node.follow(ops, mode, answer);
    }
    answer
}

impl State {
    /// # Errors
    /// The node's device is gone: so is the VkDevice, from now on.
    fn notice_node(&mut self) -> Result<(), BackendError> {
        if let Some(why) = self.node.as_ref().and_then(Node::gone) {
            let why = why.to_owned();
            self.lost.get_or_insert(why);
        }
        self.alive()
    }

    /// Frees a stand-in; the node has to forget it before its handle comes again.
    fn release_syncobj(&mut self, free: impl FnOnce(&mut StandIns) -> Option<SyncobjHandle>) {
        let freed = free(&mut self.stand_ins);
        if let Some((node, handle)) = self.node.as_mut().zip(freed) {
            node.forget_syncobj(handle);
        }
    }

    /// Closes the buffer objects of freed memories that the shadow does not show, where changes are not looked at.
    fn sweep_memories(&mut self) {
        let Self {
            memories, shadow, ..
        } = self;
        memories.sweep(shadow);
    }

    /// The dummies of new resources.
    fn started(&self) -> BaseBatch {
        let mut mirrored = Mirrored::default();
        let mut mirror = Mirror::new(&self.spaces, &self.memories);
        for &id in &self.fresh {
            mirror.start(id, &mut mirrored);
        }
        BaseBatch {
            first: 0,
            last: 0,
            binds: mirrored.binds,
            image_binds: mirrored.image_binds,
        }
    }

    /// Unmaps a resource and gives its addresses back.
    fn release(&mut self, id: ResourceId) {
        self.fresh.retain(|&fresh| fresh != id);
        let Some(resource) = self.spaces.get(id) else {
            return;
        };
        let (va, len) = (resource.va, resource.size);
        self.shadow.forget(va, len);
        if self.lost.is_none() {
            let unmapped = bind_both(
                &self.vm,
                &mut self.node,
                &mut Ops::unmap(va, len),
                BindMode::Sync,
            );
            if let Err(failure) = unmapped {
                // Its addresses can't be used again: what is there is not what the shadow says.
                log::error!("{id}: unmapping its {len} bytes at {va}: {failure}");
                self.spaces.retire(id);
                return;
            }
        }
        self.spaces.remove(id);
    }
}

impl Backend for Hosted {
    fn add_memory(&self, memory: u64, size: u64) -> Result<(), BackendError> {
        let mut state = self.state();
        // Imported memory may come without a size; it can't be bound then.
        let bo = self
            .device
            .create_bo(size.max(SZ_4K), 0, None)
            .map_err(|error| {
                out_of_memory(
                    &format!("VkDeviceMemory {memory:#x} of {size} bytes"),
                    error,
                )
            })?;
        let file = self.device.vpanthor();
        let bo_id = file.and_then(|file| file.bo_id(bo.handle().0)).unwrap_or(0);
        let node_bo = match &mut state.node {
            None => None,
            Some(node) => match node.add_bo(&bo) {
                Ok(bo) => Some(bo),
                Err(error) => {
                    state.notice_node()?;
                    let what = format!("VkDeviceMemory {memory:#x} of {size} bytes");
                    return Err(out_of_memory(&what, error));
                }
            },
        };
        state.memories.add(memory, size, bo, bo_id, node_bo);
        state.sweep_memories();
        Ok(())
    }

    fn remove_memory(&self, memory: u64) {
        let mut state = self.state();
        state.memories.free(memory);
        state.sweep_memories();
    }

    fn add_resource(
        &self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        dummy: Option<u64>,
    ) -> Result<(), BackendError> {
        self.add(id, size, granularity.max(SZ_4K), None, dummy)
    }

    fn add_image(
        &self,
        image: u64,
        layout: &Image,
        dummy: Option<u64>,
    ) -> Result<(), BackendError> {
        let id = ResourceId::Image(image);
        let tiles = TileMap::new(layout)
            .map_err(|error| BackendError::Refused(format!("{id}: {error}")))?;
        let (size, granularity) = (tiles.size(), tiles.tile_bytes());
        self.add(id, size, granularity, Some(tiles), dummy)
    }

    fn remove_resource(&self, id: ResourceId) {
        let mut state = self.state();
        state.release(id);
        state.note_changes(&self.device);
    }

    fn add_timeline(&self, semaphore: u64) {
        self.state()
            .release_syncobj(|stand_ins| stand_ins.add_timeline(semaphore));
    }

    fn remove_semaphore(&self, semaphore: u64) {
        self.state()
            .release_syncobj(|stand_ins| stand_ins.remove_semaphore(semaphore));
    }

    fn remove_fence(&self, fence: u64) {
        self.state()
            .release_syncobj(|stand_ins| stand_ins.remove_fence(fence));
    }

    fn start(&self, base: BaseQueue<'_>) -> Result<(), BackendError> {
        let mut state = self.state();
        state.alive()?;
        if state.fresh.is_empty() {
            return Ok(());
        }
        let batch = state.started();
        base(&[batch]).map_err(BackendError::Base)?;
        state.fresh.clear();
        Ok(())
    }

    fn bind(&self, call: &BindCall, base: BaseQueue<'_>) -> Result<(), BackendError> {
        self.carry_out(call, base)
    }

    fn stats(&self) -> Stats {
        let mut state = self.state();
        let counts = state.counts;
        let node = state.node.as_mut().map(|node| {
            // The last binds may fail yet.
            node.finish();
            node.check();
            (node.counters(), node.differences(), node.model().to_owned())
        });
        drop(state);
        let kernel = self.device.counters().since(&self.before);
        Stats {
            device: self.labels.device.clone(),
            base_driver: self.labels.base_driver.clone(),
            kernel: self.labels.kernel.clone(),
            strategy: self.strategy().to_string(),
            queue_bind_sparse_calls: counts.calls,
            binds: counts.binds,
            vm_bind_ioctls: kernel.vm_bind_ioctls,
            vm_bind_ops: kernel.vm_bind_ops,
            map_ops: kernel.map_ops,
            null_ops: kernel.null_ops,
            unmap_ops: kernel.unmap_ops,
            sync_ops: kernel.sync_ops,
            binds_elided: counts.elided,
            model: node.as_ref().map(|(_, _, model)| model.clone()),
            node_ioctls: node.as_ref().map(|(counters, ..)| counters.vm_bind_ioctls),
            node_ops: node.as_ref().map(|(counters, ..)| counters.vm_bind_ops),
            differences: node.as_ref().map(|(_, differences, _)| *differences),
        }
    }
}
