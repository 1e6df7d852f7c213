//! Paths that are asked about, and paths that come back.

use std::ffi::{c_char, c_int, c_void};

use crate::gate;
use crate::real::real;
use crate::state::Process;

use super::{bytes, inside, redirected};

macro_rules! redirected_functions {
    ($($name:ident $c_name:literal ($($before:ident: $before_ty:ty),*) path ($($after:ident: $after_ty:ty),*) -> $ret:ty;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($before: $before_ty,)* path: *const c_char $(, $after: $after_ty)*) -> $ret {
            // SAFETY: the caller's arguments.
            unsafe {
                redirected(path, |path| real!(
                    $c_name, fn($($before_ty,)* *const c_char $(, $after_ty)*) -> $ret, $($before,)* path $(, $after)* => -1
                ))
            }
        }
    )+ };
}

redirected_functions! {
    access c"access" () path (mode: c_int) -> c_int;
    eaccess c"eaccess" () path (mode: c_int) -> c_int;
    euidaccess c"euidaccess" () path (mode: c_int) -> c_int;
    faccessat c"faccessat" (dir: c_int) path (mode: c_int, flags: c_int) -> c_int;
    readlink c"readlink" () path (buffer: *mut c_char, size: usize) -> isize;
    readlinkat c"readlinkat" (dir: c_int) path (buffer: *mut c_char, size: usize) -> isize;
    __readlink_chk c"__readlink_chk" () path (buffer: *mut c_char, size: usize, room: usize) -> isize;
    __readlinkat_chk c"__readlinkat_chk" (dir: c_int) path (buffer: *mut c_char, size: usize, room: usize) -> isize;
    getxattr c"getxattr" () path (name: *const c_char, value: *mut c_void, size: usize) -> isize;
    lgetxattr c"lgetxattr" () path (name: *const c_char, value: *mut c_void, size: usize) -> isize;
    listxattr c"listxattr" () path (list: *mut c_char, size: usize) -> isize;
    llistxattr c"llistxattr" () path (list: *mut c_char, size: usize) -> isize;
    chdir c"chdir" () path () -> c_int;
}

/// Cuts the folder's own path off in front.
///
/// # Safety
/// `path` is null or a C string that may be written to.
unsafe fn cut(path: *mut c_char) -> *mut c_char {
    let seen = Process::if_any().is_some_and(Process::has_tree);
    if path.is_null() || !seen || gate::is_busy() {
        return path;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { bytes(path) };
    let rest = inside(|state| Some(state.tree_if_any()?.outside(text)?.len())).flatten();
    if let Some(rest) = rest {
        // SAFETY: the last `rest` bytes of the string, and the NUL, move to its beginning.
        unsafe { std::ptr::copy(path.add(text.len() - rest), path, rest + 1) };
    }
    path
}

macro_rules! resolving_functions {
    ($($name:ident $c_name:literal path ($($after:ident: $after_ty:ty),*);)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char $(, $after: $after_ty)*) -> *mut c_char {
            // SAFETY: the caller's arguments.
            unsafe {
                cut(redirected(path, |path| real!(
                    $c_name, fn(*const c_char $(, $after_ty)*) -> *mut c_char, path $(, $after)*
                        => std::ptr::null_mut()
                )))
            }
        }
    )+ };
}

resolving_functions! {
    realpath c"realpath" path (resolved: *mut c_char);
    __realpath_chk c"__realpath_chk" path (resolved: *mut c_char, room: usize);
    canonicalize_file_name c"canonicalize_file_name" path ();
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char {
    // SAFETY: the caller's arguments.
    unsafe {
        cut(
            real!(c"getcwd", fn(*mut c_char, usize) -> *mut c_char, buffer, size => std::ptr::null_mut()),
        )
    }
}
