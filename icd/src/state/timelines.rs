//! Timeline semaphores of the application, which the base driver's live a little longer than.
//!
//! An application may destroy a timeline once it has seen that all which waits for it or signals it is done. Mesa's common
//! Vulkan runtime (25.0 at least) lets it see that first, and cleans up after the submission then, on a thread of its own: it
//! puts what the submission has held of the timeline back into the timeline. So the base driver's object is destroyed a
//! second later, when that thread has long had its microseconds, or with the device, when no queue has work left.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ash::vk::{self, Handle};

use super::Device;

/// How much longer they live.
const REST: Duration = Duration::from_secs(1);

/// The timelines of one device.
#[derive(Debug, Default)]
pub struct Timelines(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    /// Those that the application has.
    alive: HashSet<u64>,
    /// Those that it has destroyed, and when.
    resting: VecDeque<(Instant, vk::Semaphore)>,
}

fn destroy(device: &Device, semaphore: vk::Semaphore) {
    // SAFETY: a timeline that was made without an allocator, and that nothing uses any more.
    unsafe { (device.table.destroy_semaphore)(device.handle, semaphore, std::ptr::null()) };
}

impl Timelines {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One was created, without an allocator.
    pub fn add(&self, semaphore: vk::Semaphore) {
        self.lock().alive.insert(semaphore.as_raw());
    }

    /// The application destroys a semaphore. `false`: it is no timeline, and so the caller's to destroy.
    pub fn destroy(&self, device: &Device, semaphore: vk::Semaphore) -> bool {
        let now = Instant::now();
        let mut list = self.lock();
        let is_timeline = list.alive.remove(&semaphore.as_raw());
        if is_timeline {
            list.resting.push_back((now, semaphore));
        }
        let is_over = |&(since, _): &(Instant, _)| now.duration_since(since) >= REST;
        let count = list.resting.partition_point(is_over);
        let over: Vec<_> = list.resting.drain(..count).collect();
        drop(list);
        for (_, semaphore) in over {
            destroy(device, semaphore);
        }
        is_timeline
    }

    /// Before the device is destroyed, whose queues have no work left.
    pub fn clear(&self, device: &Device) {
        let resting = std::mem::take(&mut self.lock().resting);
        for (_, semaphore) in resting {
            destroy(device, semaphore);
        }
    }
}
