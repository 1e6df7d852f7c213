//! A virtual panthor kernel: the same ioctls, in this process, with a gpuvm and page tables one can look at.

#![forbid(unsafe_code)]

pub mod bo;
pub mod changes;
pub mod flavour;
pub mod gpuvm;
pub mod mapping;
pub mod page_table;
pub mod validate;

mod bo_table;
mod mappings;
