//! What DRM answers for every driver: version, capabilities, GEM handles and their way through file descriptors.

use rustix::io::Errno;

use crate::kernel::{File, install};
use crate::shared::lock;
use crate::user_memory::UserMemory;
use panvk_sparse::uapi::*;

use super::Answer;

/// Fills the caller's buffer as far as it goes and tells the whole length.
fn copy_text(mem: &dyn UserMemory, addr: u64, len: &mut u64, text: &str) -> Result<(), Errno> {
    let room = usize::try_from(*len).unwrap_or(usize::MAX);
    *len = text.len() as u64;
    let fits = &text.as_bytes()[..text.len().min(room)];
    if addr == 0 || fits.is_empty() {
        return Ok(());
    }
    mem.write(addr, fits)
}

pub(super) fn version(file: &File, args: &mut Version, mem: &dyn UserMemory) -> Answer {
    let (major, minor) = file.kernel.flavour().version();
    args.version_major = major as i32;
    args.version_minor = minor as i32;
    args.version_patchlevel = 0;
    copy_text(mem, args.name, &mut args.name_len, "panthor")?;
    // DRM has forgotten the date, though 6.12's panthor still has one.
    copy_text(mem, args.date, &mut args.date_len, "0")?;
    copy_text(mem, args.desc, &mut args.desc_len, "Panthor DRM driver")?;
    Ok(())
}

pub(super) fn get_cap(_: &File, args: &mut GetCap, _: &dyn UserMemory) -> Answer {
    args.value = match args.capability {
        CAP_PRIME => PRIME_CAP_IMPORT | PRIME_CAP_EXPORT,
        CAP_TIMESTAMP_MONOTONIC | CAP_SYNCOBJ | CAP_SYNCOBJ_TIMELINE => 1,
        // Everything else is about displays.
        _ => {
            args.value = 0;
            return Err(Errno::OPNOTSUPP);
        }
    };
    Ok(())
}

/// A name for debugfs, which the model does not have: all that shows is what is refused.
pub(super) fn set_client_name(_: &File, args: &mut SetClientName, mem: &dyn UserMemory) -> Answer {
    let mut name = [0; CLIENT_NAME_MAX_LEN as usize];
    let len = usize::try_from(args.name_len).unwrap_or(usize::MAX);
    let name = name.get_mut(..len).ok_or(Errno::INVAL)?;
    if name.is_empty() {
        return Ok(());
    }
    mem.read(args.name, name)?;
    if name.iter().all(u8::is_ascii_graphic) {
        Ok(())
    } else {
        Err(Errno::INVAL)
    }
}

pub(super) fn gem_close(file: &File, args: &mut GemClose, _: &dyn UserMemory) -> Answer {
    let closed = lock(&file.bos).close(args.handle);
    closed.map(|_| ()).ok_or(Errno::INVAL)
}

/// The memory leaves as a memfd. It can always be written to, with `RDWR` or without.
pub(super) fn prime_handle_to_fd(
    file: &File,
    args: &mut PrimeHandle,
    _: &dyn UserMemory,
) -> Answer {
    if args.flags & !(CLOEXEC | RDWR) != 0 {
        return Err(Errno::INVAL);
    }
    let bo = file.bo(args.handle).ok_or(Errno::NOENT)?;
    if bo.exclusive_vm.is_some() {
        return Err(Errno::INVAL);
    }
    let fd = file.kernel.memory(&bo)?;
    file.kernel.remember_exported(&bo);
    args.fd = install(fd, args.flags & CLOEXEC != 0)?;
    Ok(())
}

/// Only this kernel's own buffer objects can come in; `EINVAL` for memory of other drivers, of which there are none.
pub(super) fn prime_fd_to_handle(
    file: &File,
    args: &mut PrimeHandle,
    _: &dyn UserMemory,
) -> Answer {
    let bo = file.kernel.import_bo(args.fd)?;
    args.handle = lock(&file.bos).handle_of(bo)?;
    Ok(())
}
