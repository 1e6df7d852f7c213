//! What a call costs the kernel, by the cost model: not more than the runs in ascending order, with repetitions of 4 KiB.
//!
//! Five per cent are allowed. The component knows what each address maps, but not in how many mappings the kernel keeps it: an
//! unbound range that came of several binds is several mappings, and then another order is sometimes the better one.

use panvk_sparse::bind::{Planner, Request, Run, SparseRange, Target};
use panvk_sparse::drm::{BindMode, Bo, Device};
use panvk_sparse::lower::{Costs, OpArray, Ops, Work};
use panvk_sparse::uapi::{
    VM_BIND_OP_MAP_NOEXEC, VM_BIND_OP_MAP_REPEAT, VM_BIND_OP_MAP_SPARSE, VM_BIND_OP_TYPE_MAP,
    VmBindOp, VmBindOpRepeat,
};
use panvk_sparse::units::{SZ_2M, SZ_4K, SZ_64K, Va};
use panvk_sparse::vm::{Initial, SparseVm};
use proptest::collection::vec;
use proptest::prelude::*;
use vpanthor::{Flavour, Virtual};

use crate::sparse_vm::{device, sparse_vm};

const BASE: u64 = 1 << 32;
const BLOCKS: u64 = 4 * SZ_2M / SZ_64K;

/// First block of 64 KiB, how many, and the block of memory that the first is bound to.
type Bind = (u64, u64, Option<u64>);

fn call() -> impl Strategy<Value = Vec<Bind>> {
    let memory = prop_oneof![1 => Just(None), 2 => (0..2 * BLOCKS).prop_map(Some)];
    let long = prop_oneof![4 => 1u64..6, 1 => 1..BLOCKS];
    vec((0..BLOCKS, long, memory), 1..24)
}

struct World {
    device: Device,
    vm: SparseVm,
    bo: Bo,
}

impl World {
    /// After these calls. The resource does not end with a slot.
    fn new(flavour: Flavour, before: &[Vec<Bind>]) -> World {
        let device = device(flavour);
        let mut vm = sparse_vm(&device, None);
        let bo = device
            .create_bo(3 * BLOCKS * SZ_64K, 0, None)
            .expect("memory");
        let range = SparseRange::new(Va(BASE), (BLOCKS - 5) * SZ_64K, SZ_64K);
        vm.add_range(range, Initial::Unbound).expect("a range");
        let mut world = World { device, vm, bo };
        for call in before {
            world.bind(call);
        }
        world
    }

    fn requests(&self, call: &[Bind]) -> Vec<Request> {
        let end = BLOCKS - 5;
        let request = |&(first, blocks, memory): &Bind| {
            let first = first % end;
            Request {
                va: Va(BASE + first * SZ_64K),
                len: blocks.min(end - first) * SZ_64K,
                target: memory.map_or(Target::Null, |block| {
                    Target::memory(self.vm.memory(self.bo.handle()), block * SZ_64K)
                }),
            }
        };
        call.iter().map(request).collect()
    }

    fn bind(&mut self, call: &[Bind]) {
        self.vm.bind_now(&self.requests(call)).expect("bound");
    }

    /// The runs of the call as they come, one operation each.
    fn bind_plainly(&self, call: &[Bind]) {
        let mut runs = Vec::new();
        Planner::new().plan(&self.requests(call), self.vm.shadow(), &mut runs);
        let op = |run: &Run| {
            let (flags, bo_handle, bo_offset, bo_repeat_range) = match (run.target, self.vm.dummy())
            {
                (Target::Memory { bo, offset, .. }, _) => (0, bo.handle.0, offset, 0),
                (Target::Null, Some(dummy)) => (VM_BIND_OP_MAP_REPEAT, dummy.handle().0, 0, SZ_4K),
                (Target::Null, None) => (VM_BIND_OP_MAP_SPARSE, 0, 0, 0),
            };
            let op = VmBindOp {
                flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC | flags,
                bo_handle,
                bo_offset,
                va: run.va.0,
                size: run.len,
                ..VmBindOp::default()
            };
            VmBindOpRepeat {
                op,
                bo_repeat_range,
            }
        };
        let repeats: Vec<_> = runs.iter().map(op).collect();
        let array = match self.vm.dummy() {
            Some(_) => OpArray::Repeat(repeats),
            None => OpArray::Plain(repeats.iter().map(|repeat| repeat.op).collect()),
        };
        let mut ops = Ops {
            array,
            ..Ops::default()
        };
        if !runs.is_empty() {
            self.vm.vm().bind(&mut ops, BindMode::Sync).expect("bound");
        }
    }

    fn work(&self) -> Work {
        let file = self.device.vpanthor().expect("a virtual kernel");
        let stats = file.vm_stats(self.vm.vm().id().0).expect("a VM");
        let counters = self.device.counters();
        stats.pt.work(counters.vm_bind_ioctls, counters.vm_bind_ops)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_call_costs_more_than_its_runs_in_ascending_order_with_repetitions_of_4_kib(
        flavour in prop::sample::select(vec![Flavour::V1_6Repeat, Flavour::V1_8Repeat, Flavour::V1_9]),
        before in vec(call(), 0..3),
        measured in call(),
    ) {
        let mut ours = World::new(flavour, &before);
        let plain = World::new(flavour, &before);
        let cost = |world: &World| Costs::PANTHOR.time(&world.work());
        prop_assert_eq!(cost(&ours), cost(&plain));
        ours.bind(&measured);
        plain.bind_plainly(&measured);
        prop_assert!(
            cost(&ours).mul_f64(0.95) <= cost(&plain),
            "{flavour}: {:?}, in ascending order {:?}", ours.work(), plain.work()
        );
    }
}
