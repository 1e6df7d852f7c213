//! The kernel: what all open files share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::bo::{self, Bo};
use super::fds::Exports;
use super::file::File;
use super::flavour::Flavour;
use super::vm::Vm;

/// A virtual panthor device and its driver. Files opened on it share buffer objects and syncobjs by file descriptors.
#[derive(Debug)]
pub struct Kernel {
    flavour: Flavour,
    /// Tells the kernels of this machine apart in the names of memfds.
    name: String,
    next_vm: AtomicU32,
    counters: Counters,
    /// Buffer objects that have an offset in the device file, by that offset.
    mmap_offsets: Mutex<MmapOffsets>,
    /// Buffer objects that have been exported, by id.
    exported: Mutex<BTreeMap<u64, Weak<Bo>>>,
    pub(super) exports: Exports,
    /// VMs that have queued binds. A queue that waits keeps its VM alive.
    pending: Mutex<Vec<Arc<Vm>>>,
    /// Counts changes of fences and syncobjs, for those who wait for one.
    generation: Mutex<u64>,
    change: Condvar,
}

/// How a file behaves that a device node would not let one choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Asynchronous binds do not wait: all their ops run before the ioctl returns, in order, whether or not the syncobjs
    /// that they wait for are signalled or even hold a fence. For a caller who has the order enforced elsewhere.
    pub take_waits_as_met: bool,
    /// VMs record what their ops change, for [`File::take_changes`].
    pub record_changes: bool,
}

/// How many objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub vms: usize,
    pub bos: usize,
    pub syncobjs: usize,
}

#[derive(Debug, Default)]
struct Counters {
    vms: Arc<AtomicUsize>,
    bos: Arc<AtomicUsize>,
    syncobjs: Arc<AtomicUsize>,
}

/// Counts an object for as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Alive(Option<Arc<AtomicUsize>>);

impl Alive {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Some(counter.clone()))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Offsets that mmap takes for buffer objects. They start where no offset of an ordinary file would be, as DRM's do.
#[derive(Debug)]
struct MmapOffsets {
    next: u64,
    by_offset: BTreeMap<u64, Weak<Bo>>,
}

const FIRST_MMAP_OFFSET: u64 = 1 << 32;

/// Locks a mutex whose data is right even if a thread panicked with it: every change is made in one step.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// CLOCK_MONOTONIC in nanoseconds.
pub(super) fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

static NEXT_KERNEL: AtomicU64 = AtomicU64::new(1);

impl Kernel {
    /// A device that nobody has opened yet.
    pub fn new(flavour: Flavour) -> Arc<Self> {
        let serial = NEXT_KERNEL.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            flavour,
            name: format!("{}:{serial}", std::process::id()),
            next_vm: AtomicU32::new(1),
            counters: Counters::default(),
            mmap_offsets: Mutex::new(MmapOffsets {
                next: FIRST_MMAP_OFFSET,
                by_offset: BTreeMap::new(),
            }),
            exported: Mutex::default(),
            exports: Exports::default(),
            pending: Mutex::default(),
            generation: Mutex::new(0),
            change: Condvar::new(),
        })
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Opens the device.
    pub fn open(self: &Arc<Self>, options: OpenOptions) -> File {
        File::new(self.clone(), options)
    }

    /// The objects that live, whoever keeps them: handles, mappings, queued binds, file descriptors.
    ///
    /// A buffer object of which only an exported file descriptor is left does not count: its memory is that file.
    pub fn objects(&self) -> Objects {
        self.exports.collect_garbage();
        Objects {
            vms: self.counters.vms.load(Ordering::Relaxed),
            bos: self.counters.bos.load(Ordering::Relaxed),
            syncobjs: self.counters.syncobjs.load(Ordering::Relaxed),
        }
    }

    pub(super) fn count_vm(&self) -> Alive {
        Alive::new(&self.counters.vms)
    }

    pub(super) fn count_bo(&self) -> Alive {
        Alive::new(&self.counters.bos)
    }

    pub(super) fn count_syncobj(&self) -> Alive {
        Alive::new(&self.counters.syncobjs)
    }

    /// Unlike its id, a VM's serial is never used again.
    pub(super) fn next_vm_serial(&self) -> u32 {
        self.next_vm.fetch_add(1, Ordering::Relaxed)
    }

    /// See [`Bo::memory`].
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where mmap finds a buffer object.
    pub(super) fn mmap_offset(&self, bo: &Arc<Bo>) -> u64 {
        bo.mmap_offset(|| {
            let mut offsets = lock(&self.mmap_offsets);
            offsets.by_offset.retain(|_, bo| bo.strong_count() > 0);
            let offset = offsets.next;
            // Sizes are below 2^63; offsets that wrapped would be an object's that is long gone.
            offsets.next = offset.wrapping_add(bo.size).max(FIRST_MMAP_OFFSET);
            offsets.by_offset.insert(offset, Arc::downgrade(bo));
            offset
        })
    }

    /// The buffer object at an offset of the device file.
    pub(super) fn bo_at_mmap_offset(&self, offset: u64) -> Option<Arc<Bo>> {
        lock(&self.mmap_offsets).by_offset.get(&offset)?.upgrade()
    }

    /// Remembers a buffer object that leaves as a file descriptor.
    pub(super) fn remember_exported(&self, bo: &Arc<Bo>) {
        let mut exported = lock(&self.exported);
        exported.retain(|_, bo| bo.strong_count() > 0);
        exported.insert(bo.id, Arc::downgrade(bo));
    }

    /// The buffer object that a file descriptor stands for.
    ///
    /// # Errors
    /// `EINVAL` where it is none of this kernel's, `EBADF` where it is none at all.
    pub(super) fn import_bo(&self, fd: i32) -> Result<Arc<Bo>, Errno> {
        let identity = bo::identity(fd, &self.name)?;
        let mut exported = lock(&self.exported);
        if let Some(bo) = exported.get(&identity.id).and_then(Weak::upgrade) {
            return Ok(bo);
        }
        let bo = Bo::import(fd, &self.name, self.count_bo())?;
        exported.insert(bo.id, Arc::downgrade(&bo));
        Ok(bo)
    }

    /// The VM has queued binds that may have to wait.
    pub(super) fn watch(&self, vm: &Arc<Vm>) {
        let mut pending = lock(&self.pending);
        if !pending.iter().any(|other| Arc::ptr_eq(other, vm)) {
            pending.push(vm.clone());
        }
    }

    /// A fence has signalled or a syncobj holds something else: runs the binds that waited for it, and what waited for
    /// those, and wakes who sleeps. To be called without a lock held.
    pub(super) fn changed(&self) {
        loop {
            let vms = lock(&self.pending).clone();
            let mut progress = false;
            for vm in &vms {
                progress |= vm.run_queue();
            }
            if !progress {
                break;
            }
            lock(&self.pending).retain(|vm| vm.has_queued());
        }
        self.exports.announce();
        let mut generation = lock(&self.generation);
        *generation = generation.wrapping_add(1);
        self.change.notify_all();
    }

    /// Sleeps until `ready` says something, which is asked again after every change.
    ///
    /// # Errors
    /// `ETIME` once CLOCK_MONOTONIC has reached `deadline_ns`; a deadline in the past only looks once.
    pub(super) fn wait_until<R>(
        &self,
        deadline_ns: i64,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R, Errno> {
        let mut generation = lock(&self.generation);
        loop {
            if let Some(result) = ready() {
                return Ok(result);
            }
            let left = deadline_ns.saturating_sub(monotonic_ns());
            if left <= 0 {
                return Err(Errno::TIME);
            }
            // Long sleeps are cut: what counts is the clock above.
            let left = Duration::from_nanos(left.unsigned_abs()).min(Duration::from_secs(3600));
            generation = self
                .change
                .wait_timeout(generation, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
