//! The component as a static library, linked whole into a C program.

use std::process::Command;

use common::cargo::{ROOT, target_dir};

#[test]
fn a_c_program_links_all_of_the_static_library() {
    // A target folder of its own: with another kind of crate the same library would be another one.
    let target = target_dir().join("staticlib");
    let built = Command::new(env!("CARGO"))
        .args([
            "rustc",
            "--quiet",
            "--locked",
            "--package",
            "panvk-sparse",
            "--lib",
        ])
        .args(["--crate-type", "staticlib", "--target-dir"])
        .arg(&target)
        .current_dir(ROOT)
        .status()
        .expect("cargo runs");
    assert!(built.success());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("program.c");
    std::fs::write(&source, "int main(void) { return 42; }\n").expect("a file");
    let program = folder.path().join("program");
    let linked = Command::new("cc")
        .arg(&source)
        // Every object of it: what one of them lacks, the linker says.
        .arg("-Wl,--whole-archive")
        .arg(target.join("debug/libpanvk_sparse.a"))
        .args(["-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .output()
        .expect("a C compiler");
    let said = String::from_utf8_lossy(&linked.stderr);
    assert!(linked.status.success(), "{said}");
    let ended = Command::new(&program).status().expect("it starts");
    assert_eq!(ended.code(), Some(42));
}
