//! panvk-sparse turns `vkQueueBindSparse` into the fewest panthor `VM_BIND` operations that have the same effect.
//!
//! Arm Mali GPUs have no bit that says "this page is unbound, do not fault". So their driver maps every unbound
//! range of a sparse resource to a small *dummy*, over and over. How many operations that takes depends on the
//! kernel; this crate takes the fewest that the kernel at hand can do it with.
//!
//! # The way of one bind
//!
//! ```text
//! VkBindSparseInfo[]
//!   -> bind::resolve    handles become addresses: Request { va, len, target: Memory { bo, offset } | Null }
//!   -> bind::Planner    last writer wins, sorted, merged, only what changes: Run { va, len, target }
//!   -> lower::Lowering  per kernel: operations; waits on the first of a batch, signals on the last
//!   -> drm::Vm::bind    one DRM_IOCTL_PANTHOR_VM_BIND, counted
//!   -> the kernel       panthor, or vpanthor
//! ```
//!
//! Nothing flows back but a result.
//!
//! # The house
//!
//! | module | what | |
//! |---|---|---|
//! | [`units`] | addresses, handles, sizes | pure |
//! | [`bind`] | requests, the plan, the shadow: what an application asked for and what has to change | pure |
//! | [`layout`] | where a sparse block of an image lies in its range of addresses | pure |
//! | [`lower`] | runs become operations, for one kernel's capabilities | pure |
//! | [`drm`] | the kernel boundary: uAPI structs, transport, probe, VM, BO, syncobj, counters | unsafe |
//! | [`vpanthor`] | a virtual panthor kernel: the same ioctls, gpuvm, page tables, faults on demand | |
//! | [`vulkan`] | what the ICD and the layers need of Vulkan: base driver, handle maps, `pNext` chains | unsafe |
//! | [`backend`] | who owns memory and addresses; [`backend::hosted`]: any base driver, vpanthor, and a render node beside it | |
//! | [`trace`] | recordings of an application's sparse binds: the format, writing to and reading from any stream | pure |
//! | [`replay`] | what a recording asks of a kernel, counted | |
//! | `spans` | sorted ranges of addresses, for the shadow and the virtual kernel's mappings | pure |
//! | [`config`] | the environment variables | |
//!
//! Pure means: no I/O, no unsafe, no clock, no global. The driver itself, `libvulkan_panvk_sparse.so`, is the
//! package in `icd/`; the layer that records is in `vk-layers/`, the virtual node for other programs in `preload/`. The
//! command `panvk-sparse` is this package's binary.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_debug_implementations)]

pub mod backend;
pub mod bind;
pub mod config;
pub mod drm;
pub mod layout;
pub mod lower;
pub mod replay;
mod spans;
pub mod trace;
pub mod units;
pub mod vpanthor;
pub mod vulkan;
