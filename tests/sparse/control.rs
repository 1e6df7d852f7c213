//! The control: a driver that binds wrongly, and tests that have to notice. (`PANVK_SPARSE_CONTROL`, in builds for tests.)
//!
//! The cases are those of `tests/sparse`, each in a process of its own, with unbound ranges bound to one dummy memory: a base
//! driver that backs them with memory of their own would hide a lost bind.

use crate::{
    buffers, groups, images, many, mistakes, model, queue_bind, residency, shapes, sync,
    tile_updates, transfers, usages,
};
use common::child::finish;
use common::config::{Config, failing_icd_manifest};
use common::{App, Gpu};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set in a process that runs one case, to its name.
const CASE: &str = "PANVK_SPARSE_TEST_CASE";

type Case = (&'static str, fn(&Gpu));

macro_rules! table {
    ([$name:ident] $($file:ident: $case:ident;)*) => {
        const $name: &[Case] = &[$((
            concat!(stringify!($file), "::", stringify!($case)),
            $file::$case,
        )),*];
    };
}

with_cases! { table COMMON }
with_conformance_cases! { table CONFORMANCE }
with_residency_cases! { table RESIDENCY }

fn cases() -> impl Iterator<Item = &'static Case> {
    [COMMON, CONFORMANCE, RESIDENCY].into_iter().flatten()
}

/// What one run of a case ended with.
struct Outcome {
    case: &'static str,
    passed: bool,
    output: String,
}

/// Runs the cases under a control, or under none; as many at a time as there are processors.
fn run(test: &str, control: Option<&str>, cases: &[&'static Case]) -> Vec<Outcome> {
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if let Ok(name) = std::env::var(CASE) {
        let (_, case) = cases.iter().find(|c| c.0 == name).expect("a case");
        let app = App::new().expect("vkCreateInstance");
        case(&Gpu::new(&app));
        // All that this process was for.
        std::process::exit(0);
    }
    let manifest = failing_icd_manifest();
    let one = |&(case, _): &Case| {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        let config = Config::Icd {
            kernel: "1.8-repeat",
            null: "repeat",
        };
        config.apply(&mut command);
        command
            .env("VK_ICD_FILENAMES", manifest)
            .env("PANVK_SPARSE_DUMMY", "alias")
            .env("RUST_BACKTRACE", "0")
            .env(CASE, case);
        if let Some(control) = control {
            command.env("PANVK_SPARSE_CONTROL", control);
        }
        let (status, stdout, stderr) = finish(command);
        Outcome {
            case,
            passed: status.success(),
            output: format!("{status}\n{stdout}\n{stderr}"),
        }
    };
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut outcomes = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push(one(case));
        }
        outcomes
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let done = workers.into_iter().map(|w| w.join().expect("a worker"));
        done.flatten().collect()
    })
}

/// Says how many notice, and gives the names of those that do not.
fn unnoticed(test: &str, control: &str, cases: &[&'static Case]) -> Vec<&'static str> {
    let outcomes = run(test, Some(control), cases);
    let mut passed = Vec::new();
    for Outcome {
        case,
        passed: ok,
        output,
    } in &outcomes
    {
        if *ok {
            passed.push(*case);
        } else {
            let noticed = output.contains("panicked at");
            assert!(noticed, "{case} ends without an assertion: {output}");
        }
    }
    let (all, noticed) = (outcomes.len(), outcomes.len() - passed.len());
    println!("PANVK_SPARSE_CONTROL={control}: {noticed} of {all} cases fail");
    passed
}

/// Cases that bind no memory, so that there is nothing to lose. (The driver has no linear sparse images.)
const BIND_NOTHING: &[&str] = &[
    "images::linear_tiling",
    "sync::an_empty_submit_signals_its_fence",
    "sync::a_batch_without_binds_passes_semaphores_on",
    "shapes::all_places_say_one_shape",
];

/// Cases in which hundreds of binds reach the base driver, so that it matters what happens to one in a hundred. Others
/// have fewer, or as many on some machines only (those of threads).
const HUNDREDS: &[&str] = &[
    "many::thousand_pieces_in_shuffled_order",
    "tile_updates::rounds_of_runs_unmapped_tiles_and_copied_mappings",
    "model::random_sequences",
    "residency::hundreds_of_scattered_tiles",
    "residency::random_sequences",
];

#[test]
#[cfg_attr(
    not(feature = "all-pairs"),
    ignore = "as in conformance::v1_9_alias; runs with --features all-pairs"
)]
fn every_case_passes_where_nothing_is_lost() {
    let test = common::name_of!(every_case_passes_where_nothing_is_lost);
    for outcome in run(test, None, &cases().collect::<Vec<_>>()) {
        assert!(outcome.passed, "{}: {}", outcome.case, outcome.output);
    }
}

#[test]
fn losing_every_bind_is_noticed_by_every_case() {
    let test = common::name_of!(losing_every_bind_is_noticed_by_every_case);
    let cases: Vec<_> = cases().filter(|c| !BIND_NOTHING.contains(&c.0)).collect();
    assert_eq!(unnoticed(test, "drop", &cases), Vec::<&str>::new());
}

fn one_in_a_hundred(test: &str, control: &str) {
    let cases: Vec<_> = cases().filter(|c| HUNDREDS.contains(&c.0)).collect();
    assert_eq!(cases.len(), HUNDREDS.len(), "names of cases");
    assert_eq!(unnoticed(test, control, &cases), Vec::<&str>::new());
}

#[test]
fn losing_one_bind_in_a_hundred_is_noticed() {
    let test = common::name_of!(losing_one_bind_in_a_hundred_is_noticed);
    one_in_a_hundred(test, "drop:100");
}

#[test]
fn one_bind_in_a_hundred_off_by_a_tile_is_noticed() {
    let test = common::name_of!(one_bind_in_a_hundred_off_by_a_tile_is_noticed);
    one_in_a_hundred(test, "shift:100");
}
