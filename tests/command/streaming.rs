//! The example `streaming` as people run it: its verdict, its JSON, its picture, its exit status.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::cargo;
use common::child::finish;
use common::config::Config;
use common::stats;
use serde_json::Value;

/// The example: `cargo test` builds it with the tests, but not where one test is asked for.
fn example() -> Command {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    let path = EXAMPLE.get_or_init(|| {
        let folder = cargo::build(&["--example", "streaming"]);
        cargo::written(&folder, "examples/streaming")
    });
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    command
}

fn json(command: Command) -> Value {
    let (status, stdout, stderr) = finish(command);
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    serde_json::from_str(&stdout).expect("one JSON object")
}

fn flies(config: Config, extra: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let counters = folder.path().join("stats.jsonl");
    let mut command = example();
    config.apply(&mut command);
    command
        .args(["--size", "16384", "--frames", "6", "--json"])
        .env(stats::FILE, &counters)
        .envs(extra.iter().copied());
    let report = json(command);
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["wrong"], 0);
    let frames = report["frames"].as_array().expect("frames");
    assert_eq!(frames.len(), 6);
    let sum = |name: &str| {
        frames
            .iter()
            .map(|f| f[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert!(sum("unbinds") > 0, "tiles are evicted: {report}");
    assert!(sum("checked") >= 6 * 16, "{report}");
    let resident = frames[5]["resident"].as_u64();
    assert_eq!(
        resident,
        Some(sum("binds") - sum("unbinds")),
        "what was bound and not evicted is resident"
    );
    if config.is_icd() {
        let counted = &stats::read(&counters)[0];
        assert!(counted.queue_bind_sparse_calls >= 6, "{counted:?}");
        assert!(
            counted.binds >= sum("binds") + sum("unbinds"),
            "{counted:?}"
        );
    }
}

const REPEAT: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "auto",
};

#[test]
fn the_flight_shows_right_data_on_the_base_driver() {
    flies(Config::Bare, &[]);
}

#[test]
fn the_flight_shows_right_data_with_every_strategy() {
    for (kernel, null) in [("1.5", "page"), ("1.5", "chunk"), ("1.9", "sparse")] {
        flies(Config::Icd { kernel, null }, &[]);
    }
    flies(REPEAT, &[]);
}

#[test]
fn the_flight_shows_right_data_where_unbound_tiles_share_a_dummy() {
    flies(REPEAT, &[("PANVK_SPARSE_DUMMY", "alias")]);
}

#[test]
fn the_comparison_needs_no_device_and_draws_every_strategy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let picture = folder.path().join("streaming.svg");
    let mut command = example();
    command
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .args(["--size", "4096", "--frames", "10", "--json", "--compare"])
        .arg(&picture);
    let report = json(command);
    let ways = report["strategies"].as_array().expect("strategies");
    let ops = |way: &Value| {
        let frames = way["frames"].as_array().expect("frames");
        assert_eq!(frames.len(), 10);
        frames
            .iter()
            .map(|f| f["ops"].as_u64().unwrap())
            .sum::<u64>()
    };
    let ops: Vec<_> = ways.iter().map(ops).collect();
    assert!(ops[0] > ops[1] && ops[1] >= ops[2], "{ops:?}");
    assert_eq!(ops[2], ops[3], "repeat and sparse: one operation a range");
    let svg = std::fs::read_to_string(&picture).expect("the picture");
    for strategy in ["page", "chunk", "repeat", "sparse"] {
        assert!(svg.contains(strategy), "{strategy} is not in the picture");
    }
}

#[test]
fn the_flight_replayed_asks_what_the_comparison_counts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("flight.trace");
    let mut command = example();
    command
        .args(["--size", "8192", "--frames", "12", "--json", "--compare"])
        .arg(folder.path().join("streaming.svg"))
        .arg("--trace")
        .arg(&trace);
    let compared = json(command);
    let mut command = Command::new(common::command::binary());
    command
        .stdin(Stdio::null())
        .args(["replay", "--json"])
        .arg(trace);
    let replayed = json(command);
    let cost = |counts: &Value| [counts["ops"].as_u64(), counts["ioctls"].as_u64()];
    let asked = |counts: &Value| {
        [
            counts["vm_bind_ops"].as_u64(),
            counts["vm_bind_ioctls"].as_u64(),
        ]
    };
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let ways = list(&compared["strategies"]);
    assert_eq!(ways.len(), 4);
    for (counted, replayed) in ways.iter().zip(list(&replayed["strategies"])) {
        assert_eq!(counted["strategy"], replayed["strategy"]);
        let frames: Vec<_> = list(&counted["frames"]).iter().map(cost).collect();
        let steps: Vec<_> = list(&replayed["steps"]).iter().map(asked).collect();
        assert_eq!(steps[0], cost(&counted["creation"]));
        assert_eq!(steps[1..], frames);
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for arguments in [
        &["--size", "1000"][..],
        &["--frames"],
        &["--frames", "0"],
        &["x"],
    ] {
        let mut command = example();
        command.args(arguments);
        let (status, _, stderr) = finish(command);
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert!(stderr.contains(arguments[0]), "{stderr}");
    }
}
