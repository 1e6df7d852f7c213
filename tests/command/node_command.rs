//! The command on a node, which `libvpanthor_preload.so` makes: the same numbers as on the virtual kernel inside the
//! process, and as many ioctls, number by number, as the node has counted itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use common::command::{command, json, rows, text, wait_for_handlers};
use common::preload::{self, Dump, node};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vpanthor::Flavour;

fn run(mut command: Command) -> Output {
    command.output().expect("the command starts")
}

fn succeed(command: Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

/// The command with these nodes, and where the dump will be.
fn on_nodes(vpanthor: &str, args: &[&str], folder: &Path) -> (Command, std::path::PathBuf) {
    let dump = folder.join("dump.json");
    let mut command = command(args);
    preload::apply(&mut command, vpanthor, &dump);
    (command, dump)
}

fn ioctls(report: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(report["ioctls"].clone()).expect("numbers by name")
}

#[test]
fn a_comparison_on_a_node_counts_what_it_counts_in_process_and_what_the_node_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = node(0);
    for flavour in Flavour::ALL {
        let in_process = format!("vpanthor:{flavour}");
        for (scenario, bytes) in [
            ("init", "100000000"),
            ("rebind", "5000000"),
            ("fragmented", "5000000"),
        ] {
            let on = |kernel| {
                let size = ["compare", "--bytes", bytes, "--scenario", scenario];
                [&size[..], &["--json", "--kernel", kernel]].concat()
            };
            let inside = json(command(&on(&in_process)));
            assert!(rows(&inside).len() >= 2, "{inside}");
            let (on_node, dump) = on_nodes(flavour.name(), &on(&path), folder.path());
            let on_node = json(on_node);
            assert_eq!(rows(&on_node), rows(&inside), "{flavour} {scenario}");
            assert_eq!(on_node["memory_bytes"], inside["memory_bytes"]);
            assert_eq!(on_node["kernel"], path);
            for row in on_node["strategies"].as_array().expect("rows") {
                assert!(
                    row["pte_writes"].is_null(),
                    "a real kernel does not tell: {row}"
                );
            }

            let dump = Dump::read(&dump);
            let node = &dump.nodes[0];
            assert_eq!((&*node.path, &*node.kernel), (&*path, flavour.name()));
            assert_eq!(ioctls(&on_node), node.calls(), "{flavour} {scenario}");
            node.assert_all_closed();
        }
    }
}

#[test]
fn a_probe_of_a_node_finds_what_it_finds_in_process_with_the_same_ioctls() {
    let folder = tempfile::tempdir().expect("a folder");
    for flavour in Flavour::ALL {
        let inside = format!("vpanthor:{flavour}");
        let mut inside = json(command(&["probe", "--json", "--kernel", &inside]));
        let path = node(0);
        let args = ["probe", "--json", "--kernel", &path];
        let (on_node, dump) = on_nodes(flavour.name(), &args, folder.path());
        let mut on_node = json(on_node);
        let dump = Dump::read(&dump);
        assert_eq!(ioctls(&on_node), dump.nodes[0].calls());
        dump.nodes[0].assert_all_closed();
        for report in [&mut inside, &mut on_node] {
            let report = report.as_object_mut().expect("an object");
            report.remove("kernel");
            report.remove("ioctl_ns");
        }
        assert_eq!(on_node, inside, "{flavour}");
    }
}

#[test]
fn costs_are_measured_by_thirty_binds_or_more_and_nothing_is_left_on_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    for flavour in [Flavour::V1_5, Flavour::V1_8Repeat, Flavour::V1_9] {
        let path = node(0);
        let args = ["probe", "--costs", "--json", "--kernel", &path];
        let (command, dump) = on_nodes(flavour.name(), &args, folder.path());
        let report = json(command);
        let binds = report["binds"].as_array().expect("a list");
        assert!(binds.len() >= 30, "{report}");
        for bind in binds {
            for count in ["ops", "pt_calls", "measured_ns"] {
                assert!(bind[count].as_u64() > Some(0), "{count} of {bind}");
            }
        }
        let one = |what: &str| binds.iter().find(|bind| bind["what"] == what).expect(what);
        assert_eq!(one("512 pieces of 64 KiB, bound")["ops"], 512);
        // As they come, and in our order: as many operations, fewer entries.
        let [ours, ascending] = ["", ", in ascending order"]
            .map(|order| one(&format!("763 pieces of 64 KiB, bound{order}")));
        assert_eq!(
            (&ours["ops"], &ascending["ops"]),
            (&763.into(), &763.into())
        );
        assert!(ours["entries"].as_u64() <= ascending["entries"].as_u64());
        assert_eq!(
            one("763 pieces of 64 KiB, bound, as panvk does")["ops"],
            763
        );
        let unbound = one("96 MiB unbound, new");
        let ops = if flavour == Flavour::V1_5 { 48 } else { 1 };
        assert_eq!(unbound["ops"], ops, "{flavour}");
        let parts = report["costs"].as_array().expect("a list");
        assert_eq!(parts.len(), 9);
        for part in parts {
            // Each cost is 0 or more, or no bind had anything of it.
            assert!(
                part["here_ns"].as_f64().is_none_or(|ns| ns >= 0.0),
                "{part}"
            );
        }
        for costs in ["here", "compiled_in"] {
            let rank = report[costs]["rank_correlation"]
                .as_f64()
                .expect("a number");
            assert!((-1.0..=1.0).contains(&rank), "{report}");
        }
        Dump::read(&dump).nodes[0].assert_all_closed();
    }
}

#[test]
fn auto_is_the_first_panthor_node_and_what_looking_for_it_takes_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (&*node(0), &*node(1));
    for (kernel, path, version) in [("auto", first, "1.5"), (second, second, "1.9")] {
        let args = ["probe", "--json", "--kernel", kernel];
        let (probe, dump) = on_nodes("1.5;1.9", &args, folder.path());
        let report = json(probe);
        assert_eq!(
            (&report["kernel"], &report["version"]),
            (&path.into(), &version.into())
        );
        let dump = Dump::read(&dump);
        let probed = dump.nodes.iter().find(|node| node.path == path);
        assert_eq!(ioctls(&report), probed.expect("it is there").calls());
        let other = dump.nodes.iter().find(|node| node.path != path);
        assert_eq!(other.expect("it is there").calls(), BTreeMap::new());
    }
}

#[test]
fn the_environment_may_name_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut probe, _) = on_nodes("1.9", &["probe", "--json"], folder.path());
    probe.env("PANVK_SPARSE_KERNEL", "auto");
    assert_eq!(json(probe)["kernel"], node(0));
}

#[test]
fn people_are_shown_the_time_of_ioctls_and_operations_in_place_of_page_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let (compare, _) = on_nodes("1.9", &["compare", "--kernel", "auto"], folder.path());
    let table = succeed(compare);
    let kernel = format!("Kernel: {}.", node(0));
    for part in [
        &kernel,
        "estimated",
        "in ioctls",
        "per ioctl",
        "per op",
        "24,415x",
    ] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(
        !table.contains("PTE") && !table.contains("Memory:"),
        "{table}"
    );
    let (probe, _) = on_nodes("1.9", &["probe", "--kernel", "auto"], folder.path());
    let probe = succeed(probe);
    assert!(probe.starts_with("Kernel"), "no model: {probe}");
    let line = |name: &str| {
        let mut lines = probe.lines().map(|line| line.split_whitespace());
        lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()).flatten())
    };
    assert_eq!(
        line("VERSION"),
        Some("2"),
        "one to find it, one to open it: {probe}"
    );
    assert_eq!(line("VM_CREATE"), line("VM_DESTROY"));
    assert!(line("VM_BIND").is_some(), "{probe}");
}

#[test]
fn a_comparison_that_is_stopped_leaves_nothing_on_the_node() {
    let folder = tempfile::tempdir().expect("a folder");
    for (signal, scenario, wait) in [
        (Signal::INT, "rebind", 0),
        (Signal::TERM, "fragmented", 50),
        (Signal::INT, "init", 200),
    ] {
        let args = [
            "compare",
            "--kernel",
            "auto",
            "--bytes",
            "1GiB",
            "--scenario",
            scenario,
        ];
        let (mut compare, dump) = on_nodes("1.8-repeat", &args, folder.path());
        let child = compare.spawn().expect("the command starts");
        wait_for_handlers(&child);
        std::thread::sleep(std::time::Duration::from_millis(wait));
        kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
        let output = child.wait_with_output().expect("the command ends");
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(text(&output.stderr), "panvk-sparse: stopped\n");
        let dump = Dump::read(&dump);
        assert!(dump.nodes[0].count("VERSION") > 0, "the node was in use");
        dump.nodes[0].assert_all_closed();
        std::fs::remove_file(folder.path().join("dump.json")).expect("it was there");
    }
}

#[test]
fn a_node_that_is_not_there_is_named_beside_those_that_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["probe", "--kernel", "/dev/dri/renderD140"];
    let (probe, _) = on_nodes("1.9", &args, folder.path());
    let output = run(probe);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("panvk-sparse: /dev/dri/renderD140: no such node"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_goes_wrong_on_a_node_is_one_line_that_names_it_and_nothing_stays_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = node(0);
    for (fault, parts) in [
        // The probe makes one buffer object, a repetition that binds memory two.
        (
            "BO_CREATE:2:ENODEV",
            &["strategy page: ioctl BO_CREATE: ENODEV", "has gone"][..],
        ),
        (
            "VM_BIND:3:ENODEV",
            &[
                "cannot probe the kernel: map ",
                "VM_BIND: ENODEV",
                "has gone",
            ],
        ),
        (
            "DEV_QUERY:1:ENOTTY",
            &["DEV_QUERY: ENOTTY", "does not know this ioctl"],
        ),
        (
            "VM_CREATE:2:ENOMEM",
            &["cannot probe the kernel: ", "VM_CREATE: ENOMEM"],
        ),
        ("VERSION:1:ENODEV", &["no device behind this node (ENODEV)"]),
        ("VERSION:1:EACCES", &["ioctl VERSION: EACCES"]),
    ] {
        let nodes = format!("1.9,fault={fault}");
        let args = [
            "compare",
            "--kernel",
            &path,
            "--scenario",
            "rebind",
            "--bytes",
            "1M",
            "--json",
        ];
        let (compare, dump) = on_nodes(&nodes, &args, folder.path());
        let output = run(compare);
        assert_eq!(output.status.code(), Some(1), "{fault}");
        assert_eq!(text(&output.stdout), "", "{fault}");
        let stderr = text(&output.stderr);
        assert_eq!(stderr.lines().count(), 1, "{fault}: {stderr}");
        assert!(
            stderr.starts_with(&format!("panvk-sparse: {path}")),
            "{fault}: {stderr}"
        );
        for part in parts {
            assert!(stderr.contains(part), "{fault}: {part} in {stderr}");
        }
        for file in &Dump::read(&dump).nodes[0].files {
            assert!(
                !file.open && file.vms.is_empty() && file.bos.is_empty(),
                "{fault}"
            );
        }
    }
}
