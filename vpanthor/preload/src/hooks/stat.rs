//! Asking what a file is.

use std::ffi::{c_char, c_int, c_uint};

use crate::gate;
use crate::real::real;
use crate::state::Process;
use crate::sys::file_id;
use crate::tree::MAJOR;

use super::{inside, redirected};

/// A character device that everybody may use.
const MODE: u32 = libc::S_IFCHR | 0o666;

/// Whether anything may stand for a node.
fn has_any() -> bool {
    !gate::is_busy() && Process::if_any().is_some_and(Process::has_any)
}

/// Makes a node of what stands for one.
///
/// # Safety
/// `result` is what a function returned that fills `stat` if it succeeds.
unsafe fn correct(result: c_int, stat: *mut libc::stat) -> c_int {
    if result != 0 || stat.is_null() || !has_any() {
        return result;
    }
    // SAFETY: filled in, the caller says.
    let stat = unsafe { &mut *stat };
    let (mode, size, id) = (stat.st_mode, stat.st_size, file_id(stat));
    let minor = inside(|state| Some(state.node_of(mode, size, id)?.entry.minor));
    if let Some(minor) = minor.flatten() {
        stat.st_mode = MODE;
        stat.st_rdev = libc::makedev(MAJOR, minor);
        (stat.st_uid, stat.st_gid) = (0, 0);
        (stat.st_size, stat.st_blocks) = (0, 0);
    }
    result
}

macro_rules! stat_functions {
    ($($name:ident $c_name:literal ($($before:ident: $before_ty:ty),*) path, stat ($($after:ident: $after_ty:ty),*);)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($before: $before_ty,)* path: *const c_char, stat: *mut libc::stat $(, $after: $after_ty)*
        ) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                let result = redirected(path, |path| real!(
                    $c_name, fn($($before_ty,)* *const c_char, *mut libc::stat $(, $after_ty)*) -> c_int,
                    $($before,)* path, stat $(, $after)* => -1
                ));
                correct(result, stat)
            }
        }
    )+ };
    ($($name:ident $c_name:literal ($($before:ident: $before_ty:ty),*) fd, stat;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($before: $before_ty,)* fd: c_int, stat: *mut libc::stat) -> c_int {
            let result = real!(
                $c_name, fn($($before_ty,)* c_int, *mut libc::stat) -> c_int, $($before,)* fd, stat => -1
            );
            // SAFETY: the caller's arguments.
            unsafe { correct(result, stat) }
        }
    )+ };
}

// On 64 bits, `struct stat64` is `struct stat`. Those with a version are what programs call that were linked before
// glibc 2.33.
stat_functions! {
    stat c"stat" () path, stat ();
    stat64 c"stat64" () path, stat ();
    lstat c"lstat" () path, stat ();
    lstat64 c"lstat64" () path, stat ();
    fstatat c"fstatat" (dir: c_int) path, stat (flags: c_int);
    fstatat64 c"fstatat64" (dir: c_int) path, stat (flags: c_int);
    __xstat c"__xstat" (version: c_int) path, stat ();
    __xstat64 c"__xstat64" (version: c_int) path, stat ();
    __lxstat c"__lxstat" (version: c_int) path, stat ();
    __lxstat64 c"__lxstat64" (version: c_int) path, stat ();
    __fxstatat c"__fxstatat" (version: c_int, dir: c_int) path, stat (flags: c_int);
    __fxstatat64 c"__fxstatat64" (version: c_int, dir: c_int) path, stat (flags: c_int);
}
stat_functions! {
    fstat c"fstat" () fd, stat;
    fstat64 c"fstat64" () fd, stat;
    __fxstat c"__fxstat" (version: c_int) fd, stat;
    __fxstat64 c"__fxstat64" (version: c_int) fd, stat;
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    statx: *mut libc::statx,
) -> c_int {
    // SAFETY: the caller's arguments.
    let result = unsafe {
        redirected(path, |path| {
            real!(
                c"statx", fn(c_int, *const c_char, c_int, c_uint, *mut libc::statx) -> c_int,
                dir, path, flags, mask, statx => -1
            )
        })
    };
    if result != 0 || statx.is_null() || !has_any() {
        return result;
    }
    // SAFETY: filled in, as the call succeeded.
    let statx = unsafe { &mut *statx };
    let device = libc::makedev(statx.stx_dev_major, statx.stx_dev_minor);
    let id = (device, statx.stx_ino);
    let size = statx.stx_size as i64;
    let minor = inside(|state| Some(state.node_of(statx.stx_mode.into(), size, id)?.entry.minor));
    if let Some(minor) = minor.flatten() {
        statx.stx_mode = MODE as u16;
        (statx.stx_rdev_major, statx.stx_rdev_minor) = (MAJOR, minor);
        (statx.stx_uid, statx.stx_gid) = (0, 0);
        (statx.stx_size, statx.stx_blocks) = (0, 0);
    }
    0
}
