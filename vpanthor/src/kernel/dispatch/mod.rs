//! The way of an ioctl into the driver: `drm_ioctl`.
//!
//! The request code says how many bytes the caller passes and which way they go. The kernel copies in what its own struct
//! and the caller's have in common, sees zeros where the caller's ends early, and copies back whatever happened: also after
//! a failure, which is how a synchronous VM_BIND tells where it stopped.

mod core;
mod group;
mod memory;
mod query;
mod syncobj;
mod syncs;
mod vm_bind;

use rustix::io::Errno;

use super::File;
use crate::refusal::{forget, refuse};
use crate::user_memory::UserMemory;
use panvk_sparse::uapi::*;

/// The caller writes, the kernel reads.
const DIR_IN: u32 = 1 << 30;
/// The kernel writes, the caller reads.
const DIR_OUT: u32 = 2 << 30;

/// What a handler says of a call.
type Answer = Result<(), Errno>;

/// One call.
struct Call<'a> {
    file: &'a File,
    request: u32,
    arg: u64,
    mem: &'a dyn UserMemory,
}

impl Call<'_> {
    /// Copies the argument in, runs `handler` on it and copies it out. `ours` is the code as the kernel knows it. What only
    /// the caller knows of it goes in and back as well.
    fn run<T: Plain>(
        &self,
        ours: u32,
        handler: impl FnOnce(&File, &mut T, &dyn UserMemory) -> Answer,
    ) -> Result<u32, Errno> {
        let mut args = T::default();
        self.pass(ours, |bytes| {
            let common = bytes.len().min(size_of::<T>());
            args.as_bytes_mut()[..common].copy_from_slice(&bytes[..common]);
            let result = handler(self.file, &mut args, self.mem);
            bytes[..common].copy_from_slice(&args.as_bytes()[..common]);
            result
        })
        .map(|()| 0)
    }

    /// Copies the caller's bytes in, and out after `work`. `ours`: which way they go, as in a code.
    fn pass(&self, ours: u32, work: impl FnOnce(&mut [u8]) -> Answer) -> Answer {
        let both = self.request & ours;
        let mut few = [0; 128];
        let mut many = Vec::new();
        let size = ioctl_size(self.request);
        let bytes = match few.get_mut(..size) {
            Some(bytes) => bytes,
            None => {
                many.resize(size, 0);
                &mut many[..]
            }
        };
        if both & DIR_IN != 0 {
            self.mem.read(self.arg, bytes)?;
        }
        let result = work(bytes);
        if both & DIR_OUT != 0 {
            self.mem.write(self.arg, bytes)?;
        }
        result
    }
}

/// Which way the argument goes, for the numbers of DRM that a primary node takes and a render node does not: masters and
/// authentication, clients, flinks, what drives displays, and what is left of times before that.
fn for_display(number: u8) -> Option<u32> {
    match number {
        0x1e | 0x1f => Some(0),
        0x0d | 0x10 | 0x11 | 0x2c | 0x3f => Some(DIR_IN),
        0x02 | 0x06 => Some(DIR_OUT),
        0x01 | 0x05 | 0x07 | 0x0a | 0x0b | 0x12 | 0x13 | 0x27 | 0x28 | 0x3a..=0x3c => {
            Some(DIR_IN | DIR_OUT)
        }
        0xa0..=0xbe | 0xc6..=0xc9 | 0xce | 0xd0 => Some(DIR_IN | DIR_OUT),
        _ => None,
    }
}

pub(super) fn ioctl(
    file: &File,
    request: u32,
    arg: u64,
    mem: &dyn UserMemory,
) -> Result<u32, Errno> {
    forget();
    if (request >> 8) as u8 != IOCTL_BASE {
        return Err(Errno::NOTTY);
    }
    let number = ioctl_nr(request);
    let call = Call {
        file,
        request,
        arg,
        mem,
    };
    if let Some(directions) = for_display(number) {
        let refused = |_: &mut [u8]| Err(refuse(Errno::ACCESS, "not for a render node"));
        return call.pass(directions, refused).map(|()| 0);
    }
    file.faults.ioctl(number)?;
    let flavour = file.kernel.flavour();
    let since_1_7 = flavour.has_bo_query_info();
    let since = |minor| flavour.version() >= (1, minor);
    macro_rules! dispatch {
        ($( $ours:ident => $handler:path $(, if $there:expr)?; )+) => {
            match number {
                $( n if n == ioctl_nr($ours) $(&& $there)? => call.run($ours, $handler), )+
                _ => Err(refuse(Errno::INVAL, "no such ioctl in this kernel")),
            }
        };
    }
    dispatch! {
        IOCTL_VM_BIND => vm_bind::vm_bind;
        IOCTL_DEV_QUERY => query::dev_query;
        IOCTL_VM_CREATE => memory::vm_create;
        IOCTL_VM_DESTROY => memory::vm_destroy;
        IOCTL_VM_GET_STATE => memory::vm_get_state;
        IOCTL_BO_CREATE => memory::bo_create;
        IOCTL_BO_MMAP_OFFSET => memory::bo_mmap_offset;
        IOCTL_BO_QUERY_INFO => memory::bo_query_info, if since_1_7;

        IOCTL_GROUP_CREATE => group::create;
        IOCTL_GROUP_DESTROY => group::destroy;
        IOCTL_GROUP_SUBMIT => group::submit;
        IOCTL_GROUP_GET_STATE => group::get_state;
        IOCTL_TILER_HEAP_CREATE => group::heap_create;
        IOCTL_TILER_HEAP_DESTROY => group::heap_destroy;
        IOCTL_BO_SET_LABEL => memory::bo_set_label, if since(4);
        IOCTL_SET_USER_MMIO_OFFSET => memory::set_user_mmio_offset, if since(5);
        IOCTL_BO_SYNC => memory::bo_sync, if since_1_7;

        IOCTL_VERSION => core::version;
        IOCTL_GET_CAP => core::get_cap;
        IOCTL_GEM_CLOSE => core::gem_close;
        IOCTL_PRIME_HANDLE_TO_FD => core::prime_handle_to_fd;
        IOCTL_PRIME_FD_TO_HANDLE => core::prime_fd_to_handle;
        IOCTL_SET_CLIENT_NAME => core::set_client_name, if since(1);

        IOCTL_SYNCOBJ_CREATE => syncobj::create;
        IOCTL_SYNCOBJ_DESTROY => syncobj::destroy;
        IOCTL_SYNCOBJ_HANDLE_TO_FD => syncobj::handle_to_fd;
        IOCTL_SYNCOBJ_FD_TO_HANDLE => syncobj::fd_to_handle;
        IOCTL_SYNCOBJ_WAIT => syncobj::wait;
        IOCTL_SYNCOBJ_TIMELINE_WAIT => syncobj::timeline_wait;
        IOCTL_SYNCOBJ_RESET => syncobj::reset;
        IOCTL_SYNCOBJ_SIGNAL => syncobj::signal;
        IOCTL_SYNCOBJ_TIMELINE_SIGNAL => syncobj::timeline_signal;
        IOCTL_SYNCOBJ_QUERY => syncobj::query;
        IOCTL_SYNCOBJ_TRANSFER => syncobj::transfer;
        IOCTL_SYNCOBJ_EVENTFD => syncobj::eventfd;
    }
}
