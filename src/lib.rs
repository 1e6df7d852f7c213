//! panvk-sparse turns `vkQueueBindSparse` into the fewest panthor `VM_BIND` operations that have the same effect.

#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_debug_implementations)]

pub mod backend;
pub mod bind;
pub mod config;
pub mod drm;
pub mod lower;
pub mod units;
pub mod vpanthor;
pub mod vulkan;
