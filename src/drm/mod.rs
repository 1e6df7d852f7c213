//! The kernel boundary: everything that knows how to talk to a panthor device.
//!
//! A DRM driver is a file. One opens a render node (`/dev/dri/renderD128`) and calls ioctls on it; every object that
//! they create, a VM, a buffer object, a syncobj, is a number that means something on this open file only. Here a
//! [`Device`] is the open file, and [`Vm`], [`Bo`] and [`Syncobj`] are such numbers that close themselves.
//!
//! A [`Transport`] carries the ioctls: to a real kernel through a file descriptor, or to something else that answers as a
//! kernel does, byte for byte the same. [`probe()`] finds out what the kernel can do, and [`Counters`] say what it was
//! asked to do.

mod bo;
mod counters;
mod device;
mod error;
mod file;
pub mod probe;
mod retry;
mod syncobj;
mod transport;
mod vm;

pub use bo::Bo;
pub use counters::{Counters, Tally, ioctl_name};
pub use device::Device;
pub use error::{BindFailure, IoctlError, OpenError, errno_name};
pub use probe::{Capabilities, NullBacking, NullMapError, ProbeError, probe};
pub use retry::{MAX_RETRIES_EAGAIN, MAX_RETRIES_EINTR};
pub use syncobj::Syncobj;
pub use transport::{Buffer, CallMemory, Transport};
pub use vm::{BindMode, Vm, VmState};
