//! How a range without memory is mapped: one way for each kernel in the field.

use std::fmt;
use std::str::FromStr;

use crate::units::{BoHandle, SZ_2M, SZ_4K};

/// A way of mapping an unbound range so that the GPU doesn't fault on it, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// One MAP with the flag SPARSE: the kernel has a dummy of its own (uAPI 1.9).
    Sparse,
    /// One MAP with the flag REPEAT and a repeat range (the OP_MAP_REPEAT series).
    Repeat,
    /// One MAP for each chunk of a dummy of up to 2 MiB (every kernel).
    Chunk,
    /// One MAP for each 4 KiB page: the slow reference (every kernel).
    Page,
}

impl Strategy {
    /// All of them, best first.
    pub const ALL: [Strategy; 4] = [
        Strategy::Sparse,
        Strategy::Repeat,
        Strategy::Chunk,
        Strategy::Page,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Sparse => "sparse",
            Strategy::Repeat => "repeat",
            Strategy::Chunk => "chunk",
            Strategy::Page => "page",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no [`Strategy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownStrategy(pub String);

impl fmt::Display for UnknownStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "null strategy {:?} is none of sparse, repeat, chunk, page",
            self.0
        )
    }
}

impl std::error::Error for UnknownStrategy {}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Strategy::ALL
            .into_iter()
            .find(|strategy| strategy.name() == s)
            .ok_or_else(|| UnknownStrategy(s.to_owned()))
    }
}

/// A [`Strategy`] with what it needs: the dummy buffer object and its sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullMap {
    Sparse,
    Repeat {
        dummy: BoHandle,
        /// A power of two, from 4 KiB. No repeat range is larger.
        dummy_size: u64,
        /// 0: a repeat range is never larger than the resource's bind granularity, which every kernel of the
        /// series gets right. Otherwise a larger power of two, up to 2 MiB, with which this kernel has been
        /// seen to split a mapping at a smaller distance and to tear it down again.
        max_range: u64,
    },
    Chunk {
        dummy: BoHandle,
        /// A power of two, 4 KiB to 2 MiB. The byte of the dummy at an address is the address modulo this.
        dummy_size: u64,
    },
    Page {
        /// At least one 4 KiB page.
        dummy: BoHandle,
    },
}

impl NullMap {
    pub const fn strategy(&self) -> Strategy {
        match self {
            NullMap::Sparse => Strategy::Sparse,
            NullMap::Repeat { .. } => Strategy::Repeat,
            NullMap::Chunk { .. } => Strategy::Chunk,
            NullMap::Page { .. } => Strategy::Page,
        }
    }

    /// Bytes of the dummy that one repetition uses at most: its size as a power of two, 4 KiB to 2 MiB.
    pub(super) fn dummy_size(&self) -> u64 {
        match *self {
            NullMap::Sparse => SZ_2M,
            NullMap::Repeat { dummy_size, .. } | NullMap::Chunk { dummy_size, .. } => {
                let floor = dummy_size.checked_ilog2().map_or(0, |bit| 1 << bit);
                floor.clamp(SZ_4K, SZ_2M)
            }
            NullMap::Page { .. } => SZ_4K,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_reads_back_what_it_prints() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
    }

    #[test]
    fn an_unknown_strategy_is_named_with_the_ones_there_are() {
        let error = "sparce".parse::<Strategy>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "null strategy \"sparce\" is none of sparse, repeat, chunk, page"
        );
    }
}
