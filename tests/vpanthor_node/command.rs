//! `panvk-sparse` on a node.

use std::process::Command;

use panvk_sparse::vpanthor::Flavour;
use serde_json::Value;

use crate::kit::{self, NODE, Ran, calls, machine_has_no_nodes};

fn panvk_sparse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panvk-sparse"));
    command.args(arguments).env_remove("PANVK_SPARSE_KERNEL");
    command
}

fn on_node(flavour: Flavour, arguments: &[&str]) -> Ran {
    kit::run(
        panvk_sparse(arguments).args(["--kernel", NODE]),
        flavour.name(),
    )
    .succeeded()
}

fn in_process(flavour: Flavour, arguments: &[&str]) -> Value {
    let kernel = format!("vpanthor:{flavour}");
    let output = panvk_sparse(arguments)
        .args(["--kernel", &kernel])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What was asked of the kernel, strategy by strategy: what does not depend on time or on a look into the model.
fn asked(report: &Value) -> Vec<Vec<Value>> {
    const FIELDS: [&str; 8] = [
        "strategy",
        "vm_bind_ioctls",
        "vm_bind_ops",
        "bytes_to_kernel",
        "map_ops",
        "null_ops",
        "unmap_ops",
        "op_stride",
    ];
    let rows = report["strategies"].as_array().expect("strategies");
    rows.iter()
        .map(|row| FIELDS.iter().map(|field| row[*field].clone()).collect())
        .collect()
}

#[test]
fn compare_asks_the_same_of_a_node_as_of_the_kernel_in_the_process() {
    if !machine_has_no_nodes() {
        return;
    }
    for flavour in Flavour::ALL {
        let arguments = ["compare", "--bytes", "100000000", "--json"];
        let ran = on_node(flavour, &arguments);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let rows = asked(&report);
        assert!(rows.len() >= 2, "{report}");
        assert_eq!(rows, asked(&in_process(flavour, &arguments)), "{flavour}");
        // Nothing is left, and no bind was refused but those that the probe tries.
        let dump = ran.dump();
        let node = &dump["nodes"][0];
        for file in node["files"].as_array().unwrap() {
            assert_eq!(file["open"], false);
        }
        let count = |name: &str| {
            calls(node)
                .into_iter()
                .find(|(n, _)| n == name)
                .map_or(0, |(_, count)| count)
        };
        assert_eq!(count("VM_CREATE"), count("VM_DESTROY"));
        assert_eq!(count("BO_CREATE"), count("GEM_CLOSE"));
    }
}

#[test]
fn probe_finds_on_a_node_what_it_finds_in_the_process() {
    if !machine_has_no_nodes() {
        return;
    }
    for flavour in Flavour::ALL {
        let arguments = ["probe", "--json"];
        let mut report: Value = serde_json::from_str(&on_node(flavour, &arguments).stdout).unwrap();
        let mut expected = in_process(flavour, &arguments);
        assert_eq!(report["kernel"].take(), NODE);
        expected["kernel"].take();
        // Both take their time.
        report["ioctl_ns"].take();
        expected["ioctl_ns"].take();
        assert_eq!(report, expected, "{flavour}");
    }
}
