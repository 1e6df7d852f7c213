//! `cargo bench --bench icd`: what a bind costs an application, through our ICD and through the base driver alone.
//!
//! A sparse buffer of 1 GiB in 16,384 pieces of 64 KiB, in one `vkQueueBindSparse` call: memory contiguous, memory
//! scattered; and everything unbound again, in one null bind and in as many pieces. A sparse image of 1 GiB, 16384x16384
//! texels of RGBA8, in 16,384 tiles: all of it in one bind; every second tile, scattered; and all of it unbound in one.
//!
//! Time from the call until its fence is signalled. Both drivers take turns, each time in a new process, so that a
//! change of the machine's mood meets both; the table has medians and their ratio, which is what can be compared between
//! machines.
//!
//! `PANVK_SPARSE_BENCH_KERNEL` (default `1.8-repeat`) names the kernel flavour.

use ash::vk;
use common::config::Config;
use common::gpu::{bind, unbind};
use common::objects::ImageShape;
use common::{App, Batch, Buffer, Fence, Gpu, Memory, Random, SZ_64K, Tiled};
use std::process::Command;
use std::time::{Duration, Instant};

const PIECES: u64 = 16_384;
const SIZE: u64 = PIECES * SZ_64K;
/// Processes of each driver, and measurements of each scenario in one process.
const PROCESSES: usize = 5;
const REPEATS: usize = 5;
/// Set in a measuring process.
const MEASURE: &str = "PANVK_SPARSE_BENCH_MEASURE";

/// The null binds are told apart by what they unbind: a base driver that maps a file has one mapping to remove after
/// a contiguous bind, and 16,384 after a scattered one.
const SCENARIOS: [&str; 10] = [
    "buffer: bind, contiguous memory",
    "buffer: bind, scattered memory",
    "buffer: unbind contiguous, one null bind",
    "buffer: unbind contiguous, in pieces",
    "buffer: unbind scattered, one null bind",
    "buffer: unbind scattered, in pieces",
    "image: bind all in one bind",
    "image: unbind all of that in one",
    "image: bind every 2nd tile, scattered",
    "image: unbind all of that in one",
];
/// The first scenario of the image.
const IMAGE: usize = 6;

/// The time of one call, until its work is done.
fn time(gpu: &Gpu, batch: Batch) -> Duration {
    let fence = Fence::new(gpu);
    let batches = [batch];
    let start = Instant::now();
    gpu.bind_async(&batches, Some(&fence))
        .expect("vkQueueBindSparse");
    fence.wait();
    start.elapsed()
}

fn pieces(buffer: &Buffer<'_>, memory: &Memory<'_>, order: &[u64]) -> Batch {
    let binds: Vec<_> = order
        .iter()
        .zip(0..)
        .map(|(&place, i)| bind(i * SZ_64K, SZ_64K, memory, place * SZ_64K))
        .collect();
    Batch::buffer(buffer, binds)
}

/// Prints the line of one measurement.
fn report(gpu: &Gpu, scenario: usize, batch: Batch) {
    println!("{scenario}\t{}", time(gpu, batch).as_nanos());
}

/// Prints `scenario<TAB>nanoseconds` lines.
fn measure() {
    let app = App::new().expect("vkCreateInstance");
    let gpu = Gpu::new(&app);
    measure_buffer(&gpu);
    measure_image(&gpu);
}

fn measure_image(gpu: &Gpu) {
    let shape = ImageShape {
        format: vk::Format::R8G8B8A8_UNORM,
        ..ImageShape::flat(16_384, 16_384)
    };
    let image = Tiled::untouched(gpu, &shape);
    let tiles = image.tiles();
    assert_eq!((tiles.len() as u64, image.bytes), (PIECES, SZ_64K));
    let memory = image.memory(PIECES);
    let mut places: Vec<u64> = (0..PIECES).collect();
    Random::new(2).shuffle(&mut places);
    let whole = |memory| Batch::tiles(&image.image, [image.bind_level(0, 0, memory)]);
    let scattered = || {
        let every_second = tiles.iter().step_by(2).zip(&places);
        let binds = every_second.map(|(&tile, &place)| image.bind(tile, &memory, place));
        Batch::tiles(&image.image, binds.collect::<Vec<_>>())
    };
    for _ in 0..REPEATS {
        report(gpu, IMAGE, whole(Some((&memory, 0))));
        report(gpu, IMAGE + 1, whole(None));
        report(gpu, IMAGE + 2, scattered());
        report(gpu, IMAGE + 3, whole(None));
    }
}

fn measure_buffer(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SIZE);
    let memory = gpu.memory(&buffer, SIZE);
    let straight: Vec<u64> = (0..PIECES).collect();
    let mut scattered = straight.clone();
    Random::new(1).shuffle(&mut scattered);
    let null = || Batch::buffer(&buffer, [unbind(0, SIZE)]);
    let null_pieces = || {
        Batch::buffer(
            &buffer,
            (0..PIECES)
                .map(|i| unbind(i * SZ_64K, SZ_64K))
                .collect::<Vec<_>>(),
        )
    };
    let report = |scenario, batch| report(gpu, scenario, batch);
    for _ in 0..REPEATS {
        for (bound, order) in [(0, &straight), (1, &scattered)] {
            report(bound, pieces(&buffer, &memory, order));
            report(2 + 2 * bound, null());
            report(bound, pieces(&buffer, &memory, order));
            report(3 + 2 * bound, null_pieces());
        }
    }
}

/// The lowest and the middle time of each scenario.
fn summary(times: &mut [Vec<u64>; SCENARIOS.len()]) -> [(u64, u64); SCENARIOS.len()] {
    times.each_mut().map(|t| {
        t.sort_unstable();
        (t[0], t[t.len() / 2])
    })
}

fn main() {
    if std::env::var_os(MEASURE).is_some() {
        return measure();
    }
    // `cargo test --benches` only wants to know that it starts.
    let processes = if std::env::args().any(|a| a == "--bench") {
        PROCESSES
    } else {
        1
    };
    let kernel: &'static str = std::env::var("PANVK_SPARSE_BENCH_KERNEL")
        .map_or("1.8-repeat", |k| Box::leak(k.into_boxed_str()));
    let configs = [
        Config::Bare,
        Config::Icd {
            kernel,
            null: "auto",
        },
    ];
    let mut times: [[Vec<u64>; SCENARIOS.len()]; 2] = Default::default();
    for _ in 0..processes {
        for (config, times) in configs.iter().zip(&mut times) {
            let mut command =
                Command::new(std::env::current_exe().expect("the bench knows its executable"));
            config.apply(&mut command);
            command.env(MEASURE, "1");
            let (status, stdout, stderr) = common::child::finish(command);
            assert!(status.success(), "{config:?}: {status}\n{stdout}\n{stderr}");
            for line in stdout.lines() {
                let (scenario, ns) = line.split_once('\t').expect("our own line");
                let scenario: usize = scenario.parse().expect("a scenario");
                times[scenario].push(ns.parse().expect("nanoseconds"));
            }
        }
    }
    let [bare, ours] = times.each_mut().map(summary);
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "1 GiB sparse buffer and image, {PIECES} pieces of 64 KiB, one call; vpanthor:{kernel}; milliseconds, median (lowest)"
    );
    println!(
        "{:<40} {:>18} {:>18} {:>12}",
        "", "base driver", "panvk-sparse", "base / ours"
    );
    for (i, name) in SCENARIOS.iter().enumerate() {
        let cell = |(low, median): (u64, u64)| format!("{:.2} ({:.2})", ms(median), ms(low));
        let ratio = bare[i].1 as f64 / ours[i].1 as f64;
        println!(
            "{name:<40} {:>18} {:>18} {ratio:>11.2}x",
            cell(bare[i]),
            cell(ours[i])
        );
    }
}
