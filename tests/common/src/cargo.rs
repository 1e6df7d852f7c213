//! Builds what a test runs beside itself: libraries and examples, with the test's own profile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Set where everything is built already, and no cargo is at hand: on a machine that only runs the tests.
const BUILT: &str = "PANVK_SPARSE_TEST_BUILT";

/// The root of the workspace.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The `target` folder that this test was built into.
pub fn target_dir() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("the test knows its executable");
        // target/<profile>/deps/<test>
        let folder = test.ancestors().nth(3).expect("a test lies in target");
        folder.to_path_buf()
    })
}

/// `cargo build` of `what`. Returns the folder that it has put it into; others may build at the same time.
pub fn build(what: &[&str]) -> PathBuf {
    build_into(target_dir(), what)
}

/// As [`build`], into a target folder of its own: with other features the same file would be another one.
pub fn build_into(target: &Path, what: &[&str]) -> PathBuf {
    // `test` has the checks of `dev`, optimized; both put what they build into target/debug.
    let (profile, folder) = if cfg!(debug_assertions) {
        ("test", "debug")
    } else {
        ("release", "release")
    };
    if std::env::var_os(BUILT).is_some() {
        return target.join(folder);
    }
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", profile])
        .args(what)
        .arg("--target-dir")
        .arg(target)
        .current_dir(ROOT)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "cargo build {what:?} fails");
    target.join(folder)
}

/// A file of the folder, which a build has just written.
pub fn written(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(path.exists(), "the build wrote {}", path.display());
    path
}
