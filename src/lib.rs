//! The sparse-binding component of a Vulkan driver for Arm Mali GPUs: it turns `vkQueueBindSparse` into the least work for
//! the kernel driver *panthor* that has the same effect.
//!
//! Mali has no bit for "this page is unbound, do not fault". So a driver has to map every unbound range of a sparse resource
//! to a small buffer object, the *dummy*. The component finds out how the kernel at hand does that best, remembers what each
//! address maps, and asks the kernel only for what a bind really changes.
//!
//! # What a driver calls
//! In this order:
//!
//! 1. [`Device::adopt`](drm::Device::adopt) takes a file descriptor of the open render node. VMs and buffer objects belong to
//!    the open file, so a duplicate of the driver's own descriptor sees all of the driver's objects.
//!    [`Device::new`](drm::Device::new) takes a [`Transport`](drm::Transport) instead, which carries the ioctls elsewhere.
//! 2. [`probe()`](drm::probe()) tries out what the kernel can do, on scratch VMs. A version number does not tell.
//! 3. [`Capabilities::null_map`](drm::Capabilities::null_map) chooses how unbound ranges are mapped, and makes the dummy if
//!    the kernel has none of its own.
//! 4. [`Device::adopt_vm`](drm::Device::adopt_vm) takes a VM that the driver has made and destroys itself;
//!    [`Device::create_vm`](drm::Device::create_vm) makes a new one.
//! 5. [`SparseVm::new`](vm::SparseVm::new) puts the two together. All that follows goes through this one object.
//! 6. [`SparseVm::add_range`](vm::SparseVm::add_range), when a sparse resource is created: these addresses are its own, and
//!    start unbound.
//! 7. [`SparseVm::memory`](vm::SparseVm::memory) gives the name by which requests speak of a buffer object.
//! 8. [`SparseVm::bind`](vm::SparseVm::bind), for each `vkQueueBindSparse`: one [`Batch`](vm::Batch) for each
//!    `VkBindSparseInfo`, with its waits, its signals and its [`Request`](bind::Request)s.
//! 9. [`SparseVm::memory_gone`](vm::SparseVm::memory_gone), before the handle of freed memory is closed: the kernel may
//!    give the same number to other memory.
//! 10. [`SparseVm::remove_range`](vm::SparseVm::remove_range), when a resource is destroyed.
//!
//! ```no_run
//! use std::{os::fd::OwnedFd, path::Path};
//! use panvk_sparse::bind::{Request, SparseRange, Target};
//! use panvk_sparse::drm::{Device, probe};
//! use panvk_sparse::units::{BoHandle, Va, VmId};
//! use panvk_sparse::vm::{Batch, Initial, SparseVm};
//!
//! /// A new buffer of 1 MiB at `va`, whose first 64 KiB are bound to the start of `bo`.
//! fn bind_some(fd: OwnedFd, vm: VmId, va: Va, bo: BoHandle) -> Result<(), Box<dyn std::error::Error>> {
//!     let device = Device::adopt(fd, Path::new("/dev/dri/renderD128"))?;
//!     let null = probe(&device)?.null_map(&device, None)?;
//!     let mut vm = SparseVm::new(device.adopt_vm(vm, 1 << 47), null);
//!
//!     vm.add_range(SparseRange::new(va, 1 << 20, 4096), Initial::Unbound)?;
//!     let target = Target::memory(vm.memory(bo), 0);
//!     let requests = [Request { va, len: 65536, target }];
//!     vm.bind(&[Batch { requests: &requests, ..Batch::default() }])?;
//!
//!     vm.memory_gone(bo);
//!     vm.remove_range(va)?;
//!     Ok(())
//! }
//! ```
//!
//! # The modules
//! Each uses only those above it. *Pure* means: no I/O, no `unsafe`, no clock, no global state.
//!
//! | module | what it knows | pure |
//! |---|---|---|
//! | [`units`] | addresses, handles and sizes | yes |
//! | [`spans`] | sorted ranges that can be changed anywhere | yes |
//! | [`uapi`] | panthor's structs and numbers, and DRM's that we need | data only |
//! | [`layout`] | where a tile of an image lies in the image's addresses | yes |
//! | [`bind`] | requests, what a VM maps now (the shadow), and the plan: what changes | yes |
//! | [`lower`] | the plan as VM_BIND operations of one kernel | yes |
//! | [`drm`] | the kernel boundary: open file, VMs, buffer objects, syncobjs, the probe | no |
//! | [`vm`] | [`SparseVm`](vm::SparseVm): one VM, and the way of every bind into it | no |
//!
//! # What it promises
//! - After a bind, each byte maps what the last request that names it says. All other bytes map what they did before.
//! - The plan has as few ranges as there are maximal ranges that change. A bind that changes nothing costs nothing.
//! - One call is one VM_BIND, or the fewest that 65,536 operations each allow. No operation is one that the probed kernel
//!   refuses.
//! - A request that cannot be carried out is refused before any ioctl, and nothing of its call happens. If the kernel refuses,
//!   what it took of the call is taken back. If that fails too, the VM is [lost](vm::VmError::Lost), now and ever after.
//! - Nothing is printed. What is worth saying goes to the crate `log`, whose receiver the driver chooses.
//! - There is no lock. A [`SparseVm`](vm::SparseVm) takes `&mut self`; a driver with several threads puts it into a lock of
//!   its own.
//!
//! The only dependencies are `rustix` (system calls) and `log`.
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_debug_implementations)]

pub mod bind;
pub mod drm;
pub mod layout;
pub mod lower;
pub mod spans;
pub mod uapi;
pub mod units;
pub mod vm;
