//! Recordings of what an application does with sparse resources: made by the layer in `vk-layers/`, read by
//! `panvk-sparse replay` and `panvk-sparse trace`.

#![forbid(unsafe_code)]

mod event;

pub use event::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements,
};
