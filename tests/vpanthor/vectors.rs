//! The virtual kernel against what the real kernel's gpuvm and page-table code did with the same ops.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use flate2::Crc;
use flate2::read::GzDecoder;
use panvk_sparse::units::{SZ_2M, SZ_4K};
use serde::Deserialize;
use vpanthor::bo::Bo;
use vpanthor::flavour::Flavour;
use vpanthor::gpuvm::Gpuvm;
use vpanthor::validate::{BindOp, Context, Mode, validate};

/// Where the window begins that the page-table image shows, and how long it is.
const WINDOW: u64 = 1 << 30;
const WINDOW_SIZE: u64 = 64 << 20;
/// The flag of a mapping that is sparse (1.9) or repeated (the series).
const SPARSE_OR_REPEAT: u64 = 8;

#[derive(Deserialize)]
struct Sequence {
    seq: u64,
    user_va_range: u64,
    bos: Vec<VectorBo>,
    ops: Vec<Op>,
    snap: Vec<Snap>,
    mappings: Vec<Vec<u64>>,
}

#[derive(Deserialize)]
struct VectorBo {
    handle: u32,
    size: u64,
}

#[derive(Deserialize)]
struct Op {
    flags: u32,
    bo: u32,
    off: u64,
    va: u64,
    size: u64,
    errno: i32,
    #[serde(default)]
    range: u64,
    #[serde(default)]
    syncs: u32,
}

#[derive(Deserialize)]
struct Snap {
    after: usize,
    mappings: Vec<Vec<u64>>,
    pte: [u64; 6],
    crc: u32,
    blk: u64,
}

fn mappings(vm: &Gpuvm) -> Vec<Vec<u64>> {
    vm.mappings()
        .map(|m| {
            let special = m.bo == 0 || m.repeat.is_some();
            let flags = u64::from(m.flags.bits()) | if special { SPARSE_OR_REPEAT } else { 0 };
            let mut row = vec![m.va, m.size, m.bo, m.offset, flags];
            row.extend(m.repeat.iter().flat_map(|r| [r.range, r.phase]));
            row
        })
        .collect()
}

fn entry_counts(vm: &Gpuvm) -> [u64; 6] {
    let stats = vm.stats();
    [
        stats.map_2m,
        stats.map_4k,
        stats.clear_2m_block,
        stats.clear_2m_table,
        stats.clear_4k,
        stats.table_pages,
    ]
}

fn image_crc(vm: &Gpuvm) -> u32 {
    let mut crc = Crc::new();
    for va in (WINDOW..WINDOW + WINDOW_SIZE).step_by(SZ_4K as usize) {
        let word = vm.translate(va).map_or(0, |t| {
            ((t.bo as u32 + 1) << 24) | (t.flags.bits() << 20) | (t.offset / SZ_4K) as u32
        });
        crc.update(&word.to_le_bytes());
    }
    crc.sum()
}

fn blocks(vm: &Gpuvm) -> u64 {
    (0..WINDOW_SIZE / SZ_2M)
        .filter(|slot| vm.is_block(WINDOW + slot * SZ_2M))
        .map(|slot| 1 << slot)
        .sum()
}

fn replay(sequence: &Sequence, flavour: Flavour) {
    let name = format!("{flavour}, sequence {}", sequence.seq);
    let bos: Vec<Arc<Bo>> = sequence
        .bos
        .iter()
        .map(|bo| Arc::new(Bo::new(bo.handle.into(), bo.size, None)))
        .collect();
    let lookup = |handle: u32| bos.iter().find(|bo| bo.id == u64::from(handle)).cloned();
    let context = Context {
        flavour,
        vm_id: 1,
        user_va_range: sequence.user_va_range,
        bo: &lookup,
    };
    let mut vm = Gpuvm::of_kernel(sequence.user_va_range, flavour);
    let mut snaps = sequence.snap.iter().peekable();
    for (i, op) in sequence.ops.iter().enumerate() {
        let bind = BindOp {
            flags: op.flags,
            bo_handle: op.bo,
            bo_offset: op.off,
            va: op.va,
            size: op.size,
            sync_count: op.syncs,
            repeat_range: op.range,
        };
        let result = validate(&bind, Mode::Sync, &context).and_then(|ok| ok.apply(&mut vm));
        let errno = result.err().map_or(0, |errno| errno.raw_os_error());
        assert_eq!(errno, op.errno, "{name}, op {i}: {bind:x?}");
        if let Some(snap) = snaps.next_if(|snap| snap.after == i + 1) {
            assert_eq!(mappings(&vm), snap.mappings, "{name}, after op {i}");
            assert_eq!(entry_counts(&vm), snap.pte, "{name}, after op {i}");
            assert_eq!(blocks(&vm), snap.blk, "{name}, after op {i}");
            assert_eq!(image_crc(&vm), snap.crc, "{name}, after op {i}");
        }
    }
    assert!(snaps.next().is_none(), "{name}: a snap was not reached");
    assert_eq!(mappings(&vm), sequence.mappings, "{name}, at the end");
}

fn replay_file(file: &str, flavour: Flavour, expected: usize) {
    let path = format!("{}/tests/vectors/{file}", common::cargo::ROOT);
    let lines = BufReader::new(GzDecoder::new(File::open(&path).expect(&path))).lines();
    let mut count = 0;
    for line in lines {
        let sequence: Sequence = serde_json::from_str(&line.expect(&path)).expect(&path);
        assert_eq!(sequence.ops.len(), 40);
        assert_eq!(sequence.snap.len(), 4);
        replay(&sequence, flavour);
        count += 1;
    }
    assert_eq!(count, expected, "{file}");
}

#[test]
fn kernel_1_9_does_what_mainline_did_in_1000_sequences() {
    replay_file("gpuvm-1.9.jsonl.gz", Flavour::V1_9, 1000);
}

#[test]
fn kernel_1_6_repeat_does_what_the_series_did_in_500_sequences() {
    replay_file("gpuvm-repeat-v4.jsonl.gz", Flavour::V1_6Repeat, 500);
}
