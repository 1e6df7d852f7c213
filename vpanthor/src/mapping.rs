//! A mapping (the kernel's `gpuva`): a range of a VM that shows a buffer object, or the kernel's dummy.

use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;

use panvk_sparse::units::{SZ_2M, SZ_4K};

use super::bo::Bo;
use super::bo_table::BoIndex;

/// How the GPU may use a mapping: the low three bits of a map's flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct MapFlags(u8);

impl MapFlags {
    /// The GPU may not write.
    pub const READONLY: MapFlags = MapFlags(1 << 0);
    /// The GPU may not fetch instructions.
    pub const NOEXEC: MapFlags = MapFlags(1 << 1);
    /// Accesses go past the GPU's caches.
    pub const UNCACHED: MapFlags = MapFlags(1 << 2);

    /// The flags among the bits of a `VM_BIND` op; other bits are dropped.
    pub fn from_op_flags(flags: u32) -> Self {
        MapFlags((flags & 0b111) as u8)
    }

    /// The bits as they stand in a `VM_BIND` op.
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Whether all flags of `other` are set.
    pub fn contains(self, other: MapFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for MapFlags {
    type Output = MapFlags;

    fn bitor(self, other: MapFlags) -> MapFlags {
        MapFlags(self.0 | other.0)
    }
}

impl fmt::Debug for MapFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapFlags({:#05b})", self.0)
    }
}

/// What a new mapping shows.
#[derive(Clone, Debug)]
pub enum Source {
    /// A buffer object from `offset` on, once.
    Bo {
        /// Stays alive while it is mapped.
        bo: Arc<Bo>,
        /// Bytes from the start of the buffer object.
        offset: u64,
    },
    /// `range` bytes of a buffer object from `offset` on, over and over (OP_MAP_REPEAT).
    Repeat {
        /// Stays alive while it is mapped.
        bo: Arc<Bo>,
        /// Bytes from the start of the buffer object.
        offset: u64,
        /// Bytes, a multiple of 4 KiB that divides the mapping's size.
        range: u64,
    },
    /// The kernel's own 2 MiB dummy, over and over (OP_MAP_SPARSE).
    Sparse,
}

/// A mapping as one can look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// Where it starts.
    pub va: u64,
    /// Bytes.
    pub size: u64,
    /// [`Bo::id`], or 0 for the kernel's dummy.
    pub bo: u64,
    /// Bytes from the start of the buffer object; for a repeated mapping where its range starts, for the kernel's dummy
    /// the address modulo 2 MiB.
    pub offset: u64,
    /// How the GPU may use it.
    pub flags: MapFlags,
    /// Set for repeated mappings.
    pub repeat: Option<Repeat>,
}

/// How a mapping repeats: byte `i` of it is byte `offset + (phase + i) % range` of the buffer object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Bytes.
    pub range: u64,
    /// Bytes into the range at which the mapping starts: what a cut before it has taken away. Below `range`.
    pub phase: u64,
}

/// Where the bytes of a mapping come from, without saying from which buffer object. Small, as there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Plain {
        offset: u64,
    },
    /// Range and phase as in [`Repeat`], in pages of 4 KiB.
    Repeat {
        offset: u64,
        range_pages: u32,
        phase_pages: u32,
    },
    Sparse,
}

impl Content {
    /// The offset in the buffer object of the first byte, which is at `va`.
    pub fn offset_at(self, va: u64) -> u64 {
        match self {
            Content::Plain { offset } => offset,
            Content::Repeat {
                offset,
                phase_pages,
                ..
            } => offset + u64::from(phase_pages) * SZ_4K,
            Content::Sparse => va % SZ_2M,
        }
    }

    /// How many bytes from the first one, which is at `va`, lie in a row in the buffer object.
    pub fn contiguous(self, va: u64) -> u64 {
        match self {
            Content::Plain { .. } => u64::MAX,
            Content::Repeat {
                range_pages,
                phase_pages,
                ..
            } => u64::from(range_pages - phase_pages) * SZ_4K,
            Content::Sparse => SZ_2M - va % SZ_2M,
        }
    }

    /// The same content without its first `bytes`, whole pages.
    pub fn advance(self, bytes: u64) -> Content {
        match self {
            Content::Plain { offset } => Content::Plain {
                offset: offset + bytes,
            },
            Content::Repeat {
                offset,
                range_pages,
                phase_pages,
            } => {
                let phase = (u64::from(phase_pages) + bytes / SZ_4K) % u64::from(range_pages);
                Content::Repeat {
                    offset,
                    range_pages,
                    phase_pages: phase as u32,
                }
            }
            Content::Sparse => Content::Sparse,
        }
    }
}

/// What the page table needs to know to show a mapping, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backing {
    pub bo: BoIndex,
    pub flags: MapFlags,
    /// The memory is made of 2 MiB folios.
    pub huge: bool,
    /// The kernel takes it for such, and cuts accordingly.
    pub cut_as_huge: bool,
    pub content: Content,
}

impl Backing {
    /// What remains without the first `bytes`.
    pub fn advance(self, bytes: u64) -> Backing {
        Backing {
            content: self.content.advance(bytes),
            ..self
        }
    }

    /// Whether the 2 MiB slot at `va`, all of which shall show this from its first byte on, can be one block.
    pub fn fits_block(self, va: u64) -> bool {
        self.huge && self.content.contiguous(va) >= SZ_2M && self.content.offset_at(va) % SZ_2M == 0
    }
}

/// A mapping as the VM keeps it, under the address at which it starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub size: u64,
    pub backing: Backing,
}

impl Mapping {
    /// Whether a kernel of the series' fifth revision refuses to cut it `distance` bytes from its start.
    pub fn refuses_cut_at(&self, distance: u64) -> bool {
        match self.backing.content {
            Content::Repeat { range_pages, .. } => distance % (u64::from(range_pages) * SZ_4K) != 0,
            Content::Plain { .. } | Content::Sparse => false,
        }
    }
}
