//! `PANVK_SPARSE_DUMMY=alias`: a new resource's unbound ranges get their dummy before any queue can use them.
//!
//! Binding needs a queue, and only the application may use its queues. So we wait until it submits something: we bind the
//! dummy on that same queue first (a *start*), and make its submission wait for that on a semaphore. What is submitted to
//! other queues waits until the start is over. On a device without such a dummy none of this is called.
//!
//! No lock is held while the base driver is called. While one thread submits a start, others that come to submit something
//! wait for it to have done so, and no longer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};
use hosted::BaseBatch;
use vulkan::calls::ResourceId;

use super::{Device, Queue, fail, submit};

/// How long one submission waits for a start on another queue, in nanoseconds. It only ever lasts where the application has made that
/// queue wait for something it is yet to submit; then order is not worth a deadlock.
const PATIENCE: u64 = 10_000_000_000;

/// The starts of one device.
#[derive(Debug, Default)]
pub struct Starts {
    list: Mutex<List>,
    /// A start has been submitted.
    submitted: Condvar,
}

#[derive(Debug, Default)]
struct List {
    /// Those that may not be over.
    under_way: Vec<Arc<Start>>,
    /// What is left of those that are over, to be used again.
    spare: Vec<Spare>,
    /// Whether a thread is submitting a start.
    submitting: bool,
    /// The parts of starts of which only the bind was submitted: nothing tells when it is over.
    abandoned: Vec<Spare>,
}

/// Why a start was not submitted.
struct NotRun {
    error: vk::Result,
    /// Whether its bind was submitted all the same.
    bound: bool,
}

impl From<vk::Result> for NotRun {
    fn from(error: vk::Result) -> Self {
        NotRun {
            error,
            bound: false,
        }
    }
}

/// The turn of one thread to submit a start. It ends with this, come what may.
struct Turn<'a>(&'a Starts);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().submitting = false;
        self.0.submitted.notify_all();
    }
}

/// What a start is made of.
#[derive(Debug)]
struct Spare {
    /// Signalled by the bind, waited for by an empty batch. A timeline, where the device has such: what the queue is yet to
    /// do may wait for what is not submitted yet, and a binary semaphore must not be waited for then.
    semaphore: vk::Semaphore,
    /// What the timeline is signalled to by the latest bind.
    value: u64,
    /// Signalled by the empty batch. Not signalled while nobody uses it.
    fence: vk::Fence,
}

/// A bind of new resources to the dummy, on one queue.
#[derive(Debug)]
struct Start {
    queue: vk::Queue,
    parts: Spare,
    resources: Vec<ResourceId>,
}

impl Spare {
    fn new(device: &Device) -> Result<Self, vk::Result> {
        let table = &device.table;
        let mut spare = Self {
            semaphore: vk::Semaphore::null(),
            value: 0,
            fence: vk::Fence::null(),
        };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let mut semaphore = vk::SemaphoreCreateInfo::default();
        if device.has_timelines {
            semaphore = semaphore.push_next(&mut kind);
        }
        let fence = vk::FenceCreateInfo::default();
        let none = std::ptr::null();
        // SAFETY: a device of the base driver, structs that outlive the calls; what is made is destroyed with the device, or
        // here, where nobody has it.
        unsafe {
            (table.create_semaphore)(device.handle, &semaphore, none, &mut spare.semaphore)
                .result()?;
            let made = (table.create_fence)(device.handle, &fence, none, &mut spare.fence);
            if let Err(error) = made.result() {
                spare.destroy(device);
                return Err(error);
            }
        }
        Ok(spare)
    }

    /// Binds what `batches` say on the queue, and makes what is submitted to it later wait for that.
    fn run(
        &mut self,
        device: &Device,
        queue: vk::Queue,
        batches: &[BaseBatch],
    ) -> Result<(), NotRun> {
        self.value += 1;
        let semaphores = [self.semaphore];
        let values = [self.value];
        let mut signalled =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let mut waited = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
        let mut bind = vk::BindSparseInfo::default().signal_semaphores(&semaphores);
        if device.has_timelines {
            bind = bind.push_next(&mut signalled);
        }
        let bind = [bind];
        // SAFETY: the batches are of this one info.
        unsafe { submit(device, queue, &bind, batches, vk::Fence::null()) }?;
        let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
        let mut wait = vk::SubmitInfo::default()
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages);
        if device.has_timelines {
            wait = wait.push_next(&mut waited);
        }
        // SAFETY: a queue that the application has handed over for now, a semaphore that the bind signals, a fence that is
        // not signalled.
        let waits = unsafe { (device.table.queue_submit)(queue, 1, &wait, self.fence) }.result();
        waits.map_err(|error| NotRun { error, bound: true })
    }

    fn destroy(&self, device: &Device) {
        // SAFETY: nothing uses them any more, or nothing ever did; nobody else knows them.
        unsafe {
            (device.table.destroy_semaphore)(device.handle, self.semaphore, std::ptr::null());
            (device.table.destroy_fence)(device.handle, self.fence, std::ptr::null());
        }
    }
}

impl Start {
    /// Whether it is over; waits for that, for so many nanoseconds.
    fn ends(&self, device: &Device, patience: u64) -> bool {
        let fence = &self.parts.fence;
        // SAFETY: a fence of this device that nobody resets while the start is shared.
        let waited =
            unsafe { (device.table.wait_for_fences)(device.handle, 1, fence, vk::TRUE, patience) };
        waited == vk::Result::SUCCESS
    }
}

/// A start that a thread has looked at, and whether it was over.
struct Seen {
    start: Arc<Start>,
    over: bool,
}

impl Starts {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before something is submitted to a queue: new resources are started on it, where it can bind, and those that were
    /// started on other queues have ended.
    ///
    /// # Errors
    /// The base driver does not take the start, or the device is lost.
    pub fn begin(&self, device: &Device, queue: vk::Queue, of: &Queue) -> Result<(), vk::Result> {
        let Some(hosted) = &device.hosted else {
            return Ok(());
        };
        // 1. Starts on this queue come before what is submitted to it; those on others have to be over. While we wait for
        // them, other threads may submit starts, so we look again until there is none that we have not seen.
        let mut seen: Vec<Seen> = Vec::new();
        while let Some(start) = self.next_unseen(&seen, of.binds) {
            let patience = if start.queue == queue { 0 } else { PATIENCE };
            let over = start.ends(device, patience);
            if !over && start.queue != queue {
                log::warn!(
                    "VkQueue {:#x}: new resources may be used before unbound ranges of them are bound to the dummy: VkQueue \
                     {:#x}, which does that, makes no progress",
                    queue.as_raw(),
                    start.queue.as_raw()
                );
            }
            seen.push(Seen { start, over });
        }
        let turn = of.binds.then(|| Turn(self));
        self.collect(device, seen);
        if turn.is_none() {
            return Ok(());
        }
        // 2. New resources are started. It is this thread's turn.
        let mut base = |batches: &[BaseBatch]| self.submit(device, queue, batches);
        let started = hosted.start(&mut base);
        drop(turn);
        started.map_err(|error| fail(&"binding new resources to the dummy", &error))
    }

    fn submit(
        &self,
        device: &Device,
        queue: vk::Queue,
        batches: &[BaseBatch],
    ) -> Result<(), vk::Result> {
        let spare = self.lock().spare.pop();
        let mut parts = match spare {
            Some(spare) => spare,
            None => Spare::new(device)?,
        };
        let ran = parts.run(device, queue, batches);
        let mut list = self.lock();
        match ran {
            Ok(()) => {
                let opaque = batches.iter().flat_map(|batch| &batch.binds);
                let tiles = batches.iter().flat_map(|batch| &batch.image_binds);
                let images = tiles.map(|(image, _)| ResourceId::Image(*image));
                let start = Start {
                    queue,
                    parts,
                    resources: opaque.map(|(id, _)| *id).chain(images).collect(),
                };
                list.under_way.push(Arc::new(start));
                return Ok(());
            }
            Err(NotRun { bound: true, .. }) => list.abandoned.push(parts),
            Err(NotRun { bound: false, .. }) => list.spare.push(parts),
        }
        ran.map_err(|not_run| not_run.error)
    }

    /// Waits until no thread is submitting a start. Gives one that is under way and not in `seen`. If there is none, takes the
    /// turn to submit one, provided that the caller `submits`.
    fn next_unseen(&self, seen: &[Seen], submits: bool) -> Option<Arc<Start>> {
        let mut list = self.wait_for_turn();
        let is_seen = |start: &Arc<Start>| seen.iter().any(|one| Arc::ptr_eq(&one.start, start));
        let unseen = list.under_way.iter().find(|start| !is_seen(start)).cloned();
        list.submitting = submits && unseen.is_none();
        unseen
    }

    /// Waits until no thread is submitting a start.
    fn wait_for_turn(&self) -> MutexGuard<'_, List> {
        let mut list = self.lock();
        while list.submitting {
            let waited = self.submitted.wait(list);
            list = waited.unwrap_or_else(PoisonError::into_inner);
        }
        list
    }

    /// Keeps the parts of starts that are over to use them again, once no thread looks at them any more.
    fn collect(&self, device: &Device, seen: Vec<Seen>) {
        let is_over = |start: &Arc<Start>| {
            let is = |one: &Seen| one.over && Arc::ptr_eq(&one.start, start);
            seen.iter().any(is)
        };
        self.lock().under_way.retain(|start| !is_over(start));
        // Nobody else has what comes out of here: it is not in the list, so it is over.
        for Start { parts, .. } in seen
            .into_iter()
            .filter_map(|one| Arc::into_inner(one.start))
        {
            // SAFETY: a fence of this device that is signalled and that nobody else knows any more.
            let reset = unsafe { (device.table.reset_fences)(device.handle, 1, &parts.fence) };
            if reset == vk::Result::SUCCESS {
                self.lock().spare.push(parts);
            } else {
                parts.destroy(device);
            }
        }
    }

    /// Before a resource is destroyed that `Hosted` does not know any more: no start of it is under way. Those of others
    /// are not waited for: what they wait for may be yet to come from whoever destroys this one.
    pub fn settle(&self, device: &Device, id: ResourceId) {
        let of_it: Vec<_> = {
            let list = self.wait_for_turn();
            let starts = list.under_way.iter();
            starts
                .filter(|start| start.resources.contains(&id))
                .cloned()
                .collect()
        };
        let mut seen = Vec::new();
        for start in of_it {
            let over = start.ends(device, PATIENCE);
            if !over {
                log::warn!(
                    "VkQueue {:#x} makes no progress, and {id}, which is destroyed, may be in use by it",
                    start.queue.as_raw()
                );
            }
            seen.push(Seen { start, over });
        }
        self.collect(device, seen);
    }

    /// Before the device is destroyed, which has no work left.
    pub fn clear(&self, device: &Device) {
        let list = std::mem::take(&mut *self.lock());
        let parts = list.under_way.iter().map(|start| &start.parts);
        for parts in parts.chain(&list.spare).chain(&list.abandoned) {
            parts.destroy(device);
        }
    }
}
