//! What the ICD and the layers share: the base driver, handle maps, `pNext` walking.

pub mod base;
pub mod handles;
pub mod manifest;
pub mod pnext;
