//! The virtual kernel: its ioctls, mappings and page tables; the same as a node of other programs; the kernel boundary over
//! it; and the structs of the kernel's headers.

mod any_bytes;
mod any_ioctls;
mod drm;
mod gpuvm_facts;
mod gpuvm_properties;
mod ioctls;
mod kit;
mod node;
mod queued;
mod uapi_header;
mod vectors;
