//! Ranges of addresses in order: a sorted list that can be changed anywhere at little cost.
//!
//! It is cut into blocks of a few dozen spans, and the addresses that the blocks begin with stand side by side. So
//! finding a span touches a few cache lines where a tree touches one for each of its levels, and a change moves no more
//! than one block.

/// A range of addresses with something to it. Never empty.
pub(crate) trait Span: Copy {
    /// The first address.
    fn start(&self) -> u64;
    /// The first address behind it.
    fn end(&self) -> u64;
}

/// A place in [`Spans`]: that of a span, or the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    block: usize,
    index: usize,
}

/// # Invariants
/// Spans ascend and are disjoint. No block is empty or has more than [`MOST`] of them; `firsts[i]` is the first address
/// of `blocks[i]`; `len` counts all.
#[derive(Clone, Debug)]
pub(crate) struct Spans<T> {
    firsts: Vec<u64>,
    blocks: Vec<Vec<T>>,
    len: usize,
}

/// Spans of a block at most.
const MOST: usize = 32;

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self {
            firsts: Vec::new(),
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Span> Spans<T> {
    /// The spans of `sorted`, which ascend and are disjoint.
    pub fn from_sorted(sorted: &[T]) -> Self {
        // Half full, so that there is room.
        let parts = || sorted.chunks(MOST / 2);
        Self {
            firsts: parts().map(|part| part[0].start()).collect(),
            blocks: parts().map(<[T]>::to_vec).collect(),
            len: sorted.len(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn get(&self, at: Place) -> Option<&T> {
        self.blocks.get(at.block)?.get(at.index)
    }

    /// The place behind that of a span.
    #[inline]
    pub fn next(&self, at: Place) -> Place {
        match self.blocks.get(at.block) {
            Some(block) if at.index + 1 < block.len() => Place {
                index: at.index + 1,
                ..at
            },
            _ => Place {
                block: at.block + 1,
                index: 0,
            },
        }
    }

    /// The place before; `None` at the first.
    pub fn previous(&self, at: Place) -> Option<Place> {
        if at.index > 0 {
            return Some(Place {
                index: at.index - 1,
                ..at
            });
        }
        let block = at.block.checked_sub(1)?;
        let index = self.blocks.get(block)?.len() - 1;
        Some(Place { block, index })
    }

    /// The first span that ends after `address`.
    #[inline]
    pub fn seek(&self, address: u64) -> Place {
        self.seek_from(Place::default(), address)
    }

    /// [`Spans::seek`], quicker where the answer is not far behind `from`. That may be any place, of any time.
    #[inline]
    pub fn seek_from(&self, from: Place, address: u64) -> Place {
        if let Some(block) = self.blocks.get(from.block) {
            let ends_after = |index: usize| block.get(index).map(|span| span.end() > address);
            let not_before = match from.index.checked_sub(1) {
                Some(before) => ends_after(before) == Some(false),
                None => self.firsts[from.block] <= address,
            };
            if not_before {
                match ends_after(from.index) {
                    Some(true) => return from,
                    Some(false) if ends_after(from.index + 1) == Some(true) => {
                        return self.next(from);
                    }
                    _ => {}
                }
            }
        }
        let near = |block: usize| {
            self.firsts
                .get(block)
                .is_some_and(|&first| first <= address)
        };
        let low = if near(from.block) { from.block } else { 0 };
        let block = if near(low + 1) {
            low + self.firsts[low + 1..].partition_point(|&first| first <= address)
        } else {
            low
        };
        let Some(spans) = self.blocks.get(block) else {
            return self.end();
        };
        let index = spans.partition_point(|span| span.end() <= address);
        if index == spans.len() {
            return Place {
                block: block + 1,
                index: 0,
            };
        }
        Place { block, index }
    }

    /// The place behind the last span.
    pub fn end(&self) -> Place {
        Place {
            block: self.blocks.len(),
            index: 0,
        }
    }

    /// All spans from a place on.
    pub fn iter_from(&self, at: Place) -> impl Iterator<Item = &T> + '_ {
        let blocks = self.blocks.get(at.block..).unwrap_or(&[]);
        let skip = if blocks.is_empty() { 0 } else { at.index };
        blocks.iter().flatten().skip(skip)
    }

    /// Puts `with` where `count` spans from `at` on are. All of them keep the order.
    pub fn replace(&mut self, at: Place, count: usize, with: &[T]) {
        self.len = self.len - count + with.len();
        if self.blocks.is_empty() {
            if let Some(first) = with.first() {
                self.firsts.push(first.start());
                self.blocks.push(with.to_vec());
            }
            return;
        }
        let (b, index) = match self.blocks.get(at.block) {
            Some(_) => (at.block, at.index),
            None => (
                self.blocks.len() - 1,
                self.blocks[self.blocks.len() - 1].len(),
            ),
        };
        let block = &mut self.blocks[b];
        let here = count.min(block.len() - index);
        match (here, with) {
            (1, [only]) => block[index] = *only,
            (0, [only]) => block.insert(index, *only),
            (1, []) => {
                block.remove(index);
            }
            _ => {
                block.splice(index..index + here, with.iter().copied());
            }
        }
        if here < count {
            self.take_after(b, count - here);
        }
        let block = &mut self.blocks[b];
        match block.first() {
            None => {
                self.blocks.remove(b);
                self.firsts.remove(b);
            }
            Some(first) => {
                self.firsts[b] = first.start();
                if block.len() > MOST {
                    let rest = block.split_off(block.len() / 2);
                    self.firsts.insert(b + 1, rest[0].start());
                    self.blocks.insert(b + 1, rest);
                }
            }
        }
    }

    /// Removes the first `count` spans behind block `b`.
    fn take_after(&mut self, b: usize, mut count: usize) {
        let mut whole = b + 1;
        while let Some(block) = self.blocks.get_mut(whole) {
            if block.len() > count {
                block.drain(..count);
                self.firsts[whole] = block[0].start();
                break;
            }
            count -= block.len();
            whole += 1;
        }
        self.blocks.drain(b + 1..whole);
        self.firsts.drain(b + 1..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Span for (u64, u64) {
        fn start(&self) -> u64 {
            self.0
        }

        fn end(&self) -> u64 {
            self.1
        }
    }

    fn check(spans: &Spans<(u64, u64)>, model: &[(u64, u64)]) {
        let all: Vec<_> = spans.iter_from(Place::default()).copied().collect();
        assert_eq!(all, model);
        assert_eq!(spans.len(), model.len());
        for (block, &first) in spans.blocks.iter().zip(&spans.firsts) {
            assert!(!block.is_empty() && block.len() <= MOST);
            assert_eq!(block[0].0, first);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_a_sorted_list(
            filled in 0usize..400,
            steps in proptest::collection::vec((0u64..4000, 0usize..150, 0usize..4), 1..60),
            hints in proptest::collection::vec((0usize..12, 0usize..80), 60),
        ) {
            // Spans of 6 of every 10 addresses; what is put there are shorter ones.
            let mut model: Vec<(u64, u64)> = (0..filled as u64).map(|i| (10 * i, 10 * i + 6)).collect();
            let mut spans = Spans::from_sorted(&model);
            check(&spans, &model);
            for (&(address, count, new), &(block, index)) in steps.iter().zip(&hints) {
                let found = model.iter().position(|span| span.1 > address);
                let at = spans.seek(address);
                prop_assert_eq!(spans.get(at), found.map(|i| &model[i]));
                prop_assert_eq!(spans.seek_from(Place { block, index }, address), at);
                let i = found.unwrap_or(model.len());
                prop_assert_eq!(spans.previous(at).and_then(|p| spans.get(p)), i.checked_sub(1).map(|i| &model[i]));
                if i < model.len() {
                    prop_assert_eq!(spans.get(spans.next(at)), model.get(i + 1));
                }
                prop_assert_eq!(spans.iter_from(at).count(), model.len() - i);
                let count = count.min(model.len() - i);
                // In front of what follows: what is taken away has room for it, or nothing is put.
                let with: Vec<_> = match model.get(i) {
                    Some(&(start, end)) if count > 0 && end - start >= 2 * new as u64 => {
                        (0..new as u64).map(|k| (start + 2 * k, start + 2 * k + 1)).collect()
                    }
                    None => {
                        let start = model.last().map_or(0, |last| last.1);
                        (0..new as u64).map(|k| (start + 10 * k, start + 10 * k + 6)).collect()
                    }
                    _ => Vec::new(),
                };
                spans.replace(at, count, &with);
                model.splice(i..i + count, with);
                check(&spans, &model);
            }
        }
    }
}
