//! The sparse-binding component of a Vulkan driver for Arm Mali GPUs: it turns `vkQueueBindSparse` into the least work for
//! the kernel driver *panthor* that has the same effect.
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
