//! The program's memory, as a kernel sees it: every access can fail.

use std::ffi::c_void;

use panvk_sparse::vpanthor::UserMemory;
use rustix::io::Errno;

/// This process's memory, which the real kernel copies for us: a pointer to nowhere is `EFAULT`, as it should be, and
/// not the end of the program.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMemory;

/// Checks what process_vm_readv or process_vm_writev has returned.
fn all(copied: isize, wanted: usize) -> Result<(), Errno> {
    if usize::try_from(copied) == Ok(wanted) {
        Ok(())
    } else {
        Err(Errno::FAULT)
    }
}

fn remote(addr: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: len,
    }
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
        all(copied, buf.len())
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
        all(copied, buf.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_copied_and_what_is_not_faults() {
        let mut words = [1u64, 2];
        let addr = words.as_mut_ptr().expose_provenance() as u64;
        let mut out = [0; 8];
        assert_eq!(ProcessMemory.read(addr + 8, &mut out), Ok(()));
        assert_eq!(u64::from_ne_bytes(out), 2);
        assert_eq!(ProcessMemory.write(addr, &[7]), Ok(()));
        // SAFETY: a valid, initialised u64.
        assert_eq!(unsafe { std::ptr::read_volatile(&words[0]) }, 7);
        for addr in [0, 16, u64::MAX, 1 << 63] {
            assert_eq!(ProcessMemory.read(addr, &mut out), Err(Errno::FAULT));
            assert_eq!(ProcessMemory.write(addr, &out), Err(Errno::FAULT));
        }
        static READ_ONLY: [u8; 8] = [0; 8];
        let addr = READ_ONLY.as_ptr().expose_provenance() as u64;
        assert_eq!(ProcessMemory.write(addr, &[1]), Err(Errno::FAULT));
    }
}
