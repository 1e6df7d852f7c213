//! What the ICD and the layers share: the base driver, handle maps, `pNext` walking.

pub mod base;
pub mod binds;
pub mod formats;
pub mod handles;
pub mod images;
pub mod manifest;
pub mod pnext;
