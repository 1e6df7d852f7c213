//! `cargo bench --bench replay`: binds a second through the replay of an application that streams, for each kernel and
//! strategy: decoded records in, counts out, on one core.

#[path = "../examples/trace_load/load.rs"]
mod load;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hosted::config::NullChoice;
use load::{BINDS, Load};
use panvk_sparse::lower::Strategy;
use replay::Replay;
use trace::Record;
use vpanthor::Flavour;
use vpanthor::KernelSpec;

const FRAMES: usize = 400;
/// Frames before those that are measured: then as much is bound as ever.
const BEFORE: usize = 200;

fn feed(replay: &mut Replay, records: &[Record]) {
    for record in records {
        replay.feed(record).expect("a virtual kernel");
    }
}

fn benches(c: &mut Criterion) {
    let mut load = Load::new();
    let mut before = load.begin();
    before.extend((0..BEFORE).flat_map(|_| load.frame()));
    let measured: Vec<Record> = (0..FRAMES).flat_map(|_| load.frame()).collect();

    let mut group = c.benchmark_group("replay");
    group
        .throughput(Throughput::Elements((FRAMES * BINDS) as u64))
        .sample_size(10);
    let ways = [
        (Flavour::V1_5, Strategy::Page),
        (Flavour::V1_5, Strategy::Chunk),
        (Flavour::V1_8Repeat, Strategy::Repeat),
        (Flavour::V1_9, Strategy::Sparse),
    ];
    for (flavour, strategy) in ways {
        let kernel = KernelSpec::Vpanthor(flavour);
        let choice = NullChoice::Fixed(strategy);
        group.bench_function(format!("{flavour}, {strategy}"), |b| {
            b.iter_custom(|iterations| {
                let mut sum = Duration::ZERO;
                for _ in 0..iterations {
                    let mut replay = Replay::new(&kernel, choice).expect("a virtual kernel");
                    feed(&mut replay, &before);
                    let start = Instant::now();
                    feed(&mut replay, &measured);
                    black_box(replay.totals());
                    sum += start.elapsed();
                }
                sum
            })
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
