//! How much memory a scenario may bind from.
//!
//! panthor takes all pages of a buffer object when the first part of it is mapped, and keeps them until it is closed:
//! they can't be swapped out while a GPU may use them. So on a real kernel a buffer object is never larger than half
//! of what the machine has free. The virtual kernel's buffer objects are numbers.

use std::fs;

use panvk_sparse::units::{SZ_2M, SZ_4K};

use super::kernel::Kernel;
use super::size::{binary, thousands};

const MEMINFO: &str = "/proc/meminfo";

/// The memory that the calls bind from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What the calls would bind from, in bytes; 0 where they bind nothing.
    pub wanted: u64,
    /// The size of the one buffer object that they do bind from: at most `wanted`. Where it is less, they go
    /// through it again and again.
    pub bytes: u64,
    /// What the kernel says that is free, in bytes; `None` where it was not asked.
    available: Option<u64>,
}

impl Budget {
    /// For `wanted` bytes on this kernel.
    pub fn new(kernel: &Kernel, wanted: u64) -> Budget {
        match free_memory(kernel) {
            Some(available) if wanted > 0 => Budget::within(wanted, available),
            _ => Budget {
                wanted,
                bytes: wanted,
                available: None,
            },
        }
    }

    fn within(wanted: u64, available: u64) -> Budget {
        let half = available / 2;
        // Whole huge pages as long as there is one, so that huge pages line up when it is gone through again.
        let most = match half / SZ_2M {
            0 => (half - half % SZ_4K).max(SZ_4K),
            pages => pages * SZ_2M,
        };
        Budget {
            wanted,
            bytes: wanted.min(most),
            available: Some(available),
        }
    }

    /// What was done about memory that is not free, in a sentence; `None` where nothing had to be.
    pub fn note(&self) -> Option<String> {
        let available = self.available?;
        (self.bytes < self.wanted).then(|| {
            format!(
                "Memory: {} instead of {} bytes, bound again and again: half of the {} bytes that are free \
                 (panthor keeps a buffer object in memory while it is mapped). Each piece is an operation.",
                binary(self.bytes),
                thousands(self.wanted),
                thousands(available),
            )
        })
    }
}

/// What the machine has free for the kernel's buffer objects, in bytes; `None` for a virtual kernel, whose buffer objects
/// take nothing.
fn free_memory(kernel: &Kernel) -> Option<u64> {
    if !kernel.is_node() {
        return None;
    }
    let meminfo = fs::read_to_string(MEMINFO).ok();
    let available = meminfo.and_then(|text| mem_available(&text));
    // Where nothing says what is free, not much is taken for free.
    Some(available.unwrap_or(16 * SZ_2M))
}

/// The bytes of the line `MemAvailable` of /proc/meminfo.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_read_from_meminfo() {
        let text = "MemTotal:        3885416 kB\nMemFree:  1 kB\nMemAvailable:    3215560 kB\nBuffers: 2 kB\n";
        assert_eq!(mem_available(text), Some(3_215_560 * 1024));
        assert_eq!(mem_available("MemTotal: 3885416 kB\n"), None);
        assert_eq!(mem_available("MemAvailable: lots\n"), None);
        assert_eq!(
            mem_available("MemAvailable: 18446744073709551615 kB\n"),
            None
        );
    }

    #[test]
    fn only_a_real_kernel_is_bounded_by_what_the_machine_has_free() {
        let kernel = |text: &str| Kernel::choose(Some(&text.parse().unwrap())).unwrap();
        let (virtual_, real) = (kernel("vpanthor:1.9"), kernel("/dev/dri/renderD128"));
        let machine: u64 = 1 << 60;
        assert_eq!(Budget::new(&virtual_, machine).bytes, machine);
        let bounded = Budget::new(&real, machine);
        assert!(bounded.bytes < machine / 2, "{bounded:?}");
        assert!(bounded.note().is_some());
        assert_eq!(Budget::new(&real, 0).bytes, 0);
        assert_eq!(Budget::new(&real, SZ_4K).bytes, SZ_4K);
    }

    #[test]
    fn a_buffer_object_is_half_of_what_is_free_in_whole_huge_pages_or_what_is_wanted() {
        const GIB: u64 = 1 << 30;
        for (wanted, available, bytes) in [
            (GIB, 16 * GIB, GIB),
            (8 * GIB, 16 * GIB, 8 * GIB),
            (16 * GIB, 2 * GIB + SZ_4K, GIB),
            (16 * GIB, 2 * GIB - SZ_4K, GIB - SZ_2M),
            (GIB, SZ_2M, 1 << 20),
            (GIB, 3 * SZ_4K, SZ_4K),
            (GIB, 0, SZ_4K),
        ] {
            let budget = Budget::within(wanted, available);
            assert_eq!(budget.bytes, bytes, "{budget:?}");
            assert_eq!(budget.note().is_some(), bytes < wanted, "{budget:?}");
        }
    }
}
