//! What is done with open files.

use std::ffi::{c_int, c_ulong, c_void};
use std::os::fd::{AsRawFd, IntoRawFd};

use panvk_sparse::uapi::IOCTL_BASE;
use rustix::io::Errno;
use vpanthor::Kernel;

use crate::gate;
use crate::real::real;
use crate::state::Process;
use crate::sys::set_errno;

use super::{fail, inside};

/// Whether any file descriptor may be a node's.
fn has_files() -> bool {
    !gate::is_busy() && Process::if_any().is_some_and(Process::has_files)
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let result = real!(c"close", fn(c_int) -> c_int, fd => -1);
    if has_files() {
        let errno = crate::sys::errno();
        inside(Process::collect);
        set_errno(errno);
    }
    result
}

/// The letter of a dma-buf's ioctls.
const DMA_BUF: u8 = b'b';

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let call = || real!(c"ioctl", fn(c_int, c_ulong; ...) -> c_int, fd, request, arg => -1);
    let letter = (request >> 8) as u8;
    if !(letter == IOCTL_BASE || letter == DMA_BUF) || !has_files() {
        return call();
    }
    // The kernel looks at 32 bits. A program that passes an int has the upper ones full of its sign.
    let request = request as u32;
    let addr = arg.expose_provenance() as u64;
    let result = inside(|state| {
        if letter == DMA_BUF {
            return dma_buf(state, fd, request, addr);
        }
        let file = state.file(fd)?;
        crate::dump::prepare();
        Some(file.ioctl(request, addr))
    });
    match result.flatten() {
        Some(Ok(value)) => value as c_int,
        Some(Err(errno)) => fail(errno.raw_os_error()),
        None => call(),
    }
}

/// What a dma-buf of ours answers: all work on it is over.
fn dma_buf(state: &Process, fd: c_int, request: u32, arg: u64) -> Option<Result<u32, Errno>> {
    use vpanthor::UserMemory;
    const SYNC: u8 = 0;
    const EXPORT_SYNC_FILE: u8 = 2;
    const IMPORT_SYNC_FILE: u8 = 3;
    let kernel = state
        .nodes()
        .iter()
        .map(|node| &node.kernel)
        .find(|kernel| kernel.is_buffer(fd))?;
    Some(match request as u8 {
        SYNC | IMPORT_SYNC_FILE => Ok(0),
        // `struct dma_buf_export_sync_file { u32 flags; s32 fd; }`
        EXPORT_SYNC_FILE => Kernel::signalled_sync_file(kernel).and_then(|file| {
            crate::memory::ProcessMemory
                .write(arg.wrapping_add(4), &file.as_raw_fd().to_ne_bytes())?;
            let _ = file.into_raw_fd();
            Ok(0)
        }),
        _ => Err(Errno::NOTTY),
    })
}

macro_rules! fcntl_functions {
    ($($name:ident $c_name:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(fd: c_int, command: c_int, arg: c_ulong) -> c_int {
            let result = real!($c_name, fn(c_int, c_int; ...) -> c_int, fd, command, arg => -1);
            if command != libc::F_GETFL || result < 0 || !has_files() {
                return result;
            }
            // The pipe's end is for reading, whatever the program has opened the node for.
            let access = inside(|state| Some(state.file(fd)?.access())).flatten();
            access.map_or(result, |access| result & !libc::O_ACCMODE | access)
        }
    )+ };
}

fcntl_functions! {
    fcntl c"fcntl";
    fcntl64 c"fcntl64";
}

macro_rules! mmap_functions {
    ($($name:ident $c_name:literal;)+) => { $(
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            addr: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, offset: libc::off64_t,
        ) -> *mut c_void {
            let call = |fd: c_int, offset: libc::off64_t| real!(
                $c_name, fn(*mut c_void, usize, c_int, c_int, c_int, libc::off64_t) -> *mut c_void,
                addr, len, prot, flags, fd, offset => libc::MAP_FAILED
            );
            if fd < 0 || flags & libc::MAP_ANONYMOUS != 0 || !has_files() {
                return call(fd, offset);
            }
            let mapped = inside(|state| {
                let file = state.file(fd)?;
                Some(match backing(file.model(), len, prot, flags, offset) {
                    Ok((memory, offset)) => call(memory.as_raw_fd(), offset),
                    Err(errno) => {
                        set_errno(errno.raw_os_error());
                        libc::MAP_FAILED
                    }
                })
            });
            mapped.flatten().unwrap_or_else(|| call(fd, offset))
        }
    )+ };
}

mmap_functions! {
    mmap c"mmap";
    mmap64 c"mmap64";
}

/// The file whose memory a node shows at an offset, and the offset in it.
fn backing(
    file: &vpanthor::File,
    len: usize,
    prot: c_int,
    flags: c_int,
    offset: libc::off64_t,
) -> Result<(std::os::fd::OwnedFd, libc::off64_t), Errno> {
    let at = u64::try_from(offset).map_err(|_| Errno::INVAL)?;
    let writes = prot & libc::PROT_WRITE != 0;
    // A private copy is no device memory, and a register is the GPU's.
    if writes && (flags & libc::MAP_TYPE == libc::MAP_PRIVATE || file.is_register(at)) {
        return Err(Errno::INVAL);
    }
    let (memory, offset) = match file.mmap(at, len as u64) {
        // A buffer object that is mapped takes a file descriptor here, which it does not with a real kernel.
        Err(Errno::MFILE) if raise_limit() => file.mmap(at, len as u64)?,
        result => result?,
    };
    Ok((
        memory,
        libc::off64_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?,
    ))
}

/// Allows this process all the file descriptors that it may allow itself. `false`: it has them already.
fn raise_limit() -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a struct to be filled, and the same to be read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || limit.rlim_cur == limit.rlim_max
        {
            return false;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
    }
}
