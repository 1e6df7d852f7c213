//! Buffer objects: memory that can be mapped into VMs (`panthor_gem_object`).
//!
//! A VM's mappings need no memory behind a buffer object, only its size and its identity. So there is none until a CPU
//! maps the object or another file gets it as a file descriptor: then a memfd stands for it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;

use super::fds;
use super::handles::Handles;
use super::shared::{Alive, lock};
use panvk_sparse::units::{SZ_2M, SZ_4K};

/// A buffer object of the virtual kernel, shared by the handles that name it and the mappings that show it.
#[derive(Debug)]
pub struct Bo {
    /// Unique for as long as the process lives; never 0.
    pub id: u64,
    /// Bytes, a multiple of 4 KiB.
    pub size: u64,
    /// The serial of the only VM that may map it, where there is one. (Its id would not do: ids are used again.)
    pub exclusive_vm: Option<u32>,
    /// The flags of BO_CREATE.
    pub flags: u32,
    small_pages: bool,
    memory: OnceLock<OwnedFd>,
    /// Where mmap finds it in the device file, once somebody has asked.
    mmap_offset: OnceLock<u64>,
    label: Mutex<Option<String>>,
    /// Counts it as one of its kernel's objects.
    _alive: Alive,
}

/// Bytes of the device file at which buffer objects can be (`DRM_FILE_PAGE_OFFSET_SIZE`). The model does not run out of it.
pub(super) const MMAP_OFFSETS: u64 = 0xfffff * 256 * SZ_4K;

/// The next [`Bo::id`].
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Bo {
    /// A buffer object of `size` bytes that belongs to no kernel. `id` must not be 0 and not be used twice.
    pub fn new(id: u64, size: u64, exclusive_vm: Option<u32>) -> Self {
        Self {
            id,
            size,
            exclusive_vm,
            flags: 0,
            small_pages: false,
            memory: OnceLock::new(),
            mmap_offset: OnceLock::new(),
            label: Mutex::new(None),
            _alive: Alive::default(),
        }
    }

    /// BO_CREATE: `size` is rounded up to pages.
    ///
    /// # Errors
    /// `EINVAL` for a size of 0 or one that no file can have, `ENOSPC` for one that has no room among the offsets for mmap: more
    /// than about 1 TiB, or rounded up to 2^64.
    pub(super) fn create(
        size: u64,
        flags: u32,
        exclusive_vm: Option<u32>,
        small_pages: bool,
        alive: Alive,
    ) -> Result<Arc<Self>, Errno> {
        let size = size.checked_next_multiple_of(SZ_4K).ok_or(Errno::NOSPC)?;
        if !(1..=i64::MAX as u64).contains(&size) {
            return Err(Errno::INVAL);
        }
        if size > MMAP_OFFSETS {
            return Err(Errno::NOSPC);
        }
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self {
            flags,
            small_pages,
            _alive: alive,
            ..Self::new(id, size, exclusive_vm)
        }))
    }

    /// Whether its memory is made of 2 MiB folios, each aligned to 2 MiB, so that the MMU can map it with 2 MiB blocks.
    /// Smaller buffer objects are made of 4 KiB pages, and so are all where [`small_pages`](crate::OpenOptions::small_pages) says so.
    pub fn huge_folios(&self) -> bool {
        self.size >= SZ_2M && !self.small_pages
    }

    /// The memory, made at the first call.
    ///
    /// `kernel` tells the kernels of this machine apart, see [`Bo::import`]; `offset` is [`mmap_offset`](Self::mmap_offset),
    /// which the memory's name carries so that it can be found after the object is gone ([`is_mapped`]).
    ///
    /// # Errors
    /// Those of memfd_create and ftruncate.
    pub(super) fn memory(&self, kernel: &str, offset: u64) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.memory.get() {
            return Ok(fd.as_fd());
        }
        let Self {
            id, flags, size, ..
        } = self;
        let name = format!("{MEMFD_NAME}:{kernel}:{id}:{flags}:{offset}:{size}");
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, self.size)?;
        // A second caller at the same time may have been faster: then this memfd goes away unused.
        Ok(self.memory.get_or_init(|| fd).as_fd())
    }

    /// The name that BO_SET_LABEL gave it.
    pub fn label(&self) -> Option<String> {
        lock(&self.label).clone()
    }

    pub(super) fn set_label(&self, label: Option<String>) {
        *lock(&self.label) = label;
    }

    /// The offset in the device file, taken from `next` at the first call.
    pub(super) fn mmap_offset(&self, next: impl FnOnce() -> u64) -> u64 {
        *self.mmap_offset.get_or_init(next)
    }

    /// The object behind an exported file descriptor whose last handle and mapping went away: its memory lives on in the
    /// file, whose name says the rest.
    ///
    /// # Errors
    /// `EINVAL` for what [`Bo::memory`] of the same `kernel` has not made, `EBADF` for what is no file descriptor.
    pub(super) fn import(fd: i32, kernel: &str, alive: Alive) -> Result<Arc<Self>, Errno> {
        let identity = identity(fd, kernel)?;
        let memory = fds::reopen(fd, OFlags::RDWR)?;
        let bo = Self {
            flags: identity.flags,
            _alive: alive,
            ..Self::new(identity.id, identity.size, None)
        };
        Ok(Arc::new(Self {
            memory: OnceLock::from(memory),
            mmap_offset: OnceLock::from(identity.offset),
            ..bo
        }))
    }
}

const MEMFD_NAME: &str = "vpanthor-bo";

/// What a memfd's name says of the buffer object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub id: u64,
    pub flags: u32,
    /// Where mmap finds the object in the device file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What the name of a file says, with its path, if it is the memory of one of `kernel`'s buffer objects.
fn parse(name: &str, kernel: &str) -> Option<Identity> {
    let rest = name.strip_prefix("/memfd:")?.strip_suffix(" (deleted)")?;
    let rest = rest.strip_prefix(MEMFD_NAME)?.strip_prefix(':')?;
    let rest = rest.strip_prefix(kernel)?.strip_prefix(':')?;
    let mut fields = rest.split(':');
    let identity = Identity {
        id: fields.next()?.parse().ok()?,
        flags: fields.next()?.parse().ok()?,
        offset: fields.next()?.parse().ok()?,
        size: fields.next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(identity)
}

/// Whether this process has a buffer object of at least `len` bytes mapped that had this offset in the device file. A
/// mapping keeps the object alive in the real kernel, when no handle does any more.
pub(super) fn is_mapped(kernel: &str, offset: u64, len: u64) -> bool {
    let maps = std::fs::read("/proc/self/maps").unwrap_or_default();
    String::from_utf8_lossy(&maps).lines().any(|line| {
        let name = line.find("/memfd:").and_then(|at| line.get(at..));
        let identity = name.and_then(|name| parse(name, kernel));
        identity.is_some_and(|bo| bo.offset == offset && len <= bo.size)
    })
}

/// Which of `kernel`'s buffer objects a file descriptor stands for.
///
/// # Errors
/// `EINVAL` for another kernel's or none, `EBADF` for what is no file descriptor.
pub(super) fn identity(fd: i32, kernel: &str) -> Result<Identity, Errno> {
    let name = fds::name(fd)?;
    parse(&name, kernel).ok_or(Errno::INVAL)
}

/// The GEM handles of one open file.
#[derive(Debug)]
pub(super) struct BoTable {
    handles: Handles<Arc<Bo>>,
    /// So that an object that comes back through a file descriptor gets the handle that it has.
    by_id: HashMap<u64, u32>,
}

impl BoTable {
    pub fn new() -> Self {
        Self {
            handles: Handles::new(i32::MAX as u32),
            by_id: HashMap::new(),
        }
    }

    pub fn get(&self, handle: u32) -> Option<&Arc<Bo>> {
        self.handles.get(handle)
    }

    /// The object's handle, a new one if it has none yet.
    pub fn handle_of(&mut self, bo: Arc<Bo>) -> Result<u32, Errno> {
        let id = bo.id;
        if let Some(handle) = self.by_id.get(&id) {
            return Ok(*handle);
        }
        let handle = self.handles.insert(bo).ok_or(Errno::NOSPC)?;
        self.by_id.insert(id, handle);
        Ok(handle)
    }

    /// GEM_CLOSE. The object is returned so that it can be dropped outside the table's lock.
    pub fn close(&mut self, handle: u32) -> Option<Arc<Bo>> {
        let bo = self.handles.remove(handle)?;
        self.by_id.remove(&bo.id);
        Some(bo)
    }

    /// The objects with their handles, ascending.
    pub fn entries(&self) -> Vec<(u32, Arc<Bo>)> {
        self.handles.entries()
    }

    /// Whether the object with this id has a handle.
    pub fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub fn len(&self) -> usize {
        self.handles.len()
    }
}
