//! Which addresses belong to sparse resources, and in what pieces they can be bound.

use crate::spans::{Position, Span, Spans};
use crate::units::{SZ_4K, Va};

/// The addresses of one sparse resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseRange {
    pub va: Va,
    /// Bytes.
    pub len: u64,
    /// Bytes from `va` on that nothing else uses: at least `len`. What is behind `len` may map anything, so an unbound range
    /// that ends with the resource may go on to here, if that makes it cheaper.
    pub reserved: u64,
    /// The smallest bind granularity in bytes, a power of two: a later bind splits a mapping at no other distance from
    /// `va`.
    pub granularity: u64,
}

impl SparseRange {
    /// `len` bytes from `va`, and nothing behind them.
    pub const fn new(va: Va, len: u64, granularity: u64) -> SparseRange {
        SparseRange {
            va,
            len,
            reserved: len,
            granularity,
        }
    }

    /// With so many bytes from `va` on that nothing else uses.
    pub const fn reserving(self, reserved: u64) -> SparseRange {
        SparseRange { reserved, ..self }
    }
}

impl Span for SparseRange {
    fn start(&self) -> u64 {
        self.va.0
    }

    fn end(&self) -> u64 {
        self.va.0.saturating_add(self.reserved)
    }
}

/// The sparse resources of a VM, by their addresses. They are disjoint.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    spans: Spans<SparseRange>,
}

impl Ranges {
    /// Adds a range.
    ///
    /// # Errors
    /// A range that it overlaps; then nothing is added.
    pub fn add(&mut self, range: SparseRange) -> Result<(), SparseRange> {
        let place = self.spans.seek(range.va.0);
        match self.spans.get(place) {
            Some(&other) if other.va.0 < range.end() => Err(other),
            _ => {
                self.spans.replace(place, 0, &[range]);
                Ok(())
            }
        }
    }

    /// Removes the range that starts at `va`, if there is one.
    pub fn remove(&mut self, va: Va) -> Option<SparseRange> {
        let place = self.spans.seek(va.0);
        let range = self
            .spans
            .get(place)
            .copied()
            .filter(|range| range.va == va)?;
        self.spans.replace(place, 1, &[]);
        Some(range)
    }

    /// The range that `va` lies in.
    pub fn at(&self, va: Va) -> Option<&SparseRange> {
        let range = self.spans.get(self.spans.seek(va.0))?;
        (range.va <= va).then_some(range)
    }

    /// Where an unbound range that ends at `end` may end instead: behind it lies what its resource has reserved.
    pub(crate) fn end_of_null(&self, end: Va) -> Va {
        let range = self.at(Va(end.0.saturating_sub(1)));
        match range.filter(|range| range.va.0.saturating_add(range.len) == end.0) {
            Some(range) => Va(range.end()),
            None => end,
        }
    }

    /// The smallest granularity among `len` bytes from `va`. Where no resource lies it is a page.
    pub fn granularity(&self, va: Va, len: u64) -> u64 {
        let end = va.0.saturating_add(len);
        self.from(va)
            .take_while(|range| range.va.0 < end)
            .map(|range| range.granularity)
            .min()
            .unwrap_or(SZ_4K)
    }

    /// The ranges that end after `va`, ascending.
    pub fn from(&self, va: Va) -> impl Iterator<Item = &SparseRange> {
        self.spans.iter_from(self.spans.seek(va.0))
    }

    /// All ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &SparseRange> {
        self.spans.iter_from(Position::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SZ_64K;

    fn range(va: u64, len: u64, granularity: u64) -> SparseRange {
        SparseRange::new(Va(va), len, granularity)
    }

    #[test]
    fn ranges_are_found_by_any_of_their_addresses_and_never_overlap() {
        let mut ranges = Ranges::default();
        let (low, high) = (
            range(0x10000, 0x10000, SZ_64K),
            range(0x40000, 0x3000, SZ_4K),
        );
        ranges.add(high).unwrap();
        ranges.add(low).unwrap();
        assert_eq!(ranges.at(Va(0x1ffff)), Some(&low));
        assert_eq!(ranges.at(Va(0x20000)), None);
        assert_eq!(ranges.at(Va(0xffff)), None);
        assert_eq!(ranges.at(Va(0x42fff)), Some(&high));
        assert_eq!(ranges.add(range(0x1f000, 0x1000, SZ_4K)), Err(low));
        assert_eq!(ranges.add(range(0x0, 0x10001, SZ_4K)), Err(low));
        assert_eq!(ranges.add(range(0x30000, 0x20000, SZ_4K)), Err(high));
        assert_eq!(ranges.add(range(0x20000, 0x20000, SZ_4K)), Ok(()));
        assert_eq!(ranges.remove(Va(0x10001)), None);
        assert_eq!(ranges.remove(Va(0x10000)), Some(low));
        assert_eq!(ranges.iter().count(), 2);
    }

    #[test]
    fn the_granularity_of_several_resources_is_the_smallest_of_them() {
        let mut ranges = Ranges::default();
        ranges.add(range(0x10000, 0x10000, SZ_64K)).unwrap();
        ranges.add(range(0x20000, 0x3000, SZ_4K)).unwrap();
        assert_eq!(ranges.granularity(Va(0x10000), 0x10000), SZ_64K);
        assert_eq!(ranges.granularity(Va(0x1f000), 0x2000), SZ_4K);
        assert_eq!(ranges.granularity(Va(0x90000), 0x2000), SZ_4K);
    }
}
