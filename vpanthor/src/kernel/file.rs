//! An open file of the device: its handles, and what can be looked at from outside.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::ForeignFence;
use super::dispatch;
use super::snapshot::{self, BindCounts, Snapshot};
use super::{Kernel, Objects, OpenOptions};
use crate::bo::{Bo, BoTable};
use crate::changes::Change;
use crate::faults::{Fault, Faults};
use crate::fence::{Fence, FenceSet};
use crate::gpuvm::Gpuvm;
use crate::group::Group;
use crate::handles::Handles;
use crate::payload::Payload;
use crate::shared::lock;
use crate::syncobj::Syncobj;
use crate::user_memory::UserMemory;
use crate::vm::{Vm, VmStats};
use panvk_sparse::uapi::{BO_NO_MMAP, USER_MMIO_OFFSET};
use panvk_sparse::units::SZ_4K;

/// VMs that one file can have.
const MAX_VMS: u32 = 32;
/// Groups that one file can have.
const MAX_GROUPS: u32 = 128;

/// What a process has after it has opened the render node. Dropping it closes it and frees all that it holds; binds that
/// are queued still run when what they wait for has happened.
#[derive(Debug)]
pub struct File {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) options: OpenOptions,
    pub(crate) faults: Arc<Faults>,
    pub(crate) bos: Mutex<BoTable>,
    pub(crate) vms: Mutex<Handles<Arc<Vm>>>,
    pub(crate) syncobjs: Mutex<Handles<Arc<Syncobj>>>,
    pub(crate) groups: Mutex<Handles<Arc<Group>>>,
    /// The ops of the binds that were accepted.
    pub(crate) bind_counts: Mutex<BindCounts>,
    /// Where mmap finds the registers that a process may see.
    pub(crate) user_mmio_offset: AtomicU64,
}

impl File {
    pub(crate) fn new(kernel: Arc<Kernel>, options: OpenOptions) -> Self {
        Self {
            kernel,
            options,
            faults: Arc::default(),
            bos: Mutex::new(BoTable::new()),
            vms: Mutex::new(Handles::new(MAX_VMS)),
            syncobjs: Mutex::new(Handles::new(i32::MAX as u32)),
            groups: Mutex::new(Handles::new(MAX_GROUPS)),
            bind_counts: Mutex::default(),
            user_mmio_offset: AtomicU64::new(USER_MMIO_OFFSET),
        }
    }

    /// `ioctl(2)` on the file: `request` is the whole code with direction and size, `arg` the address of the argument.
    ///
    /// # Errors
    /// What the kernel of this [flavour](crate::Flavour) answers; the argument may have been written to all the same.
    /// A number that the model does not have is `EINVAL`, as a number that DRM does not have.
    pub fn ioctl(&self, request: u32, arg: u64, mem: &dyn UserMemory) -> Result<u32, Errno> {
        dispatch::ioctl(self, request, arg, mem)
    }

    /// `mmap(2)` on the file: a file that holds the buffer object's memory, and where in it the mapping starts.
    ///
    /// `offset` is what BO_MMAP_OFFSET has answered, or where the LATEST_FLUSH_ID register is, a page that is only to be
    /// read. `len` is in bytes.
    ///
    /// # Errors
    /// `EINVAL` where no buffer object has that offset or `len` is 0 or exceeds it, `EACCES` where this file has no handle
    /// of it (and be it that only a mapping of this process is left of it), and the errors of making a memfd.
    pub fn mmap(&self, offset: u64, len: u64) -> Result<(OwnedFd, u64), Errno> {
        if self.is_register(offset) {
            return match len {
                1..=SZ_4K => Ok((self.kernel.flush_id_page()?, 0)),
                _ => Err(Errno::INVAL),
            };
        }
        let pages = len.checked_next_multiple_of(SZ_4K).unwrap_or(u64::MAX);
        let Some(bo) = self.kernel.bo_at_mmap_offset(offset) else {
            let lives_on = pages != 0 && self.kernel.is_only_mapped(offset, pages);
            return Err(if lives_on {
                Errno::ACCESS
            } else {
                Errno::INVAL
            });
        };
        if pages == 0 || pages > bo.size {
            return Err(Errno::INVAL);
        }
        if !lock(&self.bos).contains(bo.id) {
            return Err(Errno::ACCESS);
        }
        if bo.flags & BO_NO_MMAP != 0 {
            // Only the first version gives out the offset of such an object.
            return Err(Errno::INVAL);
        }
        Ok((self.kernel.memory(&bo)?, 0))
    }

    /// Whether [`mmap`](Self::mmap) at this offset shows a register, which nobody may write to.
    pub fn is_register(&self, offset: u64) -> bool {
        // There is one, at the beginning.
        offset == self.user_mmio_offset.load(Ordering::Relaxed)
    }

    /// The kernel whose device this is.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// The handles of this file, counted.
    pub fn objects(&self) -> Objects {
        Objects {
            vms: lock(&self.vms).len(),
            bos: lock(&self.bos).len(),
            syncobjs: lock(&self.syncobjs).len(),
        }
    }

    /// What the file holds.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(self)
    }

    /// [`Bo::id`] of a handle.
    pub fn bo_id(&self, handle: u32) -> Option<u64> {
        self.bo(handle).map(|bo| bo.id)
    }

    /// What the VM's ops have changed in its page tables since this was last asked, in the order in which they ran. Always
    /// empty unless the file was opened with [`OpenOptions::record_changes`].
    pub fn take_changes(&self, vm_id: u32) -> Vec<Change> {
        let mut list = Vec::new();
        self.take_changes_into(vm_id, &mut list);
        list
    }

    /// [`File::take_changes`] in the place of what is in `list`.
    pub fn take_changes_into(&self, vm_id: u32, list: &mut Vec<Change>) {
        match self.vm(vm_id) {
            Some(vm) => vm.take_changes_into(list),
            None => list.clear(),
        }
    }

    /// From here on, or no longer: what the VM's ops map as it was before is among their changes, too.
    pub fn record_rewrites(&self, vm_id: u32, on: bool) {
        if let Some(vm) = self.vm(vm_id) {
            vm.record_rewrites(on);
        }
    }

    /// Lets the buffer object count as a dummy in the VM's changes ([`Gpuvm::set_dummy`]). `None`: there is no such VM.
    pub fn set_dummy(&self, vm_id: u32, bo_id: u64) -> Option<()> {
        self.vm(vm_id).map(|vm| vm.set_dummy(bo_id))
    }

    /// Counts of a VM.
    pub fn vm_stats(&self, vm_id: u32) -> Option<VmStats> {
        self.vm(vm_id).map(|vm| vm.stats())
    }

    /// A look at a VM's mappings and page tables. No bind of the VM runs meanwhile.
    pub fn with_gpuvm<R>(&self, vm_id: u32, f: impl FnOnce(&Gpuvm) -> R) -> Option<R> {
        self.vm(vm_id).map(|vm| vm.with_gpuvm(f))
    }

    /// Arms a fault. [`Fault::VmUnusable`] of a VM that does not exist does nothing.
    pub fn inject(&self, fault: Fault) {
        match fault {
            Fault::VmUnusable { vm_id } => {
                if let Some(vm) = self.vm(vm_id) {
                    vm.set_unusable();
                }
            }
            Fault::Op { .. } | Fault::Ioctl { .. } => self.faults.arm(fault),
        }
    }

    /// Gives a syncobj the fence of work that the model does not have, as a GPU job that signals it would: as a timeline
    /// point, or (0) in place of what it holds. `None`: there is no such syncobj.
    pub fn attach_foreign_fence(&self, handle: u32, point: u64) -> Option<ForeignFence> {
        let syncobj = self.syncobj(handle)?;
        let fence = Arc::new(Fence::default());
        syncobj.put(point, Payload::Fences(FenceSet::of(fence.clone())));
        self.kernel.changed();
        Some(ForeignFence {
            fence,
            kernel: Arc::downgrade(&self.kernel),
        })
    }

    pub(crate) fn bo(&self, handle: u32) -> Option<Arc<Bo>> {
        lock(&self.bos).get(handle).cloned()
    }

    pub(crate) fn vm(&self, id: u32) -> Option<Arc<Vm>> {
        lock(&self.vms).get(id).cloned()
    }

    pub(crate) fn group(&self, handle: u32) -> Option<Arc<Group>> {
        lock(&self.groups).get(handle).cloned()
    }

    pub(crate) fn syncobj(&self, handle: u32) -> Option<Arc<Syncobj>> {
        lock(&self.syncobjs).get(handle).cloned()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for group in lock(&self.groups).iter() {
            group.destroy();
        }
        for vm in lock(&self.vms).iter() {
            vm.destroy();
        }
        self.kernel.changed();
    }
}

/// The raw number of a new file descriptor in the caller's table, kept open over exec or not.
pub(crate) fn install(fd: OwnedFd, cloexec: bool) -> Result<i32, Errno> {
    use std::os::fd::IntoRawFd;
    if !cloexec {
        rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty())?;
    }
    Ok(fd.into_raw_fd())
}
