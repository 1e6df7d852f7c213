//! The component as a driver author gets it: what it depends on, how its modules lean on each other, and [`SparseVm`]
//! against plain memory.
//!
//! [`SparseVm`]: panvk_sparse::vm::SparseVm

mod api;
mod board;
mod c_abi;
mod c_program;
mod cost;
mod dependencies;
mod failures;
mod order;
mod panvk;
mod sparse_vm;
