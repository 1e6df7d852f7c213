//! What is asked of the C library and the real kernel, past our own functions.

use std::ffi::c_int;
use std::os::fd::RawFd;

use crate::tree::FileId;

/// Sets errno of the calling thread.
pub fn set_errno(errno: c_int) {
    // SAFETY: the C library's own place for this thread.
    unsafe { *libc::__errno_location() = errno };
}

pub fn errno() -> c_int {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}

/// `stat` of what a path leads to or a file descriptor stands for, past our own functions.
pub fn real_stat(fd: RawFd) -> Option<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: room for a stat; the fd is the kernel's to check.
    let result = unsafe { libc::syscall(libc::SYS_fstat, fd, stat.as_mut_ptr()) };
    // SAFETY: zeroed is a valid stat, and the kernel has filled it in.
    (result == 0).then(|| unsafe { stat.assume_init() })
}

pub fn file_id(stat: &libc::stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}
