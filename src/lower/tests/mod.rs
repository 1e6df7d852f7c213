//! Lowering against page tables that are arrays of pages, and the rules of the kernels.

mod kernel;
mod properties;
mod rows;
mod syncs;
