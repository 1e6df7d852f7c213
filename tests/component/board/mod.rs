//! Debian's panvk for arm64, unmodified, on the virtual node: alone, and with this project's driver in front of it.
//! `scripts/board.sh test` unpacks panvk, builds these tests for arm64 too, and runs them.
//!
//! A test here starts itself once more, as an arm64 process under qemu-user. There it binds through Vulkan, and the node tells
//! what that came to.

mod before;
mod examples;
mod faults;
mod steps;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::preload::Dump;

/// Names the folder of an arm64 system with panvk.
const SYSTEM: &str = "PANVK_SPARSE_TEST_BOARD";
/// The version of that panvk's Mesa.
const MESA: &str = "PANVK_SPARSE_TEST_BOARD_MESA";
/// These tests, built for arm64, beside everything else that is.
const TESTS: &str = "PANVK_SPARSE_TEST_BOARD_TESTS";
/// Set in the arm64 process, to the name of the test that it runs.
const CHILD: &str = "PANVK_SPARSE_TEST_CHILD";

/// Which driver the loader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    /// panvk.
    Alone,
    /// This project's, with panvk as base driver.
    Ours,
}

/// What a process left.
struct Left {
    stdout: String,
    stderr: String,
    dump: Dump,
}

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set; scripts/board.sh test sets it"))
}

/// Whether panvk is of this version, such as `26.1.6`.
fn mesa_is(version: &str) -> bool {
    variable(MESA) == version
}

/// What was built for arm64, by its name.
fn built(name: &str) -> PathBuf {
    // release/deps/component-...
    let tests = PathBuf::from(variable(TESTS));
    let path = tests.ancestors().nth(2).expect("a folder").join(name);
    assert!(path.exists(), "{} was built", path.display());
    path
}

fn panvk() -> PathBuf {
    Path::new(&variable(SYSTEM)).join("usr/share/vulkan/icd.d/panfrost_icd.json")
}

/// An arm64 program with a virtual Mali.
fn emulated(
    driver: Driver,
    kernel: &str,
    dump: &Path,
    variables: &[(&str, &str)],
    program: &Path,
) -> Command {
    emulated_with("", driver, kernel, dump, variables, program)
}

/// The same, with more libraries that are loaded first: `:` before each.
fn emulated_with(
    preload: &str,
    driver: Driver,
    kernel: &str,
    dump: &Path,
    variables: &[(&str, &str)],
    program: &Path,
) -> Command {
    let mut command = Command::new("qemu-aarch64");
    let manifest = match driver {
        Driver::Alone => panvk(),
        Driver::Ours => {
            command.env("PANVK_SPARSE_BASE_ICD", panvk());
            built("panvk_sparse_icd.json")
        }
    };
    command
        .env("VPANTHOR", format!("{kernel},gpu=g610"))
        .env("VPANTHOR_DUMP", dump)
        .env("VK_ICD_FILENAMES", &manifest)
        .env("VK_DRIVER_FILES", &manifest)
        .envs(variables.iter().copied())
        .args(["-L", &variable(SYSTEM)])
        // The emulator itself must not load what is arm64. It takes commas here for ends of values.
        .arg("-E")
        .arg(format!(
            "LD_PRELOAD={}{preload}",
            built("libvpanthor_preload.so").display()
        ))
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// In the arm64 process: which driver it has.
fn driver_here() -> Driver {
    match std::env::var_os("PANVK_SPARSE_BASE_ICD") {
        Some(_) => Driver::Ours,
        None => Driver::Alone,
    }
}

/// What makes a program record its binds in a file.
fn recording_in<'a>(recording: &'a Path, layers: &'a Path) -> [(&'a str, &'a str); 3] {
    [
        ("VK_INSTANCE_LAYERS", "VK_LAYER_PANVK_sparse_trace"),
        ("VK_LAYER_PATH", layers.to_str().expect("UTF-8")),
        (
            "PANVK_SPARSE_TRACE_FILE",
            recording.to_str().expect("UTF-8"),
        ),
    ]
}

/// Runs `body` as arm64 code with the driver: this test again. Gives what that left, or nothing in the process itself.
fn on_a_board(
    test: &str,
    driver: Driver,
    kernel: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<Left> {
    on_a_board_with("", test, driver, kernel, variables, body)
}

/// The same, with more libraries that are loaded first: `:` before each.
fn on_a_board_with(
    preload: &str,
    test: &str,
    driver: Driver,
    kernel: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<Left> {
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = folder.path().join("dump.json");
    let tests = PathBuf::from(variable(TESTS));
    let mut command = emulated_with(preload, driver, kernel, &dump, variables, &tests);
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, test);
    let output = command.output().expect("qemu-aarch64 starts");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{driver:?} on {kernel}: {}\n{stdout}\n{stderr}",
        output.status
    );
    println!("{driver:?} on {kernel}\n{stdout}\n{stderr}");
    let dump = Dump::read(&dump);
    dump.nodes[0].assert_all_closed();
    Some(Left {
        stdout,
        stderr,
        dump,
    })
}

/// VM_BIND calls and operations of each step that a process printed.
fn counts(stdout: &str) -> BTreeMap<String, (u64, u64)> {
    let of = |line: &str| {
        let (step, _) = line.strip_prefix("step ")?.rsplit_once(", together ")?;
        let (what, cost) = step.split_once(": ")?.1.rsplit_once(": ")?;
        let (calls, ops) = cost.split_once('/')?;
        Some((what.to_owned(), (calls.parse().ok()?, ops.parse().ok()?)))
    };
    stdout.lines().filter_map(of).collect()
}

/// Pages that were not as asked for, as a process printed them.
fn wrong_pages(stdout: &str) -> u64 {
    let mut lines = stdout
        .lines()
        .filter_map(|line| line.strip_suffix(" wrong pages"));
    let line = lines.next().expect("it says so");
    line.rsplit_once(' ')
        .expect("a number")
        .1
        .parse()
        .expect("a number")
}
