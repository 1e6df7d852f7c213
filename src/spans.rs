//! Ranges of addresses in order: a sorted list that can be changed anywhere at little cost.
//!
//! It is cut into blocks of a few dozen spans. The addresses that the blocks begin with stand side by side, and so do those
//! that the spans of a block end with. So finding a span touches a few cache lines where a tree touches one for each of its
//! levels, and a change moves no more than one block.

use std::slice;

/// A range of addresses with something to it. Never empty.
pub trait Span: Copy {
    /// The first address.
    fn start(&self) -> u64;
    /// The first address behind it.
    fn end(&self) -> u64;
}

/// A place in [`Spans`]: that of a span, or the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    block: usize,
    index: usize,
}

/// # Invariants
/// Spans ascend and are disjoint. No block is empty or has more than `MOST` of them; `firsts[i]` is the first address
/// of `blocks[i]`; `len` counts all.
#[derive(Debug)]
pub struct Spans<T> {
    firsts: Vec<u64>,
    blocks: Vec<Box<Block<T>>>,
    len: usize,
    /// Blocks that were in use and are free, up to [`MOST_SPARE`]: a list that shrinks and grows again, as with binds and
    /// unbinds of one buffer in turn, needs no memory from the system.
    spare: Vec<Box<Block<T>>>,
}

impl<T: Clone> Clone for Spans<T> {
    fn clone(&self) -> Self {
        Spans {
            firsts: self.firsts.clone(),
            blocks: self.blocks.clone(),
            len: self.len,
            spare: Vec::new(),
        }
    }
}

/// Spans in a row: the first `len` of `spans`, and in `ends` the addresses that they end with. What is behind has no
/// meaning.
///
/// # Invariants
/// `len` is at most [`MOST`], and up to [`ROOM`] more during a change.
#[derive(Clone, Debug)]
struct Block<T> {
    len: usize,
    ends: [u64; MOST + ROOM],
    spans: [T; MOST + ROOM],
}

impl<T: Span> Block<T> {
    /// `None` where there are no spans. [`MOST`] is all that it can take.
    fn new(spans: &[T]) -> Option<Box<Self>> {
        let &filler = spans.first()?;
        let mut block = Box::new(Block {
            len: 0,
            ends: [0; MOST + ROOM],
            spans: [filler; MOST + ROOM],
        });
        block.put(0, 0, spans);
        Some(block)
    }

    fn spans(&self) -> &[T] {
        &self.spans[..self.len]
    }

    fn first(&self) -> u64 {
        self.spans[0].start()
    }

    /// How many spans end at `address` or before it.
    #[inline]
    fn before(&self, address: u64) -> usize {
        self.ends[..self.len].partition_point(|&end| end <= address)
    }

    /// Whether span `index` ends after `address`; `None` where there is no such span.
    #[inline]
    fn ends_after(&self, index: usize, address: u64) -> Option<bool> {
        self.ends[..self.len].get(index).map(|&end| end > address)
    }

    /// Puts `with` where `count` spans from `index` on are.
    #[inline]
    fn put(&mut self, index: usize, count: usize, with: &[T]) {
        let (from, to) = (index + count, index + with.len());
        if from != to {
            self.ends.copy_within(from..self.len, to);
            self.spans.copy_within(from..self.len, to);
            self.len = self.len + to - from;
        }
        for (i, span) in (index..).zip(with) {
            self.ends[i] = span.end();
            self.spans[i] = *span;
        }
    }
}

/// Spans of a block at most.
const MOST: usize = 32;
/// Free blocks that are kept: those of a plan of 16,384 pieces, and 1.7 MiB of a [shadow](crate::bind::Shadow).
const MOST_SPARE: usize = 1024;
/// Spans that a change puts at once, at most: a range, and what is left of others before and behind it.
const ROOM: usize = 3;
/// Spans of two neighbouring blocks that become one when one of them has shrunk.
const FEW: usize = MOST / 4;

impl<T> Default for Spans<T> {
    fn default() -> Self {
        Self {
            firsts: Vec::new(),
            blocks: Vec::new(),
            len: 0,
            spare: Vec::new(),
        }
    }
}

impl<T: Span> Spans<T> {
    /// The spans of `sorted`, which ascend and are disjoint.
    #[cfg(test)]
    fn from_sorted(sorted: &[T]) -> Self {
        let mut spans = Self::default();
        sorted.iter().for_each(|&span| spans.push(span));
        spans
    }

    /// Adds a span that lies behind all others.
    #[inline]
    pub fn push(&mut self, span: T) {
        self.len += 1;
        match self.blocks.last_mut() {
            // Not full, so that there is room.
            Some(last) if last.len < MOST * 3 / 4 => last.put(last.len, 0, &[span]),
            _ => self.insert_block(self.blocks.len(), &[span]),
        }
    }

    /// An empty list that gets the free blocks of this one.
    pub fn successor(&mut self) -> Self {
        Spans {
            spare: std::mem::take(&mut self.spare),
            ..Self::default()
        }
    }

    /// Takes over the blocks of `predecessor`, as free ones.
    pub fn recycle(&mut self, mut predecessor: Self) {
        predecessor.blocks.truncate(MOST_SPARE - self.spare.len());
        self.spare.append(&mut predecessor.blocks);
    }

    /// Keeps a block that is not in use any more, unless there are many.
    fn free(&mut self, block: Box<Block<T>>) {
        if self.spare.len() < MOST_SPARE {
            self.spare.push(block);
        }
    }

    pub fn count(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn get(&self, at: Position) -> Option<&T> {
        self.blocks.get(at.block)?.spans().get(at.index)
    }

    /// The place behind that of a span.
    #[inline]
    pub fn next(&self, at: Position) -> Position {
        match self.blocks.get(at.block) {
            Some(block) if at.index + 1 < block.len => Position {
                index: at.index + 1,
                ..at
            },
            _ => Position {
                block: at.block + 1,
                index: 0,
            },
        }
    }

    /// The first span that ends after `address`.
    #[inline]
    pub fn seek(&self, address: u64) -> Position {
        self.seek_from(Position::default(), address)
    }

    /// [`Spans::seek`], quicker where the answer is not far behind `from`. That may be any place, of any time.
    #[inline]
    pub fn seek_from(&self, from: Position, address: u64) -> Position {
        if let Some(block) = self.blocks.get(from.block) {
            let ends_after = |index| block.ends_after(index, address);
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
        let index = spans.before(address);
        if index == spans.len {
            return Position {
                block: block + 1,
                index: 0,
            };
        }
        Position { block, index }
    }

    /// The place behind the last span.
    pub fn end(&self) -> Position {
        Position {
            block: self.blocks.len(),
            index: 0,
        }
    }

    /// All spans from a place on.
    #[inline]
    pub fn iter_from(&self, at: Position) -> Iter<'_, T> {
        let mut blocks = self.blocks.get(at.block..).unwrap_or(&[]).iter();
        let here = blocks
            .next()
            .and_then(|block| block.spans().get(at.index..));
        Iter {
            here: here.unwrap_or(&[]).iter(),
            blocks,
        }
    }

    /// Puts `with`, up to `ROOM` spans, where `count` spans from `at` on are. All of them keep the order.
    pub fn replace(&mut self, at: Position, count: usize, with: &[T]) {
        debug_assert!(with.len() <= ROOM);
        self.len = self.len - count + with.len();
        let (b, index) = match (self.blocks.get(at.block), self.blocks.last()) {
            (Some(_), _) => (at.block, at.index),
            // Behind all of them.
            (None, Some(last)) => (self.blocks.len() - 1, last.len),
            (None, None) => {
                self.insert_block(0, with);
                return;
            }
        };
        let block = &mut self.blocks[b];
        let here = count.min(block.len - index);
        block.put(index, here, with);
        if here < count {
            self.take_after(b, count - here);
        }
        let block = &mut self.blocks[b];
        if block.len == 0 {
            let empty = self.blocks.remove(b);
            self.free(empty);
            self.firsts.remove(b);
            return;
        }
        self.firsts[b] = block.first();
        if block.len > MOST {
            let half = block.len / 2;
            let (behind, len) = (block.spans, block.len);
            block.len = half;
            self.insert_block(b + 1, &behind[half..len]);
        } else if with.len() < count {
            self.join_next(b);
        }
    }

    /// Makes a block `b` of these spans, unless there are none.
    fn insert_block(&mut self, b: usize, spans: &[T]) {
        if spans.is_empty() {
            return;
        }
        let spare = self.spare.pop().map(|mut block| {
            block.len = 0;
            block.put(0, 0, spans);
            block
        });
        if let Some(block) = spare.or_else(|| Block::new(spans)) {
            self.firsts.insert(b, block.first());
            self.blocks.insert(b, block);
        }
    }

    /// Lets block `b` and the one behind it be one where they have few spans, so that what has grown and shrunk again does
    /// not stay in pieces.
    fn join_next(&mut self, b: usize) {
        let (before, behind) = self.blocks.split_at_mut(b + 1);
        let (Some(block), Some(next)) = (before.last_mut(), behind.first()) else {
            return;
        };
        if block.len + next.len <= FEW {
            block.put(block.len, 0, next.spans());
            let joined = self.blocks.remove(b + 1);
            self.free(joined);
            self.firsts.remove(b + 1);
        }
    }

    /// Removes the first `count` spans behind block `b`.
    fn take_after(&mut self, b: usize, mut count: usize) {
        let mut whole = b + 1;
        while let Some(block) = self.blocks.get_mut(whole) {
            if block.len > count {
                block.put(0, count, &[]);
                self.firsts[whole] = block.first();
                break;
            }
            count -= block.len;
            whole += 1;
        }
        let gone = self.blocks.drain(b + 1..whole);
        self.spare.extend(gone.take(MOST_SPARE - self.spare.len()));
        self.firsts.drain(b + 1..whole);
    }
}

/// See [`Spans::iter_from`]. What `flatten` would do, but a loop over few spans stays short.
#[derive(Debug)]
pub struct Iter<'a, T> {
    here: slice::Iter<'a, T>,
    blocks: slice::Iter<'a, Box<Block<T>>>,
}

impl<'a, T: Span> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(span) = self.here.next() {
                return Some(span);
            }
            self.here = self.blocks.next()?.spans().iter();
        }
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
        let all: Vec<_> = spans.iter_from(Position::default()).copied().collect();
        assert_eq!(all, model);
        assert_eq!(spans.count(), model.len());
        assert!(spans.spare.len() <= MOST_SPARE);
        for (block, &first) in spans.blocks.iter().zip(&spans.firsts) {
            assert!(block.len > 0 && block.len <= MOST);
            assert_eq!(block.first(), first);
            let ends: Vec<_> = block.spans().iter().map(|span| span.1).collect();
            assert_eq!(block.ends[..block.len], ends);
        }
    }

    #[test]
    fn the_memory_of_what_has_gone_is_used_again_up_to_a_limit() {
        let few: Vec<_> = (0..1000).map(|i| (2 * i, 2 * i + 1)).collect();
        let mut spans = Spans::from_sorted(&few);
        let blocks = spans.blocks.len();
        spans.replace(Position::default(), few.len(), &[]);
        // One of them was emptied, the others went as a whole.
        assert_eq!(spans.spare.len(), blocks);
        few.iter().for_each(|&span| spans.push(span));
        check(&spans, &few);
        assert_eq!(spans.spare.len(), 0);
        let mut next = spans.successor();
        next.recycle(spans);
        assert_eq!((next.count(), next.spare.len()), (0, blocks));
        assert_eq!(next.clone().spare.len(), 0);

        let many: Vec<_> = (0..100_000).map(|i| (2 * i, 2 * i + 1)).collect();
        let mut spans = Spans::from_sorted(&many);
        assert!(spans.blocks.len() > MOST_SPARE);
        let mut next = spans.successor();
        next.recycle(spans);
        check(&next, &[]);
        let mut spans = Spans::from_sorted(&many);
        spans.replace(Position::default(), many.len(), &[]);
        check(&spans, &[]);
        assert_eq!(
            (next.spare.len(), spans.spare.len()),
            (MOST_SPARE, MOST_SPARE)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn it_is_a_sorted_list(
            filled in 0usize..400,
            steps in proptest::collection::vec((0u64..4000, 0usize..150, 0usize..=ROOM), 1..60),
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
                prop_assert_eq!(spans.seek_from(Position { block, index }, address), at);
                let i = found.unwrap_or(model.len());
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
