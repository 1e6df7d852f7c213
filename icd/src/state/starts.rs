//! `PANVK_SPARSE_DUMMY=alias`: a new resource's unbound ranges get their dummy before the queue can use them.
//!
//! Binding needs a queue, and only the application may use its queue; the device has but one then. So we wait until the
//! application submits something: we bind the dummy on that same queue first (a *start*), and make all that is submitted
//! later wait for that on a semaphore.
//!
//! The queue may be waiting for what is yet to be submitted, so nothing here waits for the queue. If the application destroys
//! a resource whose start is not over, then the base driver's object lives on until it is.
//!
//! No lock is held while the base driver is called. While one thread submits a start, others that destroy a sparse resource
//! wait for it to have done so, and no longer.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};
use hosted::BaseBatch;
use vulkan::calls::ResourceId;

use super::{Device, Queue, fail, submit};

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
    under_way: Vec<Start>,
    /// What is left of those that are over, to be used again.
    spare: Vec<Parts>,
    /// Whether a thread is submitting a start.
    submitting: bool,
}

/// The turn of one thread to submit a start. It ends with this, come what may.
#[derive(Debug)]
pub struct Turn<'a>(&'a Starts);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().submitting = false;
        self.0.submitted.notify_all();
    }
}

/// What a start is made of.
#[derive(Clone, Copy, Debug)]
struct Parts {
    /// Signalled by the bind, waited for by an empty batch. A timeline, where the device has such: what the queue is yet to
    /// do may wait for what is not submitted yet, and a binary semaphore must not be waited for then.
    semaphore: vk::Semaphore,
    /// What the timeline is signalled to by the latest bind.
    value: u64,
    /// Signalled by the empty batch. Not signalled while nobody uses it.
    fence: vk::Fence,
}

/// A bind of new resources to the dummy.
#[derive(Debug)]
struct Start {
    parts: Parts,
    resources: Vec<ResourceId>,
    /// Whether the empty batch is submitted that waits for the bind.
    waited_for: bool,
    /// Those of the resources that the application has destroyed.
    destroyed: Vec<ResourceId>,
}

impl Parts {
    fn new(device: &Device) -> Result<Self, vk::Result> {
        let table = &device.table;
        let mut parts = Self {
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
            (table.create_semaphore)(device.handle, &semaphore, none, &mut parts.semaphore)
                .result()?;
            let made = (table.create_fence)(device.handle, &fence, none, &mut parts.fence);
            if let Err(error) = made.result() {
                parts.destroy(device);
                return Err(error);
            }
        }
        Ok(parts)
    }

    /// Binds what `batches` say on the queue.
    fn bind(
        &mut self,
        device: &Device,
        queue: vk::Queue,
        batches: &[BaseBatch],
    ) -> Result<(), vk::Result> {
        self.value += 1;
        let (semaphores, values) = ([self.semaphore], [self.value]);
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let mut bind = vk::BindSparseInfo::default().signal_semaphores(&semaphores);
        if device.has_timelines {
            bind = bind.push_next(&mut timeline);
        }
        // SAFETY: the batches are of this one info.
        unsafe { submit(device, queue, &[bind], batches, vk::Fence::null()) }
    }

    /// Makes what is submitted to the queue later wait for the bind.
    fn wait(&self, device: &Device, queue: vk::Queue) -> Result<(), vk::Result> {
        let (semaphores, values) = ([self.semaphore], [self.value]);
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&values);
        let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
        let mut wait = vk::SubmitInfo::default()
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages);
        if device.has_timelines {
            wait = wait.push_next(&mut timeline);
        }
        // SAFETY: a queue that the application has handed over for now, a semaphore that the bind signals, a fence that is
        // not signalled.
        unsafe { (device.table.queue_submit)(queue, 1, &wait, self.fence) }.result()
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
    fn is_over(&self, device: &Device) -> bool {
        let fence = &self.parts.fence;
        // SAFETY: a fence of this device that nobody else has.
        let waited =
            || unsafe { (device.table.wait_for_fences)(device.handle, 1, fence, vk::TRUE, 0) };
        self.waited_for && waited() == vk::Result::SUCCESS
    }
}

/// Destroys the base driver's object, which was made without an allocator.
fn destroy(device: &Device, id: ResourceId) {
    let (table, none) = (&device.table, std::ptr::null());
    // SAFETY: the application has destroyed it, and no work uses it any more.
    unsafe {
        match id {
            ResourceId::Buffer(buffer) => {
                (table.destroy_buffer)(device.handle, vk::Buffer::from_raw(buffer), none);
            }
            ResourceId::Image(image) => {
                (table.destroy_image)(device.handle, vk::Image::from_raw(image), none);
            }
        }
    }
}

impl Starts {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn once no thread has it.
    pub fn turn(&self) -> Turn<'_> {
        let mut list = self.lock();
        while list.submitting {
            let waited = self.submitted.wait(list);
            list = waited.unwrap_or_else(PoisonError::into_inner);
        }
        list.submitting = true;
        Turn(self)
    }

    /// Before something is submitted to the queue: new resources are started on it, if it can bind.
    ///
    /// # Errors
    /// The base driver does not take the start, or the device is lost.
    pub fn begin(&self, device: &Device, queue: vk::Queue, of: &Queue) -> Result<(), vk::Result> {
        let Some(hosted) = device.hosted.as_ref().filter(|_| of.binds) else {
            return Ok(());
        };
        let turn = self.turn();
        self.collect(device, &turn);
        let mut base = |batches: &[BaseBatch]| self.bind(device, queue, batches);
        hosted
            .start(&mut base)
            .map_err(|error| fail(&"binding new resources to the dummy", &error))?;
        self.wait(device, queue, &turn)
    }

    fn bind(
        &self,
        device: &Device,
        queue: vk::Queue,
        batches: &[BaseBatch],
    ) -> Result<(), vk::Result> {
        let spare = self.lock().spare.pop();
        let mut parts = spare.map_or_else(|| Parts::new(device), Ok)?;
        let bound = parts.bind(device, queue, batches);
        let mut list = self.lock();
        if bound.is_err() {
            list.spare.push(parts);
            return bound;
        }
        let opaque = batches.iter().flat_map(|batch| &batch.binds);
        let tiles = batches.iter().flat_map(|batch| &batch.image_binds);
        let images = tiles.map(|(image, _)| ResourceId::Image(*image));
        list.under_way.push(Start {
            parts,
            resources: opaque.map(|(id, _)| *id).chain(images).collect(),
            waited_for: false,
            destroyed: Vec::new(),
        });
        Ok(())
    }

    /// Has the queue wait for each start that it does not wait for yet: the latest one, and those before it whose wait the
    /// base driver has refused.
    fn wait(&self, device: &Device, queue: vk::Queue, _turn: &Turn<'_>) -> Result<(), vk::Result> {
        // Who has the turn is the only one to look at them.
        let mut under_way = std::mem::take(&mut self.lock().under_way);
        let mut not_yet = under_way.iter_mut().filter(|start| !start.waited_for);
        let result = not_yet.try_for_each(|start| {
            start.parts.wait(device, queue)?;
            start.waited_for = true;
            Ok(())
        });
        self.lock().under_way = under_way;
        result
    }

    /// Destroys what was destroyed while its start was under way, if that is over now, and keeps the parts to use them again.
    fn collect(&self, device: &Device, _turn: &Turn<'_>) {
        // Who has the turn is the only one to look at them.
        let under_way = std::mem::take(&mut self.lock().under_way);
        let over = |start: &Start| start.is_over(device);
        let (over, under_way): (Vec<_>, Vec<_>) = under_way.into_iter().partition(over);
        self.lock().under_way = under_way;
        for Start {
            parts, destroyed, ..
        } in over
        {
            destroyed.into_iter().for_each(|id| destroy(device, id));
            // SAFETY: a fence of this device that is signalled and that nobody else knows any more.
            let reset = unsafe { (device.table.reset_fences)(device.handle, 1, &parts.fence) };
            if reset == vk::Result::SUCCESS {
                self.lock().spare.push(parts);
            } else {
                parts.destroy(device);
            }
        }
    }

    /// The application destroys a resource, which `Hosted` does not know any more: the base driver's object goes now, or
    /// once its start is over.
    pub fn destroy(&self, device: &Device, id: ResourceId, turn: &Turn<'_>) {
        self.collect(device, turn);
        let mut list = self.lock();
        let mut starts = list.under_way.iter_mut();
        match starts.find(|start| start.resources.contains(&id)) {
            Some(start) => start.destroyed.push(id),
            None => {
                drop(list);
                destroy(device, id);
            }
        }
    }

    /// Before the device is destroyed, whose queues have no work left.
    pub fn clear(&self, device: &Device) {
        let list = std::mem::take(&mut *self.lock());
        for start in list.under_way {
            { start.destroyed }
                .into_iter()
                .for_each(|id| destroy(device, id));
            start.parts.destroy(device);
        }
        list.spare.iter().for_each(|parts| parts.destroy(device));
    }
}
