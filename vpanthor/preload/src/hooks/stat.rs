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

/// Makes a node of what stands for one.
///
/// # Safety
/// `result` is what a function returned that fills `stat` if it succeeds.
unsafe fn correct(result: c_int, stat: *mut libc::stat) -> c_int {
    if result != 0
        || stat.is_null()
        || gate::is_busy()
        || !Process::if_any().is_some_and(Process::has_any)
    {
        return result;
    }
    // SAFETY: filled in, the caller says.
    let stat = unsafe { &mut *stat };
    let minor = inside(|state| {
        Some(
            state
                .node_of(stat.st_mode, stat.st_size, file_id(stat))?
                .entry
                .minor,
        )
    });
    if let Some(minor) = minor.flatten() {
        stat.st_mode = MODE;
        stat.st_rdev = libc::makedev(MAJOR, minor);
        (stat.st_uid, stat.st_gid) = (0, 0);
        (stat.st_size, stat.st_blocks) = (0, 0);
    }
    result
}

macro_rules! stat_functions {
    ($(by_path $name:ident $c_name:literal $old:ident $c_old:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, stat: *mut libc::stat) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                let result = redirected(path, |path| {
                    real!($c_name, fn(*const c_char, *mut libc::stat) -> c_int, path, stat => -1)
                });
                correct(result, stat)
            }
        }

        /// What programs call that were linked before glibc 2.33.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $old(version: c_int, path: *const c_char, stat: *mut libc::stat) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                let result = redirected(path, |path| {
                    real!($c_old, fn(c_int, *const c_char, *mut libc::stat) -> c_int, version, path, stat => -1)
                });
                correct(result, stat)
            }
        }
    )+ };
    ($(by_fd $name:ident $c_name:literal $old:ident $c_old:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, stat: *mut libc::stat) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe { correct(real!($c_name, fn(c_int, *mut libc::stat) -> c_int, fd, stat => -1), stat) }
        }

        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $old(version: c_int, fd: c_int, stat: *mut libc::stat) -> c_int {
            let result = real!($c_old, fn(c_int, c_int, *mut libc::stat) -> c_int, version, fd, stat => -1);
            // SAFETY: the caller's arguments.
            unsafe { correct(result, stat) }
        }
    )+ };
    ($(at $name:ident $c_name:literal $old:ident $c_old:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(dir: c_int, path: *const c_char, stat: *mut libc::stat, flags: c_int) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                let result = redirected(path, |path| real!(
                    $c_name, fn(c_int, *const c_char, *mut libc::stat, c_int) -> c_int, dir, path, stat, flags => -1
                ));
                correct(result, stat)
            }
        }

        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $old(
            version: c_int, dir: c_int, path: *const c_char, stat: *mut libc::stat, flags: c_int,
        ) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                let result = redirected(path, |path| real!(
                    $c_old, fn(c_int, c_int, *const c_char, *mut libc::stat, c_int) -> c_int,
                    version, dir, path, stat, flags => -1
                ));
                correct(result, stat)
            }
        }
    )+ };
}

// On 64 bits, `struct stat64` is `struct stat`.
stat_functions! {
    by_path stat c"stat" __xstat c"__xstat";
    by_path stat64 c"stat64" __xstat64 c"__xstat64";
    by_path lstat c"lstat" __lxstat c"__lxstat";
    by_path lstat64 c"lstat64" __lxstat64 c"__lxstat64";
}
stat_functions! {
    by_fd fstat c"fstat" __fxstat c"__fxstat";
    by_fd fstat64 c"fstat64" __fxstat64 c"__fxstat64";
}
stat_functions! {
    at fstatat c"fstatat" __fxstatat c"__fxstatat";
    at fstatat64 c"fstatat64" __fxstatat64 c"__fxstatat64";
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
    if result != 0
        || statx.is_null()
        || gate::is_busy()
        || !Process::if_any().is_some_and(Process::has_any)
    {
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
