//! Addresses, handles and sizes: the small vocabulary that every other module speaks.

use std::fmt;

/// 4 KiB: the smallest page of the GPU's MMU.
pub const SZ_4K: u64 = 4 << 10;
/// 64 KiB: Vulkan's standard sparse block, and a tile of an image on the board.
pub const SZ_64K: u64 = 64 << 10;
/// 2 MiB: the largest page that panthor maps with one page-table entry.
pub const SZ_2M: u64 = 2 << 20;

/// A GPU virtual address, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Va(pub u64);

impl fmt::Debug for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Va({:#x})", self.0)
    }
}

impl fmt::Display for Va {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A GEM handle: the name of a buffer object within one open file of the DRM device. 0 names none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BoHandle(pub u32);

/// The id of a panthor VM within one open file. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VmId(pub u32);

/// The handle of a DRM syncobj within one open file. 0 names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SyncobjHandle(pub u32);

/// A buffer object as the plan names it: a GEM handle that can be told from an earlier use of the same number.
///
/// The kernel hands out a closed handle again. What the shadow remembers of the old object must not be
/// taken for the new one, so whoever allocates BOs gives each a `serial` that is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoRef {
    pub handle: BoHandle,
    pub serial: u32,
}
