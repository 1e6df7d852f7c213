//! One VM of the GPU: its mappings, and the page table that shows them.
//!
//! This is the kernel's gpuvm with panthor's steps. A map cuts every mapping it overlaps, in ascending order, and inserts
//! exactly what was asked for. Nothing is ever merged: neighbours that continue each other stay apart, and a map of what is
//! there already clears and writes everything again.
//!
//! The MMU can't clear a part of a 2 MiB block. So where a cut falls inside a slot that the mapping covers from there to
//! the slot's border, and its memory is made of 2 MiB folios, the whole side of the slot is cleared and what stays is
//! written anew in 4 KiB entries, whether or not the slot was a block. (Linux 6.12 splits the block instead, and leaves a
//! slot alone that is none.)

use rustix::io::Errno;

use panvk_sparse::units::{SZ_2M, SZ_4K};

use super::bo::Bo;
use super::bo_table::{BoIndex, BoTable};
use super::changes::{Change, Recorder};
use super::flavour::{Flavour, RepeatRule};
use super::mapping::{Backing, Content, MapFlags, Mapping, MappingView, Repeat, Source};
use super::mappings::{Mappings, Overlap, Placed};
use super::page_table::{PageTable, PtStats};

/// What the GPU finds at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// [`Bo::id`](super::bo::Bo::id), or 0 for the kernel's dummy.
    pub bo: u64,
    /// Bytes from the start of the buffer object to the page, a multiple of 4 KiB.
    pub offset: u64,
    /// How the GPU may use the page.
    pub flags: MapFlags,
}

/// One VM.
///
/// # Invariants
/// The mappings are disjoint, and the page table translates every page of them, and no other, to what the mapping shows
/// there. A buffer object that is mapped stays alive.
#[derive(Debug)]
pub struct Gpuvm {
    user_va_range: u64,
    repeat_rule: Option<RepeatRule>,
    mappings: Mappings,
    bos: BoTable,
    table: PageTable,
    recorder: Option<Recorder>,
    /// The kernel's dummy is made of 4 KiB pages that don't lie in a row.
    small_dummy: bool,
}

impl Gpuvm {
    /// An empty VM. Addresses below `user_va_range`, in bytes, can be mapped. `repeat_rule` is the kernel's
    /// ([`Flavour::repeat_rule`](super::flavour::Flavour::repeat_rule)).
    pub fn new(user_va_range: u64, repeat_rule: Option<RepeatRule>) -> Self {
        Self {
            user_va_range,
            repeat_rule,
            mappings: Mappings::default(),
            bos: BoTable::new(),
            table: PageTable::new(),
            recorder: None,
            small_dummy: false,
        }
    }

    /// An empty VM of that kernel.
    pub fn of_kernel(user_va_range: u64, flavour: Flavour) -> Self {
        let mut vm = Self::new(user_va_range, flavour.repeat_rule());
        vm.table.splits_blocks = flavour.splits_blocks();
        vm
    }

    /// From now on the kernel's dummy is mapped as pages of 4 KiB. (Where it is cut, the kernel takes it for a 2 MiB block
    /// all the same.)
    pub fn use_small_dummy(&mut self) {
        self.small_dummy = true;
    }

    /// Bytes of address space that can be mapped, from 0 on.
    pub fn user_va_range(&self) -> u64 {
        self.user_va_range
    }

    /// Maps `size` bytes at `va`, in place of what is mapped there.
    ///
    /// A map of 0 bytes, which only an asynchronous bind can bring here, cuts like an unmap of 0 bytes. (The kernel
    /// then inserts an empty mapping besides; the model does not.)
    ///
    /// # Errors
    /// On an error nothing has changed. `EINVAL`: the cut is refused by the rule of the series' fifth revision; or the
    /// arguments are such as [`validate`](super::validate::validate) lets nobody send. `ENOMEM`: 2^24 buffer objects are mapped.
    pub fn map(
        &mut self,
        va: u64,
        size: u64,
        source: Source,
        flags: MapFlags,
    ) -> Result<(), Errno> {
        let end = self.end_of(va, size)?;
        let (bo, content) = match source {
            Source::Bo { bo, offset } => {
                within(&bo, offset, size)?;
                (Some(bo), Content::Plain { offset })
            }
            Source::Repeat { bo, offset, range } => {
                within(&bo, offset, range)?;
                if range == 0 || size % range != 0 {
                    return Err(Errno::INVAL);
                }
                let content = Content::Repeat {
                    offset,
                    range_pages: u32::try_from(range / SZ_4K).map_err(|_| Errno::INVAL)?,
                    phase_pages: 0,
                };
                (Some(bo), content)
            }
            Source::Sparse => (None, Content::Sparse),
        };
        let overlap = self.overlap(va, end)?;
        if va == end {
            self.free(va, end, &overlap);
            return Ok(());
        }
        // Before the cut, so that a buffer object whose last mapping is replaced keeps its number.
        let index = match &bo {
            Some(bo) => self.bos.acquire(bo).ok_or(Errno::NOMEM)?,
            None => {
                self.bos.retain(BoIndex::KERNEL_DUMMY);
                BoIndex::KERNEL_DUMMY
            }
        };
        let backing = Backing {
            bo: index,
            flags,
            huge: bo.as_ref().map_or(!self.small_dummy, |bo| bo.huge_folios()),
            cut_as_huge: !self.table.splits_blocks && bo.as_ref().is_none_or(|bo| bo.huge_folios()),
            content,
        };
        let mapping = Mapping { size, backing };
        self.recorded(va, end, &overlap, |vm| {
            vm.cut(va, end, &overlap, Some(Placed { va, mapping }));
            vm.table.map(va, size, backing);
        });
        Ok(())
    }

    /// Unmaps what is mapped in the `size` bytes at `va`, which may be nothing. 0 bytes inside a mapping, which only an
    /// asynchronous bind can bring here, cut it in two.
    ///
    /// # Errors
    /// `EINVAL`, and nothing has changed: as for [`Gpuvm::map`].
    pub fn unmap(&mut self, va: u64, size: u64) -> Result<(), Errno> {
        let end = self.end_of(va, size)?;
        let overlap = self.overlap(va, end)?;
        self.free(va, end, &overlap);
        Ok(())
    }

    /// Every mapping, ascending.
    pub fn mappings(&self) -> impl Iterator<Item = MappingView> {
        self.mappings.iter().map(|&Placed { va, mapping }| {
            let backing = &mapping.backing;
            let (offset, repeat) = match backing.content {
                Content::Plain { offset } => (offset, None),
                Content::Repeat {
                    offset,
                    range_pages,
                    phase_pages,
                } => {
                    let range = u64::from(range_pages) * SZ_4K;
                    let phase = u64::from(phase_pages) * SZ_4K;
                    (offset, Some(Repeat { range, phase }))
                }
                Content::Sparse => (va % SZ_2M, None),
            };
            MappingView {
                va,
                size: mapping.size,
                bo: self.bos.id(backing.bo),
                offset,
                flags: backing.flags,
                repeat,
            }
        })
    }

    /// How many mappings there are.
    pub fn mapping_count(&self) -> usize {
        self.mappings.len()
    }

    /// What the page table says of the page at `va`.
    pub fn translate(&self, va: u64) -> Option<Translation> {
        self.table.get(va).map(|entry| Translation {
            bo: self.bos.id(entry.bo()),
            offset: entry.offset(),
            flags: entry.flags(),
        })
    }

    /// Whether the 2 MiB slot with `va` in it is mapped by one block.
    pub fn is_block(&self, va: u64) -> bool {
        self.table.is_block(va)
    }

    /// What was done to the page table so far.
    pub fn stats(&self) -> PtStats {
        self.table.stats()
    }

    /// When on, each successful map and unmap adds to the changes what it changed in the page table. Turning it off drops
    /// what was not taken.
    pub fn record_changes(&mut self, on: bool) {
        match (on, &self.recorder) {
            (true, None) => self.recorder = Some(Recorder::default()),
            (true, Some(_)) => {}
            (false, _) => self.recorder = None,
        }
    }

    /// When on, what an op maps as it was before is among the recorded changes, too.
    pub fn record_rewrites(&mut self, on: bool) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record_rewrites(on);
        }
    }

    /// An op has run: the changes from now on belong to the next one ([`Change::op`]).
    pub fn end_op(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.end_op();
        }
    }

    /// The changes since they were last taken, in the order of the ops that made them.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut list = Vec::new();
        self.take_changes_into(&mut list);
        list
    }

    /// [`Gpuvm::take_changes`] in the place of what is in `list`.
    pub fn take_changes_into(&mut self, list: &mut Vec<Change>) {
        match &mut self.recorder {
            Some(recorder) => recorder.take(list),
            None => list.clear(),
        }
    }

    /// Lets pages of the buffer object with this id count as [`Location::Null`](super::changes::Location::Null) in changes, as those
    /// of the kernel's dummy do. Call before the first map of it.
    pub fn set_dummy(&mut self, bo: u64) {
        self.bos.set_dummy(bo);
    }

    /// The end of a range that is page-aligned and inside the VM.
    fn end_of(&self, va: u64, size: u64) -> Result<u64, Errno> {
        if (va | size) % SZ_4K != 0 || va >= self.user_va_range || size > self.user_va_range - va {
            return Err(Errno::INVAL);
        }
        Ok(va + size)
    }

    /// What `va..end` overlaps.
    ///
    /// # Errors
    /// `EINVAL`: the rule of the series' fifth revision forbids the cut. Only the first and the last mapping can be cut.
    fn overlap(&self, va: u64, end: u64) -> Result<Overlap, Errno> {
        let overlap = self.mappings.overlap(va, end);
        if self.repeat_rule == Some(RepeatRule::V5) {
            let refused = |placed: &Placed, at: u64| {
                placed.va < at && at < placed.end() && placed.mapping.refuses_cut_at(at - placed.va)
            };
            let both = overlap.ends.as_ref();
            if both.is_some_and(|(first, last)| refused(first, va) || refused(last, end)) {
                return Err(Errno::INVAL);
            }
        }
        Ok(overlap)
    }

    /// Unmaps what `va..end` overlaps.
    fn free(&mut self, va: u64, end: u64, overlap: &Overlap) {
        if overlap.ends.is_some() {
            self.recorded(va, end, overlap, |vm| vm.cut(va, end, overlap, None));
        }
    }

    /// Does `op`, which maps or cuts `va..end`, and records what it changed in all entries that it may write.
    fn recorded(&mut self, va: u64, end: u64, overlap: &Overlap, op: impl FnOnce(&mut Self)) {
        let Some(mut recorder) = self.recorder.take() else {
            return op(self);
        };
        let (lo, hi) = overlap.ends.map_or((va, end), |(first, last)| {
            let lo = cleared_by_cut(&first, va, end).0;
            let hi = cleared_by_cut(&last, va, end).1;
            (lo.min(va), hi.max(end))
        });
        recorder.before(&self.table, &self.bos, lo, hi);
        op(self);
        recorder.after(&self.table, &self.bos, lo, hi, va..end);
        self.recorder = Some(recorder);
    }

    /// Takes `va..end` out of every mapping of `overlap`, and inserts `new` there.
    fn cut(&mut self, va: u64, end: u64, overlap: &Overlap, new: Option<Placed>) {
        let (table, bos) = (&mut self.table, &mut self.bos);
        let (mut before, mut after) = (None, None);
        for placed in self.mappings.of(overlap) {
            let (left, right) = cut_one(table, bos, va, end, placed);
            (before, after) = (before.or(left), right);
        }
        self.mappings.replace(overlap, [before, new, after]);
    }
}

/// Takes `va..end` out of one mapping: unmaps it, or leaves what lies before and after, which it gives.
fn cut_one(
    table: &mut PageTable,
    bos: &mut BoTable,
    va: u64,
    end: u64,
    placed: &Placed,
) -> (Option<Placed>, Option<Placed>) {
    let &Placed { va: start, mapping } = placed;
    let backing = mapping.backing;
    let (cleared, cleared_end) = cleared_by_cut(placed, va, end);
    table.unmap(cleared, cleared_end - cleared);
    let before = (start < va).then(|| {
        table.map(cleared, va - cleared, backing.advance(cleared - start));
        let size = va - start;
        let mapping = Mapping { size, backing };
        Placed { va: start, mapping }
    });
    let after = (end < placed.end()).then(|| {
        let size = placed.end() - end;
        let backing = backing.advance(end - start);
        table.map(end, cleared_end - end, backing);
        let mapping = Mapping { size, backing };
        Placed { va: end, mapping }
    });
    match (&before, &after) {
        (None, None) => bos.release(backing.bo),
        (Some(_), Some(_)) => bos.retain(backing.bo),
        _ => {}
    }
    (before, after)
}

/// The range of page-table entries to clear when `va..end` is taken out of a mapping that it overlaps: what is taken out of
/// it, widened to the slot's border where huge pages ask for it. (The kernel's `unmap_hugepage_align`.)
fn cleared_by_cut(placed: &Placed, va: u64, end: u64) -> (u64, u64) {
    let (start, mapping_end) = (placed.va, placed.end());
    let (mut lo, mut hi) = (va.max(start), end.min(mapping_end));
    if placed.mapping.backing.cut_as_huge {
        let slot = va - va % SZ_2M;
        if start < va && start <= slot {
            lo = slot;
        }
        let slot_end = end.next_multiple_of(SZ_2M);
        if end < mapping_end && slot_end <= mapping_end {
            hi = slot_end;
        }
    }
    (lo, hi)
}

/// Whether `len` bytes from `offset` on are pages of `bo`.
fn within(bo: &Bo, offset: u64, len: u64) -> Result<(), Errno> {
    if (offset | len) % SZ_4K != 0 || offset > bo.size || len > bo.size - offset {
        return Err(Errno::INVAL);
    }
    Ok(())
}
