//! The uAPI: structs and numbers of `drm/panthor_drm.h` 1.9, of the OP_MAP_REPEAT series, and of `drm/drm.h` as far as we need it.
//!
//! Names are the headers', without `drm_panthor_` (or `drm_`) and in Rust's case: `drm_panthor_vm_bind_op` is
//! [`VmBindOp`], `DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC` is [`VM_BIND_OP_MAP_NOEXEC`], `DRM_IOCTL_PANTHOR_VM_BIND` is
//! [`IOCTL_VM_BIND`]. All structs are plain data in native byte order, see [`Plain`]. Pointers are `u64` addresses.
//!
//! Every definition goes through a macro of `layout`, which also puts it into a list: [`structs`], [`constants`],
//! [`ioctls`] and [`bit_fields`] are what `tests/vpanthor/uapi_header.rs` holds against the real header.

#[macro_use]
mod layout;

mod bo;
mod generic;
mod group;
mod ioctl;
mod query;
mod vm;

pub use bo::*;
pub use generic::*;
pub use group::*;
pub use ioctl::*;
pub use layout::{BitField, Constant, Field, Ioctl, Layout, Plain, StructLayout};
pub use query::*;
pub use vm::*;

/// Every struct of the headers that is defined here. [`VmBindOpRepeat`] is in no header and not in the list.
pub fn structs() -> impl Iterator<Item = &'static StructLayout> {
    [
        query::STRUCTS,
        vm::STRUCTS,
        bo::STRUCTS,
        group::STRUCTS,
        generic::STRUCTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every constant of the headers that is defined here.
pub fn constants() -> impl Iterator<Item = &'static Constant> {
    [
        query::CONSTANTS,
        vm::CONSTANTS,
        bo::CONSTANTS,
        group::CONSTANTS,
        generic::CONSTANTS,
        ioctl::CONSTANTS,
    ]
    .into_iter()
    .flatten()
}

/// Every ioctl, panthor's first.
pub fn ioctls() -> impl Iterator<Item = &'static Ioctl> {
    ioctl::IOCTLS.iter()
}

/// Every function-like macro of the header that takes a number out of a word.
pub fn bit_fields() -> impl Iterator<Item = &'static BitField> {
    query::BIT_FIELDS.iter()
}
