//! The recording as the application's threads see it: a queue in memory.
//!
//! They copy what happened, and go on: they never wait for the disk, and not for the thread that writes either, which
//! wakes up by itself. The queue has a bound; what does not fit is counted and missing in the recording.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, WaitTimeoutResult};
use std::time::{Duration, Instant};

use ash::vk;
use trace::Event;
use vulkan::call_copy::CallCopy;

use crate::generation::Generation;

/// Bytes of events that may wait to be written.
const ROOM: usize = 64 << 20;
/// Bytes from which on the thread that writes is woken before its time.
const PLENTY: usize = 4 << 20;
/// Events that are handed over together.
const BATCH: usize = 1024;
/// Bytes of memory for copies that are kept to be used again. New memory costs more than the copy itself, since the
/// system has to clear it.
const KEPT: usize = 4 << 20;
/// Bytes of a copy that is not worth keeping memory for.
const SMALL: usize = 4 << 10;
/// How long the end of a recording may hold up the end of the instance or the process.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something that happened, as it waits to be written.
#[derive(Debug)]
pub struct Entry {
    /// Nanoseconds since the start. Never less than that of the entry before.
    pub time: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Event(Box<Event>),
    Bind(CallCopy, BindDone),
    /// That many events did not fit here.
    Lost(u64),
}

impl What {
    /// Bytes that it takes while it waits.
    pub fn bytes(&self) -> usize {
        let inside = match self {
            Self::Event(event) => {
                let listed = match &**event {
                    Event::ImageCreated(image) => size_of_val(&*image.sparse_requirements),
                    _ => 0,
                };
                size_of::<Event>() + listed
            }
            Self::Bind(copy, _) => copy.bytes(),
            Self::Lost(_) => 0,
        };
        size_of::<Entry>() + inside
    }
}

/// What became of a `vkQueueBindSparse`.
#[derive(Clone, Copy, Debug)]
pub struct BindDone {
    pub device: u64,
    pub queue: u64,
    pub result: i32,
    /// Of the call below.
    pub duration: Duration,
}

/// A recording. With the last reference to it it ends.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    /// Of the process that it was begun in. In a forked child it does nothing: the file is the parent's.
    generation: Generation,
}

/// What the application's threads and the thread that writes share.
#[derive(Debug)]
pub struct Shared {
    start: Instant,
    /// Until the file is full, can't be written, or the recording ends.
    on: AtomicBool,
    /// Bytes that wait, those that are being written among them.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
    /// There is plenty, or the end has come.
    wake: Condvar,
    /// The thread that writes is done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    full: Vec<Vec<Entry>>,
    current: Vec<Entry>,
    /// Events that did not fit, since the last one that did.
    lost: u64,
    /// Emptied batches.
    batches: Vec<Vec<Entry>>,
    /// Memory for copies, and its bytes.
    rooms: Vec<Vec<u64>>,
    kept: usize,
    ending: bool,
    done: bool,
}

impl Queue {
    fn push(&mut self, entry: Entry) {
        if self.current.len() == self.current.capacity() {
            let empty = self.batches.pop();
            let next = empty.unwrap_or_else(|| Vec::with_capacity(BATCH));
            let full = std::mem::replace(&mut self.current, next);
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        self.current.push(entry);
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            on: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// A panic of a holder of the lock leaves the queue as it is: an entry is in it or not.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, what: What) {
        let bytes = what.bytes();
        let mut queue = self.queue();
        // Only here it grows, under the lock; the other thread makes it less.
        let before = self.waiting.load(Ordering::Relaxed);
        if before + bytes > ROOM {
            queue.lost += 1;
            return;
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let time = self.start.elapsed().as_nanos() as u64;
        if queue.lost > 0 {
            let lost = std::mem::take(&mut queue.lost);
            let what = What::Lost(lost);
            self.waiting.fetch_add(what.bytes(), Ordering::Relaxed);
            queue.push(Entry { time, what });
        }
        queue.push(Entry { time, what });
        drop(queue);
        if before < PLENTY && before + bytes >= PLENTY {
            self.wake.notify_one();
        }
    }

    /// Memory for a copy of so many words.
    fn room(&self, words: usize) -> Vec<u64> {
        if words * size_of::<u64>() > SMALL {
            let mut queue = self.queue();
            if let Some(fits) = queue.rooms.iter().position(|room| room.capacity() >= words) {
                let room = queue.rooms.swap_remove(fits);
                queue.kept -= room.capacity() * size_of::<u64>();
                return room;
            }
        }
        Vec::with_capacity(words)
    }

    /// Takes what waits, and whether the end has come. Waits until there is plenty, the end has come or `patience` is
    /// over.
    pub fn take(&self, patience: Duration) -> (Vec<Vec<Entry>>, bool) {
        let plenty =
            |queue: &mut Queue| !queue.ending && self.waiting.load(Ordering::Relaxed) < PLENTY;
        let (mut queue, _): (_, WaitTimeoutResult) = self
            .wake
            .wait_timeout_while(self.queue(), patience, plenty)
            .unwrap_or_else(PoisonError::into_inner);
        let mut taken = std::mem::take(&mut queue.full);
        if !queue.current.is_empty() {
            let empty = queue.batches.pop().unwrap_or_default();
            taken.push(std::mem::replace(&mut queue.current, empty));
        }
        (taken, queue.ending)
    }

    /// A batch is written: its memory is used again.
    pub fn give_back_batch(&self, mut batch: Vec<Entry>) {
        batch.clear();
        let mut queue = self.queue();
        if queue.batches.len() < 4 {
            queue.batches.push(batch);
        }
    }

    /// An entry of so many bytes is written.
    pub fn written(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A copy is written: its memory is used again.
    pub fn give_back_room(&self, room: Vec<u64>) {
        let bytes = room.capacity() * size_of::<u64>();
        if bytes > SMALL {
            let mut queue = self.queue();
            if queue.kept + bytes <= KEPT {
                queue.kept += bytes;
                queue.rooms.push(room);
            }
        }
    }

    /// Events that did not fit and that no later one says so of.
    pub fn lost_last(&self) -> u64 {
        std::mem::take(&mut self.queue().lost)
    }

    pub fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// No more events are taken: those that wait are dropped.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
        let mut queue = self.queue();
        queue.full = Vec::new();
        queue.current = Vec::new();
        queue.rooms = Vec::new();
        queue.kept = 0;
        queue.done = true;
        drop(queue);
        self.done.notify_all();
    }
}

impl Recorder {
    /// A recording whose events `write` gets, on a thread of its own. It has to call [`Shared::stop`] when it ends.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn begin(
        generation: Generation,
        spawn: impl FnOnce(Arc<Shared>) -> std::io::Result<()>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new());
        spawn(Arc::clone(&shared))?;
        Ok(Self { shared, generation })
    }

    /// Whether events still go anywhere.
    fn takes(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed) && self.generation.is_this()
    }

    /// Whether it was begun in this process, and not in one that this is a fork of.
    pub fn is_own(&self) -> bool {
        self.generation.is_this()
    }

    pub fn record(&self, event: Event) {
        if self.takes() {
            self.shared.push(What::Event(Box::new(event)));
        }
    }

    /// Records a `vkQueueBindSparse`.
    ///
    /// # Safety
    /// The structs are valid, and so is all they point to.
    pub unsafe fn record_bind(
        &self,
        infos: &[vk::BindSparseInfo<'_>],
        fence: vk::Fence,
        done: BindDone,
    ) {
        if !self.takes() {
            return;
        }
        // SAFETY: the caller's promise.
        let words = unsafe { CallCopy::words(infos) };
        // What can't be taken in the end need not be copied first.
        if words.saturating_mul(size_of::<u64>()) > ROOM {
            self.shared.queue().lost += 1;
            return;
        }
        let room = self.shared.room(words);
        // SAFETY: the caller's promise; `words` was just measured.
        let copy = unsafe { CallCopy::new(infos, fence, room, words) };
        self.shared.push(What::Bind(copy, done));
    }

    /// Ends the recording: what waits is written, and the end of the file marked. Returns when that is done, or after a
    /// while if the disk does not answer.
    pub fn end(&self) {
        if !self.generation.is_this() {
            return;
        }
        let mut queue = self.shared.queue();
        queue.ending = true;
        self.shared.wake.notify_one();
        let waited = self
            .shared
            .done
            .wait_timeout_while(queue, PATIENCE, |queue| !queue.done)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.1.timed_out() {
            log::error!("the end of the recording is not written after {PATIENCE:?}");
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}
