//! Planning and lowering 1,000,000 binds of 64 KiB, and what the shadow takes to follow.
//!
//! `cargo bench --bench plan`. The throughput's reciprocal is the time a bind.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use panvk_sparse::bind::{Planner, Ranges, Request, Run, Shadow, Target};
use panvk_sparse::lower::{Lowering, NullMap, PlannedBatch};
use panvk_sparse::units::{BoHandle, BoRef, SZ_64K, Va};

const BINDS: u64 = 1_000_000;
const BASE: u64 = 1 << 40;
const NULL: NullMap = NullMap::Repeat {
    dummy: BoHandle(1),
    dummy_size: SZ_64K,
    max_range: 0,
};

fn bind(piece: u64, memory_piece: u64) -> Request {
    let bo = BoRef {
        handle: BoHandle(2),
        serial: 1,
    };
    let target = Target::memory(bo, memory_piece * SZ_64K);
    Request {
        va: Va(BASE + piece * SZ_64K),
        len: SZ_64K,
        target,
    }
}

/// All binds go on in memory where the one before ends: one run.
fn few_runs() -> Vec<Request> {
    (0..BINDS).map(|piece| bind(piece, piece)).collect()
}

/// Memory in reverse order: no two binds can be one run.
fn many_runs() -> Vec<Request> {
    (0..BINDS)
        .map(|piece| bind(piece, BINDS - 1 - piece))
        .collect()
}

/// Other memory than [`many_runs`] for each bind, and no two binds can be one run either.
fn other_runs() -> Vec<Request> {
    (0..BINDS)
        .map(|piece| bind(piece, 3 * BINDS - piece))
        .collect()
}

/// Fisher-Yates with a xorshift generator: the same order each time.
fn shuffled(mut requests: Vec<Request>) -> Vec<Request> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..requests.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        requests.swap(i, (state % (i as u64 + 1)) as usize);
    }
    requests
}

/// Each bind reaches over the two after it.
fn overlapping(mut requests: Vec<Request>) -> Vec<Request> {
    for request in &mut requests {
        request.len *= 3;
    }
    requests
}

fn unbound() -> Shadow {
    let mut shadow = Shadow::new();
    shadow.apply(&[Run {
        va: Va(BASE),
        len: (BINDS + 2) * SZ_64K,
        target: Target::Null,
    }]);
    shadow
}

fn bound(requests: &[Request]) -> Shadow {
    let mut shadow = unbound();
    shadow.apply(&plan(requests, &shadow));
    shadow
}

fn plan(requests: &[Request], shadow: &Shadow) -> Vec<Run> {
    let mut runs = Vec::new();
    Planner::new().plan(requests, shadow, &mut runs);
    runs
}

fn unbinds(requests: Vec<Request>) -> Vec<Request> {
    requests
        .into_iter()
        .map(|request| Request {
            target: Target::Null,
            ..request
        })
        .collect()
}

fn plan_and_lower(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan+lower");
    group
        .throughput(Throughput::Elements(BINDS))
        .sample_size(20);
    let cases = [
        ("ascending, few runs", few_runs(), unbound()),
        ("ascending, many runs", many_runs(), unbound()),
        ("shuffled, few runs", shuffled(few_runs()), unbound()),
        ("shuffled, many runs", shuffled(many_runs()), unbound()),
        (
            "ascending, many runs, all bound before",
            other_runs(),
            bound(&many_runs()),
        ),
        (
            "shuffled, many runs, all bound before",
            shuffled(other_runs()),
            bound(&many_runs()),
        ),
        ("ascending, again", many_runs(), bound(&many_runs())),
        (
            "overlapping, shuffled, many runs",
            overlapping(shuffled(many_runs())),
            unbound(),
        ),
        (
            "unbind every second",
            unbinds(few_runs().into_iter().step_by(2).collect()),
            bound(&many_runs()),
        ),
    ];
    for (name, requests, shadow) in cases {
        let ranges = Ranges::default();
        let (mut planner, mut runs, mut lowering) = (Planner::new(), Vec::new(), Lowering::new());
        group.bench_function(name, |b| {
            b.iter(|| {
                runs.clear();
                planner.plan(black_box(&requests), &shadow, &mut runs);
                let mut call = lowering.begin(&NULL, &ranges);
                call.batch(
                    &PlannedBatch {
                        runs: &runs,
                        ..PlannedBatch::default()
                    },
                    &shadow,
                );
                black_box(call.finish().len())
            });
        });
    }
    // Without buffers from a call before: what the first huge call of a process costs.
    let (requests, shadow) = (many_runs(), unbound());
    group.bench_function("ascending, many runs, fresh buffers", |b| {
        b.iter(|| {
            let runs = plan(black_box(&requests), &shadow);
            let ranges = Ranges::default();
            let mut lowering = Lowering::new();
            let mut call = lowering.begin(&NULL, &ranges);
            call.batch(
                &PlannedBatch {
                    runs: &runs,
                    ..PlannedBatch::default()
                },
                &shadow,
            );
            black_box(call.finish().len())
        });
    });
    group.finish();
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("shadow");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(BINDS));
    let many = plan(&many_runs(), &unbound());
    group.bench_function("apply 1,000,000 runs to one extent", |b| {
        b.iter_batched(
            unbound,
            |mut shadow| {
                shadow.apply(&many);
                shadow
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function(
        "apply 1,000,000 runs, tentatively, and take them back",
        |b| {
            b.iter_batched_ref(
                unbound,
                |shadow| shadow.tentative().apply(&many),
                BatchSize::LargeInput,
            );
        },
    );
    group.bench_function("apply one run over 1,000,000 extents", |b| {
        let all = [Run {
            va: Va(BASE),
            len: BINDS * SZ_64K,
            target: Target::Null,
        }];
        let shadow = bound(&many_runs());
        b.iter_batched_ref(
            || shadow.clone(),
            |shadow| shadow.apply(&all),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    let mut shadow = bound(&many_runs());
    let mut piece = 0;
    group.bench_function("plan + apply of one bind among 1,000,000 extents", |b| {
        let (mut planner, mut runs) = (Planner::new(), Vec::new());
        b.iter(|| {
            piece = (piece + 377_777) % BINDS;
            runs.clear();
            planner.plan(
                &[bind(piece, 3 * BINDS + piece * 7 % BINDS)],
                &shadow,
                &mut runs,
            );
            shadow.apply(&runs);
        });
    });
    group.finish();
}

criterion_group!(benches, plan_and_lower, apply);
criterion_main!(benches);
