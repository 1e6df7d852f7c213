//! `PANVK_SPARSE_DUMMY=alias`: a new resource's unbound ranges get their dummy before any queue can use them.
//!
//! Binding takes a queue of the base driver, and queues are the application's to synchronize. So it happens when the
//! application hands one over: whatever it submits next, a start goes before it on the same queue, and a semaphore makes what
//! it submits wait. On a device without such a dummy none of this is called.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ash::vk::{self, Handle};
use hosted::BaseBatch;
use vulkan::calls::ResourceId;

use crate::bind::submit;
use crate::device::{Device, fail};
use crate::guard::guard_result;
use crate::state::{QUEUES, Queue};

/// How long a start on another queue is waited for, in nanoseconds. It only ever lasts where the application has made that
/// queue wait for something it is yet to submit; then order is not worth a deadlock.
const PATIENCE: u64 = 10_000_000_000;

/// The starts of one device.
#[derive(Debug, Default)]
pub struct Starts(Mutex<Vec<Start>>);

/// One, or what is left of one and can be used again.
#[derive(Debug)]
struct Start {
    /// Null once it is known to be over.
    queue: vk::Queue,
    /// Signalled by the bind, waited for by an empty batch. A timeline, where the device has such: what the queue is yet to
    /// do may wait for what is not submitted yet, and a binary semaphore must not be waited for then.
    semaphore: vk::Semaphore,
    /// What the timeline is signalled to by the latest bind.
    value: u64,
    /// Signalled by the empty batch.
    fence: vk::Fence,
    /// What it binds. Empty once it is known to be over.
    resources: Vec<ResourceId>,
}

impl Start {
    fn new(device: &Device) -> Result<Self, vk::Result> {
        let table = &device.table;
        let mut start = Self {
            queue: vk::Queue::null(),
            semaphore: vk::Semaphore::null(),
            value: 0,
            fence: vk::Fence::null(),
            resources: Vec::new(),
        };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let mut semaphore = vk::SemaphoreCreateInfo::default();
        if device.has_timelines {
            semaphore = semaphore.push_next(&mut kind);
        }
        let fence = vk::FenceCreateInfo::default();
        // SAFETY: a device of the base driver, structs that outlive the calls; what is made is destroyed with the device, or
        // here, where nobody has it.
        unsafe {
            (table.create_semaphore)(
                device.handle,
                &semaphore,
                std::ptr::null(),
                &mut start.semaphore,
            )
            .result()?;
            let made =
                (table.create_fence)(device.handle, &fence, std::ptr::null(), &mut start.fence);
            if let Err(error) = made.result() {
                start.destroy(device);
                return Err(error);
            }
        }
        Ok(start)
    }

    /// Whether it is over; waits for that, for so many nanoseconds.
    fn ends(&mut self, device: &Device, patience: u64) -> bool {
        if self.queue == vk::Queue::null() {
            return true;
        }
        let table = &device.table;
        // SAFETY: a fence of this device that nobody else knows; it is reset once it is signalled.
        unsafe {
            let waited = (table.wait_for_fences)(device.handle, 1, &self.fence, vk::TRUE, patience);
            if waited != vk::Result::SUCCESS
                || (table.reset_fences)(device.handle, 1, &self.fence) != vk::Result::SUCCESS
            {
                return false;
            }
        }
        self.queue = vk::Queue::null();
        self.resources.clear();
        true
    }

    /// Binds what `batches` say on the queue, and makes what is submitted to it later wait for that.
    fn run(
        &mut self,
        device: &Device,
        queue: vk::Queue,
        batches: &[BaseBatch],
    ) -> Result<(), vk::Result> {
        let semaphores = [self.semaphore];
        let values = [self.value + 1];
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
        // From here on its semaphore is in use, come what may.
        self.queue = queue;
        self.value += 1;
        for batch in batches {
            self.resources.extend(batch.binds.iter().map(|(id, _)| *id));
            let images = batch.image_binds.iter();
            self.resources
                .extend(images.map(|(image, _)| ResourceId::Image(*image)));
        }
        let stages = [vk::PipelineStageFlags::ALL_COMMANDS];
        let mut wait = vk::SubmitInfo::default()
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages);
        if device.has_timelines {
            wait = wait.push_next(&mut waited);
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

impl Starts {
    fn lock(&self) -> MutexGuard<'_, Vec<Start>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before something is submitted to a queue: new resources are started on it, where it can bind, and those that were
    /// started on other queues are so.
    ///
    /// # Errors
    /// The base driver does not take the start, or the hosted is lost.
    pub fn begin(&self, device: &Device, queue: vk::Queue, of: &Queue) -> Result<(), vk::Result> {
        let Some(hosted) = &device.hosted else {
            return Ok(());
        };
        let mut starts = self.lock();
        for start in starts.iter_mut() {
            let patience = if start.queue == queue { 0 } else { PATIENCE };
            if !start.ends(device, patience) && start.queue != queue {
                log::warn!(
                    "VkQueue {:#x}: new resources may be used before unbound ranges of them are bound to the dummy: VkQueue \
                     {:#x}, which does that, makes no progress",
                    queue.as_raw(),
                    start.queue.as_raw()
                );
            }
        }
        if !of.binds {
            return Ok(());
        }
        let mut base = |batches: &[BaseBatch]| {
            let over = starts
                .iter()
                .position(|start| start.queue == vk::Queue::null());
            let index = match over {
                Some(index) => index,
                None => {
                    starts.push(Start::new(device)?);
                    starts.len() - 1
                }
            };
            starts[index].run(device, queue, batches)
        };
        hosted
            .start(&mut base)
            .map_err(|error| fail(&"binding new resources to the dummy", &error))
    }

    /// Before a resource is destroyed that the hosted does not know any more: no start of it is under way. Those of others
    /// are not waited for: what they wait for may be yet to come from whoever destroys this one.
    pub fn settle(&self, device: &Device, id: ResourceId) {
        for start in self.lock().iter_mut() {
            if start.resources.contains(&id) && !start.ends(device, PATIENCE) {
                log::warn!(
                    "VkQueue {:#x} makes no progress, and {id}, which is destroyed, may be in use by it",
                    start.queue.as_raw()
                );
            }
        }
    }

    /// Before the device is destroyed, which has no work left.
    pub fn clear(&self, device: &Device) {
        for start in self.lock().drain(..) {
            start.destroy(device);
        }
    }
}

/// Starts new resources, then has `pass` submit what the application does.
fn after_start(queue: vk::Queue, pass: impl FnOnce(&Device) -> vk::Result) -> vk::Result {
    guard_result(|| {
        let Some(of) = QUEUES.get(queue.as_raw()) else {
            log::error!("VkQueue {:#x} is not known", queue.as_raw());
            return vk::Result::ERROR_UNKNOWN;
        };
        let device = &of.device;
        if device.aliases() {
            if let Err(error) = device.starts.begin(device, queue, &of) {
                return error;
            }
        }
        pass(device)
    })
}

pub unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: the application's own arguments, passed on.
    after_start(queue, |device| unsafe {
        (device.table.queue_submit)(queue, count, submits, fence)
    })
}

pub unsafe extern "system" fn queue_submit2(
    queue: vk::Queue,
    count: u32,
    submits: *const vk::SubmitInfo2<'_>,
    fence: vk::Fence,
) -> vk::Result {
    after_start(queue, |device| match device.table.submit2() {
        // SAFETY: the application's own arguments, passed on.
        Some(submit) => unsafe { submit(queue, count, submits, fence) },
        None => vk::Result::ERROR_UNKNOWN,
    })
}
