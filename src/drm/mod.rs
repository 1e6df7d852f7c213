//! The kernel boundary: everything that knows how to talk to a panthor device.
//!
//! A DRM driver is a file. One opens a render node (`/dev/dri/renderD128`) and calls ioctls on it; every object that
//! they create, a VM, a buffer object, a syncobj, is a number that means something on this open file only. Here a
//! [`Device`] is the open file, and [`Vm`], [`Bo`] and [`Syncobj`] are such numbers that close themselves.
//!
//! What is behind the file is either a real kernel or [`vpanthor`](crate::vpanthor) in this process: a `Transport`
//! carries ioctls to one or the other, byte for byte the same. A [`KernelSpec`] says which. [`probe()`] finds out what
//! the kernel can do, and [`Counters`] say what it was asked to do.

mod bo;
mod counters;
mod device;
mod error;
mod find;
mod in_process;
mod node;
pub mod probe;
mod retry;
mod spec;
mod syncobj;
mod transport;
pub mod uapi;
mod vm;

pub use bo::Bo;
pub use counters::{Counters, Tally, by_name, ioctl_name};
pub use device::Device;
pub use error::{BindFailure, IoctlError, OpenError, errno_name};
pub use find::{DRI, find, find_in};
pub use probe::{Capabilities, NullBacking, NullMapError, ProbeError, probe};
pub use retry::{MAX_RETRIES_EAGAIN, MAX_RETRIES_EINTR};
pub use spec::{KernelSpec, UnknownKernel};
pub use syncobj::Syncobj;
pub use vm::{BindMode, Vm, VmState};
