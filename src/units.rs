//! Addresses, handles and sizes: the small vocabulary that every other module speaks.

use std::fmt;

/// 4 KiB: the smallest page of the GPU's MMU.
pub const SZ_4K: u64 = 4 << 10;
/// 64 KiB: Vulkan's standard sparse block, and a tile of an image on the board.
pub const SZ_64K: u64 = 64 << 10;
/// 2 MiB: the largest page that panthor maps with one page-table entry.
pub const SZ_2M: u64 = 2 << 20;

/// Reads a number of bytes: a whole number, alone or with a suffix.
///
/// `K`, `M`, `G` (or `KB`, `MB`, `GB`) are powers of 1000, `KiB`, `MiB`, `GiB` powers of 1024; case does not
/// matter, and `_` may group digits.
///
/// # Errors
/// Which of these rules the text breaks; or `None`: it is more than 64 bits hold.
pub fn parse_bytes(text: &str) -> Result<u64, Option<String>> {
    let trimmed = text.trim();
    let digits_end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(trimmed.len());
    let (digits, suffix) = trimmed.split_at(digits_end);
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return Err(Some(
            "expected a whole number of bytes, such as 100000000, 100M or 64KiB".to_owned(),
        ));
    }
    let unit: u64 = match suffix.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => {
            return Err(Some(format!(
                "the suffix \"{}\" is unknown; K, M and G are powers of 1000, KiB, MiB and GiB powers of 1024",
                suffix.trim_start()
            )));
        }
    };
    let number = digits.parse::<u64>().ok();
    number.and_then(|n| n.checked_mul(unit)).ok_or(None)
}

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
