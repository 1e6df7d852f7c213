//! [`SparseVm`] against an array of pages: whatever is bound, taken back, freed, removed or marked unknown, the kernel's
//! page tables are what the requests say, and the shadow says nothing that is not so.

use std::collections::BTreeMap;

use panvk_sparse::bind::{BindFlags, Request, SparseRange, Target};
use panvk_sparse::drm::{Bo, Device, probe};
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::{SZ_4K, SZ_64K, Va};
use panvk_sparse::vm::{Batch, Initial, SparseVm};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use vpanthor::{Flavour, Kernel, OpenOptions, Virtual};

const BASE: u64 = 1 << 32;
const PAGES: u64 = 64;
const BO_PAGES: u64 = 96;
const BOS: usize = 3;

pub fn device(flavour: Flavour) -> Device {
    vpanthor::device(Kernel::new(flavour).open(OpenOptions::default())).expect("a virtual kernel")
}

pub fn sparse_vm(device: &Device, strategy: Option<Strategy>) -> SparseVm {
    let capabilities = probe(device).expect("a probe");
    let null = capabilities.null_map(device, strategy).expect("a strategy");
    SparseVm::new(device.create_vm(0).expect("a VM"), null)
}

/// What a page maps: unbound, or a page of a buffer object, by vpanthor's number of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Null,
    Memory { bo: u64, page: u64 },
}

type Pages = BTreeMap<u64, Page>;

#[derive(Clone, Debug)]
enum Step {
    /// Batches of binds, and whether the call is taken back at the end.
    Call(Vec<Vec<Bind>>, bool),
    /// The memory is freed, and new memory comes, on the same handle if the kernel likes.
    Replace(usize),
    /// A range goes, and comes again.
    Renew(usize),
    /// Some pages are not known any more.
    Forget(u64, u64),
}

/// Range, first page, pages, memory, page in it, flags.
type Bind = (usize, u64, u64, Option<usize>, u64, bool);

fn bind() -> impl proptest::strategy::Strategy<Value = Bind> {
    let memory = prop_oneof![1 => Just(None), 2 => (0..BOS).prop_map(Some)];
    (
        0usize..2,
        0..PAGES,
        1..PAGES,
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
        1 => (0..2 * PAGES, 1..PAGES).prop_map(|(page, pages)| Step::Forget(page, pages)),
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
    pages: Pages,
}

fn range(index: usize) -> SparseRange {
    SparseRange::new(
        Va(BASE + index as u64 * PAGES * SZ_4K),
        PAGES * SZ_4K,
        SZ_4K,
    )
}

impl World {
    fn new((flavour, strategy): (Flavour, Strategy)) -> World {
        let device = device(flavour);
        let mut world = World {
            vm: sparse_vm(&device, Some(strategy)),
            bos: (0..BOS).map(|_| new_bo(&device)).collect(),
            device,
            pages: Pages::new(),
        };
        (0..2).for_each(|index| world.add(index));
        world
    }

    fn add(&mut self, index: usize) {
        self.vm
            .add_range(range(index), Initial::Unbound)
            .expect("a range");
        for page in 0..PAGES {
            self.pages.insert(index as u64 * PAGES + page, Page::Null);
        }
    }

    fn id(&self, bo: &Bo) -> u64 {
        let file = self.device.vpanthor().expect("a virtual kernel");
        file.bo_id(bo.handle().0).expect("an open handle")
    }

    fn request(&self, &(index, first, pages, memory, offset, readonly): &Bind) -> Request {
        let target = match memory {
            None => Target::Null,
            Some(bo) => Target::Memory {
                bo: self.vm.memory(self.bos[bo].handle()),
                offset: offset * SZ_4K,
                flags: if readonly {
                    BindFlags::READONLY
                } else {
                    BindFlags::NONE
                },
            },
        };
        Request {
            va: Va(range(index).va.0 + first * SZ_4K),
            len: pages.min(PAGES - first) * SZ_4K,
            target,
        }
    }

    fn write(&mut self, &(index, first, pages, memory, offset, _): &Bind) {
        for page in 0..pages.min(PAGES - first) {
            let maps = match memory {
                None => Page::Null,
                Some(bo) => Page::Memory {
                    bo: self.id(&self.bos[bo]),
                    page: offset + page,
                },
            };
            self.pages.insert(index as u64 * PAGES + first + page, maps);
        }
    }

    fn call(&mut self, batches: &[Vec<Bind>], back: bool) {
        let (before, known) = (self.pages.clone(), self.known());
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
            for (page, was) in before {
                if known[&page] {
                    self.pages.insert(page, was);
                }
            }
            assert_eq!(self.vm.totals(), totals, "as if there had been no call");
        }
    }

    /// For each page, whether the VM knows what to put back there.
    fn known(&self) -> BTreeMap<u64, bool> {
        let known = |page: u64| match self.vm.shadow().get(Va(BASE + page * SZ_4K)) {
            None => false,
            Some(Target::Null) => true,
            Some(Target::Memory { bo, .. }) => self.vm.memory(bo.handle) == bo,
        };
        self.pages.keys().map(|&page| (page, known(page))).collect()
    }

    /// Each page of the kernel is what the model says, and so is each byte that the shadow knows.
    fn check(&self) {
        let file = self.device.vpanthor().expect("a virtual kernel");
        let dummy = self.vm.dummy().map(|bo| self.id(bo));
        let of_page = |page: u64| {
            let va = BASE + page * SZ_4K;
            let seen = file
                .with_gpuvm(self.vm.vm().id().0, |gpuvm| gpuvm.translate(va))
                .flatten();
            seen.map(|seen| {
                if seen.bo == 0 || Some(seen.bo) == dummy {
                    Page::Null
                } else {
                    Page::Memory {
                        bo: seen.bo,
                        page: seen.offset / SZ_4K,
                    }
                }
            })
        };
        for (&page, &expected) in &self.pages {
            assert_eq!(of_page(page), Some(expected), "page {page}");
            let shadow = self.vm.shadow().get(Va(BASE + page * SZ_4K));
            match (shadow, expected) {
                (None, _) | (Some(Target::Null), Page::Null) => {}
                (Some(Target::Memory { offset, .. }), Page::Memory { page: of_bo, .. }) => {
                    assert_eq!(offset, of_bo * SZ_4K, "page {page}");
                }
                other => panic!("page {page}: {other:?}"),
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
                self.bos.insert(*index, new_bo(&self.device));
            }
            Step::Renew(index) => {
                self.vm.remove_range(range(*index).va).expect("it is there");
                self.add(*index);
            }
            Step::Forget(page, pages) => {
                self.vm.mark_unknown(Va(BASE + page * SZ_4K), pages * SZ_4K);
            }
        }
        self.check();
    }
}

fn new_bo(device: &Device) -> Bo {
    device
        .create_bo(BO_PAGES * SZ_4K, 0, None)
        .expect("a buffer object")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_kernel_maps_what_the_requests_say(kernel in any_kernel(), steps in vec(step(), 1..8)) {
        let mut world = World::new(kernel);
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
    vm.add_range(range(0), Initial::Unbound).unwrap();
    let bo = new_bo(&device);
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
    let again = new_bo(&device);
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
    vm.add_range(range(0), Initial::Unknown).unwrap();
    assert_eq!(vm.kernel_counters().vm_bind_ops, 0);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 1);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 0);
    vm.mark_unknown(Va(BASE + SZ_4K), SZ_4K);
    assert_eq!(bind_one(&mut vm, BASE, SZ_64K, Target::Null), 1);
    vm.add_range(range(1), Initial::AlreadyUnbound).unwrap();
    assert_eq!(bind_one(&mut vm, range(1).va.0, SZ_64K, Target::Null), 0);
}

#[test]
fn flags_reach_the_kernel_and_other_flags_are_another_mapping() {
    use vpanthor::mapping::MapFlags as KernelFlags;
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range(0), Initial::Unbound).unwrap();
    let bo = new_bo(&device);
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
    vm.add_range(range(0), Initial::Unbound).unwrap();
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
