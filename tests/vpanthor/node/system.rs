//! Programs of the system: what they see of a node, unchanged.

use std::path::Path;
use std::process::Command;

use super::kit::{self, NODE, machine_has_no_nodes};

fn shell(script: &str, vpanthor: &str) -> String {
    kit::run(Command::new("sh").args(["-euc", script]), vpanthor)
        .succeeded()
        .stdout
}

#[test]
fn drmdevice_lists_the_node_as_a_platform_device() {
    if !machine_has_no_nodes() {
        return;
    }
    let tool = "/usr/bin/drmdevice";
    if !Path::new(tool).exists() {
        eprintln!("skipped: {tool} is not there (Debian: libdrm-tests)");
        return;
    }
    let said = kit::run(&mut Command::new(tool), "1.9").succeeded().stdout;
    assert!(said.contains("--- Devices reported 1 ---"), "{said}");
    // Found by listing, opened, and found once more by the descriptor.
    assert!(
        said.contains(&format!("--- Opening device node {NODE} ---")),
        "{said}"
    );
    for line in [
        format!("nodes[2] {NODE}"),
        "bustype 0002".into(),
        "fullname\t/gpu@fb000000".into(),
        "rockchip,rk3588-mali".into(),
        "arm,mali-valhall-csf".into(),
    ] {
        assert_eq!(said.matches(&line).count(), 2, "{line:?} in {said}");
    }
}

#[test]
fn a_shell_finds_the_node_and_its_driver() {
    if !machine_has_no_nodes() {
        return;
    }
    let said = shell(
        "ls -l /dev/dri | tail -n +2; test -c /dev/dri/renderD128; find /dev/dri -type c",
        "1.9",
    );
    assert!(said.starts_with("crw-rw-rw-"), "{said}");
    assert!(said.contains("226, 128"), "{said}");
    assert!(said.ends_with(&format!("{NODE}\n")), "{said}");
    let device = "/sys/devices/platform/fb000000.gpu";
    let script = "at=/sys/dev/char/226:128/device
        readlink -f $at; cat $at/uevent; readlink $at/driver; ls /sys/class/drm";
    let said = shell(script, "1.9");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], [device, "DRIVER=panthor"]);
    assert!(
        lines.contains(&"OF_COMPATIBLE_0=rockchip,rk3588-mali") && lines.contains(&"renderD128"),
        "{said}"
    );
    assert!(
        lines.contains(&"../../../bus/platform/drivers/panthor"),
        "{said}"
    );
}

#[test]
fn each_node_of_a_list_is_there_and_no_other() {
    if !machine_has_no_nodes() {
        return;
    }
    let said = shell(
        "echo /dev/dri/*; cat /sys/dev/char/226:130/dev; test ! -e /dev/dri/renderD131",
        "1.5;1.8;1.9",
    );
    assert_eq!(
        said,
        "/dev/dri/renderD128 /dev/dri/renderD129 /dev/dri/renderD130\n226:130\n"
    );
}

#[test]
fn a_process_leaves_nothing_behind() {
    if !machine_has_no_nodes() {
        return;
    }
    let ran = kit::run(Command::new("ls").arg("/dev/dri"), "1.9").succeeded();
    assert_eq!(ran.stdout, "renderD128\n");
    let left: Vec<_> = std::fs::read_dir(ran.folder.path())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        left.is_empty(),
        "{left:?}: no node was opened, so there is no dump either"
    );
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next() {
    if !machine_has_no_nodes() {
        return;
    }
    let mut first = Command::new("sh");
    first.args([
        "-c",
        "ls /dev/dri >/dev/null; test -e /dev/dri && kill -KILL $$",
    ]);
    let ran = kit::run(&mut first, "1.9");
    let folders = || std::fs::read_dir(ran.folder.path()).unwrap().count();
    assert_eq!((ran.status.success(), folders()), (false, 1));
    let mut second = Command::new("ls");
    kit::prepare(&mut second, "1.9");
    let output = second
        .env("TMPDIR", ran.folder.path())
        .arg("/dev/dri")
        .output()
        .unwrap();
    assert_eq!((output.status.success(), folders()), (true, 0));
}
