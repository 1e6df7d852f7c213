//! Any binds against any state: the plan is last-writer-wins on an array of pages with the fewest runs, the
//! shadow follows and comes back, and numbers of any size do no harm.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use panvk_sparse::bind::{Ranges, Planner, Request, Run, Shadow, Target};
use panvk_sparse::lower::{PlannedBatch, Lowering, NullMap, Ops};
use panvk_sparse::units::{BoHandle, BoRef, SZ_4K, SZ_64K, Va};

const PAGES: usize = 512;

#[derive(Arbitrary, Debug)]
struct Bind {
    page: u8,
    len: u8,
    /// Object and page in it.
    memory: Option<(bool, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Wild {
    va: u64,
    len: u64,
    memory: Option<(u32, u64)>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    before: Vec<Bind>,
    forgotten: Option<(u8, u8)>,
    requests: Vec<Bind>,
    wild: Vec<Wild>,
}

impl Bind {
    fn request(&self) -> Request {
        let target = match self.memory {
            None => Target::Null,
            Some((bo, page)) => memory(u32::from(bo) + 1, u64::from(page) * SZ_4K),
        };
        Request {
            va: va(self.page.into()),
            len: (u64::from(self.len) + 1) * SZ_4K,
            target,
        }
    }
}

fn memory(handle: u32, offset: u64) -> Target {
    Target::memory(BoRef {
            handle: BoHandle(handle),
            serial: 0,
        }, offset)
}

fn va(page: usize) -> Va {
    Va(page as u64 * SZ_4K)
}

fn write(pages: &mut [Option<Target>], va: Va, len: u64, target: Target) {
    let first = (va.0 / SZ_4K) as usize;
    for page in 0..(len / SZ_4K) as usize {
        pages[first + page] = Some(target.advanced(page as u64 * SZ_4K));
    }
}

fn check_runs(runs: &[Run]) {
    assert!(runs.iter().all(|run| run.len > 0));
    for pair in runs.windows(2) {
        assert!(pair[0].end() <= pair[1].va);
        let continues = pair[0].target.advanced(pair[0].len) == pair[1].target;
        assert!(pair[0].end() < pair[1].va || !continues);
    }
}

fn against_pages(input: &Input) {
    let mut shadow = Shadow::new();
    let mut pages = vec![None; PAGES];
    for bind in &input.before {
        let Request { va, len, target } = bind.request();
        shadow.apply(&[Run { va, len, target }]);
        write(&mut pages, va, len, target);
    }
    if let Some((page, len)) = input.forgotten {
        shadow.forget(va(page.into()), u64::from(len) * SZ_4K);
        pages[page.into()..usize::from(page) + usize::from(len)].fill(None);
    }
    let requests: Vec<_> = input.requests.iter().map(Bind::request).collect();
    let mut after = pages.clone();
    requests
        .iter()
        .for_each(|request| write(&mut after, request.va, request.len, request.target));

    let mut runs = Vec::new();
    let stats = Planner::new().plan(&requests, &shadow, &mut runs);
    check_runs(&runs);
    assert!(stats.elided <= requests.len() as u64);
    let mut planned = pages.clone();
    runs.iter()
        .for_each(|run| write(&mut planned, run.va, run.len, run.target));
    assert_eq!(planned, after);
    let changed = pages
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .count() as u64;
    assert_eq!(runs.iter().map(|run| run.len).sum::<u64>(), changed * SZ_4K);

    let before = shadow.clone();
    shadow.tentative().apply(&runs);
    assert_eq!(shadow, before);
    shadow.apply(&runs);
    for (page, &target) in after.iter().enumerate() {
        assert_eq!(shadow.get(va(page)), target);
    }
    lower(&runs, &before);
}

fn lower(runs: &[Run], shadow: &Shadow) {
    let nulls = [
        NullMap::Sparse,
        NullMap::Repeat {
            dummy: BoHandle(9),
            dummy_size: SZ_4K,
            max_range: 0,
        },
        NullMap::Chunk {
            dummy: BoHandle(9),
            dummy_size: SZ_64K,
        },
    ];
    for null in nulls {
        let ranges = Ranges::default();
        let mut lowering = Lowering::with_limits(3, SZ_64K);
        let mut call = lowering.begin(&null, &ranges);
        call.batch(
            &PlannedBatch {
                runs,
                ..PlannedBatch::default()
            },
            shadow,
        );
        let ioctls: &[Ops] = call.finish();
        let ops: Vec<_> = ioctls.iter().flat_map(|ops| ops.array.iter()).collect();
        assert!(ops.iter().all(|op| op.op.size > 0));
        assert!(
            ops.windows(2)
                .all(|pair| pair[0].op.va + pair[0].op.size <= pair[1].op.va)
        );
        // Whole runs, and nothing but runs and what lies between them.
        for run in runs {
            let inside = |op: &&_| {
                let op: &&panvk_sparse::uapi::VmBindOpRepeat = op;
                op.op.va < run.end().0 && run.va.0 < op.op.va + op.op.size
            };
            let covered: u64 = ops
                .iter()
                .filter(inside)
                .map(|op| (op.op.va + op.op.size).min(run.end().0) - op.op.va.max(run.va.0))
                .sum();
            assert_eq!(covered, run.len);
        }
    }
}

fn wild(input: &Input) {
    let requests: Vec<_> = input
        .wild
        .iter()
        .map(|wild| {
            let target = wild
                .memory
                .map_or(Target::Null, |(handle, offset)| memory(handle, offset));
            Request {
                va: Va(wild.va),
                len: wild.len,
                target,
            }
        })
        .collect();
    let mut shadow = Shadow::new();
    let (first, second) = requests.split_at(requests.len() / 2);
    for requests in [first, second, first] {
        let mut runs = Vec::new();
        let mut planner = Planner::new();
        planner.plan(requests, &shadow, &mut runs);
        check_runs(&runs);
        shadow.apply(&runs);
        runs.clear();
        planner.plan(requests, &shadow, &mut runs);
        assert_eq!(runs, []);
    }
}

fuzz_target!(|input: Input| {
    against_pages(&input);
    wild(&input);
});
