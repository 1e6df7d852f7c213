//! Recordings of what an application does with sparse resources: made by the layer in `vk-layers/`, read by
//! `panvk-sparse replay` and `panvk-sparse trace`.
//!
//! A file is a header and blocks of [`Record`]s. Each block has a length and a checksum and is read without the others, so
//! what a process had handed to the system before it was killed stays readable. Within a block, an event says how it
//! differs from what the events before it make likely: a bind that goes on where the one before it ended takes one
//! byte. `docs/trace-format.md` has every byte of it.
//!
//! [`Writer`] and [`Reader`] know no files, clocks or threads: they work on any [`std::io::Write`] and
//! [`std::io::Read`].

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod error;
mod event;
mod fields;
mod header;
mod reader;
mod spare;
mod state;
mod wire;
mod writer;

pub use error::ReadError;
pub use event::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements,
};
pub use header::Header;
pub use reader::Reader;
pub use writer::Writer;

/// The format that is written: major and minor version. A reader takes every minor version of its major version.
pub const VERSION: (u16, u16) = (1, 0);

/// Bytes that a block's contents have at most: 64 MiB.
pub const MAX_BLOCK: usize = 64 << 20;

/// Infos, semaphores, resources and binds that one `vkQueueBindSparse` has at most, all together.
pub const MAX_ITEMS: u64 = 1 << 22;

/// Bytes that a string has at most. Longer ones are cut, at the end of a character.
pub const MAX_STRING: usize = 4096;

/// Contents of a block from which on the next record starts a new one, in bytes.
const FULL_BLOCK: usize = 64 << 10;

/// The first bytes of a file.
const MAGIC: [u8; 8] = *b"\x89PVST\r\n\x1a";
/// The first bytes of a block with records.
const TAG_RECORDS: [u8; 4] = *b"PVSB";
/// The first bytes of the block that ends a recording.
const TAG_END: [u8; 4] = *b"PVSE";
/// Tag, length of the contents, checksum.
const BLOCK_HEAD: usize = 12;

/// Bits of the byte that starts a `VkBindSparseInfo`.
mod info {
    pub const JOINS_PREVIOUS: u8 = 1 << 0;
    pub const WAITS: u8 = 1 << 1;
    pub const SIGNALS: u8 = 1 << 2;
    pub const BINDS: u8 = 1 << 3;
    pub const IMAGE_BINDS: u8 = 1 << 4;
    pub const ALL: u8 = (1 << 5) - 1;
}

/// Bits of the byte that starts a bind of either sort: the memory.
mod memory {
    pub const MASK: u8 = 3;
    pub const NONE: u8 = 0;
    pub const SAME: u8 = 1;
    pub const OTHER: u8 = 2;
}

/// Bits of the byte that starts a `VkSparseMemoryBind`: what follows because it is not as predicted.
mod bind {
    pub const OFFSET: u8 = 1 << 2;
    pub const SIZE: u8 = 1 << 3;
    pub const MEMORY_OFFSET: u8 = 1 << 4;
    pub const METADATA: u8 = 1 << 5;
    pub const ALL: u8 = (1 << 6) - 1;
}

/// Bits of the byte that starts a `VkSparseImageMemoryBind`: what follows because it is not as predicted.
mod image_bind {
    pub const SUBRESOURCE: u8 = 1 << 2;
    pub const X: u8 = 1 << 3;
    pub const Y: u8 = 1 << 4;
    pub const Z: u8 = 1 << 5;
    pub const EXTENT: u8 = 1 << 6;
    pub const MEMORY_OFFSET: u8 = 1 << 7;
}
