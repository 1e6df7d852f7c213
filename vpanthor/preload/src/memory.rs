//! The program's memory, as a kernel sees it: every access can fail.

use std::ffi::c_void;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use vpanthor::UserMemory;

use crate::sys::errno;

/// This process's memory, which the real kernel copies for us: a pointer to nowhere is `EFAULT`, as it should be, and
/// not the end of the program.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory;

/// What process_vm_readv or process_vm_writev has done, asked right after it; `None` where there is no such call:
/// emulators such as qemu-user lack it, and a sandbox may forbid it.
fn outcome(copied: isize, wanted: usize) -> Option<Result<(), Errno>> {
    if usize::try_from(copied) == Ok(wanted) {
        return Some(Ok(()));
    }
    match errno() {
        libc::ENOSYS | libc::EPERM if copied < 0 => None,
        _ => Some(Err(Errno::FAULT)),
    }
}

fn remote(addr: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: len,
    }
}

/// A pipe for one copy: the kernel, which takes bytes in at one end and hands them out at the other, checks both
/// addresses. It is made anew for each copy, as two threads or a parent and its child must not share one.
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
}

impl Pipe {
    /// What every pipe takes at once: a write of so much to an empty one neither waits nor is cut short.
    const PIECE: usize = libc::PIPE_BUF;

    /// # Errors
    /// `EFAULT` where there can be no pipe: then there is no way to the memory.
    fn new() -> Result<Self, Errno> {
        let mut fds = [-1; 2];
        // SAFETY: room for two file descriptors.
        if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(Errno::FAULT);
        }
        // SAFETY: just made, and nobody else's.
        let [out, into] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { out, into })
    }

    /// Copies `len` bytes.
    ///
    /// # Errors
    /// `EFAULT` where some byte cannot be read or written.
    ///
    /// # Safety
    /// What is writable of the `len` bytes at `to` is the caller's to overwrite.
    unsafe fn copy(self, to: u64, from: u64, len: usize) -> Result<(), Errno> {
        for start in (0..len).step_by(Self::PIECE) {
            let piece = (len - start).min(Self::PIECE);
            let at = |addr: u64| addr.checked_add(start as u64).ok_or(Errno::FAULT);
            let (to, from) = (at(to)? as *mut c_void, at(from)? as *const c_void);
            // SAFETY: the kernel checks the address, and only reads there.
            done(piece, || unsafe {
                libc::write(self.into.as_raw_fd(), from, piece)
            })?;
            // SAFETY: the caller's promise; the kernel refuses what is not writable memory.
            done(piece, || unsafe {
                libc::read(self.out.as_raw_fd(), to, piece)
            })?;
        }
        Ok(())
    }
}

/// Repeats a call that a signal interrupted; it moves `wanted` bytes or has failed.
fn done(wanted: usize, call: impl Fn() -> isize) -> Result<(), Errno> {
    loop {
        let moved = call();
        if usize::try_from(moved) == Ok(wanted) {
            return Ok(());
        }
        if moved >= 0 || errno() != libc::EINTR {
            return Err(Errno::FAULT);
        }
    }
}

/// # Errors
/// `EFAULT` where some byte cannot be read.
fn read_through_a_pipe(addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let to = buf.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: `buf` is borrowed exclusively.
    unsafe { Pipe::new()?.copy(to, addr, buf.len()) }
}

/// # Errors
/// `EFAULT` where some byte cannot be written.
fn write_through_a_pipe(addr: u64, buf: &[u8]) -> Result<(), Errno> {
    let from = buf.as_ptr().expose_provenance() as u64;
    // SAFETY: the program has named the address in an ioctl that writes there, as it would to a real device.
    unsafe { Pipe::new()?.copy(addr, from, buf.len()) }
}

impl UserMemory for ProcessMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let local = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len(),
        };
        // SAFETY: `local` is `buf`, borrowed exclusively; the other address is the kernel's to check, and only read from.
        let copied = unsafe {
            libc::process_vm_readv(libc::getpid(), &local, 1, &remote(addr, buf.len()), 1, 0)
        };
        outcome(copied, buf.len()).unwrap_or_else(|| read_through_a_pipe(addr, buf))
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        let local = libc::iovec {
            iov_base: buf.as_ptr().cast_mut().cast(),
            iov_len: buf.len(),
        };
        // SAFETY: `local` is `buf` and only read from. The program has named the other address in an ioctl that writes
        // there, as it would to a real device; the kernel refuses what is not writable memory.
        let copied = unsafe {
            libc::process_vm_writev(libc::getpid(), &local, 1, &remote(addr, buf.len()), 1, 0)
        };
        outcome(copied, buf.len()).unwrap_or_else(|| write_through_a_pipe(addr, buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(u64, &mut [u8]) -> Result<(), Errno>;
    type Write = fn(u64, &[u8]) -> Result<(), Errno>;

    fn what_is_there_is_copied_and_what_is_not_faults(read: Read, write: Write) {
        let mut words = [1u64, 2];
        let addr = words.as_mut_ptr().expose_provenance() as u64;
        let mut out = [0; 8];
        assert_eq!(read(addr + 8, &mut out), Ok(()));
        assert_eq!(u64::from_ne_bytes(out), 2);
        assert_eq!(write(addr, &[7]), Ok(()));
        // SAFETY: a valid, initialised u64.
        assert_eq!(unsafe { std::ptr::read_volatile(&words[0]) }, 7);
        for addr in [0, 16, u64::MAX, 1 << 63] {
            assert_eq!(read(addr, &mut out), Err(Errno::FAULT));
            assert_eq!(write(addr, &out), Err(Errno::FAULT));
        }
        static READ_ONLY: [u8; 8] = [0; 8];
        let addr = READ_ONLY.as_ptr().expose_provenance() as u64;
        assert_eq!(write(addr, &[1]), Err(Errno::FAULT));
    }

    #[test]
    fn directly() {
        what_is_there_is_copied_and_what_is_not_faults(
            |addr, buf| ProcessMemory.read(addr, buf),
            |addr, buf| ProcessMemory.write(addr, buf),
        );
    }

    #[test]
    fn through_a_pipe_where_there_is_no_other_way() {
        what_is_there_is_copied_and_what_is_not_faults(read_through_a_pipe, write_through_a_pipe);
    }

    #[test]
    fn a_pipe_takes_any_length() {
        // No multiple of what goes through at once, and more than a pipe holds.
        let source: Vec<u8> = (0..300_001u32).map(|i| (i % 251) as u8).collect();
        let mut out = vec![0; source.len()];
        let addr = source.as_ptr().expose_provenance() as u64;
        assert_eq!(read_through_a_pipe(addr, &mut out), Ok(()));
        assert!(out == source);
        out.fill(0);
        let addr = out.as_mut_ptr().expose_provenance() as u64;
        assert_eq!(write_through_a_pipe(addr, &source), Ok(()));
        // SAFETY: valid, initialised bytes, which the kernel has written behind the compiler's back.
        let last = unsafe { std::ptr::read_volatile(out.last().unwrap()) };
        assert_eq!(last, (300_000 % 251) as u8);
    }

    #[test]
    fn a_call_that_is_missing_or_forbidden_has_no_outcome_and_a_fault_has() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            crate::sys::set_errno(errno);
            assert_eq!(outcome(-1, 8), None);
        }
        crate::sys::set_errno(libc::EFAULT);
        assert_eq!(outcome(-1, 8), Some(Err(Errno::FAULT)));
        // A part of it; errno is of some call before.
        crate::sys::set_errno(libc::ENOSYS);
        assert_eq!(outcome(4, 8), Some(Err(Errno::FAULT)));
        assert_eq!(outcome(8, 8), Some(Ok(())));
    }
}
