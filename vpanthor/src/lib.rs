//! A virtual panthor kernel: the same ioctls, in this process, with a gpuvm and page tables one can look at.
//!
//! # What a panthor kernel is
//! *panthor* is the Linux driver for Arm's Mali GPUs from the tenth architecture on. A process opens its render node and
//! gets a [`File`]. By ioctl it then makes *buffer objects* (memory, named by GEM handles), *VMs* (address spaces of the
//! GPU, named by ids from 1) and *syncobjs* (boxes for fences, which say when work is done). What a VM shows at which
//! address is said by VM_BIND: an array of operations, each of which maps a part of a buffer object, unmaps a range, or
//! only waits and signals. Done at once (*synchronous*), or queued behind what was queued before (*asynchronous*).
//!
//! The driver keeps a VM twice: as mappings (*gpuvm*: who asked for what), and as page tables (what the GPU walks). Each
//! VM_BIND op cuts the mappings that it overlaps and writes page-table entries of 4 KiB and 2 MiB; that work is what the rest
//! of panvk-sparse tries to make small, and what the model counts.
//!
//! # How the model is laid out
//! In the order in which an ioctl comes by:
//!
//! | module | what |
//! |---|---|
//! | [`flavour`] | which kernel: version, size of an op, how unbound ranges are mapped |
//! | [`identity`] | which GPU |
//! | [`kernel`] | the device and its open files ([`File`]); handles |
//! | [`user_memory`] | copying from and to the caller, arrays of objects of any version |
//! | `kernel/dispatch` | the ioctls, one function each: what is checked, what is answered |
//! | [`validate`] | what one VM_BIND op may say |
//! | [`vm`] | a VM: its queue of asynchronous binds, usable or not |
//! | [`gpuvm`], [`page_table`] | its mappings and page tables |
//! | `group`, `heaps`, `flush_id` | how work would reach the GPU |
//! | `queue` | work that waits, and runs when it need not |
//! | [`changes`] | what an op changed for the GPU |
//! | [`bo`], `syncobj`, `payload`, `fence`, `fds`, `watches` | the objects, and how they leave and come back as file descriptors |
//! | `refusal` | why an ioctl was refused, in words |
//! | [`snapshot`] | what a file holds, for a look from outside |
//! | [`faults`] | refusals on demand, for tests |
//!
//! There is no thread: an asynchronous bind runs when it is submitted if it need not wait, and else in the call that
//! signals what it waits for. In a real kernel it would run a little later; no program can tell.
//!
//! Around the model:
//!
//! | module | what |
//! |---|---|
//! | `in_process` | a [`Device`](panvk_sparse::drm::Device) whose kernel is the model: [`device()`], [`Virtual`] |
//! | `tee`, `differences` | a real node beside the model, asked the same: [`Tee`] |
//! | `spec`, [`nodes`] | which kernel a word names ([`KernelSpec`]), and the render nodes of this machine |
//!
//! # What it does not have
//! A GPU. Groups and tiler heaps are there, so that a driver can set up its queues; a submitted job ends as soon as what it
//! waits for has happened and signals what it should, but nothing of its command stream runs. Memory of other drivers.
//! `/proc` has to be there for objects to come in as file descriptors.

#![forbid(unsafe_code)]

pub mod bo;
pub mod changes;
pub mod faults;
pub mod flavour;
pub mod gpuvm;
pub mod identity;
pub mod kernel;
pub mod mapping;
pub mod nodes;
pub mod page_table;
pub mod user_memory;
pub mod validate;
pub mod vm;

mod bo_table;
mod differences;
mod fds;
mod fence;
mod flush_id;
mod group;
mod handles;
mod heaps;
mod in_process;
mod mappings;
mod payload;
mod queue;
mod refusal;
mod shared;
mod spec;
mod syncobj;
mod tee;
mod watches;

pub use changes::{Change, Location};
pub use faults::{Fault, OpStage};
pub use flavour::Flavour;
pub use identity::Identity;
pub use in_process::{Virtual, device};
pub use kernel::{File, ForeignFence, Kernel, Objects, OpenOptions, Privileges, Sleeper, snapshot};
pub use refusal::last_refusal;
pub use spec::{KernelSpec, UnknownKernel};
pub use tee::{Tee, TeeCounts, model_of};
pub use user_memory::{Arena, UserMemory};
pub use vm::VmStats;
