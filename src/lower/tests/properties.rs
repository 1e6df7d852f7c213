use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::kernel::{DUMMY, Kernel, Page, PageTable};
use super::ranges_of;
use crate::bind::{
    Memory, MemoryBind, Planner, Ranges, Resource, Run, Shadow, SparseRange, Target, resolve,
};
use crate::lower::{LONGEST_BRIDGE, Lowering, NullMap, OpCounts, Ops, PlannedBatch, unmap_op};
use crate::uapi::{SYNC_OP_SIGNAL, SyncOp, VM_BIND_OP_MAP_REPEAT, VmBindOpRepeat};
use crate::units::{BoHandle, BoRef, SZ_2M, SZ_4K, SZ_64K, Va};

/// A kernel with a way of mapping null that it has.
#[derive(Clone, Copy, Debug)]
struct Setup {
    kernel: Kernel,
    null: NullMap,
    /// Distance of the resources from the next multiple of 2 MiB, so that chunks end amid them.
    below_2m: u64,
    max_ops: usize,
    longest_bridge: u64,
    region_lock: bool,
}

const MEMORY_SIZE: u64 = 256 * SZ_64K;

fn setup() -> impl proptest::strategy::Strategy<Value = Setup> {
    let dummy = BoHandle(DUMMY);
    let size = || prop::sample::select(vec![SZ_4K, 4 * SZ_4K, SZ_64K, SZ_2M]);
    let series = || prop::sample::select(vec![Kernel::RepeatV4, Kernel::RepeatV5]);
    let any_kernel = prop::sample::select(vec![
        Kernel::Mainline,
        Kernel::RepeatV4,
        Kernel::RepeatV5,
        Kernel::Sparse,
    ]);
    let null = prop_oneof![
        2 => Just((Kernel::Sparse, NullMap::Sparse)),
        3 => (series(), size())
            .prop_map(move |(kernel, dummy_size)| (kernel, NullMap::Repeat { dummy, dummy_size, max_range: 0 })),
        // Only a kernel that splits at any page has been seen to manage a larger range.
        2 => (size(), size()).prop_map(move |(dummy_size, max_range)| {
            (Kernel::RepeatV4, NullMap::Repeat { dummy, dummy_size, max_range })
        }),
        3 => (any_kernel.clone(), size())
            .prop_map(move |(kernel, dummy_size)| (kernel, NullMap::Chunk { dummy, dummy_size })),
        1 => any_kernel.prop_map(move |kernel| (kernel, NullMap::Page { dummy })),
    ];
    let bridge = prop::sample::select(vec![0, SZ_4K, SZ_64K, LONGEST_BRIDGE]);
    (null, 0u64..6, 1usize..9, bridge, any::<bool>()).prop_map(
        |((kernel, null), blocks, max_ops, longest_bridge, region_lock)| Setup {
            kernel,
            null,
            below_2m: blocks * SZ_64K,
            max_ops,
            longest_bridge,
            region_lock,
        },
    )
}

/// Where resources lie: sizes in pages, and whether a gap follows.
fn resources() -> impl proptest::strategy::Strategy<Value = Vec<(u64, u64, bool)>> {
    let buffer = (1u64..40).prop_map(|pages| (SZ_4K, pages * SZ_4K));
    let image = (1u64..5, prop_oneof![3 => Just(0u64), 1 => 1u64..16])
        .prop_map(|(blocks, tail)| (SZ_64K, blocks * SZ_64K + tail * SZ_4K));
    vec((prop_oneof![buffer, image], any::<bool>()), 1..4).prop_map(|list| {
        list.into_iter()
            .map(|((granularity, size), gap)| (granularity, size, gap))
            .collect()
    })
}

/// A bind in units that fit any resource: which one, where, how much, what memory and where in it.
type RawBind = (usize, u64, u64, Option<u32>, u64);

fn raw_bind() -> impl proptest::strategy::Strategy<Value = RawBind> {
    (
        0usize..3,
        0u64..40,
        1u64..20,
        prop_oneof![2 => Just(None), 3 => (2u32..4).prop_map(Some)],
        0u64..3,
    )
}

#[derive(Clone, Debug)]
struct RawBatch {
    binds: Vec<RawBind>,
    waits: u32,
    signals: u32,
}

fn calls() -> impl proptest::strategy::Strategy<Value = Vec<Vec<RawBatch>>> {
    let batch =
        (vec(raw_bind(), 0..8), 0u32..3, 0u32..3).prop_map(|(binds, waits, signals)| RawBatch {
            binds,
            waits,
            signals,
        });
    vec(vec(batch, 0..4), 1..4)
}

fn place(setup: &Setup, sizes: &[(u64, u64, bool)]) -> Vec<Resource> {
    let mut at = (1 << 30) + SZ_2M - setup.below_2m;
    let mut resources = Vec::new();
    for (index, &(granularity, size, gap)) in sizes.iter().enumerate() {
        at = at.next_multiple_of(granularity);
        resources.push(Resource {
            name: format!("resource {index}"),
            va: Va(at),
            size,
            granularity,
        });
        at += size + if gap { SZ_4K } else { 0 };
    }
    resources
}

/// A bind that the resource takes: offsets in blocks, the last one cut off at the end.
fn bind_for(resources: &[Resource], raw: RawBind) -> (&Resource, MemoryBind) {
    let (which, block, blocks, bo, shift) = raw;
    let resource = &resources[which % resources.len()];
    let unit = resource.granularity;
    let resource_offset = block % resource.size.div_ceil(unit) * unit;
    let size = (blocks * unit).min(resource.size - resource_offset);
    let memory = bo.map(|handle| Memory {
        bo: BoRef {
            handle: BoHandle(handle),
            serial: handle,
        },
        size: MEMORY_SIZE,
    });
    // Mostly where the same offset of the resource always goes, so that binds continue each other.
    (
        resource,
        MemoryBind {
            resource_offset,
            size,
            memory,
            memory_offset: resource_offset + shift / 2 * unit,
        },
    )
}

fn write(pages: &mut BTreeMap<u64, Page>, run: &Run) {
    for distance in (0..run.len).step_by(SZ_4K as usize) {
        let page = match run.target {
            Target::Null => Page::Dummy,
            Target::Memory { bo, offset, .. } => Page::Memory {
                bo: bo.handle.0,
                offset: offset + distance,
            },
        };
        pages.insert(run.va.0 + distance, page);
    }
}

/// The pages of these bytes.
fn pages_of(va: Va, len: u64) -> impl Iterator<Item = u64> {
    (va.0..va.0 + len).step_by(SZ_4K as usize)
}

/// The fewest operations for the runs: neighbours are one where the pages between them are as both want them, and may be
/// written, as `named` ones always may.
fn fewest_ops(
    setup: &Setup,
    before: &BTreeMap<u64, Page>,
    named: &BTreeSet<u64>,
    runs: &[Run],
) -> usize {
    let chunk = match setup.null {
        NullMap::Sparse | NullMap::Repeat { .. } => u64::MAX,
        NullMap::Chunk { dummy_size, .. } => dummy_size,
        NullMap::Page { .. } => SZ_4K,
    };
    // Cut null runs where they must be cut, then count the neighbours that can't be one.
    let mut pieces: Vec<Run> = Vec::new();
    for run in runs {
        let mut at = run.va;
        while at < run.end() {
            let end = match run.target {
                Target::Null => {
                    Va((at.0 / chunk).saturating_add(1).saturating_mul(chunk)).min(run.end())
                }
                Target::Memory { .. } => run.end(),
            };
            pieces.extend(run.clipped(at, end));
            at = end;
        }
    }
    let apart = |pair: &[Run]| {
        let (a, b) = (pair[0], pair[1]);
        let mut gap = (a.end().0..b.va.0).step_by(SZ_4K as usize);
        let continues = a.target.advanced(b.va.0 - a.va.0) == b.target;
        let one_chunk = a.target != Target::Null || a.va.0 / chunk == b.va.0 / chunk;
        let joined = Run {
            len: b.end().0 - a.va.0,
            ..a
        };
        let mut wanted = BTreeMap::new();
        write(&mut wanted, &joined);
        let as_wanted = b.va.0 - a.end().0 <= setup.longest_bridge
            && gap.all(|va| {
                before.get(&va) == wanted.get(&va) && (setup.region_lock || named.contains(&va))
            });
        !(continues && one_chunk && as_wanted)
    };
    usize::from(!pieces.is_empty()) + pieces.windows(2).filter(|pair| apart(pair)).count()
}

struct World {
    setup: Setup,
    resources: Vec<Resource>,
    table: PageTable,
    shadow: Shadow,
    lowering: Lowering,
}

/// A batch as the driver sees it, and the state after it.
struct Planned {
    runs: Vec<Run>,
    /// Positions of its operations among those of the call.
    ops: Range<usize>,
    waits: Vec<SyncOp>,
    signals: Vec<SyncOp>,
    after: BTreeMap<u64, Page>,
    /// Pages that a request names.
    named: BTreeSet<u64>,
    fewest_ops: usize,
}

fn sync(handle: u32, flags: u32) -> SyncOp {
    SyncOp {
        flags,
        handle,
        timeline_value: 0,
    }
}

impl World {
    fn new(setup: Setup, sizes: &[(u64, u64, bool)]) -> World {
        let dummy_size = match setup.null {
            NullMap::Repeat { dummy_size, .. } | NullMap::Chunk { dummy_size, .. } => dummy_size,
            NullMap::Sparse | NullMap::Page { .. } => SZ_4K,
        };
        let bos = [(DUMMY, dummy_size), (2, MEMORY_SIZE), (3, MEMORY_SIZE)].into();
        World {
            resources: place(&setup, sizes),
            table: PageTable::new(setup.kernel, bos),
            shadow: Shadow::new(),
            lowering: Lowering::with_limits(setup.max_ops, setup.longest_bridge)
                .with_region_lock(setup.region_lock),
            setup,
        }
    }

    /// Lowers a call, checks its form, and applies it.
    fn call(&mut self, batches: &[RawBatch]) -> Result<(), TestCaseError> {
        let resources = &self.resources;
        let ranges = ranges_of(resources);
        let mut planner = Planner::new();
        let mut planned: Vec<Planned> = Vec::new();
        let mut tentative = self.shadow.tentative();
        let mut pages = self.table.pages.clone();
        let mut call = self.lowering.begin(&self.setup.null, &ranges);
        for (index, raw) in batches.iter().enumerate() {
            let mut requests = Vec::new();
            for &bind in &raw.binds {
                let (resource, bind) = bind_for(resources, bind);
                requests.push(
                    resolve(resource, &bind)
                        .map_err(|error| TestCaseError::fail(error.to_string()))?,
                );
            }
            let mut runs = Vec::new();
            planner.plan(&requests, tentative.shadow(), &mut runs);
            let base = 100 * (index as u32 + 1);
            let waits: Vec<_> = (0..raw.waits).map(|i| sync(base + i, 0)).collect();
            let signals: Vec<_> = (0..raw.signals)
                .map(|i| sync(base + 50 + i, SYNC_OP_SIGNAL))
                .collect();
            let batch = PlannedBatch {
                waits: &waits,
                signals: &signals,
                runs: &runs,
                after_named_gap: planner.after_named_gap(),
            };
            let ops = call.batch(&batch, tentative.shadow());
            let named = requests
                .iter()
                .flat_map(|request| pages_of(request.va, request.len));
            let named = named.collect();
            let fewest_ops = fewest_ops(&self.setup, &pages, &named, &runs);
            runs.iter().for_each(|run| write(&mut pages, run));
            tentative.apply(&runs);
            planned.push(Planned {
                runs,
                ops,
                waits,
                signals,
                after: pages.clone(),
                named,
                fewest_ops,
            });
        }
        let ioctls = call.finish().to_vec();
        check_form(&self.setup, &ioctls, &planned)?;

        // 1. After a batch the page table is that of the runs, page by page.
        let mut position = 0;
        for ops in &ioctls {
            for op in ops.array.iter() {
                self.table
                    .apply(&op, ops.array.stride())
                    .map_err(TestCaseError::fail)?;
                // 2. Without a region lock no operation writes a page that no request of its batch names.
                let batch = planned.iter().find(|plan| plan.ops.contains(&position));
                let named = batch
                    .map(|plan| &plan.named)
                    .filter(|_| !self.setup.region_lock);
                let mut written = pages_of(Va(op.op.va), op.op.size);
                prop_assert!(written.all(|va| named.is_none_or(|named| named.contains(&va))));
                position += 1;
                for plan in planned.iter().filter(|plan| plan.ops.end == position) {
                    if !plan.ops.is_empty() {
                        prop_assert_eq!(&self.table.pages, &plan.after);
                    }
                }
            }
        }
        tentative.commit();
        // 3. And the shadow knows what the page table holds.
        prop_assert_eq!(&self.table.pages, &shadow_pages(&self.shadow));
        Ok(())
    }
}

fn shadow_pages(shadow: &Shadow) -> BTreeMap<u64, Page> {
    let mut pages = BTreeMap::new();
    shadow
        .extents(Va(0), u64::MAX)
        .for_each(|run| write(&mut pages, &run));
    pages
}

/// How many operations, in how many ioctls, with which syncs and counts.
fn check_form(setup: &Setup, ioctls: &[Ops], planned: &[Planned]) -> Result<(), TestCaseError> {
    let total: usize = ioctls.iter().map(Ops::len).sum();
    prop_assert_eq!(
        ioctls.len(),
        total.div_ceil(setup.max_ops),
        "the fewest ioctls"
    );
    let mut next = 0;
    for plan in planned {
        prop_assert_eq!(plan.ops.start, next, "every operation is of one batch");
        next = plan.ops.end;
    }
    prop_assert_eq!(next, total);
    let mut syncs_found = Vec::new();
    let mut position = 0;
    for ops in ioctls {
        prop_assert!(!ops.is_empty() && ops.len() <= setup.max_ops);
        let wide = ops.array.stride() == size_of::<VmBindOpRepeat>();
        prop_assert_eq!(
            wide,
            ops.array.iter().any(|op| op.bo_repeat_range != 0),
            "56 bytes only where needed"
        );
        let mut counts = [0; 3];
        for op in ops.array.iter() {
            let is_null = op.op.bo_handle == DUMMY
                || op.op.bo_handle == 0 && op.op.flags & VM_BIND_OP_MAP_REPEAT != 0;
            counts[if op.op.size == 0 {
                2
            } else {
                usize::from(is_null)
            }] += 1;
        }
        let [map, null, sync] = counts;
        prop_assert_eq!(
            ops.counts,
            OpCounts {
                map,
                null,
                unmap: 0,
                sync
            }
        );
        let mut next_sync = 0;
        for attach in &ops.attach {
            prop_assert_eq!(attach.syncs.start, next_sync);
            next_sync = attach.syncs.end;
            syncs_found.push((
                position + attach.op,
                ops.syncs[attach.syncs.clone()].to_vec(),
            ));
        }
        prop_assert_eq!(next_sync, ops.syncs.len());
        for (index, op) in ops.array.iter().enumerate() {
            let attached = ops
                .attach
                .iter()
                .find(|attach| attach.op == index)
                .map_or(0, |attach| attach.syncs.len());
            prop_assert_eq!(op.op.syncs.count as usize, attached);
            prop_assert_eq!(op.op.syncs.stride, if attached == 0 { 0 } else { 16 });
        }
        position += ops.len();
    }
    // Waits on the first operation of each batch, signals on the last.
    let mut syncs_wanted: BTreeMap<usize, Vec<SyncOp>> = BTreeMap::new();
    let mut first = 0;
    for plan in planned {
        let count = plan.ops.len();
        let only_syncs =
            plan.runs.is_empty() && !(plan.waits.is_empty() && plan.signals.is_empty());
        // A kernel that cuts repeated mappings anywhere may get a head and a tail beside each of them.
        let cuts_anywhere = matches!(setup.null, NullMap::Repeat { max_range: 1.., .. });
        let nulls = plan.runs.iter().filter(|run| run.target == Target::Null);
        let edges = if cuts_anywhere { 2 * nulls.count() } else { 0 };
        let fewest = plan.fewest_ops + usize::from(only_syncs);
        prop_assert!(
            (fewest..=fewest + edges).contains(&count),
            "{count} operations, expected {fewest} and at most {edges} more"
        );
        if count == 0 {
            continue;
        }
        syncs_wanted.entry(first).or_default().extend(&plan.waits);
        syncs_wanted
            .entry(first + count - 1)
            .or_default()
            .extend(&plan.signals);
        first += count;
    }
    syncs_wanted.retain(|_, syncs| !syncs.is_empty());
    prop_assert_eq!(syncs_found, syncs_wanted.into_iter().collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn operations_do_what_the_runs_say_and_no_kernel_refuses_one(
        setup in setup(),
        sizes in resources(),
        calls in calls(),
    ) {
        let mut world = World::new(setup, &sizes);
        // Each resource starts unbound, as a whole.
        for which in 0..world.resources.len() {
            let whole = RawBatch { binds: vec![(which, 0, u64::from(u32::MAX), None, 0)], waits: 0, signals: 0 };
            world.call(&[whole])?;
        }
        for batches in &calls {
            world.call(batches)?;
        }
        // And goes as a whole: no kernel refuses the split at its ends.
        for index in 0..world.resources.len() {
            let (va, len) = (world.resources[index].va, world.resources[index].size);
            let op = VmBindOpRepeat { op: unmap_op(va, len), bo_repeat_range: 0 };
            world.table.apply(&op, 48).map_err(TestCaseError::fail)?;
            world.shadow.forget(va, len);
            prop_assert_eq!(&world.table.pages, &shadow_pages(&world.shadow));
        }
        prop_assert!(world.table.pages.is_empty());
    }

    #[test]
    fn a_repeat_range_divides_the_size_and_every_later_split(
        blocks in 1u64..4096,
        start in 0u64..4096,
        granularity in prop::sample::select(vec![SZ_4K, 2 * SZ_4K, SZ_64K, SZ_2M]),
        dummy_size in prop::sample::select(vec![SZ_4K, SZ_64K, SZ_2M]),
        max_range in prop::sample::select(vec![0, SZ_64K, SZ_2M]),
    ) {
        let run = Run { va: Va(start * granularity), len: blocks * granularity, target: Target::Null };
        let null = NullMap::Repeat { dummy: BoHandle(DUMMY), dummy_size, max_range };
        let mut lowering = Lowering::new();
        let mut ranges = Ranges::default();
        ranges.add(SparseRange::new(run.va, run.len, granularity)).unwrap();
        let mut call = lowering.begin(&null, &ranges);
        call.batch(&PlannedBatch { runs: &[run], ..PlannedBatch::default() }, &Shadow::new());
        let ioctls = call.finish();
        prop_assert_eq!(ioctls.len(), 1);
        let ops: Vec<_> = ioctls[0].array.iter().collect();
        let (repeated, edges): (Vec<_>, Vec<_>) = ops.iter().copied().partition(|op| op.bo_repeat_range > 0);
        prop_assert!(repeated.len() <= 1);
        prop_assert!(edges.iter().all(|op| op.op.size <= dummy_size));
        prop_assert_eq!(ops.iter().map(|op| op.op.size).sum::<u64>(), run.len);
        let range = repeated.first().map_or(0, |op| op.bo_repeat_range);
        if ops.len() > 1 {
            prop_assert!(max_range > 0, "a head and a tail cut elsewhere than binds do");
            for op in repeated {
                prop_assert_eq!((op.op.va % range, op.op.size % range), (0, 0));
                prop_assert_eq!(range, dummy_size.min(max_range));
            }
        } else if run.len <= dummy_size {
            prop_assert_eq!(range, 0, "a plain map does it");
        } else {
            prop_assert!(range.is_power_of_two() && range >= SZ_4K && range <= dummy_size);
            prop_assert_eq!(run.len % range, 0);
            // Everything is a multiple of the granularity, so nothing smaller is needed.
            prop_assert!(range >= granularity.min(dummy_size));
            if max_range == 0 {
                prop_assert_eq!((granularity % range, run.va.0 % range), (0, 0));
            } else {
                prop_assert!(range <= granularity.max(max_range));
            }
        }
    }
}
