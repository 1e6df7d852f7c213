//! What binds cost in page-table entries and mappings: single cases that a reader of the numbers should know.

use std::sync::Arc;

use panvk_sparse::units::{SZ_2M, SZ_4K, SZ_64K};
use rustix::io::Errno;
use vpanthor::bo::Bo;
use vpanthor::changes::{Change, Location};
use vpanthor::flavour::{Flavour, RepeatRule};
use vpanthor::gpuvm::Gpuvm;
use vpanthor::mapping::{MapFlags, Source};
use vpanthor::page_table::PtStats;

const VA: u64 = 1 << 30;
const NOEXEC: MapFlags = MapFlags::NOEXEC;

fn vm(rule: Option<RepeatRule>) -> Gpuvm {
    Gpuvm::new(1 << 47, rule)
}

fn bo(id: u64, size: u64) -> Arc<Bo> {
    Arc::new(Bo::new(id, size, None))
}

fn memory(bo: &Arc<Bo>, offset: u64) -> Source {
    let bo = Arc::clone(bo);
    Source::Bo { bo, offset }
}

fn repeat(bo: &Arc<Bo>, range: u64) -> Source {
    let bo = Arc::clone(bo);
    Source::Repeat {
        bo,
        offset: 0,
        range,
    }
}

fn spent(vm: &Gpuvm, before: PtStats) -> [u64; 5] {
    let now = vm.stats();
    [
        now.map_2m - before.map_2m,
        now.map_4k - before.map_4k,
        now.clear_2m_block - before.clear_2m_block,
        now.clear_2m_table - before.clear_2m_table,
        now.clear_4k - before.clear_4k,
    ]
}

#[test]
fn a_piece_bound_into_a_sparse_range_and_unbound_again_leaves_a_broken_slot() {
    let mut vm = vm(None);
    let size = 100_003_840;
    vm.map(VA, size, Source::Sparse, NOEXEC).unwrap();
    assert_eq!(spent(&vm, PtStats::default()), [47, 351, 0, 0, 0]);

    let piece = VA + 10 * SZ_2M + 5 * SZ_64K;
    let before = vm.stats();
    let bo = bo(1, SZ_64K);
    vm.map(piece, SZ_64K, memory(&bo, 0), NOEXEC).unwrap();
    assert_eq!(spent(&vm, before), [0, 512, 1, 0, 0]);

    let before = vm.stats();
    vm.map(piece, SZ_64K, Source::Sparse, NOEXEC).unwrap();
    assert_eq!(spent(&vm, before), [0, 16, 0, 0, 16]);
    assert_eq!(vm.mapping_count(), 3);
    assert!(!vm.is_block(piece) && vm.is_block(piece + SZ_2M));
    assert_eq!(Arc::strong_count(&bo), 1);
}

#[test]
fn a_repeated_map_costs_a_page_table_call_a_repetition() {
    let size = 8 * SZ_2M;
    for (range, calls, blocks) in [(SZ_4K, 4096, 0), (SZ_64K, 256, 0), (SZ_2M, 8, 8)] {
        let mut vm = vm(Some(RepeatRule::V4));
        vm.map(VA, size, repeat(&bo(1, SZ_2M), range), NOEXEC)
            .unwrap();
        assert_eq!(vm.stats().pt_calls, calls, "range {range}");
        assert_eq!(vm.stats().map_2m, blocks, "range {range}");
        assert_eq!(vm.mapping_count(), 1);
    }
}

#[test]
fn v5_refuses_an_odd_cut_and_changes_nothing() {
    let dummy = bo(1, SZ_2M);
    let mut vm = vm(Some(RepeatRule::V5));
    vm.map(VA, 4 * SZ_2M, repeat(&dummy, SZ_2M), NOEXEC)
        .unwrap();
    vm.record_changes(true);
    let before = (vm.stats(), vm.mappings().collect::<Vec<_>>());
    let other = bo(2, SZ_2M);
    for (va, size) in [
        (VA + SZ_64K, SZ_2M - SZ_64K),
        (VA + SZ_2M, SZ_64K),
        (VA - SZ_64K, SZ_2M),
        (VA + 4 * SZ_2M - SZ_64K, SZ_2M),
    ] {
        assert_eq!(
            vm.map(va, size, memory(&other, 0), NOEXEC),
            Err(Errno::INVAL)
        );
        assert_eq!(vm.unmap(va, size), Err(Errno::INVAL));
    }
    assert_eq!(before, (vm.stats(), vm.mappings().collect::<Vec<_>>()));
    assert_eq!(vm.take_changes(), []);
    assert_eq!(Arc::strong_count(&other), 1);
    vm.map(VA + SZ_2M, SZ_2M, memory(&other, 0), NOEXEC)
        .unwrap();
    assert_eq!(vm.mapping_count(), 3);
}

#[test]
fn a_null_bind_is_one_change_and_null_over_null_none() {
    let (dummy, other, backing) = (bo(1, SZ_4K), bo(2, SZ_2M), bo(3, SZ_2M));
    let mut vm = vm(Some(RepeatRule::V5));
    vm.set_dummy(1);
    vm.set_dummy(2);
    vm.record_changes(true);
    let size = 1 << 30;
    let change = |op, va, len, old, new| Change {
        op,
        va,
        len,
        old,
        new,
    };

    vm.end_op();
    vm.end_op();
    vm.map(VA, size, repeat(&dummy, SZ_4K), NOEXEC).unwrap();
    let all = change(2, VA, size, None, Some(Location::Null));
    assert_eq!(vm.take_changes(), [all]);

    vm.map(VA, size, repeat(&other, SZ_2M), NOEXEC).unwrap();
    vm.map(VA, size, Source::Sparse, NOEXEC).unwrap();
    assert_eq!(vm.take_changes(), []);

    let piece = VA + SZ_2M + SZ_64K;
    vm.map(piece, SZ_64K, memory(&backing, SZ_64K), NOEXEC)
        .unwrap();
    let there = Some(Location::Memory {
        bo: 3,
        offset: SZ_64K,
    });
    let bound = change(0, piece, SZ_64K, Some(Location::Null), there);
    assert_eq!(vm.take_changes(), [bound]);

    vm.map(VA, size, repeat(&dummy, SZ_4K), NOEXEC).unwrap();
    let unbound = change(0, piece, SZ_64K, there, Some(Location::Null));
    assert_eq!(vm.take_changes(), [unbound]);
}

#[test]
fn an_unmap_of_0_bytes_inside_a_mapping_cuts_it_in_two() {
    let mut vm = vm(None);
    vm.map(VA, 2 * SZ_2M, Source::Sparse, NOEXEC).unwrap();
    vm.record_changes(true);
    vm.unmap(VA + SZ_64K, 0).unwrap();
    let list: Vec<_> = vm.mappings().map(|m| (m.va, m.size, m.offset)).collect();
    assert_eq!(
        list,
        [(VA, SZ_64K, 0), (VA + SZ_64K, 2 * SZ_2M - SZ_64K, SZ_64K)]
    );
    assert!(!vm.is_block(VA) && vm.is_block(VA + SZ_2M));
    assert_eq!(vm.take_changes(), []);
}

#[test]
fn a_bo_lives_as_long_as_a_mapping_of_it() {
    let mut vm = vm(None);
    let memory_bo = bo(1, SZ_2M);
    let weak = Arc::downgrade(&memory_bo);
    vm.map(VA, SZ_2M, memory(&memory_bo, 0), NOEXEC).unwrap();
    drop(memory_bo);
    vm.unmap(VA + SZ_64K, SZ_64K).unwrap();
    vm.unmap(VA, SZ_64K).unwrap();
    assert!(weak.upgrade().is_some());
    vm.unmap(VA, SZ_2M).unwrap();
    assert!(weak.upgrade().is_none());
    assert_eq!(vm.mapping_count(), 0);
}

#[test]
fn arguments_that_validation_lets_nobody_send_change_nothing() {
    let mut vm = vm(Some(RepeatRule::V4));
    let bo = bo(1, SZ_64K);
    for (va, size, source) in [
        (VA + 1, SZ_4K, memory(&bo, 0)),
        (VA, 2 * SZ_64K, memory(&bo, 0)),
        (1 << 47, SZ_4K, Source::Sparse),
        (VA, SZ_64K, repeat(&bo, 0)),
        (VA, SZ_64K, repeat(&bo, 512)),
        (VA, SZ_64K, repeat(&bo, 3 * SZ_4K)),
    ] {
        assert_eq!(vm.map(va, size, source, NOEXEC), Err(Errno::INVAL));
    }
    assert_eq!(vm.stats(), PtStats::default());
}

#[test]
fn linux_6_12_splits_a_block_that_is_cut_and_writes_nothing_else_again() {
    let mut vm = Gpuvm::of_kernel(1 << 47, Flavour::V1_0);
    let (folio, small) = (bo(1, 3 * SZ_2M), bo(2, SZ_64K));
    vm.map(VA, 3 * SZ_2M, memory(&folio, 0), NOEXEC).unwrap();
    let tables = vm.stats().table_pages;

    // 16 pages of the second block, and 16 more of the table that it has become.
    for (at, expected) in [(SZ_64K, [0, 496 + 16, 0, 0, 0]), (0, [0, 16, 0, 0, 16])] {
        let before = vm.stats();
        vm.map(VA + SZ_2M + at, SZ_64K, memory(&small, 0), NOEXEC)
            .unwrap();
        assert_eq!(spent(&vm, before), expected, "at {at:#x}");
        assert_eq!(vm.stats().table_pages, tables + 1);
    }
    let offset = |va| vm.translate(va).map(|page| (page.bo, page.offset));
    assert_eq!(
        offset(VA + SZ_2M + 2 * SZ_64K),
        Some((1, SZ_2M + 2 * SZ_64K))
    );
    assert_eq!(offset(VA + SZ_2M + SZ_64K), Some((2, 0)));

    // Two more blocks are cut by one op, down to a page each.
    let before = vm.stats();
    vm.unmap(VA + SZ_4K, 3 * SZ_2M - 2 * SZ_4K).unwrap();
    assert_eq!(spent(&vm, before), [0, 1 + 1, 0, 0, 512]);
}
