//! [`SparseVm`] against an array of pages: whatever is bound, refused half-way, taken back, freed, removed or marked unknown, the
//! kernel's page tables are what the requests say, and the shadow says nothing that is not so.
//!
//! Everything happens in *units*, which are 4 KiB, or 128 KiB so that ranges take several slots of 2 MiB.

use std::collections::BTreeMap;

use panvk_sparse::bind::{BindFlags, Request, SparseRange, Target};
use panvk_sparse::drm::{BindMode, Bo, Device, probe};
use panvk_sparse::lower::{Ops, Strategy};
use panvk_sparse::units::{SZ_4K, SZ_64K, Va};
use panvk_sparse::vm::{Batch, Initial, SparseVm, VmError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, Kernel, OpStage, OpenOptions, Virtual};

const BASE: u64 = 1 << 32;
/// Units in a range.
const UNITS: u64 = 64;
const BO_UNITS: u64 = 96;
const BOS: usize = 3;

pub fn device(flavour: Flavour) -> Device {
    vpanthor::device(Kernel::new(flavour).open(OpenOptions::default())).expect("a virtual kernel")
}

pub fn sparse_vm(device: &Device, strategy: Option<Strategy>) -> SparseVm {
    let capabilities = probe(device).expect("a probe");
    let null = capabilities.null_map(device, strategy).expect("a strategy");
    SparseVm::new(device.create_vm(0).expect("a VM"), null)
}

/// What a unit maps: it is unbound, or a unit of a buffer object, by vpanthor's number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maps {
    Null,
    Memory { bo: u64, unit: u64 },
}

type Units = BTreeMap<u64, Maps>;

#[derive(Clone, Debug)]
enum Step {
    /// Batches of binds, and whether the call is taken back at the end.
    Call(Vec<Vec<Bind>>, bool),
    /// The memory is freed, and new memory comes, on the same handle if the kernel likes.
    Replace(usize),
    /// A range goes, and comes again.
    Renew(usize),
    /// Some units are not known any more.
    Forget(u64, u64),
    /// A call whose operation of this number the kernel refuses, if it has so many.
    Fail(Vec<Bind>, u64),
}

/// Range, first unit, units, memory, unit in it, flags.
type Bind = (usize, u64, u64, Option<usize>, u64, bool);

fn bind() -> impl proptest::strategy::Strategy<Value = Bind> {
    let memory = prop_oneof![1 => Just(None), 2 => (0..BOS).prop_map(Some)];
    (
        0usize..2,
        0..UNITS,
        1..UNITS,
        memory,
        0u64..32,
        prop::bool::weighted(0.1),
    )
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    prop_oneof![
        8 => (vec(vec(bind(), 0..6), 0..4), prop::bool::weighted(0.2)).prop_map(|(call, back)| Step::Call(call, back)),
        1 => (0..BOS).prop_map(Step::Replace),
        1 => (0usize..2).prop_map(Step::Renew),
        1 => (0..2 * UNITS, 1..UNITS).prop_map(|(first, units)| Step::Forget(first, units)),
        2 => (vec(bind(), 1..6), 1u64..8).prop_map(|(call, nth)| Step::Fail(call, nth)),
    ]
}

fn any_kernel() -> impl proptest::strategy::Strategy<Value = (Flavour, Strategy)> {
    prop::sample::select(vec![
        (Flavour::V1_5, Strategy::Page),
        (Flavour::V1_5, Strategy::Chunk),
        (Flavour::V1_8, Strategy::Chunk),
        (Flavour::V1_6Repeat, Strategy::Repeat),
        (Flavour::V1_8Repeat, Strategy::Repeat),
        (Flavour::V1_8Repeat, Strategy::Chunk),
        (Flavour::V1_9, Strategy::Sparse),
        (Flavour::V1_9, Strategy::Chunk),
    ])
}

struct World {
    device: Device,
    vm: SparseVm,
    bos: Vec<Bo>,
    units: Units,
    /// Bytes of a unit.
    unit: u64,
    /// Where the first range begins. The second one follows it.
    base: u64,
}

fn range_at(base: u64, unit: u64, index: usize) -> SparseRange {
    let len = UNITS * unit;
    SparseRange::new(Va(base + index as u64 * len), len, SZ_4K)
}

impl World {
    fn new((flavour, strategy): (Flavour, Strategy), unit: u64, shift: u64) -> World {
        let device = device(flavour);
        let mut world = World {
            vm: sparse_vm(&device, Some(strategy)),
            bos: (0..BOS).map(|_| new_bo(&device, unit)).collect(),
            device,
            units: Units::new(),
            unit,
            base: BASE + shift * unit,
        };
        (0..2).for_each(|index| world.add(index));
        world
    }

    fn va(&self, unit: u64) -> Va {
        Va(self.base + unit * self.unit)
    }

    fn range(&self, index: usize) -> SparseRange {
        range_at(self.base, self.unit, index)
    }

    fn add(&mut self, index: usize) {
        self.vm
            .add_range(self.range(index), Initial::Unbound)
            .expect("a range");
        for unit in 0..UNITS {
            self.units.insert(index as u64 * UNITS + unit, Maps::Null);
        }
    }

    fn id(&self, bo: &Bo) -> u64 {
        let file = self.device.vpanthor().expect("a virtual kernel");
        file.bo_id(bo.handle().0).expect("an open handle")
    }

    fn request(&self, &(index, first, units, memory, offset, readonly): &Bind) -> Request {
        let target = match memory {
            None => Target::Null,
            Some(bo) => Target::Memory {
                bo: self.vm.memory(self.bos[bo].handle()),
                offset: offset * self.unit,
                flags: if readonly {
                    BindFlags::READONLY
                } else {
                    BindFlags::NONE
                },
            },
        };
        Request {
            va: self.va(index as u64 * UNITS + first),
            len: units.min(UNITS - first) * self.unit,
            target,
        }
    }

    fn write(&mut self, &(index, first, units, memory, offset, _): &Bind) {
        for unit in 0..units.min(UNITS - first) {
            let maps = match memory {
                None => Maps::Null,
                Some(bo) => Maps::Memory {
                    bo: self.id(&self.bos[bo]),
                    unit: offset + unit,
                },
            };
            self.units.insert(index as u64 * UNITS + first + unit, maps);
        }
    }

    fn call(&mut self, batches: &[Vec<Bind>], back: bool) {
        let (before, known) = (self.units.clone(), self.known());
        let requests: Vec<Vec<Request>> = batches
            .iter()
            .map(|binds| binds.iter().map(|bind| self.request(bind)).collect())
            .collect();
        let calls: Vec<Batch<'_>> = requests
            .iter()
            .map(|requests| Batch {
                requests,
                ..Batch::default()
            })
            .collect();
        let totals = self.vm.totals();
        let bound = self.vm.bind(&calls).expect("the kernel takes it");
        let ops: usize = bound.ops.iter().map(|ops| ops.len()).sum();
        assert_eq!(ops, bound.ops.last().map_or(0, |ops| ops.end));
        for bind in batches.iter().flatten() {
            self.write(bind);
        }
        if back {
            self.check();
            self.vm
                .take_back(bound.changes)
                .expect("the kernel takes it");
            // What nobody knew, and memory that is freed, can't be put back: it stays as the call has left it.
            for (unit, was) in before {
                if known[&unit] {
                    self.units.insert(unit, was);
                }
            }
            assert_eq!(self.vm.totals(), totals, "as if there had been no call");
        }
    }

    /// Nothing of the call happens if one operation is refused after others were carried out. Where it is not known what was
    /// there, either may be so.
    fn fail(&mut self, binds: &[Bind], nth: u64) {
        let known = self.known();
        let requests: Vec<Request> = binds.iter().map(|bind| self.request(bind)).collect();
        let file = self.device.vpanthor().expect("a virtual kernel");
        file.inject(Fault::Op {
            nth,
            stage: OpStage::Run,
            errno: Errno::NOMEM,
        });
        match self.vm.bind_now(&requests) {
            Err(VmError::Refused(failure)) => assert_eq!(failure.errno, Errno::NOMEM),
            Err(other) => panic!("{other}"),
            Ok(_) => {
                binds.iter().for_each(|bind| self.write(bind));
                self.let_the_fault_go_off();
                return;
            }
        }
        for unit in 0..2 * UNITS {
            if let Some(seen) = self.seen(unit).filter(|_| !known[&unit]) {
                self.units.insert(unit, seen);
            }
        }
    }

    fn let_the_fault_go_off(&self) {
        let scratch = self.device.create_vm(0).expect("a VM");
        let mut bound = Ok(());
        while bound.is_ok() {
            let mut ops = Ops::unmap(Va(BASE), SZ_4K);
            bound = scratch.bind(&mut ops, BindMode::Sync);
        }
    }

    /// For each unit, whether the VM knows what to put back there.
    fn known(&self) -> BTreeMap<u64, bool> {
        let known = |unit: u64| match self.vm.shadow().get(self.va(unit)) {
            None => false,
            Some(Target::Null) => true,
            Some(Target::Memory { bo, .. }) => self.vm.memory(bo.handle) == bo,
        };
        self.units.keys().map(|&unit| (unit, known(unit))).collect()
    }

    /// What the kernel maps in the first page of a unit.
    fn seen(&self, unit: u64) -> Option<Maps> {
        let file = self.device.vpanthor().expect("a virtual kernel");
        let va = self.va(unit).0;
        let seen = file
            .with_gpuvm(self.vm.vm().id().0, |gpuvm| gpuvm.translate(va))
            .flatten()?;
        let dummy = self.vm.dummy().map(|bo| self.id(bo));
        Some(if seen.bo == 0 || Some(seen.bo) == dummy {
            Maps::Null
        } else {
            Maps::Memory {
                bo: seen.bo,
                unit: seen.offset / self.unit,
            }
        })
    }

    /// Each unit of the kernel is what the model says, and so is each byte that the shadow knows.
    fn check(&self) {
        for (&unit, &expected) in &self.units {
            assert_eq!(self.seen(unit), Some(expected), "unit {unit}");
            let shadow = self.vm.shadow().get(self.va(unit));
            match (shadow, expected) {
                (None, _) | (Some(Target::Null), Maps::Null) => {}
                (Some(Target::Memory { offset, .. }), Maps::Memory { unit: of_bo, .. }) => {
                    assert_eq!(offset, of_bo * self.unit, "unit {unit}");
                }
                other => panic!("unit {unit}: {other:?}"),
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Call(batches, back) => self.call(batches, *back),
            Step::Replace(index) => {
                let handle = self.bos[*index].handle();
                let old = self.vm.memory(handle);
                self.vm.memory_gone(handle);
                assert_ne!(self.vm.memory(handle), old, "other memory from now on");
                // Closed before the new one is made, so that the handle comes again.
                drop(self.bos.remove(*index));
                self.bos.insert(*index, new_bo(&self.device, self.unit));
            }
            Step::Renew(index) => {
                let range = self.range(*index);
                self.vm.remove_range(range.va).expect("it is there");
                self.add(*index);
            }
            Step::Forget(unit, units) => {
                self.vm.mark_unknown(self.va(*unit), units * self.unit);
            }
            Step::Fail(binds, nth) => self.fail(binds, *nth),
        }
        self.check();
    }
}

fn new_bo(device: &Device, unit: u64) -> Bo {
    device
        .create_bo(BO_UNITS * unit, 0, None)
        .expect("a buffer object")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_kernel_maps_what_the_requests_say(
        kernel in any_kernel(),
        (unit, shift) in prop_oneof![Just((SZ_4K, 0)), (0u64..16).prop_map(|shift| (2 * SZ_64K, shift))],
        steps in vec(step(), 1..8),
    ) {
        let mut world = World::new(kernel, unit, shift);
        world.check();
        for step in &steps {
            world.step(step);
        }
    }
}

fn bind_one(vm: &mut SparseVm, va: u64, len: u64, target: Target) -> u64 {
    let requests = [Request {
        va: Va(va),
        len,
        target,
    }];
    let before = vm.kernel_counters().vm_bind_ops;
    vm.bind(&[Batch {
        requests: &requests,
        ..Batch::default()
    }])
    .expect("bound");
    vm.kernel_counters().vm_bind_ops - before
}

#[test]
fn memory_on_a_handle_that_comes_again_is_other_memory() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range_at(BASE, SZ_4K, 0), Initial::Unbound)
        .unwrap();
    let bo = new_bo(&device, SZ_4K);
    let handle = bo.handle();
    let target = Target::memory(vm.memory(handle), 0);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, target), 1);
    assert_eq!(
        bind_one(&mut vm, BASE, SZ_64K, target),
        0,
        "it is so already"
    );
    vm.memory_gone(handle);
    drop(bo);
    let again = new_bo(&device, SZ_4K);
    assert_eq!(
        again.handle(),
        handle,
        "the kernel hands a closed handle out again"
    );
    let target = Target::memory(vm.memory(handle), 0);
    assert_eq!(
        bind_one(&mut vm, BASE, SZ_64K, target),
        1,
        "never taken for the old memory"
    );
}

#[test]
fn what_is_not_known_is_bound_again_and_what_the_caller_has_mapped_is_not() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range_at(BASE, SZ_4K, 0), Initial::Unknown)
        .unwrap();
    assert_eq!(vm.kernel_counters().vm_bind_ops, 0);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 1);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 0);
    vm.mark_unknown(Va(BASE + SZ_4K), SZ_4K);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 1);
    vm.add_range(range_at(BASE, SZ_4K, 1), Initial::AlreadyUnbound)
        .unwrap();
    assert_eq!(
        bind_one(&mut vm, range_at(BASE, SZ_4K, 1).va.0, SZ_64K, Target::Null),
        0
    );
}

#[test]
fn flags_reach_the_kernel_and_other_flags_are_another_mapping() {
    use vpanthor::mapping::MapFlags as KernelFlags;
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range_at(BASE, SZ_4K, 0), Initial::Unbound)
        .unwrap();
    let bo = new_bo(&device, SZ_4K);
    let target = |flags| Target::Memory {
        bo: vm.memory(bo.handle()),
        offset: 0,
        flags,
    };
    let targets = [
        target(BindFlags::NONE),
        target(BindFlags::READONLY),
        target(BindFlags::UNCACHED),
        target(BindFlags::READONLY.and(BindFlags::UNCACHED)),
    ];
    let seen = targets.map(|target| {
        assert_eq!(bind_one(&mut vm, BASE, SZ_64K, target), 1);
        let file = device.vpanthor().expect("a virtual kernel");
        let flags = file.with_gpuvm(vm.vm().id().0, |gpuvm| {
            let mapping = gpuvm.mappings().find(|mapping| mapping.va == BASE);
            mapping.map(|mapping| mapping.flags)
        });
        flags.flatten().expect("a mapping")
    });
    let bits = |flags: &[KernelFlags]| flags.iter().fold(0, |bits, flag| bits | flag.bits());
    let (noexec, readonly, uncached) = (
        KernelFlags::NOEXEC,
        KernelFlags::READONLY,
        KernelFlags::UNCACHED,
    );
    let expected = [
        bits(&[noexec]),
        bits(&[noexec, readonly]),
        bits(&[noexec, uncached]),
        bits(&[noexec, readonly, uncached]),
    ];
    assert_eq!(seen.map(KernelFlags::bits), expected);
}

#[test]
fn an_adopted_vm_outlives_the_one_who_adopted_it() {
    let device = device(Flavour::V1_9);
    let own = device.create_vm(0).unwrap();
    let null = probe(&device).unwrap().null_map(&device, None).unwrap();
    let mut vm = SparseVm::new(device.adopt_vm(own.id(), own.user_va_range()), null);
    vm.add_range(range_at(BASE, SZ_4K, 0), Initial::Unbound)
        .unwrap();
    drop(vm);
    let file = device.vpanthor().expect("a virtual kernel");
    let stats = file.vm_stats(own.id().0).expect("it is there");
    assert_eq!(stats.mappings, 1);
}

#[test]
fn an_unordered_batch_is_mapped_whatever_the_shadow_says_and_leaves_it_unknown() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range(0), Initial::Unbound).expect("a range");
    let bo = new_bo(&device);
    let target = Target::memory(vm.memory(bo.handle()), 0);
    let requests = [Request {
        va: Va(BASE),
        len: SZ_64K,
        target,
    }];
    let ordered = Batch {
        requests: &requests,
        ..Batch::default()
    };
    let unordered = Batch {
        unordered: true,
        ..ordered
    };
    let mut ops = |batches: &[Batch<'_>]| {
        let before = vm.kernel_counters().vm_bind_ops;
        let bound = vm.bind(batches).expect("a bind");
        let ops = vm.kernel_counters().vm_bind_ops - before;
        (ops, bound.elided, vm.shadow().get(Va(BASE)).is_some())
    };
    assert_eq!(ops(&[ordered]), (1, 0, true));
    assert_eq!(ops(&[ordered]), (0, 1, true));
    assert_eq!(ops(&[unordered]), (1, 0, false));
    assert_eq!(ops(&[unordered]), (1, 0, false));
    // Between batches of one call, too.
    assert_eq!(ops(&[ordered, unordered, ordered]), (3, 0, true));
    assert_eq!(ops(&[ordered]), (0, 1, true));
    // What is taken back is known again only where the call has left something that is.
    let bound = vm.bind(&[unordered]).expect("a bind");
    vm.take_back(bound.changes).expect("taken back");
    assert_eq!(vm.shadow().get(Va(BASE)), None);
}
