//! The examples over a driver that binds wrongly: they see it.

use std::path::Path;
use std::process::{Command, Stdio};

use common::cargo;
use common::child::finish;
use common::config::{Config, failing_icd_manifest};

/// Runs an example under `PANVK_SPARSE_DUMMY=alias`, with a control if there is one. Gives its exit status and what it says.
fn run(program: &Path, arguments: &[&str], control: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "auto",
    };
    config.apply(&mut command);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("VK_ICD_FILENAMES", failing_icd_manifest())
        .env("PANVK_SPARSE_DUMMY", "alias")
        .envs(control.map(|control| ("PANVK_SPARSE_CONTROL", control)));
    let (status, stdout, stderr) = finish(command);
    (status.code(), format!("{stdout}{stderr}"))
}

/// Loses or moves the N-th of the binds that give memory (`drop`, `shift`), and of those that take it (`keep`).
fn sees(example: &str, arguments: &[&str]) {
    let folder = cargo::build(&["--example", example]);
    let program = cargo::written(&folder, &format!("examples/{example}"));
    let (status, said) = run(&program, arguments, None);
    assert_eq!(status, Some(0), "{said}");
    for what in ["drop", "shift", "keep"] {
        for every in [1, 5, 50] {
            let control = format!("{what}:{every}");
            let (status, said) = run(&program, arguments, Some(&control));
            assert_eq!(status, Some(1), "{control}: {said}");
            assert!(said.contains("verdict FAIL"), "{control}: {said}");
        }
    }
}

#[test]
fn sparse_buffer_sees_binds_that_are_lost_or_moved() {
    sees("sparse_buffer", &["--bytes", "33554432"]);
}

#[test]
fn streaming_sees_binds_that_are_lost_or_moved() {
    sees("streaming", &["--size", "16384", "--frames", "6"]);
}
