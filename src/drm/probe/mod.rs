//! What this kernel can do, found out by trying.
//!
//! A version number does not tell: the OP_MAP_REPEAT series announced 1.6 and 1.8, which mean other things in mainline,
//! and its flag is the bit that mainline 1.9 calls SPARSE. What tells the two apart is the size of the struct. A kernel
//! of the series takes operations of 56 bytes, and refuses a map without a buffer object and repeat range. Mainline
//! 1.9 takes no 56 bytes unless the last 8 are zero (E2BIG), and refuses bit 3 together with a buffer object; only it
//! accepts the bit without one. So no kernel accepts both trials, and none accepts the wrong one.
//!
//! Each trial has a scratch VM of its own, so that whatever a refusal leaves behind is gone with it.

mod null;
mod trials;

pub use null::{NullBacking, NullMapError};

use super::device::{DEFAULT_PAGE_SIZES, Device};
use super::error::{IoctlError, errno_name};
use crate::lower::Strategy;
use rustix::io::Errno;
use std::{error, fmt};

/// What the kernel said to a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Refused(Errno),
    NotTried,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Accepted => f.pad("accepted"),
            Outcome::Refused(errno) => f.pad(&errno_name(*errno)),
            Outcome::NotTried => f.pad("not tried"),
        }
    }
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The strategy that stands or falls with it, if one does.
    pub strategy: Option<Strategy>,
    /// What was asked of the kernel.
    pub what: String,
    pub outcome: Outcome,
    /// What follows from the outcome.
    pub meaning: String,
}

/// What a kernel was seen to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Major and minor number of the uAPI.
    pub version: (u32, u32),
    /// A bit for each size in bytes.
    pub page_sizes: u64,
    /// In the order of trying.
    pub tried: Vec<Trial>,
    /// What works, best first.
    pub strategies: Vec<Strategy>,
    /// Bytes: repeat ranges up to this one survive a cut at a smaller distance. 0: cut only at multiples of the range.
    pub repeat_max_range: u64,
}

/// Why probing could not be finished: the kernel is out of something, or broken. A refusal is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeError {
    /// What was being tried.
    pub what: String,
    pub error: IoctlError,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot probe the kernel: {}: {}", self.what, self.error)
    }
}

impl error::Error for ProbeError {}

/// Finds out what the kernel behind `device` can do. Everything that it creates is gone when it returns, however it
/// returns.
///
/// # Errors
/// An ioctl fails with an errno that says nothing about what the kernel can do, such as ENOMEM.
pub fn probe(device: &Device) -> Result<Capabilities, ProbeError> {
    let mut tried = Vec::new();

    let mmu_info = device.mmu_info().map_err(|error| ProbeError {
        what: "ask for MMU_INFO".into(),
        error,
    })?;
    let page_sizes = mmu_info
        .filter(|sizes| *sizes != 0)
        .unwrap_or(DEFAULT_PAGE_SIZES);
    tried.push(Trial {
        strategy: None,
        what: "DEV_QUERY MMU_INFO".into(),
        outcome: if mmu_info.is_some() {
            Outcome::Accepted
        } else {
            Outcome::Refused(Errno::INVAL)
        },
        meaning: match mmu_info {
            Some(_) => format!("page sizes {}", page_size_list(page_sizes)),
            None => format!(
                "before uAPI 1.9: page sizes {} taken for granted",
                page_size_list(page_sizes)
            ),
        },
    });

    let found = trials::run(device, device.version(), page_sizes)?;
    tried.extend(found.tried);
    Ok(Capabilities {
        version: device.version(),
        page_sizes,
        tried,
        strategies: found.strategies,
        repeat_max_range: found.repeat_max_range,
    })
}

/// `4 KiB, 2 MiB`.
fn page_size_list(sizes: u64) -> String {
    let size = |bit: u32| match bit {
        0..10 => format!("{} B", 1u64 << bit),
        10..20 => format!("{} KiB", 1u64 << (bit - 10)),
        20..30 => format!("{} MiB", 1u64 << (bit - 20)),
        _ => format!("{} GiB", 1u64 << (bit - 30)),
    };
    let list: Vec<String> = (0..u64::BITS)
        .filter(|bit| sizes >> bit & 1 == 1)
        .map(size)
        .collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_read_as_people_write_them() {
        assert_eq!(page_size_list(DEFAULT_PAGE_SIZES), "4 KiB, 2 MiB");
        assert_eq!(
            page_size_list(1 << 14 | 1 << 16 | 1 << 30),
            "16 KiB, 64 KiB, 1 GiB"
        );
    }
}
