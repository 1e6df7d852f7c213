//! `cargo bench --bench layer`: what it costs an application to be recorded.
//!
//! The time of a `vkQueueBindSparse` call of 1, 16, 1,024 and 16,384 binds, from the call until it returns, on the base
//! driver alone and on ours, with and without `VK_LAYER_PANVK_sparse_trace`, and with the layer switched off. All take
//! turns, each time in a new process, so that a change of the machine's mood meets all. The table has medians. What
//! recording may cost is 5 % of the call and 2 microseconds.

#[path = "../tests/trace_layer/kit.rs"]
mod kit;

use common::config::Config;
use common::gpu::bind;
use common::{App, Batch, Gpu, Random, SZ_64K};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Binds in a call, and calls that are timed in one process.
const SIZES: [(u64, usize); 4] = [(1, 2000), (16, 1000), (1024, 150), (16_384, 30)];
/// Of each kind.
const PROCESSES: usize = 7;
/// Set in a measuring process.
const MEASURE: &str = "PANVK_SPARSE_BENCH_MEASURE";

/// Above a driver: no layer, the layer, the layer switched off.
const WAYS: [&str; 3] = ["without", "with", "off"];

/// Prints `size<TAB>nanoseconds` lines.
fn measure() {
    let app = App::new().expect("vkCreateInstance");
    let gpu = Gpu::new(&app);
    let most = SIZES[SIZES.len() - 1].0;
    let buffer = gpu.sparse_buffer(most * SZ_64K);
    let memory = gpu.memory(&buffer, most * SZ_64K);
    let mut order: Vec<u64> = (0..most).collect();
    Random::new(1).shuffle(&mut order);
    // Two ways to bind the same pieces, so that each call changes something.
    let batch = |binds: u64, shift: usize| {
        let places = order.iter().cycle().skip(shift);
        let binds: Vec<_> = (0..binds)
            .zip(places)
            .map(|(i, &place)| bind(i * SZ_64K, SZ_64K, &memory, place * SZ_64K))
            .collect();
        [Batch::buffer(&buffer, binds)]
    };
    for (i, (binds, calls)) in SIZES.into_iter().enumerate() {
        let batches = [batch(binds, 0), batch(binds, 7)];
        for call in 0..calls + calls / 10 {
            let start = Instant::now();
            gpu.bind_async(&batches[call % 2], None)
                .expect("vkQueueBindSparse");
            let took = start.elapsed();
            gpu.wait_idle();
            // An application has other things to do, too: what waits is written meanwhile.
            if binds > 1000 {
                std::thread::sleep(Duration::from_millis(5));
            }
            // The first ones warm up.
            if call >= calls / 10 {
                println!("{i}\t{}", took.as_nanos());
            }
        }
    }
}

fn run(config: Config, way: &str, trace: &Path, times: &mut [Vec<u64>; SIZES.len()]) {
    let mut command =
        Command::new(std::env::current_exe().expect("the bench knows its executable"));
    config.apply(&mut command);
    command.env(MEASURE, "1");
    command.env("VK_LAYER_PATH", kit::layer_path());
    if way != "without" {
        command.env("VK_INSTANCE_LAYERS", kit::LAYER);
        command.env(kit::FILE, trace);
    }
    if way == "off" {
        command.env(kit::ENABLE, "0");
    }
    let (status, stdout, stderr) = common::child::finish(command);
    assert!(status.success(), "{config:?}: {status}\n{stdout}\n{stderr}");
    for line in stdout.lines() {
        let (size, ns) = line.split_once('\t').expect("our own line");
        let size: usize = size.parse().expect("a size");
        times[size].push(ns.parse().expect("nanoseconds"));
    }
    if way == "with" {
        let trace = kit::Trace::read(trace);
        let calls: usize = SIZES.iter().map(|(_, calls)| calls + calls / 10).sum();
        assert_eq!(trace.binds(), calls, "every call is recorded");
    }
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
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace.pvst");
    let drivers = [("base driver", kit::BARE), ("panvk-sparse", kit::ICD)];
    let mut times: [[[Vec<u64>; SIZES.len()]; WAYS.len()]; 2] = Default::default();
    for _ in 0..processes {
        for ((_, config), times) in drivers.iter().zip(&mut times) {
            for (way, times) in WAYS.iter().zip(times) {
                run(*config, way, &trace, times);
            }
        }
    }
    println!("vkQueueBindSparse until it returns, microseconds, medians");
    println!(
        "{:<14} {:>7} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "driver", "binds", "without", "with", "off", "more", "allowed"
    );
    for ((driver, _), times) in drivers.iter().zip(&mut times) {
        for (i, (binds, _)) in SIZES.iter().enumerate() {
            let [without, with, off] = [0, 1, 2].map(|way: usize| {
                let times = &mut times[way][i];
                times.sort_unstable();
                times[times.len() / 2] as f64 / 1e3
            });
            println!(
                "{driver:<14} {binds:>7} {without:>10.2} {with:>10.2} {off:>10.2} {:>10.2} {:>10.2}",
                with - without,
                without * 0.05 + 2.0
            );
        }
    }
}
