//! What a driver is seen to do step by step, at the level of plan and lowering: the numbers of operations that
//! each kind of kernel is asked for.

use super::ranges_of;
use crate::bind::{Memory, MemoryBind, Planner, Resource, Shadow, resolve};
use crate::lower::{Lowering, NullMap, Ops, PlannedBatch};
use crate::units::{BoHandle, BoRef, SZ_2M, SZ_4K, SZ_64K, Va};

const DUMMY: BoHandle = BoHandle(1);
const REPEAT: NullMap = NullMap::Repeat {
    dummy: DUMMY,
    dummy_size: SZ_2M,
    max_range: 0,
};
const CHUNK: NullMap = NullMap::Chunk {
    dummy: DUMMY,
    dummy_size: SZ_2M,
};
const PAGE: NullMap = NullMap::Page { dummy: DUMMY };
/// The kernels with a null mapping of their own.
const OWN: [NullMap; 2] = [NullMap::Sparse, REPEAT];

/// What a driver reports for a buffer of 100,000,000 bytes.
const BUFFER: u64 = 100_003_840;
/// The last of them is a part of one.
const PIECES: u64 = BUFFER.div_ceil(SZ_64K);

struct Vm {
    null: NullMap,
    shadow: Shadow,
    resource: Resource,
    planner: Planner,
    lowering: Lowering,
}

impl Vm {
    /// With one resource, which is still to be bound for the first time.
    fn new(null: NullMap, size: u64, granularity: u64) -> Vm {
        let resource = Resource {
            name: "resource".into(),
            va: Va(1 << 40),
            size,
            granularity,
        };
        Vm {
            null,
            shadow: Shadow::new(),
            resource,
            planner: Planner::new(),
            lowering: Lowering::new().with_region_lock(true),
        }
    }

    /// With a buffer of 100,000,000 bytes, unbound.
    fn with_buffer(null: NullMap) -> Vm {
        let mut vm = Vm::new(null, BUFFER, SZ_4K);
        vm.bind([null_bind(0, BUFFER)]);
        vm
    }

    /// With the same, bound.
    fn with_bound_buffer(null: NullMap) -> Vm {
        let mut vm = Vm::with_buffer(null);
        vm.bind([memory_bind(0, BUFFER, 0)]);
        vm
    }

    /// One call of one batch. What comes back are its ioctls and operations.
    fn bind(&mut self, binds: impl IntoIterator<Item = MemoryBind>) -> (usize, usize) {
        let ioctls = self.lower(binds);
        (ioctls.len(), ioctls.iter().map(Ops::len).sum())
    }

    fn lower(&mut self, binds: impl IntoIterator<Item = MemoryBind>) -> Vec<Ops> {
        let requests: Vec<_> = binds
            .into_iter()
            .map(|bind| resolve(&self.resource, &bind).unwrap())
            .collect();
        let mut runs = Vec::new();
        self.planner.plan(&requests, &self.shadow, &mut runs);
        let ranges = ranges_of(std::slice::from_ref(&self.resource));
        let mut call = self.lowering.begin(&self.null, &ranges);
        call.batch(
            &PlannedBatch {
                runs: &runs,
                after_named_gap: self.planner.after_named_gap(),
                ..PlannedBatch::default()
            },
            &self.shadow,
        );
        let ioctls = call.finish().to_vec();
        self.shadow.apply(&runs);
        ioctls
    }
}

fn null_bind(resource_offset: u64, size: u64) -> MemoryBind {
    MemoryBind {
        resource_offset,
        size,
        memory: None,
        memory_offset: 0,
    }
}

fn memory_bind(resource_offset: u64, size: u64, memory_offset: u64) -> MemoryBind {
    let memory = Some(Memory {
        bo: BoRef {
            handle: BoHandle(2),
            serial: 0,
        },
        size: 2 * BUFFER,
    });
    MemoryBind {
        resource_offset,
        size,
        memory,
        memory_offset,
    }
}

/// 64 KiB each, but for the last.
fn piece(i: u64) -> (u64, u64) {
    (i * SZ_64K, SZ_64K.min(BUFFER - i * SZ_64K))
}

fn memory_pieces() -> Vec<MemoryBind> {
    (0..PIECES)
        .map(piece)
        .map(|(offset, size)| memory_bind(offset, size, offset))
        .collect()
}

fn every_second(bind: impl Fn(u64, u64) -> MemoryBind) -> Vec<MemoryBind> {
    (0..PIECES)
        .step_by(2)
        .map(piece)
        .map(|(offset, size)| bind(offset, size))
        .collect()
}

#[test]
fn null_run_of_100e6_bytes_is_one_repeat_op() {
    let ioctls = Vm::new(REPEAT, BUFFER, SZ_4K).lower([null_bind(0, BUFFER)]);
    assert_eq!(
        (ioctls.len(), ioctls[0].len(), ioctls[0].array.stride()),
        (1, 1, 56)
    );
    let op = ioctls[0].array.get(0).unwrap();
    assert_eq!(
        (op.op.va, op.op.size, op.bo_repeat_range),
        (1 << 40, BUFFER, SZ_4K)
    );
}

#[test]
fn null_run_of_100e6_bytes_is_one_sparse_op_of_48_bytes() {
    let ioctls = Vm::new(NullMap::Sparse, BUFFER, SZ_4K).lower([null_bind(0, BUFFER)]);
    assert_eq!(
        (ioctls.len(), ioctls[0].len(), ioctls[0].array.stride()),
        (1, 1, 48)
    );
}

#[test]
fn null_run_of_100e6_bytes_is_48_chunks_or_24_415_pages() {
    assert_eq!(
        Vm::new(CHUNK, BUFFER, SZ_4K).bind([null_bind(0, BUFFER)]),
        (1, 48)
    );
    assert_eq!(
        Vm::new(PAGE, BUFFER, SZ_4K).bind([null_bind(0, BUFFER)]),
        (1, 24_415)
    );
}

#[test]
fn binding_all_in_one_piece_or_in_1526_is_one_op_and_again_is_none() {
    assert_eq!(PIECES, 1526);
    for null in [NullMap::Sparse, REPEAT, CHUNK, PAGE] {
        let mut vm = Vm::with_buffer(null);
        assert_eq!(vm.bind([memory_bind(0, BUFFER, 0)]), (1, 1));
        assert_eq!(vm.bind([memory_bind(0, BUFFER, 0)]), (0, 0));
        assert_eq!(vm.bind(memory_pieces()), (0, 0));
        assert_eq!(Vm::with_buffer(null).bind(memory_pieces()), (1, 1));
    }
}

#[test]
fn pieces_in_shuffled_order_are_one_op_where_their_memory_is_contiguous() {
    // 1,526 and 577 have no common factor: each piece once.
    let pieces = memory_pieces();
    let shuffled: Vec<_> = (0..PIECES)
        .map(|i| pieces[(i * 577 % PIECES) as usize])
        .collect();
    assert_eq!(Vm::with_buffer(REPEAT).bind(shuffled), (1, 1));
}

#[test]
fn pieces_with_memory_in_reverse_order_are_1525_ops_in_one_ioctl() {
    let pieces: Vec<_> = (0..PIECES - 1)
        .map(|i| memory_bind(i * SZ_64K, SZ_64K, (PIECES - 2 - i) * SZ_64K))
        .collect();
    assert_eq!(Vm::with_buffer(REPEAT).bind(pieces), (1, 1525));
}

#[test]
fn every_second_piece_is_763_ops_in_one_ioctl() {
    for null in [NullMap::Sparse, REPEAT, CHUNK] {
        assert_eq!(
            Vm::with_buffer(null).bind(every_second(|at, size| memory_bind(at, size, at))),
            (1, 763)
        );
    }
}

#[test]
fn unbinding_all_is_one_op_or_48_chunks() {
    let all_pieces = || {
        (0..PIECES)
            .map(piece)
            .map(|(offset, size)| null_bind(offset, size))
    };
    for null in OWN {
        assert_eq!(
            Vm::with_bound_buffer(null).bind([null_bind(0, BUFFER)]),
            (1, 1)
        );
        assert_eq!(Vm::with_bound_buffer(null).bind(all_pieces()), (1, 1));
    }
    assert_eq!(
        Vm::with_bound_buffer(CHUNK).bind([null_bind(0, BUFFER)]),
        (1, 48)
    );
    assert_eq!(Vm::with_bound_buffer(CHUNK).bind(all_pieces()), (1, 48));
}

#[test]
fn unbinding_every_second_piece_is_763_ops() {
    for null in [NullMap::Sparse, REPEAT, CHUNK] {
        assert_eq!(
            Vm::with_bound_buffer(null).bind(every_second(null_bind)),
            (1, 763)
        );
    }
}

#[test]
fn unbinding_every_second_piece_is_one_op_when_the_rest_was_unbound_already() {
    for (null, ops) in [(NullMap::Sparse, 1), (REPEAT, 1), (CHUNK, 48)] {
        let mut vm = Vm::with_buffer(null);
        vm.bind(every_second(|at, size| memory_bind(at, size, at)));
        assert_eq!(vm.bind(every_second(null_bind)), (1, ops), "{null:?}");
    }
}

#[test]
fn unbinding_what_is_unbound_asks_nothing_of_the_kernel() {
    for null in [NullMap::Sparse, REPEAT, CHUNK, PAGE] {
        assert_eq!(Vm::with_buffer(null).bind([null_bind(0, BUFFER)]), (0, 0));
    }
}

#[test]
fn unbinding_64k_at_10m_leaves_the_10m_before_it_alone() {
    for null in [NullMap::Sparse, REPEAT, CHUNK] {
        let ioctls = Vm::with_bound_buffer(null).lower([null_bind(10 << 20, SZ_64K)]);
        assert_eq!((ioctls.len(), ioctls[0].len()), (1, 1));
        let op = ioctls[0].array.get(0).unwrap().op;
        assert_eq!((op.va, op.size), ((1 << 40) + (10 << 20), SZ_64K));
    }
}

#[test]
fn an_image_of_13_levels_is_one_op_or_43_chunks_and_its_range_is_a_tile() {
    let size = 89_915_392;
    for (null, ops) in [(NullMap::Sparse, 1), (REPEAT, 1), (CHUNK, 43)] {
        assert_eq!(
            Vm::new(null, size, SZ_64K).bind([null_bind(0, size)]),
            (1, ops)
        );
    }
    let ioctls = Vm::new(REPEAT, size, SZ_64K).lower([null_bind(0, size)]);
    assert_eq!(ioctls[0].array.get(0).unwrap().bo_repeat_range, SZ_64K);
}

#[test]
fn blocks_4_by_4_amid_an_image_with_contiguous_memory_are_4_ops() {
    let size = 89_915_392;
    let mut vm = Vm::new(REPEAT, size, SZ_64K);
    vm.bind([null_bind(0, size)]);
    let block = |i: u64| {
        memory_bind(
            ((14 + i / 4) * 32 + 14 + i % 4) * SZ_64K,
            SZ_64K,
            i * SZ_64K,
        )
    };
    assert_eq!(vm.bind((0..16).map(block)), (1, 4));
}

#[test]
fn memory_that_goes_on_behind_a_bound_gap_is_one_op() {
    let mut vm = Vm::with_buffer(REPEAT);
    vm.bind([memory_bind(SZ_64K, SZ_64K, SZ_64K)]);
    let ioctls = vm.lower([
        memory_bind(0, SZ_64K, 0),
        memory_bind(2 * SZ_64K, SZ_64K, 2 * SZ_64K),
    ]);
    assert_eq!((ioctls.len(), ioctls[0].len()), (1, 1));
    assert_eq!(ioctls[0].array.get(0).unwrap().op.size, 3 * SZ_64K);
}

#[test]
fn a_gap_is_bridged_if_that_costs_less_than_an_operation() {
    use crate::lower::LONGEST_BRIDGE;
    assert_eq!(LONGEST_BRIDGE, 108 * SZ_4K);
    for (gap, ops) in [(LONGEST_BRIDGE, 1), (LONGEST_BRIDGE + SZ_4K, 2)] {
        let mut vm = Vm::with_buffer(NullMap::Sparse);
        let second = SZ_64K + gap;
        vm.bind([memory_bind(0, SZ_64K, 0), memory_bind(second, SZ_64K, 0)]);
        assert_eq!(
            vm.bind([null_bind(0, SZ_64K), null_bind(second, SZ_64K)]),
            (1, ops)
        );
    }
}

#[test]
fn without_a_region_lock_a_gap_is_bridged_only_if_the_requests_name_it() {
    let mut vm = Vm::with_buffer(NullMap::Sparse);
    vm.lowering = Lowering::new();
    let pieces = |at: u64| [memory_bind(0, SZ_64K, 0), memory_bind(at, SZ_64K, 0)];
    vm.bind(pieces(2 * SZ_64K));
    let unbound = [null_bind(0, SZ_64K), null_bind(2 * SZ_64K, SZ_64K)];
    assert_eq!(vm.bind(unbound), (1, 2));
    vm.bind(pieces(2 * SZ_64K));
    assert_eq!(vm.bind([null_bind(0, 3 * SZ_64K)]), (1, 1));
}

#[test]
fn a_chunk_lies_in_the_dummy_where_its_address_does_in_2_mib() {
    let ioctls = Vm::with_bound_buffer(CHUNK).lower([null_bind(3 * SZ_64K, SZ_2M)]);
    let ops: Vec<_> = ioctls[0]
        .array
        .iter()
        .map(|op| (op.op.bo_offset, op.op.size))
        .collect();
    assert_eq!(ops, [(3 * SZ_64K, SZ_2M - 3 * SZ_64K), (0, 3 * SZ_64K)]);
}

#[test]
fn a_larger_repeat_range_is_used_where_it_was_seen_to_work() {
    let bold = NullMap::Repeat {
        dummy: DUMMY,
        dummy_size: SZ_2M,
        max_range: SZ_2M,
    };
    let lowered = |null, size| {
        let ioctls = Vm::new(null, size, SZ_4K).lower([null_bind(0, size)]);
        let ops = ioctls[0].array.iter();
        ops.map(|op| (op.op.size, op.bo_repeat_range))
            .collect::<Vec<_>>()
    };
    assert_eq!(lowered(REPEAT, 8 * SZ_2M), [(8 * SZ_2M, SZ_4K)]);
    assert_eq!(lowered(bold, 8 * SZ_2M), [(8 * SZ_2M, SZ_2M)]);
    // What is no whole slot is cheaper as an operation of its own than as more repetitions of a smaller range.
    let tail = BUFFER % SZ_2M;
    assert_eq!(lowered(bold, BUFFER), [(BUFFER - tail, SZ_2M), (tail, 0)]);
    // A few repetitions more are cheaper than an operation more.
    let small = NullMap::Repeat {
        dummy: DUMMY,
        dummy_size: SZ_64K,
        max_range: SZ_64K,
    };
    assert_eq!(lowered(small, SZ_64K + SZ_4K), [(SZ_64K + SZ_4K, SZ_4K)]);
}

#[test]
fn a_null_run_that_fits_in_the_dummy_is_a_plain_map_of_48_bytes() {
    let ioctls = Vm::with_bound_buffer(REPEAT).lower([null_bind(0, SZ_64K)]);
    assert_eq!((ioctls[0].array.stride(), ioctls[0].counts.null), (48, 1));
    assert_eq!(
        ioctls[0].array.get(0).unwrap().op.flags,
        crate::uapi::VM_BIND_OP_MAP_NOEXEC
    );
}
