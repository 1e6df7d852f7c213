//! The command `panvk-sparse`, as tests run it and read what it says.

use crate::cargo;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Builds the command with this test's own profile.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-cli"]);
        cargo::written(&folder, "panvk-sparse")
    })
}

/// The built binary, with no kernel named by the environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(args)
        .env_remove("PANVK_SPARSE_KERNEL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What it prints where it succeeds, with nothing on stderr.
pub fn json(mut command: Command) -> Value {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What the rows of a comparison say that neither time nor a look into the model has a part in.
pub fn rows(report: &Value) -> Vec<Vec<Value>> {
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
    let rows = report["strategies"].as_array().expect("rows").iter();
    rows.map(|row| FIELDS.iter().map(|name| row[name].clone()).collect())
        .collect()
}

/// Waits until the process has handlers for SIGHUP, SIGINT and SIGTERM.
pub fn wait_for_handlers(child: &Child) {
    const HUP_INT_TERM: u64 = 1 << 0 | 1 << 1 | 1 << 14;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let status = status.expect("the process is there");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("a line").trim(), 16).expect("a mask");
        if caught & HUP_INT_TERM == HUP_INT_TERM {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
