//! The order of operations inside a 2 MiB slot, against every order there is: on the virtual kernel's page tables, which
//! count the entries that are written.

use panvk_sparse::bind::{Request, SparseRange, Target};
use panvk_sparse::drm::{BindMode, Bo, Device};
use panvk_sparse::lower::{OpArray, Ops};
use panvk_sparse::uapi::{
    VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_SPARSE, VM_BIND_OP_TYPE_MAP, VmBindOp,
};
use panvk_sparse::units::{SZ_2M, SZ_64K, Va};
use panvk_sparse::vm::{Batch, Initial, SparseVm};
use vpanthor::{Flavour, Virtual};

use crate::sparse_vm::{device, sparse_vm};

const SLOT: u64 = 1 << 32;
/// Pieces of 64 KiB in a slot.
const PLACES: u64 = SZ_2M / SZ_64K;

/// What lies in the slot, and around it, before.
#[derive(Clone, Copy, Debug)]
enum Ground {
    /// Nothing at all.
    Unmapped,
    /// Unbound, mapped with the kernel's own dummy.
    Sparse,
    /// Memory of 2 MiB pages.
    Memory,
    /// Unbound in the middle of memory: the slot is broken already.
    Broken,
    /// As `Sparse`, but the resource ends in the middle of the slot.
    Half,
}

struct World {
    device: Device,
    vm: SparseVm,
    bo: Bo,
}

/// First 64 KiB and how many, and whether they get memory: else they are unbound.
type Piece = (u64, u64, bool);

impl World {
    fn new(ground: Ground) -> World {
        let device = device(Flavour::V1_9);
        let mut vm = sparse_vm(&device, None);
        let bo = device.create_bo(8 * SZ_2M, 0, None).expect("memory");
        let range = SparseRange::new(
            Va(SLOT - SZ_2M),
            if matches!(ground, Ground::Half) {
                SZ_2M + SZ_2M / 2
            } else {
                3 * SZ_2M
            },
            SZ_64K,
        );
        let initial = match ground {
            Ground::Unmapped => Initial::Unknown,
            _ => Initial::Unbound,
        };
        vm.add_range(range, initial).expect("a range");
        let mut world = World { device, vm, bo };
        if matches!(ground, Ground::Memory | Ground::Broken) {
            let target = world.memory(0);
            world.bind(&[(SLOT - SZ_2M, 3 * SZ_2M, target)]);
        }
        if matches!(ground, Ground::Broken) {
            world.bind(&[(SLOT + 5 * SZ_64K, 9 * SZ_64K, Target::Null)]);
        }
        world
    }

    fn memory(&self, offset: u64) -> Target {
        Target::memory(self.vm.memory(self.bo.handle()), offset)
    }

    fn bind(&mut self, pieces: &[(u64, u64, Target)]) {
        let requests: Vec<_> = pieces
            .iter()
            .map(|&(va, len, target)| Request {
                va: Va(va),
                len,
                target,
            })
            .collect();
        let batch = Batch {
            requests: &requests,
            ..Batch::default()
        };
        self.vm.bind(&[batch]).expect("bound");
    }

    fn written(&self) -> u64 {
        let file = self.device.vpanthor().expect("a virtual kernel");
        let stats = file.vm_stats(self.vm.vm().id().0).expect("a VM");
        stats.pt.pte_writes()
    }

    /// Entries that the component's own order writes.
    fn ours(mut self, pieces: &[Piece]) -> u64 {
        let before = self.written();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|&(at, len, memory)| {
                let target = if memory {
                    self.memory(memory_of(at))
                } else {
                    Target::Null
                };
                (SLOT + at * SZ_64K, len * SZ_64K, target)
            })
            .collect();
        self.bind(&pieces);
        self.written() - before
    }

    /// Entries that this order writes.
    fn in_order(self, pieces: impl Iterator<Item = Piece>) -> u64 {
        let before = self.written();
        let op = |(at, len, memory): Piece| VmBindOp {
            flags: VM_BIND_OP_TYPE_MAP
                | VM_BIND_OP_MAP_NOEXEC
                | if memory { 0 } else { VM_BIND_OP_MAP_SPARSE },
            bo_handle: if memory { self.bo.handle().0 } else { 0 },
            bo_offset: if memory { memory_of(at) } else { 0 },
            va: SLOT + at * SZ_64K,
            size: len * SZ_64K,
            ..VmBindOp::default()
        };
        let mut ops = Ops {
            array: OpArray::Plain(pieces.map(op).collect()),
            ..Ops::default()
        };
        self.vm.vm().bind(&mut ops, BindMode::Sync).expect("bound");
        self.written() - before
    }
}

/// Where the memory of a piece lies: no two pieces continue each other, and none is what lies there already.
fn memory_of(at: u64) -> u64 {
    4 * SZ_2M + (PLACES - at) * SZ_64K
}

/// Calls `visit` with every order of `items` (Heap's algorithm).
fn orders(items: &mut [Piece], size: usize, visit: &mut dyn FnMut(&[Piece])) {
    if size <= 1 {
        return visit(items);
    }
    for i in 0..size {
        orders(items, size - 1, visit);
        items.swap(if size % 2 == 0 { i } else { 0 }, size - 1);
    }
}

/// Up to `most` pieces that ascend, with gaps between them, below `places`.
fn pieces(random: &mut common::Random, most: u64, places: u64, memory: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = random.below(6);
    while at < places && (pieces.len() as u64) < most {
        let len = (1 + random.below(4)).min(places - at);
        pieces.push((at, len, memory));
        at += len + 1 + random.below(5);
    }
    pieces
}

#[test]
fn no_order_of_the_pieces_of_a_slot_writes_much_less_than_ours() {
    let mut random = common::Random::new(7);
    let grounds = [
        Ground::Unmapped,
        Ground::Sparse,
        Ground::Memory,
        Ground::Broken,
        Ground::Half,
    ];
    let (mut sum, mut cases, mut ascending_sum, mut our_sum) = (0.0, 0, 0, 0);
    for round in 0..600 {
        let ground = grounds[round % grounds.len()];
        let places = if matches!(ground, Ground::Half) {
            PLACES / 2
        } else {
            PLACES
        };
        // Seven pieces have 5,040 orders; most cases have fewer.
        let most = [2, 3, 4, 5, 5, 6][round / grounds.len() % 6] + u64::from(round % 10 == 1);
        let memory = !matches!(ground, Ground::Memory) || random.below(2) == 0;
        let mut pieces = pieces(&mut random, most, places, memory);
        let ours = World::new(ground).ours(&pieces);
        let ascending = World::new(ground).in_order(pieces.iter().copied());
        let mut best = u64::MAX;
        let count = pieces.len();
        let mut visit = |order: &[Piece]| {
            best = best.min(World::new(ground).in_order(order.iter().copied()));
        };
        orders(&mut pieces, count, &mut visit);
        let ratio = ours as f64 / best as f64;
        assert!(
            ratio <= 1.1 && ours <= ascending,
            "{ground:?}, {pieces:?}: {ours} entries, the best order has {best}, ascending {ascending}"
        );
        sum += ratio;
        cases += 1;
        ascending_sum += ascending;
        our_sum += ours;
    }
    let mean = sum / f64::from(cases);
    assert!(mean <= 1.02, "{mean}");
    assert!(
        our_sum * 3 < ascending_sum * 2,
        "{our_sum} of {ascending_sum}"
    );
}

/// 763 pieces of 64 KiB, every second one of a sparse buffer of 100,000,000 bytes.
#[test]
fn every_second_piece_of_a_sparse_buffer_writes_less_than_50_000_entries() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    let bo = device.create_bo(100_003_840, 0, None).expect("memory");
    let range = SparseRange::new(Va(SLOT), 100_003_840, SZ_64K);
    vm.add_range(range, Initial::Unbound).expect("a range");
    let mut world = World { device, vm, bo };
    let before = world.written();
    let pieces: Vec<_> = (0..763)
        .map(|i| (SLOT + 2 * i * SZ_64K, SZ_64K, world.memory(2 * i * SZ_64K)))
        .collect();
    world.bind(&pieces);
    let written = world.written() - before;
    assert!(written < 50_000, "{written}");
}

/// A resource of 100,000,000 bytes that has reserved whole slots starts with one operation and 48 large entries.
#[test]
fn what_reserves_whole_slots_starts_unbound_with_one_operation_and_only_large_entries() {
    const LEN: u64 = 100_003_840;
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    let range = SparseRange::new(Va(SLOT), LEN, SZ_64K).reserving(LEN.next_multiple_of(SZ_2M));
    vm.add_range(range, Initial::Unbound).expect("a range");
    let bo = device.create_bo(SZ_2M, 0, None).expect("memory");
    let mut world = World { device, vm, bo };
    assert_eq!(world.vm.kernel_counters().vm_bind_ops, 1);
    assert_eq!(world.written(), LEN.div_ceil(SZ_2M));
    // Bound in the last slot and unbound again as a whole: once more large entries.
    let last = SLOT + LEN - SZ_64K;
    world.bind(&[(last, SZ_64K, world.memory(0))]);
    let before = world.written();
    world.bind(&[(SLOT, LEN, Target::Null)]);
    assert!(world.written() - before <= 2 * LEN.div_ceil(SZ_2M) + SZ_2M / 4096);
    // And it goes as a whole.
    world.vm.remove_range(Va(SLOT)).expect("removed");
    let file = world.device.vpanthor().expect("a virtual kernel");
    let stats = file.vm_stats(world.vm.vm().id().0).expect("a VM");
    assert_eq!(stats.mappings, 0);
}
