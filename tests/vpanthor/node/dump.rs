//! `VPANTHOR_DUMP`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kit::{self, NODE, machine_has_no_nodes};
use super::program;

/// A dump is written by a thread: waits until it is there.
fn wait_for(path: &std::path::Path) -> Value {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no dump");
        std::thread::sleep(Duration::from_millis(5));
    }
    serde_json::from_slice(&std::fs::read(path).unwrap()).expect("whole JSON")
}

#[test]
fn the_dump_shows_mappings_and_refusals_while_the_program_runs_and_when_it_ends() {
    if !machine_has_no_nodes() {
        return;
    }
    let mut command = Command::new(program::compiled());
    let folder = kit::prepare(&mut command, "1.8;1.9");
    let pattern = folder.path().join("%p.json");
    let mut child = command
        .args(["dumps", NODE])
        .env("VPANTHOR_DUMP", pattern)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n", "its own handler was called too");
    let path = folder.path().join(format!("{}.json", child.id()));
    let dump = wait_for(&path);
    assert_eq!(dump["pid"], child.id());
    let node = &dump["nodes"][0];
    assert_eq!(
        (&node["path"], &node["kernel"], &node["gpu"]),
        (&json!(NODE), &json!("1.8"), &json!("g610"))
    );
    assert_eq!(node["ioctls"]["VM_BIND"], json!({"calls": 2, "refused": 1}));
    let file = &node["files"][0];
    assert_eq!(
        file["refusals"],
        json!([{"ioctl": "VM_BIND", "errno": "EINVAL", "why": "the range exceeds the buffer object"}])
    );
    let bo = &file["bos"][0];
    assert_eq!((&bo["handle"], &bo["size"]), (&json!(1), &json!(65536)));
    assert_eq!(
        file["vms"][0]["mappings"],
        json!([{"va": 1 << 30, "size": 8192, "bo": bo["id"], "offset": 4096, "flags": 2}])
    );
    assert_eq!(dump["nodes"][1]["files"], json!([]));

    std::fs::remove_file(&path).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let dump = wait_for(&path);
    assert_eq!(
        dump["nodes"][0]["ioctls"]["VM_BIND"],
        json!({"calls": 3, "refused": 1})
    );
    assert_eq!(
        dump["nodes"][0]["files"][0]["vms"][0]["mappings"],
        json!([])
    );
}
