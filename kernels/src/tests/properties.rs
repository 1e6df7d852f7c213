//! Whatever is bound: the page tables are those of the requests written page by page, at every moment that a syncobj marks.

use std::collections::BTreeMap;

use panvk_sparse::bind::{BindFlags, Planner, Ranges, Request, Run, Shadow, SparseRange, Target};
use panvk_sparse::lower::PlannedBatch;
use panvk_sparse::uapi::{
    SYNC_OP_HANDLE_TYPE_SYNCOBJ, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SyncOp,
};
use panvk_sparse::units::{BoHandle, BoRef, Va};
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{NAMES, Page, SCRATCH, Sync, Vm, pages};
use crate::{Counts, Encoder, Kernel, Step};

const FIRST: u64 = 1 << 32;
/// Of each buffer object, in the kernel's pages.
const MEMORY_PAGES: u64 = 64;

/// In pages of the kernel: which resource, where, how much, what memory, how far off the diagonal, and whether read-only.
type RawBind = (usize, u64, u64, Option<u32>, u64, bool);

#[derive(Clone, Debug)]
struct RawBatch {
    binds: Vec<RawBind>,
    /// Points of timelines; `None` for binary syncobjs.
    waits: Vec<Option<u64>>,
    signals: Vec<Option<u64>>,
}

fn calls() -> impl Strategy<Value = Vec<Vec<RawBatch>>> {
    let memory = prop_oneof![2 => Just(None), 3 => (1u32..3).prop_map(Some)];
    let shift = prop_oneof![4 => Just(0u64), 1 => 1u64..3];
    let bind = (
        0usize..3,
        0u64..12,
        1u64..12,
        memory,
        shift,
        prop::bool::weighted(0.1),
    );
    let syncs = || vec(prop::option::of(0u64..3), 0..3);
    let batch = (vec(bind, 0..6), syncs(), syncs()).prop_map(|(binds, waits, signals)| RawBatch {
        binds,
        waits,
        // Nothing signals point 0.
        signals: (signals.into_iter())
            .map(|point| point.map(|point| point + 1))
            .collect(),
    });
    vec(vec(batch, 0..4), 1..4)
}

type Table = BTreeMap<u64, Page>;

/// The resources of one case, with what a driver knows of them and what is expected of the kernel.
struct Case {
    encoder: Encoder,
    /// Of the kernel.
    unit: u64,
    ranges: Ranges,
    resources: Vec<SparseRange>,
    planner: Planner,
    shadow: Shadow,
    expected: Table,
    vm: Vm,
    counts: Counts,
    next_syncobj: u32,
}

impl Case {
    /// Resources of these sizes in pages, with a gap behind where one is wanted.
    fn new(kernel: Kernel, sizes: &[(u64, bool)]) -> Self {
        let unit = kernel.limits().memory_page;
        let bos = [
            (1, MEMORY_PAGES * unit),
            (2, MEMORY_PAGES * unit),
            (SCRATCH, kernel.limits().page),
        ];
        let mut case = Case {
            encoder: Encoder {
                kernel,
                names: NAMES,
            },
            unit,
            ranges: Ranges::default(),
            resources: Vec::new(),
            planner: Planner::new(),
            shadow: Shadow::new(),
            expected: Table::new(),
            vm: Vm::new(kernel, bos.into()),
            counts: Counts::default(),
            next_syncobj: 100,
        };
        let mut at = FIRST;
        for &(size, gap) in sizes {
            let range = SparseRange::new(Va(at), size * unit, unit);
            let unbound = Run {
                va: range.va,
                len: range.len,
                target: Target::Null,
            };
            let steps = case.encoder.create(&range).expect("a range");
            case.run(&steps, &mut |_, _, _| {});
            write(&mut case.expected, &unbound.request());
            case.shadow.apply(&[unbound]);
            case.ranges.add(range).expect("no overlap");
            case.resources.push(range);
            at += range.len + if gap { unit } else { 0 };
        }
        assert_eq!(case.vm.pages, case.expected, "new ranges are unbound");
        case
    }

    /// A bind that reaches over the end of its resource goes on in the next one, if that touches it.
    fn requests(&self, raw: &RawBind) -> Vec<Request> {
        let &(which, first, len, bo, shift, readonly) = raw;
        let can_be_readonly = !matches!(self.encoder.kernel, Kernel::Msm | Kernel::Nouveau);
        let memory = |handle, va: u64| Target::Memory {
            bo: BoRef {
                handle: BoHandle(handle),
                serial: 0,
            },
            offset: va - FIRST + shift * self.unit,
            flags: match readonly && can_be_readonly {
                true => BindFlags::READONLY,
                false => BindFlags::NONE,
            },
        };
        let which = which % self.resources.len();
        let range = self.resources[which];
        let mut va = range.va.0 + first * self.unit % range.len;
        let end = va + len * self.unit;
        let mut requests = Vec::new();
        for range in &self.resources[which..] {
            if va < range.va.0 || va >= end {
                break;
            }
            let len = end.min(range.va.0 + range.len) - va;
            requests.push(Request {
                va: Va(va),
                len,
                target: bo.map_or(Target::Null, |bo| memory(bo, va)),
            });
            va += len;
        }
        requests
    }

    fn syncs(&mut self, points: &[Option<u64>]) -> Vec<SyncOp> {
        let sync = |&point: &Option<u64>| {
            self.next_syncobj += 1;
            SyncOp {
                flags: match point {
                    Some(_) => SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
                    None => SYNC_OP_HANDLE_TYPE_SYNCOBJ,
                },
                handle: self.next_syncobj,
                timeline_value: point.unwrap_or(0),
            }
        };
        points.iter().map(sync).collect()
    }

    /// Carries out steps. `seen` is told of each wait (`false`) and signal, with the page table of that moment.
    fn run(&mut self, steps: &[Step], seen: &mut dyn FnMut(bool, Sync, &Table)) {
        let of = |sync: &SyncOp| (sync.handle, sync.timeline_value);
        for step in steps {
            match step {
                Step::Wait(sync) => seen(false, of(sync), &self.vm.pages),
                Step::Signal(sync) => seen(true, of(sync), &self.vm.pages),
                Step::Ioctl(ioctl) => {
                    let before = self.vm.pages.clone();
                    let done = self.vm.ioctl(ioctl).expect("the kernel takes it");
                    assert!(done.ops <= self.encoder.kernel.limits().max_ops);
                    let counts = ioctl.counts;
                    assert_eq!(done.ops as u64, counts.map + counts.null + counts.unmap);
                    for wait in done.waits {
                        seen(false, wait, &before);
                    }
                    for signal in done.signals {
                        seen(true, signal, &self.vm.pages);
                    }
                }
            }
        }
        self.counts.add(&Ok(steps.to_vec()));
    }

    fn call(&mut self, raw: &[RawBatch]) {
        // What each batch finds, and what the last one leaves.
        let mut tables = vec![self.expected.clone()];
        let mut plans = Vec::new();
        let mut batch_of = BTreeMap::new();
        for (i, raw) in raw.iter().enumerate() {
            let requests = raw.binds.iter().flat_map(|raw| self.requests(raw));
            let requests: Vec<_> = requests.collect();
            let mut runs = Vec::new();
            self.planner.plan(&requests, &self.shadow, &mut runs);
            self.shadow.apply(&runs);
            for request in &requests {
                write(&mut self.expected, request);
            }
            tables.push(self.expected.clone());
            let (waits, signals) = (self.syncs(&raw.waits), self.syncs(&raw.signals));
            for (signal, list) in [(false, &waits), (true, &signals)] {
                for sync in list.iter() {
                    // A wait for point 0 of a timeline is none.
                    if signal
                        || sync.flags == SYNC_OP_HANDLE_TYPE_SYNCOBJ
                        || sync.timeline_value > 0
                    {
                        batch_of.insert((signal, (sync.handle, sync.timeline_value)), i);
                    }
                }
            }
            plans.push((waits, signals, runs));
        }
        let batches: Vec<_> = plans
            .iter()
            .map(|(waits, signals, runs)| PlannedBatch {
                waits,
                signals,
                runs,
                ..PlannedBatch::default()
            })
            .collect();
        let steps = self.encoder.call(&batches, &self.ranges).expect("it fits");
        self.run(&steps, &mut |signal, sync, now| {
            let batch = batch_of.remove(&(signal, sync));
            let batch = batch.expect("each syncobj once, in its own place");
            let at = batch + usize::from(signal);
            assert!(
                *now == tables[at],
                "{sync:?}: batches of another side of it have happened"
            );
        });
        assert!(batch_of.is_empty(), "left out: {batch_of:?}");
        assert_eq!(self.vm.pages, self.expected);
        self.fewest(&plans, &steps);
    }

    /// An operation for each run, and one ioctl for all that no syncobj separates.
    fn fewest(&self, plans: &[(Vec<SyncOp>, Vec<SyncOp>, Vec<Run>)], steps: &[Step]) {
        let limits = self.encoder.kernel.limits();
        let ioctls = steps.iter().filter_map(|step| match step {
            Step::Ioctl(ioctl) => Some(ioctl.counts.map + ioctl.counts.null),
            _ => None,
        });
        let (count, ops) = ioctls.fold((0, 0), |(count, ops), n| (count + 1, ops + n));
        let runs: usize = plans.iter().map(|(_, _, runs)| runs.len()).sum();
        if !limits.regions {
            assert_eq!(ops, runs as u64);
        }
        let without_syncs = (plans.iter()).all(|(w, s, _)| w.is_empty() && s.is_empty());
        if without_syncs && limits.max_ops > 1 {
            assert_eq!(count, usize::from(runs > 0));
        }
    }

    fn end(mut self) {
        for range in self.resources.clone() {
            let steps = self.encoder.destroy(&range).expect("a range");
            self.run(&steps, &mut |_, _, _| {});
        }
        assert!(self.vm.pages.is_empty() && self.vm.regions.is_empty());
        assert_eq!(self.counts.unmap_ops, self.resources.len() as u64);
    }
}

fn write(table: &mut Table, request: &Request) {
    for at in pages(request.va.0, request.len) {
        let page = match request.target {
            Target::Null => Page::Null,
            Target::Memory { bo, offset, flags } => Page::Memory {
                bo: bo.handle.0,
                offset: offset + (at - request.va.0),
                readonly: flags.readonly(),
            },
        };
        table.insert(at, page);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_kernel_gets_the_page_table_of_the_requests(
        kernel in prop::sample::select(Kernel::ALL.to_vec()),
        sizes in vec((1u64..12, any::<bool>()), 1..4),
        calls in calls(),
    ) {
        let mut case = Case::new(kernel, &sizes);
        for call in &calls {
            case.call(call);
        }
        case.end();
    }
}

/// Two resources without a gap: what is bound across their border is one run.
#[test]
fn only_memory_across_the_border_of_two_regions_is_two_operations_and_only_on_nouveau() {
    for (kernel, expected) in [(Kernel::Xe, 1), (Kernel::Nouveau, 2)] {
        let mut case = Case::new(kernel, &[(4, false), (4, false)]);
        let both = |bo| RawBatch {
            binds: vec![(0, 2, 4, bo, 0, false)],
            waits: Vec::new(),
            signals: Vec::new(),
        };
        let ranges = case.counts.null_ops;
        case.call(&[both(Some(1)), both(None)]);
        let counts = case.counts;
        assert_eq!(
            (counts.map_ops, counts.null_ops),
            (expected, ranges + 1),
            "{kernel}"
        );
    }
}
