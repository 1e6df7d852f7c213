//! The way of one `vkQueueBindSparse`: resolve, plan, lower, VM_BIND, mirror; or back to where it started.

use rustix::io::Errno;

use super::mirror::{Mirror, Mirrored};
use super::node::Node;
use super::{Hosted, State, bind_both, out_of_memory};
use crate::backend::{BackendError, BaseBatch, BaseQueue, Bind, BindCall, ImageBind, ResourceId};
use crate::bind::{
    self, Memory, MemoryBind, Planner, Request, Resource, Run, Shadow, resolve, resolve_image,
    resolve_image_opaque,
};
use crate::drm::uapi::SyncOp;
use crate::drm::{self, BindFailure, BindMode, VmState};
use crate::lower::{Batch, NullMap};
use crate::units::{SZ_4K, Va};

/// The infos `first..=last` of a call: no semaphore stands between them, so they are one batch.
#[derive(Default)]
struct Pending {
    first: usize,
    last: usize,
    requests: Vec<Request>,
    /// For each bind, the number of requests that it and those before it became. A bind of tiles can become several.
    ends: Vec<usize>,
    waits: Vec<SyncOp>,
    signals: Vec<SyncOp>,
    runs: Vec<Run>,
    /// What the base driver has to do.
    mirrored: Mirrored,
}

impl Pending {
    /// There are going to be so many binds more. Most become one request.
    fn reserve(&mut self, binds: usize) {
        self.requests.reserve(binds);
        self.ends.reserve(binds);
    }

    /// Makes the runs. Gives the number of binds that changed nothing.
    fn plan(&mut self, planner: &mut Planner, shadow: &Shadow) -> u64 {
        if self.ends.len() == self.requests.len() {
            return planner.plan(&self.requests, shadow, &mut self.runs).elided;
        }
        let contributed = planner.plan_marking(&self.requests, shadow, &mut self.runs);
        let mut first = 0;
        let elided = self.ends.iter().filter(|&&end| {
            let bind = std::mem::replace(&mut first, end)..end;
            !contributed[bind].contains(&true)
        });
        elided.count() as u64
    }
}

/// The latest memory that was looked up: neighbouring binds name the same one as a rule.
#[derive(Default)]
struct Latest(Option<(u64, Memory)>);

impl Latest {
    /// `what` says which bind names the memory.
    fn find(
        &mut self,
        state: &State,
        memory: Option<u64>,
        what: impl FnOnce() -> String,
    ) -> Result<Option<Memory>, BackendError> {
        match (memory, self.0) {
            (None, _) => Ok(None),
            (Some(handle), Some((known, memory))) if handle == known => Ok(Some(memory)),
            (Some(handle), _) => {
                let found = state.memories.get(handle).ok_or_else(|| {
                    BackendError::Invalid(format!(
                        "{} names VkDeviceMemory {handle:#x}, which is not a memory of this device; expected one \
                         that is not freed",
                        what()
                    ))
                })?;
                self.0 = Some((handle, found));
                Ok(Some(found))
            }
        }
    }
}

impl Hosted {
    /// Whether all binds of a call can be carried out, without doing it.
    ///
    /// # Errors
    /// As of [`Backend::bind`](crate::backend::Backend::bind) where it changes nothing.
    pub fn check(&self, call: &BindCall) -> Result<(), BackendError> {
        let state = self.state();
        state.alive()?;
        state.resolve_call(call).map(drop)
    }

    pub(super) fn carry_out(
        &self,
        call: &BindCall,
        base: BaseQueue<'_>,
    ) -> Result<(), BackendError> {
        let mut state = self.state();
        state.alive()?;
        let mut batches = state.resolve_call(call)?;
        state.attach_syncs(&self.device, call, &mut batches)?;
        let null = self.null.map();
        let elided = state.submit(&self.device, &null, &mut batches)?;

        let base_batches: Vec<BaseBatch> = batches
            .iter_mut()
            // The batch that only carries the fence of a call without infos is none of the base driver's.
            .filter(|_| !call.infos.is_empty())
            .map(|batch| BaseBatch {
                first: batch.first,
                last: batch.last,
                binds: std::mem::take(&mut batch.mirrored.binds),
                image_binds: std::mem::take(&mut batch.mirrored.image_binds),
            })
            .collect();
        if let Err(result) = base(&base_batches) {
            state.go_back(&self.device, &null, &batches);
            state.alive()?;
            return Err(BackendError::Base(result));
        }
        for batch in &batches {
            state.shadow.apply(&batch.runs);
            state.counts.runs += batch.runs.len() as u64;
        }
        state.memories.collect();
        if !base_batches.is_empty() {
            state.fresh.clear();
        }
        state.counts.calls += 1;
        state.counts.binds += batches
            .iter()
            .map(|batch| batch.ends.len() as u64)
            .sum::<u64>();
        state.counts.elided += elided;
        Ok(())
    }
}

impl State {
    /// # Errors
    /// The VM is lost.
    pub(super) fn alive(&self) -> Result<(), BackendError> {
        match &self.lost {
            None => Ok(()),
            Some(why) => Err(BackendError::DeviceLost(why.clone())),
        }
    }

    /// Turns every bind of the call into a request, and infos into batches. Changes nothing.
    fn resolve_call(&self, call: &BindCall) -> Result<Vec<Pending>, BackendError> {
        let mut batches: Vec<Pending> = Vec::new();
        for (i, info) in call.infos.iter().enumerate() {
            let joins = i > 0
                && info.joins_previous
                && info.waits.is_empty()
                && call.infos[i - 1].signals.is_empty();
            let batch = match batches.last_mut() {
                Some(last) if joins => last,
                _ => {
                    batches.push(Pending {
                        first: i,
                        ..Pending::default()
                    });
                    // Just pushed.
                    let Some(new) = batches.last_mut() else {
                        continue;
                    };
                    new
                }
            };
            batch.last = i;
            for (id, binds) in &info.binds {
                batch.reserve(binds.len());
                self.resolve_binds(*id, binds, batch)?;
            }
            for (image, binds) in &info.image_binds {
                batch.reserve(binds.len());
                self.resolve_image_binds(*image, binds, batch)?;
            }
        }
        if batches.is_empty() && call.fence.is_some() {
            batches.push(Pending::default());
        }
        Ok(batches)
    }

    fn resolve_binds(
        &self,
        id: ResourceId,
        binds: &[Bind],
        batch: &mut Pending,
    ) -> Result<(), BackendError> {
        let resource = self.resource(id)?;
        let tiles = self.spaces.tiles(id);
        let mut memories = Latest::default();
        for bind in binds {
            let what = (bind.resource_offset, bind.size);
            let resolved = MemoryBind {
                resource_offset: bind.resource_offset,
                size: bind.size,
                memory: memories.find(self, bind.memory, || {
                    format!(
                        "{id}: bind of {} bytes at resourceOffset {}",
                        what.1, what.0
                    )
                })?,
                memory_offset: bind.memory_offset,
            };
            if let Some(tiles) = tiles {
                resolve_image_opaque(
                    resource,
                    tiles,
                    &resolved,
                    bind.metadata,
                    &mut batch.requests,
                )
                .map_err(|error| BackendError::Invalid(error.to_string()))?;
                batch.ends.push(batch.requests.len());
                continue;
            }
            if bind.metadata {
                return Err(BackendError::Invalid(format!(
                    "{id}: bind with VK_SPARSE_MEMORY_BIND_METADATA_BIT, but it has no metadata"
                )));
            }
            let request = resolve(resource, &resolved)
                .map_err(|error| BackendError::Invalid(error.to_string()))?;
            batch.requests.push(request);
            batch.ends.push(batch.requests.len());
        }
        Ok(())
    }

    fn resolve_image_binds(
        &self,
        image: u64,
        binds: &[ImageBind],
        batch: &mut Pending,
    ) -> Result<(), BackendError> {
        let id = ResourceId::Image(image);
        let resource = self.resource(id)?;
        let tiles = self.spaces.tiles(id).ok_or_else(|| {
            BackendError::Invalid(format!(
                "{id}: imageBinds, but it was created without VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT; expected \
                 imageOpaqueBinds"
            ))
        })?;
        let mut memories = Latest::default();
        for bind in binds {
            let resolved = bind::ImageBind {
                region: bind.region,
                memory: memories.find(self, bind.memory, || {
                    format!("{id}: bind of {:?}", bind.region)
                })?,
                memory_offset: bind.memory_offset,
            };
            resolve_image(resource, tiles, &resolved, &mut batch.requests)
                .map_err(|error| BackendError::Invalid(error.to_string()))?;
            batch.ends.push(batch.requests.len());
        }
        Ok(())
    }

    fn resource(&self, id: ResourceId) -> Result<&Resource, BackendError> {
        self.spaces.get(id).ok_or_else(|| {
            BackendError::Invalid(format!(
                "{id}: not a sparse resource of this device; expected one that is not destroyed"
            ))
        })
    }

    /// Gives each batch the sync ops of its semaphores, and the last one that of the fence.
    fn attach_syncs(
        &mut self,
        device: &drm::Device,
        call: &BindCall,
        batches: &mut [Pending],
    ) -> Result<(), BackendError> {
        let failed = |error| out_of_memory("SYNCOBJ_CREATE", error);
        for batch in batches.iter_mut() {
            // The batch of a fence alone stands for no info.
            let Some(infos) = call.infos.get(batch.first..=batch.last) else {
                continue;
            };
            let (Some(first), Some(last)) = (infos.first(), infos.last()) else {
                continue;
            };
            for &semaphore in &first.waits {
                batch
                    .waits
                    .push(self.stand_ins.wait(device, semaphore).map_err(failed)?);
            }
            for &semaphore in &last.signals {
                batch
                    .signals
                    .push(self.stand_ins.signal(device, semaphore).map_err(failed)?);
            }
        }
        if let (Some(fence), Some(last)) = (call.fence, batches.last_mut()) {
            last.signals
                .push(self.stand_ins.fence(device, fence).map_err(failed)?);
        }
        Ok(())
    }

    /// Plans the batches, has the kernel carry them out, and notes what that changed. The shadow stays as it is.
    ///
    /// Gives the number of binds that changed nothing. On an error the kernel's state is as before the call,
    /// or the VM is lost.
    fn submit(
        &mut self,
        device: &drm::Device,
        null: &NullMap,
        batches: &mut [Pending],
    ) -> Result<u64, BackendError> {
        let Self {
            vm,
            node,
            shadow,
            spaces,
            memories,
            planner,
            lowering,
            ..
        } = self;
        let granularity = |va: Va, _| {
            spaces
                .at(va)
                .map_or(SZ_4K, |(_, resource)| resource.granularity)
        };
        let mut elided = 0;
        // Later batches are planned against what the earlier ones leave. Dropping this puts the shadow back.
        let mut trial = shadow.tentative();
        let mut lowered = lowering.begin(null, &granularity);
        let count = batches.len();
        for (i, batch) in batches.iter_mut().enumerate() {
            elided += batch.plan(planner, trial.shadow());
            lowered.batch(
                &Batch {
                    waits: &batch.waits,
                    signals: &batch.signals,
                    runs: &batch.runs,
                },
                trial.shadow(),
            );
            if i + 1 < count {
                trial.apply(&batch.runs);
            }
        }
        drop(trial);

        if let Some(first) = batches.first_mut().filter(|_| !self.fresh.is_empty()) {
            let mut mirror = Mirror::new(spaces, memories);
            for &id in &self.fresh {
                mirror.start(id, &mut first.mirrored);
            }
        }
        let mut failure = None;
        let mut taken = 0;
        for ops in lowered.finish() {
            if let Err(error) = bind_both(vm, node, ops, BindMode::Async) {
                failure = Some(error);
                break;
            }
            taken += 1;
            if !self.mirrors {
                continue;
            }
            let changes = device
                .vpanthor()
                .map(|file| file.take_changes(vm.id().0))
                .unwrap_or_default();
            memories.note(&changes);
            let mut mirror = Mirror::new(spaces, memories);
            let mut parts = ops.parts.iter().peekable();
            for change in &changes {
                let op = change.op as usize;
                while let Some(part) = parts.next_if(|part| part.ops.end <= op) {
                    if let Some(batch) = batches.get_mut(part.batch) {
                        mirror.finish(&mut batch.mirrored);
                    }
                }
                if let Some(batch) = parts.peek().and_then(|part| batches.get_mut(part.batch)) {
                    mirror.reflect(change, &mut batch.mirrored);
                }
            }
            if let Some(batch) = parts.peek().and_then(|part| batches.get_mut(part.batch)) {
                mirror.finish(&mut batch.mirrored);
            }
        }
        if let Some(node) = node {
            node.check();
        }
        // An operation that fails when it runs leaves no trace but this. (Where waits are taken as met, all have
        // run by now.)
        if let Ok(VmState::Unusable) = vm.state() {
            let why = "the VM is unusable: an operation failed when the kernel ran it".to_owned();
            self.lost = Some(why.clone());
            return Err(BackendError::DeviceLost(why));
        }
        if let Some(failure) = failure {
            // The kernel took all of an ioctl or nothing of it.
            let ahead = self.node.as_mut().is_some_and(Node::was_ahead);
            if taken > 0 || ahead {
                self.go_back(device, null, batches);
                self.alive()?;
            }
            self.notice_node()?;
            return Err(refused(&failure));
        }
        self.notice_node()?;
        Ok(elided)
    }

    /// Maps all that the batches may have changed as the shadow has it. Where that fails, the VM is lost.
    fn go_back(&mut self, device: &drm::Device, null: &NullMap, batches: &[Pending]) {
        let before: Vec<Request> = batches
            .iter()
            .flat_map(|batch| &batch.runs)
            .flat_map(|run| self.shadow.extents(run.va, run.len))
            .map(|extent| Request {
                va: extent.va,
                len: extent.len,
                target: extent.target,
            })
            .collect();
        let mut runs = Vec::new();
        self.planner.plan(&before, &Shadow::new(), &mut runs);
        if let Err(failure) = self.bind_now(null, &runs) {
            let why =
                format!("the VM is in an unknown state: a bind could not be taken back: {failure}");
            log::error!("{why}");
            self.lost = Some(why);
        }
        self.note_changes(device);
    }

    /// Has the kernel map `runs` at once. Leaves the shadow as it is.
    ///
    /// # Errors
    /// The kernel refused an operation; those before it stay applied.
    pub(super) fn bind_now(&mut self, null: &NullMap, runs: &[Run]) -> Result<(), BackendError> {
        let spaces = &self.spaces;
        let granularity = |va: Va, _| {
            spaces
                .at(va)
                .map_or(SZ_4K, |(_, resource)| resource.granularity)
        };
        let mut lowered = self.lowering.begin(null, &granularity);
        // With nothing to look at in the shadow, runs are not joined across what lies between them.
        lowered.batch(
            &Batch {
                runs,
                ..Batch::default()
            },
            &Shadow::new(),
        );
        for ops in lowered.finish() {
            bind_both(&self.vm, &mut self.node, ops, BindMode::Sync)
                .map_err(|failure| refused(&failure))?;
        }
        self.notice_node()
    }

    /// Takes note of changes that the base driver has no part in, and that stay.
    pub(super) fn note_changes(&mut self, device: &drm::Device) {
        if let Some(file) = device.vpanthor() {
            self.memories.note(&file.take_changes(self.vm.id().0));
        }
        self.memories.collect();
    }
}

fn refused(failure: &BindFailure) -> BackendError {
    let message = format!("VM_BIND: {failure}");
    match failure.errno {
        Errno::NOMEM | Errno::NOSPC => BackendError::OutOfDeviceMemory(message),
        Errno::NODEV => BackendError::DeviceLost(message),
        _ => BackendError::Refused(message),
    }
}
