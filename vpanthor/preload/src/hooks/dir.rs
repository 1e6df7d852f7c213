//! Listing folders.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::gate;
use crate::real::real;
use crate::state::Process;
use crate::sys::{file_id, real_stat};

use super::{inside, redirected};

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn opendir(path: *const c_char) -> *mut libc::DIR {
    // SAFETY: the caller's arguments.
    unsafe {
        redirected(
            path,
            |path| real!(c"opendir", fn(*const c_char) -> *mut libc::DIR, path => std::ptr::null_mut()),
        )
    }
}

macro_rules! scan_functions {
    ($($name:ident $c_name:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            path: *const c_char, list: *mut c_void, filter: *mut c_void, compare: *mut c_void,
        ) -> c_int {
            // SAFETY: the caller's arguments; pointers, whatever to.
            unsafe {
                redirected(path, |path| real!(
                    $c_name, fn(*const c_char, *mut c_void, *mut c_void, *mut c_void) -> c_int,
                    path, list, filter, compare => -1
                ))
            }
        }
    )+ };
}

scan_functions! {
    scandir c"scandir";
    scandir64 c"scandir64";
}

/// In the folder of the nodes, all that is no folder is a device.
///
/// # Safety
/// `entry` is what reading `dir` has returned.
unsafe fn correct(dir: *mut libc::DIR, entry: *mut libc::dirent) -> *mut libc::dirent {
    let seen = Process::if_any().is_some_and(Process::has_tree);
    if entry.is_null() || !seen || gate::is_busy() {
        return entry;
    }
    // SAFETY: an entry is valid until the folder is read again.
    let name = unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes();
    if !name.starts_with(b"renderD") && !name.starts_with(b"card") {
        return entry;
    }
    // SAFETY: the caller's folder.
    let fd = unsafe { libc::dirfd(dir) };
    let is_dri =
        inside(|state| Some(state.tree_if_any()?.is_dri(file_id(&real_stat(fd)?)))).flatten();
    if is_dri == Some(true) {
        // SAFETY: as above.
        unsafe { (*entry).d_type = libc::DT_CHR };
    }
    entry
}

macro_rules! read_functions {
    ($($name:ident $c_name:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(dir: *mut libc::DIR) -> *mut libc::dirent {
            let entry = real!($c_name, fn(*mut libc::DIR) -> *mut libc::dirent, dir => std::ptr::null_mut());
            // SAFETY: the caller's arguments.
            unsafe { correct(dir, entry) }
        }
    )+ };
}

// On 64 bits, `struct dirent64` is `struct dirent`.
read_functions! {
    readdir c"readdir";
    readdir64 c"readdir64";
}
