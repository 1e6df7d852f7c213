//! The way of one `vkQueueBindSparse`: resolve, plan, lower, VM_BIND, mirror; or back to where it started.

use rustix::io::Errno;

use super::mirror::Mirror;
use super::{Hosted, State, out_of_memory};
use crate::backend::{BackendError, BaseBatch, BaseQueue, Bind, BindCall, ResourceId};
use crate::bind::{MemoryBind, Request, Run, Shadow, resolve};
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
    waits: Vec<SyncOp>,
    signals: Vec<SyncOp>,
    runs: Vec<Run>,
    /// What the base driver has to do.
    mirrored: Vec<(ResourceId, Vec<Bind>)>,
}

impl Hosted {
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
                binds: std::mem::take(&mut batch.mirrored),
            })
            .collect();
        if let Err(result) = base(&base_batches) {
            state.go_back(&self.device, &null, &batches);
            state.alive()?;
            return Err(BackendError::Base(result));
        }
        for batch in &batches {
            state.shadow.apply(&batch.runs);
        }
        state.memories.collect();
        state.counts.calls += 1;
        state.counts.binds += batches
            .iter()
            .map(|batch| batch.requests.len() as u64)
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
                batch.requests.reserve(binds.len());
                self.resolve_binds(*id, binds, &mut batch.requests)?;
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
        requests: &mut Vec<Request>,
    ) -> Result<(), BackendError> {
        let resource = self.spaces.get(id).ok_or_else(|| {
            BackendError::Invalid(format!(
                "{id}: not a sparse resource of this device; expected one that is not destroyed"
            ))
        })?;
        // Neighbouring binds name the same memory as a rule.
        let mut latest = None;
        for bind in binds {
            let memory = match (bind.memory, latest) {
                (None, _) => None,
                (Some(handle), Some((known, memory))) if handle == known => Some(memory),
                (Some(handle), _) => {
                    let memory = self.memories.get(handle).ok_or_else(|| {
                        BackendError::Invalid(format!(
                            "{id}: bind of {} bytes at resourceOffset {} names VkDeviceMemory {handle:#x}, which is \
                             not a memory of this device; expected one that is not freed",
                            bind.size, bind.resource_offset
                        ))
                    })?;
                    latest = Some((handle, memory));
                    Some(memory)
                }
            };
            let bind = MemoryBind {
                resource_offset: bind.resource_offset,
                size: bind.size,
                memory,
                memory_offset: bind.memory_offset,
            };
            let request = resolve(resource, &bind)
                .map_err(|error| BackendError::Invalid(error.to_string()))?;
            requests.push(request);
        }
        Ok(())
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
            elided += planner
                .plan(&batch.requests, trial.shadow(), &mut batch.runs)
                .elided;
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

        let mut failure = None;
        let mut taken = 0;
        for ops in lowered.finish() {
            if let Err(error) = vm.bind(ops, BindMode::Async) {
                failure = Some(error);
                break;
            }
            taken += 1;
            let changes = device
                .vpanthor()
                .map(|file| file.take_changes(vm.id().0))
                .unwrap_or_default();
            memories.note(&changes);
            let mut mirror = Mirror::new(spaces, memories);
            let mut parts = ops.parts.iter().peekable();
            for change in &changes {
                let op = change.op as usize;
                while parts.next_if(|part| part.ops.end <= op).is_some() {}
                if let Some(batch) = parts.peek().and_then(|part| batches.get_mut(part.batch)) {
                    mirror.reflect(change, &mut batch.mirrored);
                }
            }
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
            if taken > 0 {
                self.go_back(device, null, batches);
                self.alive()?;
            }
            return Err(refused(&failure));
        }
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
            self.vm
                .bind(ops, BindMode::Sync)
                .map_err(|failure| refused(&failure))?;
        }
        Ok(())
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
