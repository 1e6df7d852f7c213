//! The C ABI: the header as C and C++ read it, the libraries, and a driver in small (`program.c`) on the virtual node.

mod header;
mod library;
mod random;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::cargo::{self, ROOT};
use common::preload::{self, Dump};

/// The folder of the header.
fn include() -> PathBuf {
    Path::new(ROOT).join("mesa")
}

fn static_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-c"]);
        cargo::written(&folder, "libpanvk_sparse_c.a")
    })
}

/// Runs a command to its end, which has to be a good one.
fn succeed(command: &mut Command) -> (String, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    (stdout, stderr)
}

/// `program.c` with the static library.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = cargo::target_dir().join(format!("tmp/c-abi-{}", std::process::id()));
        succeed(
            Command::new("cc")
                .args([
                    "-std=gnu11",
                    "-O1",
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-pthread",
                    "-I",
                ])
                .arg(include())
                .arg(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/component/c_abi/program.c"
                ))
                .arg(static_library())
                .args(["-lgcc_s", "-ldl", "-lm", "-o"])
                .arg(&path),
        );
        path
    })
}

/// What `program.c` printed, and the nodes when it ended.
fn run(vpanthor: &str, arguments: &[&str]) -> (String, Dump) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dump = folder.path().join("dump.json");
    let mut command = Command::new(program());
    command.arg(preload::node(0)).args(arguments);
    preload::apply(&mut command, vpanthor, &dump);
    let (stdout, _) = succeed(&mut command);
    (stdout, Dump::read(&dump))
}
