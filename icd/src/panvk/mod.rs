//! In front of panvk on a board: the Vulkan side of [`board`].
//!
//! The handles are panvk's own, and so are nearly all functions. Those here tell [`board`] which call of the application a
//! thread is in: the creation of a sparse resource, or a `vkQueueBindSparse`.

mod bind;
mod device;
pub mod hooks;
mod instance;
mod resources;
mod trial;
