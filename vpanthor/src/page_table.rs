//! The page table of one VM, as the GPU's MMU would walk it: 2 MiB slots that are empty, one block, or a table of 512
//! entries of 4 KiB.
//!
//! What is written follows the kernel's LPAE page-table code: a block is written where the mapping allows one and never
//! put together from small entries, clearing small entries leaves an empty table behind, and a table goes when its whole
//! slot is cleared or becomes a block. Levels above are tables that are taken when first needed and never given back.

use std::collections::BTreeMap;

use panvk_sparse::lower::Work;
use panvk_sparse::units::{SZ_2M, SZ_4K};

use super::bo::MMAP_OFFSETS;
use super::bo_table::BoIndex;
use super::mapping::{Backing, Content, MapFlags};

/// Pages in a slot, slots in a region.
const ENTRIES: usize = 512;
/// What one table of slots spans.
const SZ_1G: u64 = 1 << 30;
/// What one table of regions spans.
const SZ_512G: u64 = 512 << 30;

/// What was done to a page table since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PtStats {
    /// 2 MiB blocks written.
    pub map_2m: u64,
    /// 4 KiB entries written.
    pub map_4k: u64,
    /// 2 MiB blocks cleared.
    pub clear_2m_block: u64,
    /// 2 MiB entries cleared that pointed to a table; the table is freed.
    pub clear_2m_table: u64,
    /// 2 MiB blocks that took the place of an empty table. The kernel clears the entry first; here it counts as written once.
    pub replaced_tables: u64,
    /// 4 KiB entries cleared.
    pub clear_4k: u64,
    /// Table pages of 4 KiB taken, those since freed included. The root is not counted.
    pub table_pages: u64,
    /// Calls into the page-table code: one for each piece of consecutive pages within a slot that is written, and for each
    /// series of whole slots or part of a slot that is cleared. So a repeated mapping costs a call a repetition.
    pub pt_calls: u64,
    /// Of these, the calls for a piece of a mapping in a slot that are not the first one there.
    pub pt_repetitions: u64,
}

impl PtStats {
    /// Entries written or cleared, of both sizes.
    pub fn pte_writes(&self) -> u64 {
        self.map_2m + self.map_4k + self.clear_2m_block + self.clear_2m_table + self.clear_4k
    }

    /// This as the work for `ops` operations in so many synchronous ioctls, whose time a cost model tells.
    pub fn work(&self, ioctls: u64, ops: u64) -> Work {
        Work {
            ioctls,
            ops,
            calls: self.pt_calls - self.pt_repetitions,
            repetitions: self.pt_repetitions,
            entries: self.map_4k + self.clear_4k,
            large_entries: self.map_2m + self.clear_2m_block + self.clear_2m_table,
            tables: self.table_pages,
            ..Work::default()
        }
    }
}

// An entry has room for the number of any page of a buffer object.
const _: () = assert!(MMAP_OFFSETS <= SZ_4K << Entry::PAGE_BITS);

/// A page-table entry: valid bit, flags, buffer object, page of it. All bits 0: not mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    const INVALID: Entry = Entry(0);
    const PAGE_BITS: u32 = 36;
    const BO_BITS: u32 = 24;
    const FLAGS_SHIFT: u32 = Self::PAGE_BITS + Self::BO_BITS;
    const VALID: u64 = 1 << 63;
    const BO_MASK: u64 = ((1 << Self::BO_BITS) - 1) << Self::PAGE_BITS;

    fn new(bo: BoIndex, flags: MapFlags, offset: u64) -> Self {
        Entry(
            Self::VALID
                | (u64::from(flags.bits()) << Self::FLAGS_SHIFT)
                | (u64::from(bo.0) << Self::PAGE_BITS)
                | (offset / SZ_4K),
        )
    }

    pub fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    pub fn bo(self) -> BoIndex {
        BoIndex(((self.0 & Self::BO_MASK) >> Self::PAGE_BITS) as u32)
    }

    /// Bytes from the start of the buffer object.
    pub fn offset(self) -> u64 {
        (self.0 & ((1 << Self::PAGE_BITS) - 1)) * SZ_4K
    }

    pub fn flags(self) -> MapFlags {
        MapFlags::from_op_flags((self.0 >> Self::FLAGS_SHIFT) as u32)
    }

    /// Whether both are valid and of one buffer object, or both invalid.
    pub fn same_bo(self, other: Entry) -> bool {
        (self.0 ^ other.0) & (Self::VALID | Self::BO_MASK) == 0
    }

    /// The entry for the page `pages` further on in the buffer object.
    pub fn after(self, pages: u64) -> Entry {
        Entry(self.0 + pages)
    }
}

type Leaf = Box<[Entry; ENTRIES]>;

#[derive(Debug)]
enum Slot {
    Empty,
    /// The entry of the first of its pages.
    Block(Entry),
    Table(Leaf),
}

impl Slot {
    fn is_unmapped(&self) -> bool {
        match self {
            Slot::Empty => true,
            Slot::Block(_) => false,
            Slot::Table(leaf) => leaf.iter().all(|entry| !entry.is_valid()),
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_valid() {
            write!(f, "{:?}+{:#x} {:?}", self.bo(), self.offset(), self.flags())
        } else {
            f.write_str("-")
        }
    }
}

/// A part of the address space that lies in one slot, or in slots that are all empty.
pub(super) enum Piece<'a> {
    /// Nothing is mapped in this many bytes.
    Empty(u64),
    /// `len` bytes of a block, the first with this entry.
    Block { len: u64, first: Entry },
    /// Entries of 4 KiB, some of them invalid.
    Table(&'a [Entry]),
}

#[derive(Debug)]
pub(super) struct PageTable {
    /// By address / 1 GiB.
    regions: BTreeMap<u64, Box<[Slot; ENTRIES]>>,
    stats: PtStats,
    /// Whether a part of a block can be cleared.
    pub splits_blocks: bool,
}

impl PageTable {
    pub fn new() -> Self {
        Self {
            regions: BTreeMap::new(),
            stats: PtStats::default(),
            splits_blocks: false,
        }
    }

    pub fn stats(&self) -> PtStats {
        self.stats
    }

    fn slot(&self, va: u64) -> &Slot {
        match self.regions.get(&(va / SZ_1G)) {
            Some(region) => &region[slot_index(va)],
            None => &Slot::Empty,
        }
    }

    /// The slot at `va`, with the tables above it.
    fn slot_mut<'a>(
        regions: &'a mut BTreeMap<u64, Box<[Slot; ENTRIES]>>,
        stats: &mut PtStats,
        va: u64,
    ) -> &'a mut Slot {
        let region = va / SZ_1G;
        if !regions.contains_key(&region) {
            let upper = va / SZ_512G * (SZ_512G / SZ_1G);
            let has_upper = regions
                .range(upper..upper + SZ_512G / SZ_1G)
                .next()
                .is_some();
            stats.table_pages += if has_upper { 1 } else { 2 };
        }
        let region = regions
            .entry(region)
            .or_insert_with(|| Box::new([const { Slot::Empty }; ENTRIES]));
        &mut region[slot_index(va)]
    }

    /// What the GPU finds at `va`.
    pub fn get(&self, va: u64) -> Option<Entry> {
        let entry = match self.slot(va) {
            Slot::Empty => return None,
            Slot::Block(first) => first.after(va % SZ_2M / SZ_4K),
            Slot::Table(leaf) => leaf[entry_index(va)],
        };
        entry.is_valid().then_some(entry)
    }

    /// Whether the 2 MiB slot with `va` in it is one block.
    pub fn is_block(&self, va: u64) -> bool {
        matches!(self.slot(va), Slot::Block(_))
    }

    /// What is at `va`, up to `end` or the end of the slot (to the next region, where there is none).
    pub fn piece(&self, va: u64, end: u64) -> Piece<'_> {
        let Some(region) = self.regions.get(&(va / SZ_1G)) else {
            let next = self.regions.range(va / SZ_1G..).next();
            let next = next.map_or(end, |(region, _)| region * SZ_1G);
            return Piece::Empty(end.min(next) - va);
        };
        let len = (end - va).min(SZ_2M - va % SZ_2M);
        match &region[slot_index(va)] {
            Slot::Empty => Piece::Empty(len),
            Slot::Block(first) => Piece::Block {
                len,
                first: first.after(va % SZ_2M / SZ_4K),
            },
            Slot::Table(leaf) => {
                let from = entry_index(va);
                Piece::Table(&leaf[from..from + (len / SZ_4K) as usize])
            }
        }
    }

    /// Maps `size` bytes from `va` on, none of which is mapped.
    pub fn map(&mut self, mut va: u64, mut size: u64, mut backing: Backing) {
        while size > 0 {
            let part = size.min(SZ_2M - va % SZ_2M);
            let slot = Self::slot_mut(&mut self.regions, &mut self.stats, va);
            if part == SZ_2M && backing.fits_block(va) {
                debug_assert!(slot.is_unmapped(), "mapped at {va:#x}");
                self.stats.replaced_tables += u64::from(matches!(slot, Slot::Table(_)));
                *slot = Slot::Block(entry_at(&backing, va));
                self.stats.map_2m += 1;
                self.stats.pt_calls += 1;
            } else {
                debug_assert!(!matches!(slot, Slot::Block(_)), "mapped at {va:#x}");
                if !matches!(slot, Slot::Table(_)) {
                    *slot = Slot::Table(Box::new([Entry::INVALID; ENTRIES]));
                    self.stats.table_pages += 1;
                }
                if let Slot::Table(leaf) = slot {
                    let from = entry_index(va);
                    let pages = (part / SZ_4K) as usize;
                    let pieces = fill(&mut leaf[from..from + pages], va, backing);
                    self.stats.pt_calls += pieces;
                    self.stats.pt_repetitions += pieces - 1;
                    self.stats.map_4k += pages as u64;
                }
            }
            va += part;
            size -= part;
            backing = backing.advance(part);
        }
    }

    /// Clears `size` bytes from `va` on, all of which are mapped. A block is only cleared as a whole, except if the kernel
    /// splits it: into a table that has entries for the rest from the start.
    pub fn unmap(&mut self, mut va: u64, mut size: u64) {
        while size > 0 {
            let whole = va % SZ_2M == 0 && size >= SZ_2M;
            let part = if whole {
                (size - size % SZ_2M).min(SZ_1G - va % SZ_1G)
            } else {
                size.min(SZ_2M - va % SZ_2M)
            };
            self.stats.pt_calls += 1;
            if let Some(region) = self.regions.get_mut(&(va / SZ_1G)) {
                if whole {
                    let from = slot_index(va);
                    for slot in &mut region[from..from + (part / SZ_2M) as usize] {
                        match std::mem::replace(slot, Slot::Empty) {
                            Slot::Empty => debug_assert!(false, "nothing mapped at {va:#x}"),
                            Slot::Block(_) => self.stats.clear_2m_block += 1,
                            Slot::Table(_) => self.stats.clear_2m_table += 1,
                        }
                    }
                } else {
                    let from = entry_index(va);
                    let pages = (part / SZ_4K) as usize;
                    match &mut region[slot_index(va)] {
                        Slot::Table(leaf) => {
                            let entries = &mut leaf[from..from + pages];
                            debug_assert!(entries.iter().all(|entry| entry.is_valid()));
                            entries.fill(Entry::INVALID);
                            self.stats.clear_4k += pages as u64;
                        }
                        slot @ &mut Slot::Block(first) => {
                            debug_assert!(self.splits_blocks, "a part of a block at {va:#x}");
                            let entry = |page| first.after(page as u64);
                            let mut leaf = Box::new(std::array::from_fn(entry));
                            leaf[from..from + pages].fill(Entry::INVALID);
                            *slot = Slot::Table(leaf);
                            self.stats.map_4k += (ENTRIES - pages) as u64;
                            self.stats.table_pages += 1;
                        }
                        Slot::Empty => debug_assert!(false, "nothing mapped at {va:#x}"),
                    }
                }
            } else {
                debug_assert!(false, "nothing mapped at {va:#x}");
            }
            va += part;
            size -= part;
        }
    }
}

fn slot_index(va: u64) -> usize {
    (va % SZ_1G / SZ_2M) as usize
}

fn entry_index(va: u64) -> usize {
    (va % SZ_2M / SZ_4K) as usize
}

fn entry_at(backing: &Backing, va: u64) -> Entry {
    Entry::new(backing.bo, backing.flags, backing.content.offset_at(va))
}

/// Writes the entries from `va` on, and says how many pieces of consecutive pages they were: a new piece begins where the
/// content repeats and, as memory is contiguous only within a folio, where a 2 MiB folio ends.
fn fill(entries: &mut [Entry], mut va: u64, mut backing: Backing) -> u64 {
    if let Content::Repeat { range_pages: 1, .. } = backing.content {
        entries.fill(entry_at(&backing, va));
        return entries.len() as u64;
    }
    let mut pieces = 0;
    let mut rest = entries;
    while !rest.is_empty() {
        let mut bytes = backing
            .content
            .contiguous(va)
            .min(rest.len() as u64 * SZ_4K);
        if backing.huge {
            bytes = bytes.min(SZ_2M - backing.content.offset_at(va) % SZ_2M);
        }
        let first = entry_at(&backing, va);
        let (piece, tail) = rest.split_at_mut((bytes / SZ_4K) as usize);
        for (page, entry) in (0..).zip(piece) {
            *entry = first.after(page);
        }
        pieces += 1;
        rest = tail;
        va += bytes;
        backing = backing.advance(bytes);
    }
    pieces
}
