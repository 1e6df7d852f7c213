//! Buffer objects of the node whose memory lies in a row, so that the kernel maps them with 2 MiB entries.
//!
//! The kernel of `scripts/real-kernel.sh` has no huge pages, but it takes 512 small ones that lie in a row and are aligned for
//! one. The fake GPU makes that likely, and objects are made until there is one of each size. They are of a file of their own; others get
//! them as file descriptors.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use panvk_sparse::uapi::*;
use rustix::io::Errno;

use super::backend::Backend;
use super::call::Call;
use super::rig::Rig;
use super::sides;

const SZ_2M: u64 = 2 << 20;
/// Where they are mapped to be looked at.
const VA: u64 = 1 << 40;
/// Bytes of objects that were made in vain, after which it is given up.
const PATIENCE: u64 = 1 << 30;

pub struct Blocks(Vec<(u64, OwnedFd)>);

impl Blocks {
    /// One for each buffer object from 2 MiB on that these calls create.
    ///
    /// # Panics
    /// If that does not come about.
    pub fn new(node: &Path, rig: &Rig, calls: &[Call]) -> Self {
        let file = sides::open_node(node);
        let mut vm = VmCreate::default();
        sides::ask(&file, IOCTL_VM_CREATE, &mut vm).expect("a VM");
        rig.scatter(false);
        // What lies elsewhere keeps its memory until the end, so that others do not get it again.
        let (mut found, mut others) = (Vec::new(), Vec::new());
        let mut left = PATIENCE;
        let create = |call: &Call| call.is(IOCTL_BO_CREATE).then(|| call.args())?;
        let sizes = calls.iter().filter_map(create).map(|bo: BoCreate| bo.size);
        for size in sizes.filter(|size| *size >= SZ_2M) {
            loop {
                rig.line_up(size / SZ_2M);
                let (lies_in_a_row, fd) = make(&file, rig, vm.id, size).expect("a buffer object");
                if lies_in_a_row {
                    found.push((size, fd));
                    break;
                }
                others.push(fd);
                let less = left.checked_sub(size);
                left = less.unwrap_or_else(|| panic!("no memory of {size} bytes lies in a row"));
            }
        }
        println!(
            "{} buffer objects made of blocks, {} others",
            found.len(),
            others.len()
        );
        rig.scatter(true);
        Self(found)
    }

    /// Puts the one of that size in the place of a buffer object, which nobody has used yet.
    ///
    /// # Errors
    /// As words.
    pub fn replace(&self, file: &Backend, handle: u32, size: u64) -> Result<(), String> {
        let fail = |what: &'static str| move |errno: Errno| format!("{what}: {errno}");
        let fd = self.0.iter().find(|(one, _)| *one == size);
        let (_, fd) = fd.ok_or_else(|| format!("no memory of {size} bytes lies in a row"))?;
        sides::ask(file, IOCTL_GEM_CLOSE, &mut GemClose { handle, pad: 0 })
            .map_err(fail("GEM_CLOSE"))?;
        let mut import = PrimeHandle {
            fd: fd.as_raw_fd(),
            ..Default::default()
        };
        sides::ask(file, IOCTL_PRIME_FD_TO_HANDLE, &mut import)
            .map_err(fail("PRIME_FD_TO_HANDLE"))?;
        if import.handle != handle {
            return Err(format!("handle {} in place of {handle}", import.handle));
        }
        Ok(())
    }
}

/// A new buffer object, and whether the kernel maps it with 2 MiB entries only.
fn make(file: &Backend, rig: &Rig, vm_id: u32, size: u64) -> Result<(bool, OwnedFd), Errno> {
    let mut bo = BoCreate {
        size,
        ..Default::default()
    };
    sides::ask(file, IOCTL_BO_CREATE, &mut bo)?;
    let bind = |flags, bo_handle| {
        let op = VmBindOp {
            flags,
            bo_handle,
            va: VA,
            size,
            ..Default::default()
        };
        let ops = ObjArray {
            stride: size_of_val(&op) as u32,
            count: 1,
            array: (&raw const op).expose_provenance() as u64,
        };
        sides::ask(
            file,
            IOCTL_VM_BIND,
            &mut VmBind {
                vm_id,
                flags: 0,
                ops,
            },
        )
    };
    let before = rig.entries();
    bind(VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC, bo.handle)?;
    let lies_in_a_row = rig.entries().since(&before).large() == size / SZ_2M;
    bind(VM_BIND_OP_TYPE_UNMAP, 0)?;
    let mut export = PrimeHandle {
        handle: bo.handle,
        flags: CLOEXEC,
        ..Default::default()
    };
    sides::ask(file, IOCTL_PRIME_HANDLE_TO_FD, &mut export)?;
    // SAFETY: the call has made it, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(export.fd) };
    sides::ask(
        file,
        IOCTL_GEM_CLOSE,
        &mut GemClose {
            handle: bo.handle,
            pad: 0,
        },
    )?;
    Ok((lies_in_a_row, fd))
}
