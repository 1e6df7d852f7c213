//! What the records of a block have said so far, from which the next one is predicted. Writer and reader keep the same.

use panvk_sparse::layout::{Extent, Offset, Region};

/// What a handle names. Handles of one class are often followed by the same handle or one that was named before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Device,
    Queue,
    Memory,
    Buffer,
    Image,
    Semaphore,
    Fence,
}

const CLASSES: usize = 7;

/// Handles that are remembered of a class: a byte names them, besides [`Handles::SAME`] and [`Handles::NEW`].
const SLOTS: usize = 254;

/// The handles of one class.
#[derive(Clone, Debug)]
pub struct Handles {
    pub last: u64,
    pub slots: [u64; SLOTS],
}

impl Handles {
    /// The handle is the last one.
    pub const SAME: u8 = 0;
    /// The handle follows, as its difference from the last one.
    pub const NEW: u8 = 1;
    /// The byte for slot 0.
    pub const FIRST_SLOT: u8 = 2;

    /// Where a handle is remembered: a multiplicative hash, for the numbers are often addresses.
    pub fn slot(handle: u64) -> usize {
        let hash = handle.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash * SLOTS as u64) >> 32) as usize
    }
}

/// What a block's records have said so far.
#[derive(Clone, Debug)]
pub struct Context {
    /// Of the last record, in nanoseconds.
    pub time: u64,
    handles: Box<[Handles; CLASSES]>,
    /// Of the last semaphore.
    pub semaphore_value: u64,
    pub bind: BindState,
    pub image: ImageState,
}

/// The last `VkSparseMemoryBind`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BindState {
    /// The end of its range of the resource.
    pub end: u64,
    pub size: u64,
    /// The end of the range of memory of the last one that had memory.
    pub memory_end: u64,
}

/// The last `VkSparseImageMemoryBind`.
#[derive(Clone, Copy, Debug)]
pub struct ImageState {
    pub region: Region,
    /// Of the last one that had memory.
    pub memory_offset: u64,
    /// The difference between the offsets of the last two.
    pub step: u64,
}

impl ImageState {
    /// The texel that the next bind is expected at: right of this one.
    pub fn next(&self) -> Offset {
        let Region { offset, extent, .. } = self.region;
        Offset {
            x: offset.x.wrapping_add(extent.width as i32),
            ..offset
        }
    }

    /// The memory that the next bind is expected at.
    pub fn next_memory_offset(&self) -> u64 {
        self.memory_offset.wrapping_add(self.step)
    }

    /// A bind had memory at `offset`.
    pub fn memory_at(&mut self, offset: u64) {
        self.step = offset.wrapping_sub(self.memory_offset);
        self.memory_offset = offset;
    }
}

impl Context {
    pub fn new() -> Self {
        Self {
            time: 0,
            handles: Box::new(
                [const {
                    Handles {
                        last: 0,
                        slots: [0; SLOTS],
                    }
                }; CLASSES],
            ),
            semaphore_value: 0,
            bind: BindState::default(),
            image: ImageState {
                region: Region {
                    aspect: 0,
                    level: 0,
                    layer: 0,
                    offset: Offset::default(),
                    extent: Extent::new(0, 0, 0),
                },
                memory_offset: 0,
                step: 0,
            },
        }
    }

    pub fn handles(&mut self, class: Class) -> &mut Handles {
        &mut self.handles[class as usize]
    }
}
