//! The command on a real panthor: `cargo test --test real_node -- --ignored real_node` on a board, or
//! `scripts/real-kernel.sh test` without one. Each test runs the built binary on the first panthor node of the machine, and
//! holds what it prints against the virtual kernel that does the same.

mod differential;

use std::process::Output;

use common::command::{self, command, rows, text, wait_for_handlers};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vpanthor::Flavour;

fn json(args: &[&str]) -> Value {
    command::json(command(args))
}

/// Every object that was made was closed by an ioctl of its own; nothing was left to the end of the process.
fn assert_all_closed(report: &Value) {
    let count = |name: &str| report["ioctls"][name].as_u64().unwrap_or(0);
    assert!(count("VM_CREATE") > 0, "{report}");
    assert_eq!(count("VM_CREATE"), count("VM_DESTROY"), "{report}");
    assert_eq!(count("BO_CREATE"), count("GEM_CLOSE"), "{report}");
    assert_eq!(
        count("SYNCOBJ_CREATE"),
        count("SYNCOBJ_DESTROY"),
        "{report}"
    );
}

#[test]
fn every_object_of_a_run_is_closed_and_counted() {
    for flavour in Flavour::ALL {
        let kernel = format!("vpanthor:{flavour}");
        assert_all_closed(&json(&["probe", "--kernel", &kernel, "--json"]));
        for scenario in ["init", "rebind", "fragmented"] {
            let args = [
                "compare",
                "--kernel",
                &kernel,
                "--scenario",
                scenario,
                "--bytes",
                "1M",
                "--json",
            ];
            let report = json(&args);
            assert_all_closed(&report);
            // What is measured is once a strategy; the run has the repetitions and the probe as well.
            let measured: u64 = report["strategies"]
                .as_array()
                .expect("rows")
                .iter()
                .map(|row| {
                    let number = |name: &str| row[name].as_u64().expect("a number");
                    assert!(number("ioctl_ns") <= number("elapsed_ns"), "{row}");
                    assert_eq!(
                        number("ns_per_op"),
                        number("ioctl_ns") / number("vm_bind_ops")
                    );
                    number("vm_bind_ioctls") * number("repetitions")
                })
                .sum();
            let all = report["ioctls"]["VM_BIND"].as_u64().expect("a number");
            assert!(all > measured, "{report}");
        }
    }
}

/// Starts the command, stops it as soon as it can be stopped, and waits for its end.
fn stopped_by(signal: Signal, args: &[&str]) -> Output {
    let child = command(args).spawn().expect("the command starts");
    wait_for_handlers(&child);
    kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
    child.wait_with_output().expect("the command ends")
}

fn assert_stopped(output: &Output) {
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    assert_eq!(text(&output.stderr), "panvk-sparse: stopped\n");
}

#[test]
fn a_comparison_that_is_stopped_prints_and_writes_nothing_and_says_130() {
    let folder = tempfile::tempdir().expect("a folder");
    let plot = folder.path().join("cost.svg");
    let plot = plot.to_str().expect("UTF-8");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let args = [
            "compare",
            "--bytes",
            "1GiB",
            "--scenario",
            "rebind",
            "--plot",
            plot,
        ];
        assert_stopped(&stopped_by(signal, &args));
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_machine_without_a_panthor_node_is_told_so_in_one_line() {
    if vpanthor::nodes::find().is_ok() {
        return;
    }
    for args in [
        ["probe", "--kernel", "auto"],
        ["compare", "--kernel", "auto"],
    ] {
        let output = command(&args).output().expect("the command starts");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.starts_with("panvk-sparse: no panthor render node"),
            "{stderr}"
        );
    }
}

/// The virtual kernel that does what the real one was seen to do.
fn model_of(probed: &Value) -> String {
    let strategies = &probed["strategies"];
    let alike = Flavour::ALL
        .into_iter()
        .map(|flavour| format!("vpanthor:{flavour}"))
        .find(|kernel| {
            let model = json(&["probe", "--kernel", kernel, "--json"]);
            model["strategies"] == *strategies
                && model["repeat_max_range"] == probed["repeat_max_range"]
        });
    alike.unwrap_or_else(|| panic!("no virtual kernel does what this one does: {probed}"))
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_maps_pages_and_chunks_and_says_what_else_it_does() {
    let report = json(&["probe", "--kernel", "auto", "--json"]);
    let version = report["version"].as_str().expect("a version");
    assert!(version.starts_with("1."), "{report}");
    let strategies = report["strategies"].as_array().expect("an array");
    for strategy in ["chunk", "page"] {
        assert!(strategies.contains(&strategy.into()), "{report}");
    }
    assert_all_closed(&report);
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_takes_the_operations_that_the_model_of_it_takes() {
    let model = model_of(&json(&["probe", "--kernel", "auto", "--json"]));
    for scenario in ["init", "rebind", "fragmented"] {
        let of = |kernel: &str| {
            json(&[
                "compare",
                "--kernel",
                kernel,
                "--scenario",
                scenario,
                "--bytes",
                "100000000",
                "--json",
            ])
        };
        let (real, virtual_) = (of("auto"), of(&model));
        assert_all_closed(&real);
        assert_eq!(
            real["memory_bytes"], virtual_["memory_bytes"],
            "this takes 200 MB of free memory"
        );
        assert_eq!(rows(&real), rows(&virtual_), "{scenario} on {model}");
    }
}

#[test]
#[ignore = "needs a panthor node"]
fn real_node_lets_go_of_everything_when_it_is_stopped() {
    for scenario in ["init", "rebind", "fragmented"] {
        let args = [
            "compare",
            "--kernel",
            "auto",
            "--bytes",
            "1GiB",
            "--scenario",
            scenario,
        ];
        assert_stopped(&stopped_by(Signal::INT, &args));
    }
    // The node is as good as before.
    assert_all_closed(&json(&["probe", "--kernel", "auto", "--json"]));
}
