//! A buffer object: memory that can be mapped into VMs.

use crate::units::SZ_2M;

/// A buffer object of the virtual kernel, shared by the handles that name it and the mappings that show it.
#[derive(Debug)]
pub struct Bo {
    /// Unique for as long as the process lives; never 0.
    pub id: u64,
    /// Bytes, a multiple of 4 KiB.
    pub size: u64,
    /// The id of the only VM that may map it, where there is one.
    pub exclusive_vm: Option<u32>,
}

impl Bo {
    /// A buffer object of `size` bytes. `id` must not be 0 and not be used twice.
    pub fn new(id: u64, size: u64, exclusive_vm: Option<u32>) -> Self {
        Self {
            id,
            size,
            exclusive_vm,
        }
    }

    /// Whether its memory is made of 2 MiB folios, each aligned to 2 MiB, so that the MMU can map it with 2 MiB blocks.
    /// Smaller buffer objects are made of 4 KiB pages.
    pub fn huge_folios(&self) -> bool {
        self.size >= SZ_2M
    }
}
