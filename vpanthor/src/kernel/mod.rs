//! The kernel: what all open files share.

mod dispatch;
mod file;
mod foreign_fence;
pub mod snapshot;

pub use file::File;
pub(crate) use file::install;
pub use foreign_fence::ForeignFence;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::thread::{CapabilitySet, capabilities, futex};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::bo::{self, Bo};
use crate::fds::{Exported, Exports};
use crate::flavour::Flavour;
use crate::flush_id::FlushId;
use crate::identity::Identity;
use crate::payload::Payload;
use crate::queue::{Queue, Queues};
use crate::shared::{Alive, lock};
use crate::watches::Watches;

/// A virtual panthor device and its driver. Files opened on it share buffer objects and syncobjs by file descriptors.
#[derive(Debug)]
pub struct Kernel {
    flavour: Flavour,
    identity: Identity,
    sleeper: Option<Box<dyn Sleeper>>,
    /// Tells the kernels of this machine apart in the names of memfds.
    name: String,
    next_vm: AtomicU32,
    counters: LiveObjects,
    /// Buffer objects that have an offset in the device file, by that offset.
    mmap_offsets: Mutex<MmapOffsets>,
    /// Buffer objects that have been exported, by id.
    exported: Mutex<BTreeMap<u64, Weak<Bo>>>,
    pub(crate) exports: Exports,
    /// Queues with work that waits; it keeps them alive.
    pending: Queues,
    pub(crate) watches: Watches,
    flush_id: OnceLock<FlushId>,
    /// Counts changes of fences and syncobjs; a futex, for those who sleep until there is one.
    generation: AtomicU32,
}

/// What happens around the sleep of a call that waits.
///
/// While `sleep` runs, the caller's thread holds none of the kernel's locks. Who has to know when no call is inside the
/// kernel, as before a fork, need not count one that sleeps.
pub trait Sleeper: std::fmt::Debug + Send + Sync {
    /// Has to call `sleep` once.
    fn asleep(&self, sleep: &mut dyn FnMut());
}

/// How a file behaves that a device node would not let one choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Asynchronous binds do not wait: all their ops run before the ioctl returns, in order, whether or not the syncobjs
    /// that they wait for are signalled or even hold a fence. For a caller who has the order enforced elsewhere.
    pub take_waits_as_met: bool,
    /// VMs record what their ops change, for [`File::take_changes`].
    pub record_changes: bool,
    /// What the callers may do that an ordinary user may not.
    pub privileges: Privileges,
    /// Buffer objects of the file, and the dummies of its VMs, are made of 4 KiB pages that don't lie in a row, as in a
    /// kernel without transparent huge pages: nothing is mapped with 2 MiB blocks.
    pub small_pages: bool,
}

/// Who may create groups of the priorities above medium. Nothing else in panthor asks for privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privileges {
    /// Nobody: the callers are ordinary users, whoever they are in the real system.
    #[default]
    None,
    /// Everybody.
    All,
    /// A thread that has CAP_SYS_NICE when it calls, as in the kernel. (The kernel wants it in the first user namespace;
    /// the model does not look at namespaces.)
    OfCaller,
}

impl Privileges {
    /// Whether the calling thread has them.
    pub(crate) fn held(self) -> bool {
        match self {
            Privileges::None => false,
            Privileges::All => true,
            Privileges::OfCaller => capabilities(None)
                .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE)),
        }
    }
}

/// How many objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    pub vms: usize,
    pub bos: usize,
    pub syncobjs: usize,
}

#[derive(Debug, Default)]
struct LiveObjects {
    vms: Arc<AtomicUsize>,
    bos: Arc<AtomicUsize>,
    syncobjs: Arc<AtomicUsize>,
}

/// Offsets that mmap takes for buffer objects. They start where no offset of an ordinary file would be, as DRM's do.
#[derive(Debug)]
struct MmapOffsets {
    next: u64,
    by_offset: BTreeMap<u64, Weak<Bo>>,
    /// Whether some memory has ever been there to be mapped.
    mapped: bool,
}

const FIRST_MMAP_OFFSET: u64 = 1 << 32;

/// CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

static NEXT_KERNEL: AtomicU64 = AtomicU64::new(1);

impl Kernel {
    /// A device that nobody has opened yet.
    pub fn new(flavour: Flavour) -> Arc<Self> {
        Self::with(flavour, Identity::default(), None)
    }

    /// A device with this GPU, whose waits go through `sleeper`.
    pub fn with(
        flavour: Flavour,
        identity: Identity,
        sleeper: Option<Box<dyn Sleeper>>,
    ) -> Arc<Self> {
        let serial = NEXT_KERNEL.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            flavour,
            identity,
            sleeper,
            name: format!("{}:{serial}", std::process::id()),
            next_vm: AtomicU32::new(1),
            counters: LiveObjects::default(),
            mmap_offsets: Mutex::new(MmapOffsets {
                next: FIRST_MMAP_OFFSET,
                by_offset: BTreeMap::new(),
                mapped: false,
            }),
            exported: Mutex::default(),
            exports: Exports::default(),
            pending: Queues::default(),
            watches: Watches::default(),
            flush_id: OnceLock::new(),
            generation: AtomicU32::new(0),
        })
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The GPU.
    pub fn identity(&self) -> Identity {
        self.identity
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

    /// Whether a file descriptor is a buffer object of this kernel.
    pub fn is_buffer(&self, fd: i32) -> bool {
        bo::identity(fd, &self.name).is_ok()
    }

    /// A sync file of work that is over.
    ///
    /// # Errors
    /// Those of making a file descriptor.
    pub fn signalled_sync_file(&self) -> Result<OwnedFd, Errno> {
        self.exports
            .export(Exported::SyncFile(Payload::signalled()))
    }

    pub(crate) fn count_vm(&self) -> Alive {
        Alive::new(&self.counters.vms)
    }

    pub(crate) fn count_bo(&self) -> Alive {
        Alive::new(&self.counters.bos)
    }

    pub(crate) fn count_syncobj(&self) -> Alive {
        Alive::new(&self.counters.syncobjs)
    }

    /// Unlike its id, a VM's serial is never used again.
    pub(crate) fn next_vm_serial(&self) -> u32 {
        self.next_vm.fetch_add(1, Ordering::Relaxed)
    }

    /// Where mmap finds a buffer object.
    pub(crate) fn mmap_offset(&self, bo: &Arc<Bo>) -> u64 {
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
    pub(crate) fn bo_at_mmap_offset(&self, offset: u64) -> Option<Arc<Bo>> {
        lock(&self.mmap_offsets).by_offset.get(&offset)?.upgrade()
    }

    /// Whether the buffer object that was at this offset lives on in a mapping of this process alone.
    pub(crate) fn is_only_mapped(&self, offset: u64, len: u64) -> bool {
        let maybe = {
            let offsets = lock(&self.mmap_offsets);
            offsets.mapped && (FIRST_MMAP_OFFSET..offsets.next).contains(&offset)
        };
        maybe && bo::is_mapped(&self.name, offset, len)
    }

    /// The buffer object's memory, for a mapping or for another process.
    ///
    /// # Errors
    /// Those of making a memfd.
    pub(crate) fn memory(&self, bo: &Arc<Bo>) -> Result<OwnedFd, Errno> {
        let offset = self.mmap_offset(bo);
        lock(&self.mmap_offsets).mapped = true;
        fcntl_dupfd_cloexec(bo.memory(&self.name, offset)?, 0)
    }

    /// Remembers a buffer object that leaves as a file descriptor.
    pub(crate) fn remember_exported(&self, bo: &Arc<Bo>) {
        let mut exported = lock(&self.exported);
        exported.retain(|_, bo| bo.strong_count() > 0);
        exported.insert(bo.id, Arc::downgrade(bo));
    }

    /// The buffer object that a file descriptor stands for.
    ///
    /// # Errors
    /// `EINVAL` where it is none of this kernel's, `EBADF` where it is none at all.
    pub(crate) fn import_bo(&self, fd: i32) -> Result<Arc<Bo>, Errno> {
        let identity = bo::identity(fd, &self.name)?;
        let mut exported = lock(&self.exported);
        if let Some(bo) = exported.get(&identity.id).and_then(Weak::upgrade) {
            return Ok(bo);
        }
        let bo = Bo::import(fd, &self.name, self.count_bo())?;
        let mut offsets = lock(&self.mmap_offsets);
        let offset = bo.mmap_offset(|| identity.offset);
        offsets.by_offset.insert(offset, Arc::downgrade(&bo));
        drop(offsets);
        exported.insert(bo.id, Arc::downgrade(&bo));
        Ok(bo)
    }

    /// The page with the LATEST_FLUSH_ID register, made at the first call.
    ///
    /// # Errors
    /// Those of making a memfd.
    pub(crate) fn flush_id_page(&self) -> Result<OwnedFd, Errno> {
        if let Some(page) = self.flush_id.get() {
            return page.file();
        }
        let page = FlushId::new(&self.name)?;
        self.flush_id.get_or_init(|| page).file()
    }

    /// A job was submitted that found the caches flushed last as `latest` says.
    pub(crate) fn flush_caches(&self, latest: u32) {
        if let Some(page) = self.flush_id.get() {
            page.flush(latest);
        }
    }

    /// The queue has work that may have to wait.
    pub(crate) fn watch(&self, queue: &Arc<impl Queue + 'static>) {
        self.pending.add(queue.clone());
    }

    /// A fence has signalled or a syncobj holds something else: runs the work that waited for it, and what waited for
    /// that, and wakes who sleeps. To be called without a lock held.
    pub(crate) fn changed(&self) {
        self.pending.run();
        self.exports.announce();
        self.watches.announce();
        self.generation.fetch_add(1, Ordering::Release);
        // A futex call on memory that is there has nothing to fail for.
        let _ = futex::wake(&self.generation, futex::Flags::PRIVATE, i32::MAX as u32);
    }

    /// Sleeps until `ready` says something, which is asked again after every change.
    ///
    /// # Errors
    /// `ETIME` once CLOCK_MONOTONIC has reached `deadline_ns`; a deadline in the past only looks once.
    pub(crate) fn wait_until<R>(
        &self,
        deadline_ns: i64,
        mut ready: impl FnMut() -> Option<R>,
    ) -> Result<R, Errno> {
        loop {
            // Before the look: a change after it is a number other than this one, and the sleep ends at once.
            let seen = self.generation.load(Ordering::Acquire);
            if let Some(result) = ready() {
                return Ok(result);
            }
            let left = deadline_ns.saturating_sub(monotonic_ns());
            if left <= 0 {
                return Err(Errno::TIME);
            }
            // Long sleeps are cut: what counts is the clock above.
            let left = left.min(LONGEST_SLEEP_NS);
            let timeout = Timespec {
                tv_sec: left / NS_PER_S,
                tv_nsec: left % NS_PER_S,
            };
            let mut sleep = || {
                // Woken, too late, interrupted: the loop looks again in any case.
                let _ = futex::wait(
                    &self.generation,
                    futex::Flags::PRIVATE,
                    seen,
                    Some(&timeout),
                );
            };
            match &self.sleeper {
                Some(sleeper) => sleeper.asleep(&mut sleep),
                None => sleep(),
            }
        }
    }
}

const NS_PER_S: i64 = 1_000_000_000;
const LONGEST_SLEEP_NS: i64 = 3600 * NS_PER_S;
