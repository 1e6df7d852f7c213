//! Opening files.

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use crate::gate;
use crate::real::real;
use crate::state::Process;
use crate::sys::{file_id, real_stat};

use super::{bytes, fail, inside, may_concern};

/// Permissions of a new file, as a variadic function passes them on.
type Mode = libc::c_uint;

enum Target {
    Node(Result<c_int, c_int>),
    Elsewhere(CString),
    AsItIs,
}

fn target(state: &'static Process, path: &[u8], flags: c_int) -> Target {
    if flags & libc::O_PATH == 0 {
        if let Some(node) = state.node_at(path) {
            return Target::Node(opened(state, node, flags));
        }
    }
    let to = state
        .redirect(path)
        .and_then(|to| CString::new(to.as_os_str().as_bytes()).ok());
    to.map_or(Target::AsItIs, Target::Elsewhere)
}

/// What was opened by a way that does not show in the path, such as relative to a folder, may be a placeholder: then the
/// node takes its place.
fn replace(state: &'static Process, fd: c_int, flags: c_int) -> Result<c_int, c_int> {
    let placeholder = real_stat(fd)
        .filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size == 0);
    let node = placeholder.and_then(|stat| state.tree_if_any()?.node(file_id(&stat)));
    let Some(node) = node.filter(|_| flags & libc::O_PATH == 0) else {
        return Ok(fd);
    };
    // SAFETY: the program has not seen this number yet.
    unsafe { libc::close(fd) };
    opened(state, node, flags)
}

/// # Safety
/// `path` is null or a C string; `real` opens it.
unsafe fn open_with(
    path: *const c_char,
    flags: c_int,
    real: impl FnOnce(*const c_char) -> c_int,
) -> c_int {
    if gate::is_busy() {
        return real(path);
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(path) };
    let mut fd = None;
    if may_concern(bytes) {
        match inside(|state| target(state, bytes, flags)) {
            Some(Target::Node(result)) => return result.unwrap_or_else(fail),
            Some(Target::Elsewhere(to)) => fd = Some(to),
            Some(Target::AsItIs) | None => {}
        }
    }
    let fd = match fd {
        Some(to) => real(to.as_ptr()),
        None => real(path),
    };
    let seen = Process::if_any().is_some_and(|state| state.has_tree());
    if fd < 0 || !seen {
        return fd;
    }
    match inside(|state| replace(state, fd, flags)) {
        Some(result) => result.unwrap_or_else(fail),
        None => fd,
    }
}

macro_rules! open_functions {
    ($($name:ident $c_name:literal, $at:ident $c_at:literal ($($mode:ident $dots:tt)?);)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int $(, $mode: Mode)?) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                open_with(path, flags, |path| {
                    real!($c_name, fn(*const c_char, c_int $(; $dots)?) -> c_int, path, flags $(, $mode)? => -1)
                })
            }
        }

        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $at(dir: c_int, path: *const c_char, flags: c_int $(, $mode: Mode)?) -> c_int {
            // SAFETY: the caller's arguments.
            unsafe {
                open_with(path, flags, |path| real!(
                    $c_at, fn(c_int, *const c_char, c_int $(; $dots)?) -> c_int, dir, path, flags $(, $mode)? => -1
                ))
            }
        }
    )+ };
}

// The latter two are what a program calls that was compiled with _FORTIFY_SOURCE and passes no mode.
open_functions! {
    open c"open", openat c"openat" (mode ...);
    open64 c"open64", openat64 c"openat64" (mode ...);
    __open_2 c"__open_2", __openat_2 c"__openat_2" ();
    __open64_2 c"__open64_2", __openat64_2 c"__openat64_2" ();
}

/// The stream of a node; null with errno where it cannot be opened.
///
/// # Safety
/// `mode` is a C string.
unsafe fn open_stream(fd: Result<c_int, c_int>, mode: *const c_char) -> *mut libc::FILE {
    match fd {
        // SAFETY: a file descriptor that nobody else has, and the caller's mode.
        Ok(fd) => unsafe { libc::fdopen(fd, mode) },
        Err(errno) => {
            fail(errno);
            std::ptr::null_mut()
        }
    }
}

macro_rules! stream_functions {
    ($($name:ident $c_name:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
            let call = |path| real!(
                $c_name, fn(*const c_char, *const c_char) -> *mut libc::FILE, path, mode => std::ptr::null_mut()
            );
            // SAFETY: the caller's path.
            let bytes = unsafe { bytes(path) };
            if !may_concern(bytes) || gate::is_busy() {
                return call(path);
            }
            match inside(|state| target(state, bytes, libc::O_RDWR)) {
                // SAFETY: the caller's mode.
                Some(Target::Node(fd)) => unsafe { open_stream(fd, mode) },
                Some(Target::Elsewhere(to)) => call(to.as_ptr()),
                Some(Target::AsItIs) | None => call(path),
            }
        }
    )+ };
}

stream_functions! {
    fopen c"fopen";
    fopen64 c"fopen64";
}

/// Opens a node: the new file descriptor, or errno. From the first one on there is something to dump.
fn opened(state: &'static Process, node: usize, flags: c_int) -> Result<c_int, c_int> {
    let fd = state.open(node, flags)?;
    crate::dump::prepare();
    Ok(fd)
}
