//! The virtual kernel's gpuvm against a map of single pages, for random ops on every flavour.

use std::sync::Arc;

use panvk_sparse::units::{SZ_2M, SZ_4K};
use proptest::prelude::*;
use vpanthor::bo::Bo;
use vpanthor::changes::{Change, Location};
use vpanthor::flavour::{Flavour, RepeatRule};
use vpanthor::gpuvm::Gpuvm;
use vpanthor::validate::{BindOp, Context, Mode, validate};

/// The tests look at four slots around 512 GiB, where tables of every level end.
const PAGES: u64 = 4 * SLOT;
const SLOT: u64 = SZ_2M / SZ_4K;
const BASE: u64 = (512 << 30) - 2 * SZ_2M;
/// Pages of the buffer objects 1, 2, ...; from 512 on they are made of 2 MiB folios.
const BO_PAGES: [u64; 5] = [1, 16, 300, 512, 2600];
/// The buffer objects whose content does not matter: one of small pages, one of a folio.
const DUMMIES: [u64; 2] = [1, 4];

const NOEXEC: u32 = 1 << 1;
const SPARSE_OR_REPEAT: u32 = 1 << 3;
const UNMAP: u32 = 1 << 28;

#[derive(Clone, Copy, Debug)]
enum What {
    Memory { bo: u64, offset: u64 },
    Repeat { bo: u64, offset: u64, range: u64 },
    Sparse,
    Nothing,
}

/// In pages, from `BASE` on.
#[derive(Clone, Copy, Debug)]
struct Op {
    at: u64,
    pages: u64,
    flags: u32,
    what: What,
}

/// Numbers below `end` of which many are round: borders should meet, and blocks come about.
fn round_below(end: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        0..end,
        (0..end.div_ceil(16)).prop_map(|n| n * 16),
        (0..end.div_ceil(SLOT)).prop_map(|n| n * SLOT),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let pages = prop_oneof![
        1..20u64,
        (1..20u64).prop_map(|n| n * 16),
        (1..4u64).prop_map(|n| n * SLOT),
        1..PAGES
    ];
    let range = prop_oneof![Just(1), Just(16), Just(SLOT), Just(2), Just(24), 1..600u64];
    let kind = prop_oneof![Just(0), Just(0), Just(1), Just(1), Just(2), Just(3)];
    let place = (round_below(PAGES), pages, 0..8u32);
    let memory = (0..BO_PAGES.len(), round_below(2600), range, any::<bool>());
    (place, kind, memory).prop_map(|((at, pages, flags), kind, (bo, offset, range, aligned))| {
        let bo_pages = BO_PAGES[bo];
        let bo = bo as u64 + 1;
        let mut pages = pages.min(PAGES - at);
        let mut offset = offset % bo_pages;
        if aligned && at % SLOT < bo_pages {
            offset = offset / SLOT * SLOT + at % SLOT;
            offset = offset.min(bo_pages - 1);
        }
        let what = match kind {
            0 => {
                pages = pages.min(bo_pages - offset);
                What::Memory { bo, offset }
            }
            1 => {
                let range = range.min(bo_pages - offset).min(pages);
                pages -= pages % range;
                What::Repeat { bo, offset, range }
            }
            2 => What::Sparse,
            _ => What::Nothing,
        };
        Op {
            at,
            pages,
            flags,
            what,
        }
    })
}

/// A page as the model keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    bo: u64,
    page: u64,
    flags: u32,
    /// Tells the mappings apart.
    mapping: u32,
    /// Pages since the mapping's start.
    distance: u64,
    /// Of a repeated mapping, in pages.
    range: Option<u64>,
}

impl Page {
    fn place(&self) -> Location {
        match self.bo {
            0 => Location::Null,
            bo if DUMMIES.contains(&bo) => Location::Null,
            bo => Location::Memory {
                bo,
                offset: self.page * SZ_4K,
            },
        }
    }
}

/// A VM as an array of pages.
#[derive(Clone)]
struct Model {
    flavour: Flavour,
    pages: Vec<Option<Page>>,
    next_mapping: u32,
}

impl Model {
    /// The page at `at`, if a mapping goes on there that began before.
    fn cut_at(&self, at: u64) -> Option<Page> {
        let before = self.pages[at.checked_sub(1)? as usize]?;
        let here = (*self.pages.get(at as usize)?)?;
        (before.mapping == here.mapping).then_some(here)
    }

    fn supports(&self, what: What) -> bool {
        match what {
            What::Memory { .. } | What::Nothing => true,
            What::Repeat { .. } => self.flavour.repeat_rule().is_some(),
            What::Sparse => self.flavour.has_sparse(),
        }
    }

    /// Returns whether the op is accepted.
    fn apply(&mut self, op: &Op) -> bool {
        if !self.supports(op.what) {
            return false;
        }
        let end = op.at + op.pages;
        let cuts = [op.at, end].map(|at| self.cut_at(at));
        if self.flavour.repeat_rule() == Some(RepeatRule::V5)
            && cuts
                .iter()
                .flatten()
                .any(|page| page.range.is_some_and(|range| page.distance % range != 0))
        {
            return false;
        }
        // What is behind the cut becomes a mapping of its own.
        if let Some(cut) = cuts[1] {
            self.next_mapping += 1;
            for page in self.pages[end as usize..].iter_mut() {
                match page {
                    Some(page) if page.mapping == cut.mapping => {
                        page.mapping = self.next_mapping;
                        page.distance -= cut.distance;
                    }
                    _ => break,
                }
            }
        }
        self.next_mapping += 1;
        for i in 0..op.pages {
            let (bo, page, range) = match op.what {
                What::Memory { bo, offset } => (bo, offset + i, None),
                What::Repeat { bo, offset, range } => (bo, offset + i % range, Some(range)),
                What::Sparse => (0, (op.at + i) % SLOT, None),
                What::Nothing => {
                    self.pages[(op.at + i) as usize] = None;
                    continue;
                }
            };
            self.pages[(op.at + i) as usize] = Some(Page {
                bo,
                page,
                flags: op_flags(op),
                mapping: self.next_mapping,
                distance: i,
                range,
            });
        }
        true
    }

    /// `(va, size, bo)` of each mapping.
    fn mappings(&self) -> Vec<(u64, u64, u64)> {
        let mut list: Vec<(u64, u64, u64)> = Vec::new();
        let mut last = None;
        for (i, page) in (0..).zip(&self.pages) {
            let mapping = page.map(|page| page.mapping);
            if let Some(page) = page {
                match list.last_mut() {
                    Some(entry) if mapping == last => entry.1 += SZ_4K,
                    _ => list.push((BASE + i * SZ_4K, SZ_4K, page.bo)),
                }
            }
            last = mapping;
        }
        list
    }

    /// Whether a slot has to be all of one mapping, in a row, and lie in one folio.
    fn block_allowed(&self, slot: u64) -> bool {
        let pages = &self.pages[(slot * SLOT) as usize..][..SLOT as usize];
        let Some(first) = pages[0] else { return false };
        let huge = first.bo == 0 || BO_PAGES[first.bo as usize - 1] >= SLOT;
        let in_a_row = (0..).zip(pages).all(|(i, page)| {
            page.is_some_and(|page| page.mapping == first.mapping && page.page == first.page + i)
        });
        huge && first.page % SLOT == 0 && in_a_row
    }
}

fn op_flags(op: &Op) -> u32 {
    match op.what {
        What::Sparse => op.flags | NOEXEC,
        _ => op.flags,
    }
}

fn bind_op(op: &Op) -> BindOp {
    let mut bind = BindOp {
        flags: op_flags(op),
        va: BASE + op.at * SZ_4K,
        size: op.pages * SZ_4K,
        ..BindOp::default()
    };
    match op.what {
        What::Memory { bo, offset } => {
            bind.bo_handle = bo as u32;
            bind.bo_offset = offset * SZ_4K;
        }
        What::Repeat { bo, offset, range } => {
            bind.flags |= SPARSE_OR_REPEAT;
            bind.bo_handle = bo as u32;
            bind.bo_offset = offset * SZ_4K;
            bind.repeat_range = range * SZ_4K;
        }
        What::Sparse => bind.flags |= SPARSE_OR_REPEAT,
        What::Nothing => bind.flags = UNMAP,
    }
    bind
}

/// Applied to the old image the changes must give the new one, and say nothing that is not news.
fn check_changes(
    old: &[Option<Page>],
    new: &[Option<Page>],
    changes: &[Change],
    op: u64,
) -> Result<(), TestCaseError> {
    let mut image: Vec<Option<Location>> = old.iter().map(|page| page.map(|p| p.place())).collect();
    let after = |place: Option<Location>, bytes| place.map(|place| place.after(bytes));
    let mut last: Option<&Change> = None;
    for change in changes {
        prop_assert_eq!(change.op, op);
        prop_assert!(change.va >= BASE && change.len > 0, "{:?}", change);
        if let Some(last) = last {
            let end = last.va + last.len;
            prop_assert!(end <= change.va, "{:?}, then {:?}", last, change);
            let continues = end == change.va
                && after(last.old, last.len) == change.old
                && after(last.new, last.len) == change.new;
            prop_assert!(!continues, "{:?} goes on as {:?}", last, change);
        }
        last = Some(change);
        for i in 0..change.len / SZ_4K {
            let page = &mut image[((change.va - BASE) / SZ_4K + i) as usize];
            let place = after(change.new, i * SZ_4K);
            prop_assert_eq!(*page, after(change.old, i * SZ_4K), "{:?}", change);
            prop_assert_ne!(*page, place, "{:?} is none", change);
            *page = place;
        }
    }
    for (i, (page, changed)) in new.iter().zip(&image).enumerate() {
        prop_assert_eq!(&page.map(|p| p.place()), changed, "page {}", i);
    }
    Ok(())
}

fn check_state(vm: &Gpuvm, model: &Model, bos: &[Arc<Bo>]) -> Result<(), TestCaseError> {
    let list: Vec<_> = vm.mappings().map(|m| (m.va, m.size, m.bo)).collect();
    prop_assert_eq!(&list, &model.mappings());
    prop_assert_eq!(list.len(), vm.mapping_count());
    for view in vm.mappings() {
        let page = model.pages[((view.va - BASE) / SZ_4K) as usize].expect("a mapping's page");
        let phase = view.repeat.map_or(0, |repeat| repeat.phase);
        prop_assert_eq!(view.offset + phase, page.page * SZ_4K, "{:?}", view);
        let range = view.repeat.map(|repeat| repeat.range / SZ_4K);
        prop_assert_eq!(range, page.range, "{:?}", view);
    }
    for (i, page) in (0..).zip(&model.pages) {
        let found = vm
            .translate(BASE + i * SZ_4K)
            .map(|t| (t.bo, t.offset / SZ_4K, t.flags.bits()));
        let wanted = page.map(|page| (page.bo, page.page, page.flags));
        prop_assert_eq!(found, wanted, "page {}", i);
    }
    prop_assert_eq!(vm.translate(BASE - SZ_4K), None);
    prop_assert_eq!(vm.translate(BASE + PAGES * SZ_4K), None);
    for slot in 0..PAGES / SLOT {
        if vm.is_block(BASE + slot * SZ_2M) {
            prop_assert!(model.block_allowed(slot), "slot {}", slot);
        }
    }
    for bo in bos {
        let mapped = list.iter().any(|mapping| mapping.2 == bo.id);
        prop_assert_eq!(Arc::strong_count(bo) > 1, mapped, "{:?}", bo);
    }
    Ok(())
}

fn behaves_as_pages(flavour: Flavour, ops: &[Op]) -> Result<(), TestCaseError> {
    let bos: Vec<Arc<Bo>> = (1..)
        .zip(BO_PAGES)
        .map(|(id, pages)| Arc::new(Bo::new(id, pages * SZ_4K, None)))
        .collect();
    let lookup = |handle: u32| bos.get(handle as usize - 1).cloned();
    let context = Context {
        flavour,
        vm_id: 1,
        user_va_range: 1 << 47,
        bo: &lookup,
    };
    let mut vm = Gpuvm::of_kernel(1 << 47, flavour);
    vm.record_changes(true);
    DUMMIES.iter().for_each(|bo| vm.set_dummy(*bo));
    let mut model = Model {
        flavour,
        pages: vec![None; PAGES as usize],
        next_mapping: 0,
    };
    for (i, op) in (0..).zip(ops) {
        let (old, stats) = (model.clone(), vm.stats());
        (0..i).for_each(|_| vm.end_op());
        let accepted = validate(&bind_op(op), Mode::Sync, &context)
            .and_then(|ok| ok.apply(&mut vm))
            .is_ok();
        prop_assert_eq!(accepted, model.apply(op), "{:?}", op);
        if !accepted {
            prop_assert_eq!(vm.stats(), stats);
        }
        check_changes(&old.pages, &model.pages, &vm.take_changes(), i)?;
        check_state(&vm, &model, &bos)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn kernel_1_0_is_an_array_of_pages(ops in prop::collection::vec(any_op(), 1..12)) {
        behaves_as_pages(Flavour::V1_0, &ops)?;
    }

    #[test]
    fn kernel_1_5_is_an_array_of_pages(ops in prop::collection::vec(any_op(), 1..12)) {
        behaves_as_pages(Flavour::V1_5, &ops)?;
    }

    #[test]
    fn kernel_1_8_is_an_array_of_pages(ops in prop::collection::vec(any_op(), 1..12)) {
        behaves_as_pages(Flavour::V1_8, &ops)?;
    }

    #[test]
    fn kernel_1_6_repeat_is_an_array_of_pages(ops in prop::collection::vec(any_op(), 1..12)) {
        behaves_as_pages(Flavour::V1_6Repeat, &ops)?;
    }

    #[test]
    fn kernel_1_8_repeat_is_an_array_of_pages_and_refuses_odd_cuts(
        ops in prop::collection::vec(any_op(), 1..12)
    ) {
        behaves_as_pages(Flavour::V1_8Repeat, &ops)?;
    }

    #[test]
    fn kernel_1_9_is_an_array_of_pages(ops in prop::collection::vec(any_op(), 1..12)) {
        behaves_as_pages(Flavour::V1_9, &ops)?;
    }
}
