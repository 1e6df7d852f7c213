//! The plan of a bind in the words of other kernels: xe, msm, asahi, nouveau and amdgpu.
//!
//! A plan ([`panvk_sparse::bind`]) is a list of runs and knows no kernel. [`panvk_sparse::lower`] says it to panthor; this crate
//! says it to the others, in the bytes that their ioctls take. So it can be counted what the same application would ask of
//! each of them. Nothing here opens a device or makes an ioctl: it is no driver for any of these GPUs.
//!
//! | kernel | an unbound range is | operations in an ioctl | waits and signals |
//! |---|---|---|---|
//! | xe | MAP with NULL | many | of the ioctl |
//! | msm | MAP_NULL: the kernel has a dummy page | many | of the ioctl |
//! | asahi | a bind with SINGLE_PAGE: one page of a buffer object, repeated | many | none: the driver waits and signals itself |
//! | nouveau | UNMAP inside of a SPARSE region, which the resource is | many | of the ioctl |
//! | amdgpu | REPLACE with PRT | one | binary waits, one signal |
//!
//! The structs and numbers are held against the kernel's headers by `tests/vpanthor/uapi_header.rs`. The unit tests decode the
//! bytes again as each driver would, refuse what it refuses, and compare page tables.

#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod amdgpu;
pub mod asahi;
mod counts;
mod encode;
mod ioctl;
mod kernel;
pub mod msm;
pub mod nouveau;
mod seam;
#[cfg(test)]
mod tests;
pub mod xe;

pub use counts::Counts;
pub use encode::{Encoder, Unfit};
pub use ioctl::{Ioctl, Step};
pub use kernel::{Kernel, UnknownKernel};
pub use seam::{Limits, Names};

use panvk_sparse::uapi;

/// Every struct of the headers that is defined here.
pub fn structs() -> impl Iterator<Item = &'static uapi::StructLayout> {
    [
        xe::STRUCTS,
        msm::STRUCTS,
        asahi::STRUCTS,
        nouveau::STRUCTS,
        amdgpu::STRUCTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every constant of the headers that is defined here.
pub fn constants() -> impl Iterator<Item = &'static uapi::Constant> {
    [
        xe::CONSTANTS,
        msm::CONSTANTS,
        asahi::CONSTANTS,
        nouveau::CONSTANTS,
        amdgpu::CONSTANTS,
    ]
    .into_iter()
    .flatten()
}

/// The ioctl of each kernel that binds.
pub fn ioctls() -> impl Iterator<Item = &'static uapi::Ioctl> {
    [
        &xe::IOCTL,
        &msm::IOCTL,
        &asahi::IOCTL,
        &nouveau::IOCTL,
        &amdgpu::IOCTL,
    ]
    .into_iter()
}
