//! The register that a driver reads before it writes a command stream: how often the GPU's caches have been flushed.
//!
//! A job says which number it has seen. Where no flush came in between, the kernel flushes before the job runs.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::MemfdFlags;
use rustix::io::{Errno, fcntl_dupfd_cloexec, pwrite};

use panvk_sparse::uapi::Plain;
use panvk_sparse::units::SZ_4K;

/// One page of memory with the number in its first four bytes.
#[derive(Debug)]
pub(super) struct FlushId {
    page: OwnedFd,
    current: AtomicU32,
}

impl FlushId {
    /// # Errors
    /// Those of memfd_create and ftruncate.
    pub fn new(kernel: &str) -> Result<Self, Errno> {
        let name = format!("vpanthor-flush-id:{kernel}");
        let page = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&page, SZ_4K)?;
        let flush_id = Self {
            page,
            current: AtomicU32::new(0),
        };
        flush_id.flush(0);
        Ok(flush_id)
    }

    /// The page, for mapping.
    pub fn file(&self) -> Result<OwnedFd, Errno> {
        fcntl_dupfd_cloexec(&self.page, 0)
    }

    /// A job comes that saw the number `latest`, or 0, which asks for a flush in any case.
    pub fn flush(&self, latest: u32) {
        let current = self.current.load(Ordering::Relaxed);
        if latest != 0 && latest != current {
            return;
        }
        // 0 would read as "flush in any case".
        let next = current.wrapping_add(1).max(1);
        self.current.store(next, Ordering::Relaxed);
        // The file has the page; a number that stays behind costs a flush at most.
        let _ = pwrite(&self.page, next.as_bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_flushes_unless_a_flush_came_after_what_it_has_seen() {
        let id = FlushId::new("test").unwrap();
        let read = || {
            let mut word = 0u32;
            rustix::io::pread(&id.page, word.as_bytes_mut(), 0).unwrap();
            word
        };
        assert_eq!(read(), 1);
        id.flush(1);
        assert_eq!(read(), 2);
        id.flush(1);
        assert_eq!(read(), 2, "there was a flush since");
        id.flush(0);
        assert_eq!(read(), 3);
    }
}
