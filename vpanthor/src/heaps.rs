//! Tiler heaps: memory that the GPU's tiler takes in chunks (`panthor_heap`).
//!
//! The kernel maps them in its own part of the address space, above the user's. The model hands out addresses there and
//! has nothing behind them: nobody runs a tiler.

use std::sync::Mutex;

use rustix::io::Errno;

use panvk_sparse::units::SZ_4K;

use super::handles::Handles;
use super::refusal::refuse;
use super::shared::lock;

/// Heaps that one VM can have.
const MAX_HEAPS: u32 = 128;
/// Bytes of a heap's context; all of them lie in one buffer.
const CONTEXT_SIZE: u64 = SZ_4K;

/// Where a heap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heap {
    /// From 0, within the VM.
    pub index: u32,
    pub context_va: u64,
    pub first_chunk_va: u64,
}

/// The heaps of one VM.
#[derive(Debug)]
pub(super) struct Heaps {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Whether somebody has asked for a heap, and be it in vain.
    has_pool: bool,
    heaps: Handles<()>,
    contexts: u64,
    /// The lowest address that no chunk has had.
    next_chunk: u64,
}

impl Heaps {
    /// `kernel_va`: where the kernel's part of the address space begins.
    pub fn new(kernel_va: u64) -> Self {
        Self {
            inner: Mutex::new(Inner {
                has_pool: false,
                heaps: Handles::new(MAX_HEAPS),
                contexts: kernel_va,
                next_chunk: kernel_va.saturating_add(u64::from(MAX_HEAPS) * CONTEXT_SIZE),
            }),
        }
    }

    /// The kernel's pool of heaps is there from the first request on, before anything of the request is checked.
    pub fn make_pool(&self) {
        lock(&self.inner).has_pool = true;
    }

    pub fn has_pool(&self) -> bool {
        lock(&self.inner).has_pool
    }

    /// A heap that starts with `chunks` of `chunk_size` bytes.
    ///
    /// # Errors
    /// `EBUSY` where the VM has all that it can have.
    pub fn create(&self, chunks: u32, chunk_size: u32) -> Result<Heap, Errno> {
        let mut inner = lock(&self.inner);
        let handle = inner.heaps.insert(());
        let handle = handle.ok_or_else(|| refuse(Errno::BUSY, "the VM has 128 tiler heaps"))?;
        let first_chunk_va = inner.next_chunk;
        let bytes = u64::from(chunks) * u64::from(chunk_size);
        inner.next_chunk = first_chunk_va.saturating_add(bytes);
        let index = handle - 1;
        Ok(Heap {
            index,
            context_va: inner.contexts + u64::from(index) * CONTEXT_SIZE,
            first_chunk_va,
        })
    }

    /// `None`: there is no such heap.
    pub fn destroy(&self, index: u32) -> Option<()> {
        lock(&self.inner).heaps.remove(index.checked_add(1)?)
    }

    pub fn len(&self) -> usize {
        lock(&self.inner).heaps.len()
    }
}
