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
//! | type | what it is |
//! |---|---|
//! | [`SparseVm`](vm::SparseVm) | a VM with all of its sparse ranges, and what each address maps now |
//! | [`Request`](bind::Request) | these addresses are to map this memory, or nothing |
//! | [`Batch`](vm::Batch) | requests that wait and signal together |
//! | [`Strategy`](lower::Strategy) | how an unbound range is mapped: one operation, or one for each 2 MiB or 4 KiB |
//! | [`VmError`](vm::VmError) | why a call did nothing, or that the VM is lost; [`OpenError`](drm::OpenError), [`ProbeError`](drm::ProbeError) and [`NullMapError`](drm::NullMapError) come before there is a VM |
//!
//! Lengths and addresses are in bytes, and multiples of 4 KiB.
//!
//! # Example
//! On the model of a kernel, which the crate `vpanthor` brings. A driver has `Device::adopt(fd, path)` in its place, where `fd` is a
//! duplicate of its own descriptor, and `device.adopt_vm(id, size)` for the VM that it has made.
//!
//! ```
//! use panvk_sparse::bind::{Request, SparseRange, Target};
//! use panvk_sparse::drm::probe;
//! use panvk_sparse::lower::Strategy;
//! use panvk_sparse::units::Va;
//! use panvk_sparse::vm::{Batch, Initial, SparseVm, VmError};
//! use vpanthor::{Flavour, Kernel, OpenOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel = Kernel::new(Flavour::V1_9);
//! let device = vpanthor::device(kernel.open(OpenOptions::default()))?;
//!
//! // Once for each device: what can this kernel do? `None` takes the best that works.
//! let capabilities = probe(&device)?;
//! assert_eq!(capabilities.strategies, [Strategy::Sparse, Strategy::Chunk, Strategy::Page]);
//! let null = capabilities.null_map(&device, None)?;
//! let mut vm = SparseVm::new(device.create_vm(0)?, null);
//!
//! // vkCreateBuffer with VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT: 100 MiB of addresses that start unbound.
//! let buffer = Va(1 << 32);
//! vm.add_range(SparseRange::new(buffer, 100 << 20, 65536), Initial::Unbound)?;
//!
//! // vkAllocateMemory, and one vkQueueBindSparse: 256 pieces of 64 KiB, in any order.
//! let memory = device.create_bo(16 << 20, 0, None)?;
//! let name = vm.memory(memory.handle());
//! let piece = |i: u64| Request {
//!     va: Va(buffer.0 + i * 65536),
//!     len: 65536,
//!     target: Target::memory(name, i * 65536),
//! };
//! let requests: Vec<Request> = (0..256).rev().map(piece).collect();
//! let batch = Batch { requests: &requests, ..Batch::default() };
//! let before = vm.kernel_counters();
//! vm.bind(&[batch])?;
//! assert_eq!(vm.kernel_counters().since(&before).vm_bind_ops, 1);
//!
//! // The same again changes nothing, so the kernel is not asked.
//! vm.bind(&[batch])?;
//! assert_eq!(vm.totals().elided, 256);
//!
//! // What cannot be is refused, and nothing of the call happens.
//! let outside = Request { va: Va(0), ..piece(0) };
//! let refused = vm.bind(&[Batch { requests: &[outside], ..Batch::default() }]);
//! assert!(matches!(refused, Err(VmError::BadRequest(_))));
//!
//! // vkFreeMemory, then vkDestroyBuffer.
//! vm.memory_gone(memory.handle());
//! drop(memory);
//! vm.remove_range(buffer)?;
//! # Ok(())
//! # }
//! ```
//!
//! With waits and signals, `Batch` carries syncobjs: [`Batch::waits`](vm::Batch::waits), [`Batch::signals`](vm::Batch::signals). Images
//! go through [`layout::TileMap`] and [`bind::resolve_image`], which make requests of tiles.
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
