//! Requests in the order of their addresses, without moving them.

use super::Request;

/// Below this many requests a comparison sort is as fast.
const RADIX_FROM: usize = 512;
/// Widest digit: 2,048 buckets of 8 bytes stay in the first-level cache.
const DIGIT_BITS: u32 = 11;

/// A permutation of requests, ascending by address, and by index where addresses are equal.
///
/// A key is the varying part of the address above the index of the request, packed in 64 bits: 2^20 binds of
/// 64 KiB vary in 20 bits of address, which two passes of a radix sort put in order.
#[derive(Debug, Default)]
pub(super) struct Order {
    keys: Vec<u64>,
    scratch: Vec<u64>,
    /// For addresses too far apart to share 64 bits with the index.
    wide: Vec<(u64, u32)>,
    index_bits: u32,
}

impl Order {
    /// Sorts. Requests without a byte are left out.
    pub fn sort(&mut self, requests: &[Request]) {
        self.keys.clear();
        self.wide.clear();
        let Some(first) = requests.first() else {
            return;
        };
        let (mut min, mut max, mut varying) = (u64::MAX, 0, 0);
        for request in requests {
            min = min.min(request.va.0);
            max = max.max(request.va.0);
            varying |= request.va.0 ^ first.va.0;
        }
        // All addresses agree in the bits below, and so do their distances from the smallest.
        let shift = if varying == 0 {
            0
        } else {
            varying.trailing_zeros()
        };
        let address_bits = bits((max - min) >> shift);
        self.index_bits = bits(requests.len() as u64 - 1);
        let live = requests
            .iter()
            .enumerate()
            .filter(|(_, request)| request.len > 0);
        if address_bits + self.index_bits > u64::BITS {
            self.wide
                .extend(live.map(|(index, request)| (request.va.0, index as u32)));
            self.wide.sort_unstable();
            return;
        }
        let index_bits = self.index_bits;
        self.keys.extend(live.map(|(index, request)| {
            let address = (request.va.0 - min) >> shift;
            (address << index_bits) | index as u64
        }));
        if self.keys.len() < RADIX_FROM {
            self.keys.sort_unstable();
        } else {
            self.radix(address_bits);
        }
    }

    /// Number of requests in order.
    pub fn len(&self) -> usize {
        self.keys.len().max(self.wide.len())
    }

    /// Index of the request at `position`, which is below [`Order::len`].
    #[inline]
    pub fn index(&self, position: usize) -> usize {
        match self.keys.get(position) {
            Some(key) => (key & !(u64::MAX << self.index_bits)) as usize,
            None => self.wide[position].1 as usize,
        }
    }

    /// The requests in order.
    pub fn gather<'a>(&'a self, requests: &'a [Request]) -> Gather<'a> {
        Gather {
            order: self,
            requests,
            block: Vec::with_capacity(BLOCK),
            next: 0,
            at: 0,
        }
    }

    /// Least significant digit first, over the address bits only: the keys start in the order of their
    /// indices, and each pass keeps the order of equals.
    fn radix(&mut self, address_bits: u32) {
        let passes = address_bits.div_ceil(DIGIT_BITS);
        if passes == 0 {
            return;
        }
        let width = address_bits.div_ceil(passes);
        let buckets = 1usize << width;
        let mask = buckets as u64 - 1;
        self.scratch.clear();
        self.scratch.resize(self.keys.len(), 0);
        let mut starts = vec![0usize; buckets];
        for pass in 0..passes {
            let shift = self.index_bits + pass * width;
            let digit = |key: u64| ((key >> shift) & mask) as usize;
            starts.fill(0);
            for &key in &self.keys {
                starts[digit(key)] += 1;
            }
            let mut start = 0;
            for slot in &mut starts {
                start += std::mem::replace(slot, start);
            }
            for &key in &self.keys {
                let slot = &mut starts[digit(key)];
                self.scratch[*slot] = key;
                *slot += 1;
            }
            std::mem::swap(&mut self.keys, &mut self.scratch);
        }
    }
}

/// Requests are fetched so many at a time.
const BLOCK: usize = 64;

/// Requests in order. Each lies somewhere else in memory: fetching a block of them in a loop that does nothing
/// else lets the processor wait for many at once.
#[derive(Debug)]
pub(super) struct Gather<'a> {
    order: &'a Order,
    requests: &'a [Request],
    block: Vec<Request>,
    /// Position of the first request after the block.
    next: usize,
    /// Index in the block.
    at: usize,
}

impl Iterator for Gather<'_> {
    type Item = Request;

    #[inline]
    fn next(&mut self) -> Option<Request> {
        if self.at == self.block.len() {
            let end = self.order.len().min(self.next + BLOCK);
            self.block.clear();
            self.block
                .extend((self.next..end).map(|position| self.requests[self.order.index(position)]));
            (self.next, self.at) = (end, 0);
        }
        let request = self.block.get(self.at).copied();
        self.at += 1;
        request
    }
}

/// Bits that it takes to write `value`.
fn bits(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::Target;
    use crate::units::Va;
    use proptest::prelude::*;

    fn sorted(addresses: &[u64]) -> Vec<usize> {
        let requests: Vec<_> = addresses
            .iter()
            .map(|&va| Request {
                va: Va(va),
                len: 1,
                target: Target::Null,
            })
            .collect();
        let mut order = Order::default();
        order.sort(&requests);
        (0..order.len())
            .map(|position| order.index(position))
            .collect()
    }

    fn sorted_naively(addresses: &[u64]) -> Vec<usize> {
        let mut indices: Vec<_> = (0..addresses.len()).collect();
        indices.sort_by_key(|&index| addresses[index]);
        indices
    }

    #[test]
    fn addresses_over_all_64_bits_are_sorted_too() {
        let addresses: Vec<u64> = (0..1000)
            .map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        assert_eq!(sorted(&addresses), sorted_naively(&addresses));
    }

    #[test]
    fn requests_without_a_byte_are_left_out() {
        let request = |va, len| Request {
            va: Va(va),
            len,
            target: Target::Null,
        };
        let mut order = Order::default();
        order.sort(&[request(8, 1), request(4, 0), request(2, 1)]);
        assert_eq!(
            (0..order.len()).map(|p| order.index(p)).collect::<Vec<_>>(),
            [2, 0]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn the_order_is_that_of_a_stable_sort(
            pages in prop::collection::vec(0u64..40, 0..20),
            shift in 0u32..50,
        ) {
            let addresses: Vec<u64> = pages.iter().map(|page| (page << shift) + 12345).collect();
            prop_assert_eq!(sorted(&addresses), sorted_naively(&addresses));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_order_of_many_is_that_of_a_stable_sort(
            pages in prop::collection::vec(0u64..1 << 24, RADIX_FROM..3000),
            shift in 0u32..40,
        ) {
            let addresses: Vec<u64> = pages.iter().map(|page| page << shift).collect();
            prop_assert_eq!(sorted(&addresses), sorted_naively(&addresses));
        }
    }
}
