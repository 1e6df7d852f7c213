//! Timeline semaphores of the application, which the base driver's live a little longer than.
//!
//! An application may destroy a timeline once it has seen that all which waits for it or signals it is done. Mesa's common
//! Vulkan runtime (25.0 at least) lets it see that first, and cleans up after the submission then, on a thread of its own: it
//! puts what the submission has held of the timeline back into the timeline. So the base driver's object is destroyed a
//! second later, when that thread has long had its microseconds, or with the device, when no queue has work left. Who
//! destroys thousands of them in a second is made to wait, so that what is kept is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ash::vk::{self, Handle};

use super::Device;

/// How much longer they live.
const REST: Duration = Duration::from_secs(1);
/// So many are kept at once. Who destroys one more waits until the first of them has rested.
const RESTING: usize = 8192;

/// Held by whoever asks a timeline for its value: the base driver's object is not destroyed meanwhile.
type Held = Arc<()>;

/// The timelines of one device.
#[derive(Debug, Default)]
pub struct Timelines(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    /// Those that the application has.
    alive: HashMap<u64, Held>,
    /// Those that it has destroyed.
    resting: VecDeque<Resting>,
}

#[derive(Debug)]
struct Resting {
    since: Instant,
    semaphore: vk::Semaphore,
    held: Held,
}

impl Resting {
    /// How long it has to be kept yet, at least.
    fn left(&self) -> Duration {
        match REST.saturating_sub(self.since.elapsed()) {
            Duration::ZERO if Arc::strong_count(&self.held) > 1 => Duration::from_millis(1),
            left => left,
        }
    }

    fn destroy(&self, device: &Device) {
        // Whoever held it has let go of it after the call; now the call has happened for this thread, too.
        fence(Ordering::Acquire);
        let destroy = device.table.destroy_semaphore;
        // SAFETY: a timeline that was made without an allocator, and that nothing uses any more.
        unsafe { destroy(device.handle, self.semaphore, std::ptr::null()) };
    }
}

impl Timelines {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One was created, without an allocator.
    pub fn add(&self, semaphore: vk::Semaphore) {
        self.lock()
            .alive
            .insert(semaphore.as_raw(), Held::default());
    }

    /// The value of a timeline; 0 if the application has destroyed it, or if nobody knows.
    pub fn value(&self, device: &Device, semaphore: vk::Semaphore) -> u64 {
        let held = self.lock().alive.get(&semaphore.as_raw()).cloned();
        let (Some(_held), Some(get)) = (held, device.table.get_semaphore_counter_value) else {
            return 0;
        };
        let mut value = 0;
        // SAFETY: a timeline of this device that is not destroyed before `_held` is dropped.
        match unsafe { get(device.handle, semaphore, &mut value) } {
            vk::Result::SUCCESS => value,
            _ => 0,
        }
    }

    /// The application destroys a semaphore. `false`: it is no timeline, and so the caller's to destroy.
    pub fn destroy(&self, device: &Device, semaphore: vk::Semaphore) -> bool {
        let mut list = self.lock();
        let held = list.alive.remove(&semaphore.as_raw());
        let is_timeline = held.is_some();
        list.resting.extend(held.map(|held| Resting {
            since: Instant::now(),
            semaphore,
            held,
        }));
        let rested = { list.resting.iter() }.take_while(|one| one.left().is_zero());
        let too_many = list.resting.len().saturating_sub(RESTING);
        let count = rested.count().max(too_many);
        let over: Vec<_> = list.resting.drain(..count).collect();
        drop(list);
        for timeline in over {
            while !timeline.left().is_zero() {
                std::thread::sleep(timeline.left());
            }
            timeline.destroy(device);
        }
        is_timeline
    }

    /// Before the device is destroyed, whose queues have no work left.
    pub fn clear(&self, device: &Device) {
        let resting = std::mem::take(&mut self.lock().resting);
        resting.iter().for_each(|timeline| timeline.destroy(device));
    }
}
