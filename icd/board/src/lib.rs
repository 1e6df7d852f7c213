//! Board: in front of an unmodified panvk that has sparse binding, at its border to the kernel.
//!
//! When panvk calls the kernel, it has resolved handles, addresses, tiles and semaphores already. So this crate knows no
//! Vulkan: it sees VM_BIND ioctls, and the driver in front says which Vulkan call a thread is in ([`calls`]).
//!
//! # The border
//! panvk is linked with libdrm and calls `drmIoctl`, `drmCloseBufferHandle` and `drmSyncobj*` there, and `ioctl` in the C
//! library. Each of these calls goes through a word of panvk's own table of imported functions. The [`border`] finds the
//! table in memory and puts its own functions in these words (`slots.rs`). That touches one library and nothing else: other
//! users of libdrm have tables of their own, and libdrm's table stays as it is. The other way would be the scope in which the
//! dynamic linker looks symbols up. But a library that is loaded later comes first there only if it was preloaded, for the
//! whole process, or if panvk were loaded into a namespace of its own, with a second C library.
//!
//! # What happens there
//! * Asynchronous VM_BINDs are sparse binds. Those of one `vkQueueBindSparse` are held (`held.rs`) until the last of them is
//!   there, whose result the base driver gets. One [`SparseVm::bind`](panvk_sparse::vm::SparseVm::bind) carries them out.
//!   Where the base driver submits from a thread of its own, what is held ends with the operation that signals.
//! * Synchronous VM_BINDs create and destroy. Those that map a new sparse resource to the base driver's dummy are carried out
//!   by [`SparseVm::add_range`](panvk_sparse::vm::SparseVm::add_range); all others pass.
//! * Before anything else that could depend on what is held, what is held goes to the kernel.
//!
//! A base driver that does anything in another way than [`trial`] expects is left alone.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod border;
pub mod calls;
mod held;
mod op;
mod parts;
mod slots;
pub mod trial;
mod vm;

pub use calls::{Expected, Look};
pub use op::Op;
pub use trial::Nulls;
pub use vm::{BoardVm, Counts, NewVm};
