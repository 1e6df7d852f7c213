//! What an op changed for the GPU: the translation before it against the translation after it.
//!
//! Taken from the page table, not from the request, so that a mapping written wrongly shows. Clearing and writing the same
//! again is no change, nor is another page of a dummy in place of one: a dummy has no content that matters.

use std::ops::Range;

use panvk_sparse::units::SZ_4K;

use super::bo_table::BoTable;
use super::page_table::{Entry, PageTable, Piece};

/// Where the GPU finds the bytes of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a dummy: the kernel's own, or a buffer object that was named one. Which page of it does not matter.
    Null,
    /// In a buffer object: byte `i` of the range is byte `offset + i` of it.
    Memory {
        /// [`Bo::id`](super::bo::Bo::id).
        bo: u64,
        /// Bytes from the start of the buffer object.
        offset: u64,
    },
}

impl Location {
    /// The place of what lies `bytes` further on.
    pub fn after(self, bytes: u64) -> Location {
        match self {
            Location::Null => Location::Null,
            Location::Memory { bo, offset } => Location::Memory {
                bo,
                offset: offset + bytes,
            },
        }
    }
}

/// A range whose translation changed.
///
/// # Invariants
/// `old != new` unless what was written again is [recorded, too](super::File::record_rewrites), `len > 0`, and the changes of one op are ascending, disjoint and as few as can be: where two touch, `old` or
/// `new` of the second does not continue the first's. Flags (read-only and the like) are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which of the ops that have run since changes were last taken, from 0.
    pub op: u64,
    /// The first byte that changed.
    pub va: u64,
    /// Bytes.
    pub len: u64,
    /// What the first byte was before; `None`: not mapped.
    pub old: Option<Location>,
    /// What the first byte is now; `None`: not mapped.
    pub new: Option<Location>,
}

/// A range of one place, or of none. What it covers follows from those before it in its list.
#[derive(Clone, Copy, Debug)]
struct Extent {
    len: u64,
    place: Option<Location>,
}

fn after(place: Option<Location>, bytes: u64) -> Option<Location> {
    place.map(|place| place.after(bytes))
}

/// Fills `extents` with what `table` says of `va..end`. Neighbours may continue each other.
fn read(extents: &mut Vec<Extent>, table: &PageTable, bos: &BoTable, mut va: u64, end: u64) {
    extents.clear();
    let place = |entry: Entry| {
        if bos.is_null(entry.bo()) {
            Location::Null
        } else {
            Location::Memory {
                bo: bos.id(entry.bo()),
                offset: entry.offset(),
            }
        }
    };
    while va < end {
        match table.piece(va, end) {
            Piece::Empty(len) => {
                extents.push(Extent { len, place: None });
                va += len;
            }
            Piece::Block { len, first } => {
                let place = Some(place(first));
                extents.push(Extent { len, place });
                va += len;
            }
            Piece::Table(entries) => {
                va += entries.len() as u64 * SZ_4K;
                let mut rest = entries;
                while let Some(&first) = rest.first() {
                    let place = first.is_valid().then(|| place(first));
                    let same = match place {
                        None | Some(Location::Null) => {
                            rest.iter().take_while(|entry| entry.same_bo(first)).count()
                        }
                        Some(Location::Memory { .. }) => (0..)
                            .zip(rest)
                            .take_while(|&(page, &entry)| entry == first.after(page))
                            .count(),
                    };
                    let len = same as u64 * SZ_4K;
                    extents.push(Extent { len, place });
                    rest = &rest[same..];
                }
            }
        }
    }
}
/// Collects changes, op by op.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// The op that the next changes belong to.
    op: u64,
    /// Whether what an op writes again as it was counts as well.
    rewrites: bool,
    old: Vec<Extent>,
    new: Vec<Extent>,
    changes: Vec<Change>,
}

impl Recorder {
    /// Call before an op touches the entries of `va..end`.
    pub fn before(&mut self, table: &PageTable, bos: &BoTable, va: u64, end: u64) {
        read(&mut self.old, table, bos, va, end);
    }

    /// Call after it, with the same range. `op` is what of it the op names.
    pub fn after(
        &mut self,
        table: &PageTable,
        bos: &BoTable,
        mut va: u64,
        end: u64,
        op: Range<u64>,
    ) {
        read(&mut self.new, table, bos, va, end);
        let first = self.changes.len();
        let (mut olds, mut news) = (self.old.iter().copied(), self.new.iter().copied());
        let (mut old, mut new) = (olds.next(), news.next());
        // Both cover the same range, so they end together.
        while let (Some(was), Some(is)) = (&mut old, &mut new) {
            let edge = [op.start, op.end].into_iter().find(|&edge| edge > va);
            let len = was.len.min(is.len).min(edge.unwrap_or(end) - va);
            if was.place != is.place || (self.rewrites && op.contains(&va)) {
                let change = Change {
                    op: self.op,
                    va,
                    len,
                    old: was.place,
                    new: is.place,
                };
                match self.changes[first..].last_mut() {
                    Some(last)
                        if last.va + last.len == va
                            && after(last.old, last.len) == was.place
                            && after(last.new, last.len) == is.place =>
                    {
                        last.len += len;
                    }
                    _ => self.changes.push(change),
                }
            }
            va += len;
            for (extent, extents) in [(&mut old, &mut olds), (&mut new, &mut news)] {
                if let Some(rest) = extent {
                    rest.place = after(rest.place, len);
                    rest.len -= len;
                    if rest.len == 0 {
                        *extent = extents.next();
                    }
                }
            }
        }
    }

    pub fn end_op(&mut self) {
        self.op += 1;
    }

    pub fn record_rewrites(&mut self, on: bool) {
        self.rewrites = on;
    }

    /// Puts the changes in the place of what is in `list`. The memory of `list` serves the next ones.
    pub fn take(&mut self, list: &mut Vec<Change>) {
        self.op = 0;
        list.clear();
        std::mem::swap(&mut self.changes, list);
    }
}
