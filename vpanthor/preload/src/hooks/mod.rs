//! The functions that stand in front of the C library's.
//!
//! `open`, `ioctl` and `fcntl` take variable arguments in C. Here they have them all: on the machines that we know
//! (x86-64 and 64-bit Arm), arguments of a variadic function lie in the same registers as those of another one, and one that
//! the caller did not pass is passed on as it was found, for a function that does not look at it either.

mod dir;
mod fd;
mod open;
mod path;
mod stat;

use std::ffi::{CStr, CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::gate::{self, Pass};
use crate::state::Process;
use crate::sys::set_errno;

/// Runs work of the library. `None` for a call that the library makes itself, and where there was a bug: then the real
/// function answers.
fn inside<R>(work: impl FnOnce(&'static Process) -> R) -> Option<R> {
    let _pass = Pass::enter()?;
    catch_unwind(AssertUnwindSafe(|| work(Process::get()))).ok()
}

/// The bytes of a path that a program passes.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn bytes<'a>(path: *const c_char) -> &'a [u8] {
    if path.is_null() {
        return b"";
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// Whether a path may lead into the folder: a look at the beginning, for the sake of all other paths.
fn may_concern(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
        && (path.starts_with(b"/dev/")
            || path.starts_with(b"/sys/")
            || path.starts_with(b"//")
            || path.starts_with(b"/."))
}

/// Calls `real` with the path that this one leads to.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn redirected<R>(path: *const c_char, real: impl FnOnce(*const c_char) -> R) -> R {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(path) };
    if !may_concern(bytes) || gate::is_busy() {
        return real(path);
    }
    let to = inside(|state| {
        let to = state.redirect(bytes)?;
        CString::new(to.as_os_str().as_bytes()).ok()
    });
    match to.flatten() {
        Some(to) => real(to.as_ptr()),
        None => real(path),
    }
}

/// -1 with errno.
fn fail(errno: i32) -> i32 {
    set_errno(errno);
    -1
}
