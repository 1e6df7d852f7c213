//! Programs under the preload, and what they leave.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use common::preload;

/// The first node, on a machine that has none of its own.
pub const NODE: &str = "/dev/dri/renderD128";

/// Set in a test's own child process, to the name of the test that it runs.
const CHILD: &str = "PANVK_SPARSE_TEST_CHILD";

/// A command to run under the preload, with a folder for what it leaves.
pub struct Ran {
    pub status: std::process::ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub folder: tempfile::TempDir,
}

impl Ran {
    pub fn of(output: Output, folder: tempfile::TempDir) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            status: output.status,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            folder,
        }
    }

    pub fn succeeded(self) -> Self {
        assert!(
            self.status.success(),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// What VPANTHOR_DUMP got.
    pub fn dump(&self) -> Value {
        let path = self.folder.path().join("dump.json");
        let text = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("no dump: {error}; {}", self.stderr));
        serde_json::from_slice(&text).expect("the dump is JSON")
    }
}

/// Whether this machine has no nodes, as the tests that name [`NODE`] need.
pub fn machine_has_no_nodes() -> bool {
    let none = !Path::new(NODE).exists();
    if !none {
        eprintln!("skipped: this machine has a {NODE} of its own");
    }
    none
}

/// Puts a command under the preload with the nodes of `vpanthor`, temporary files and dump in a folder of their own.
pub fn prepare(command: &mut Command, vpanthor: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["PANVK_SPARSE_KERNEL", "PANVK_SPARSE_NULL", "VPANTHOR_DUMP"] {
        command.env_remove(name);
    }
    preload::apply(command, vpanthor, &folder.path().join("dump.json"));
    command.env("TMPDIR", folder.path()).stdin(Stdio::null());
    folder
}

/// Runs a command under the preload.
pub fn run(command: &mut Command, vpanthor: &str) -> Ran {
    let folder = prepare(command, vpanthor);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Ran::of(output, folder)
}

/// Runs `tests` of this test binary again, in a process of their own under the preload.
pub fn run_tests(arguments: &[&str], variables: &[(&str, &str)], vpanthor: &str) -> Ran {
    let mut command = Command::new(std::env::current_exe().expect("the test knows its executable"));
    command.args(arguments).envs(variables.iter().copied());
    run(&mut command, vpanthor).succeeded()
}

/// Runs `body` in a process of its own under the preload, and hands what it left to `check` in this one.
pub fn on_node(test: &str, vpanthor: &str, body: impl FnOnce(), check: impl FnOnce(&Ran)) {
    on_node_with(test, vpanthor, &[], body, check);
}

/// [`on_node`], with more variables.
pub fn on_node_with(
    test: &str,
    vpanthor: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
    check: impl FnOnce(&Ran),
) {
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return;
    }
    if !machine_has_no_nodes() {
        return;
    }
    let variables: Vec<_> = variables.iter().copied().chain([(CHILD, test)]).collect();
    let ran = run_tests(&["--exact", test, "--nocapture"], &variables, vpanthor);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
    check(&ran);
}

/// Calls of each ioctl, by name.
pub fn calls(node: &Value) -> Vec<(String, u64)> {
    let ioctls = node["ioctls"].as_object().expect("ioctls");
    let calls = |value: &Value| value["calls"].as_u64().expect("a count");
    ioctls
        .iter()
        .map(|(name, value)| (name.clone(), calls(value)))
        .collect()
}
