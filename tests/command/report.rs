//! `panvk-sparse report`: one file with what somebody else has to know, and with nothing of the person who sends it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::command::{command, text};
use common::{config, preload};

/// The report of a machine with these programs, and a user called marian.
fn report(
    folder: &Path,
    prepare: impl FnOnce(&mut Command),
    arguments: &[&str],
    is_in_use: bool,
) -> (String, String) {
    let out = folder.join("report.txt");
    let mut command = command(&["report", "--out", out.to_str().expect("UTF-8")]);
    command
        .args(arguments)
        .env("HOME", folder)
        .env("USER", "marian")
        .env_remove("LOGNAME")
        .env_remove("SUDO_USER");
    prepare(&mut command);
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = fs::read_to_string(&out).expect("a report");
    // What the report notes at its top is said to who writes it, and nothing else.
    let note = "panvk-sparse was not in use: set VK_ICD_FILENAMES first, see docs/board.md\n";
    let (in_report, said) = match is_in_use {
        true => (String::new(), String::new()),
        false => (
            format!("Note: {note}"),
            format!("panvk-sparse: note: {note}"),
        ),
    };
    assert_eq!(text(&output.stderr), said);
    let top = format!("panvk-sparse report\n{in_report}Look through this file");
    assert!(report.starts_with(&top), "{report}");
    (report, text(&output.stdout).to_owned())
}

fn script(folder: &Path, name: &str, lines: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{lines}")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("rights");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_report_has_the_kernel_the_driver_and_its_counters() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = config::icd_manifest();
    let prepare = |command: &mut Command| {
        preload::apply(command, "1.9,gpu=g610", &folder.path().join("dump.json"));
        command
            .env("VK_ICD_FILENAMES", manifest)
            .env("VK_DRIVER_FILES", manifest)
            .env("PANVK_SPARSE_KERNEL", "vpanthor:1.9");
    };
    let (report, said) = report(folder.path(), prepare, &[], true);
    for part in [
        concat!("panvk-sparse  ", env!("CARGO_PKG_VERSION"), "\n"),
        "== Settings\nPANVK_SPARSE_KERNEL=vpanthor:1.9\n",
        "\n== panvk-sparse doctor\nloader ",
        "\nWhat would be used\n",
        "panthor uAPI 1.9",
        "sparse  one operation, the kernel's own dummy  chosen",
        "sparseBinding",
        "sparseResidencyBuffer",
        "residencyStandard2DBlockShape",
        "it ended with exit status: 0",
        " = panvk-sparse ",
        "\"mode\":\"hosted\"",
    ] {
        assert!(report.contains(part), "{part:?} in\n{report}");
    }
    assert!(!report.contains("maxImageDimension2D") && !report.contains("== The program"));
    let first = format!("{}: ", folder.path().join("report.txt").display());
    assert!(
        said.starts_with(&first) && said.contains("Nothing was sent"),
        "{said}"
    );
}

#[test]
fn a_report_has_nothing_of_the_user_and_of_the_program_only_what_the_driver_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().to_str().expect("UTF-8");
    // What a driver says, and what a program says.
    let vulkaninfo =
        "echo 'GPU0:'; echo '\tdriverInfo = panvk of marian'; echo 'a secret of the machine'\n";
    script(folder.path(), "vulkaninfo", vulkaninfo);
    let game = format!(
        "echo a secret of the game; echo another secret >&2; echo \"panvk-sparse: warning: {home}/saves of marian: $PANVK_SPARSE_LOG\" >&2\n\
         echo '{{\"mode\":\"board\"}}' >>\"$PANVK_SPARSE_STATS\"; exit 7\n"
    );
    let game = script(folder.path(), "secret-game", &game);
    let prepare = |command: &mut Command| {
        command
            .env("PATH", format!("{home}:/usr/bin:/bin"))
            .env("VK_ICD_FILENAMES", format!("{home}/driver.json"));
    };
    let (report, _) = report(folder.path(), prepare, &["--", &game, "--secret"], false);
    for part in [
        "VK_ICD_FILENAMES=~/driver.json\n",
        "  \tdriverInfo = panvk of USER\n",
        "== The program\nit ended with exit status: 7\n",
        "  panvk-sparse: warning: ~/saves of USER: info\n",
        "its counters, a line for each device:\n  {\"mode\":\"board\"}\n",
    ] {
        assert!(report.contains(part), "{part:?} in\n{report}");
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    for personal in ["secret", "marian", home] {
        assert!(!report.contains(personal), "{personal:?} in\n{report}");
    }
    // As a word: a host called `vm` is not in `llvmpipe`.
    let mut words = report.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    assert!(words.all(|word| word != host.trim()), "{host} in\n{report}");
}

#[test]
fn a_machine_with_nothing_gets_a_report_that_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let prepare = |command: &mut Command| {
        command.env("PATH", folder.path());
    };
    let (report, _) = report(folder.path(), prepare, &["--", "/nonexistent/game"], true);
    // Nobody can tell then whether the driver is in use, and no note says so.
    assert!(report.contains("vulkaninfo was not found\n"), "{report}");
    assert!(
        report.contains("== The program\nit was not found\n"),
        "{report}"
    );
    // On a board this says what the board's kernel can do.
    let probed = report
        .split("--kernel auto\n")
        .nth(1)
        .expect("the kernel's part");
    assert!(
        probed.contains("no panthor") || probed.starts_with("Kernel"),
        "{probed}"
    );
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let output = command(&["report", "--out", "/nonexistent/report.txt"])
        .output()
        .expect("the command starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent/report.txt: "));
}
