//! `panvk-sparse doctor`: what it finds, and what it says where something is missing or wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use common::{cargo, command, config, preload};
use serde_json::Value;

/// The command in the folder where it was built with the driver and the layer beside it.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-trace-layer"]);
        cargo::written(&folder, "VkLayer_panvk_sparse_trace.json");
        config::icd_manifest();
        command::binary().to_owned()
    })
}

/// The command with nothing of the environment that has a say, but the base driver of these tests.
fn doctor(variables: &[(&str, &str)]) -> Output {
    doctor_at(built(), &["--json"], variables)
}

fn doctor_at(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PANVK_SPARSE_") || text.starts_with("VK_") || text.starts_with("XDG_")
        {
            command.env_remove(name);
        }
    }
    command
        .arg("doctor")
        .args(arguments)
        .stdin(Stdio::null())
        .env("PANVK_SPARSE_BASE_ICD", config::base_manifest());
    for (name, value) in variables {
        match *value {
            "" => command.env_remove(name),
            value => command.env(name, value),
        };
    }
    command.output().expect("the command starts")
}

fn report(output: &Output) -> Value {
    let text = command::text(&output.stdout);
    serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", command::text(&output.stderr)))
}

fn check<'a>(report: &'a Value, what: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    (checks.iter().find(|check| check["what"] == what))
        .unwrap_or_else(|| panic!("{what} in {report}"))
}

/// That the check has this state and says all of these words; and that what is not well comes with advice.
fn says(report: &Value, what: &str, state: &str, words: &[&str]) {
    let check = check(report, what);
    assert_eq!(check["state"], state, "{check}");
    for word in words {
        assert!(check.to_string().contains(word), "{word} in {check}");
    }
    assert!(state == "ok" || check["advice"].is_string(), "{check}");
}

#[test]
fn where_all_is_there_it_says_what_would_be_used() {
    let output = doctor(&[("PANVK_SPARSE_KERNEL", "vpanthor:1.9")]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["usable"], true);
    for what in [
        "loader",
        "settings",
        "base driver",
        "kernel",
        "driver",
        "layer",
    ] {
        says(&report, what, "ok", &[]);
    }
    says(&report, "base driver", "ok", &["sparse binding"]);
    says(&report, "driver", "ok", &["panvk-sparse", "sparse binding"]);
    let used = &report["would_use"];
    assert_eq!(used["kernel"], "vpanthor:1.9");
    assert_eq!(used["strategy"], "sparse");
    let library = vulkan::manifest::library_of(&config::base_manifest()).expect("a manifest");
    assert_eq!(used["base_driver"], library.to_str().expect("text"));
    let manifest = used["manifest"].as_str().expect("a path");
    assert_eq!(
        Path::new(manifest),
        config::icd_manifest().canonicalize().expect("it was built")
    );
    assert_eq!(report["environment"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_text_for_people_has_command_lines_to_copy() {
    let output = Command::new(built())
        .arg("doctor")
        .env_remove("PANVK_SPARSE_KERNEL")
        .env("PANVK_SPARSE_BASE_ICD", config::base_manifest())
        .output()
        .expect("the command starts");
    let text = command::text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let manifest = config::icd_manifest().canonicalize().expect("it was built");
    for part in [
        format!("VK_DRIVER_FILES={} your-program", manifest.display()),
        "VK_INSTANCE_LAYERS=VK_LAYER_PANVK_sparse_trace PANVK_SPARSE_TRACE_FILE=run.pvst your-program".to_owned(),
        "binds go to vpanthor:1.8-repeat with repeat".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} in {text}");
    }
}

#[test]
fn a_variable_of_this_shell_is_told_from_what_is_installed() {
    let folder = tempfile::tempdir().expect("a folder");
    let share = folder.path().to_str().expect("UTF-8");
    let manifest = config::icd_manifest().canonicalize().expect("it was built");
    let named = manifest.to_str().expect("UTF-8");
    let layers = manifest.parent().and_then(Path::to_str).expect("UTF-8");
    let set = [
        ("XDG_DATA_DIRS", share),
        ("VK_ICD_FILENAMES", named),
        ("VK_LAYER_PATH", layers),
    ];

    let report_of = |variables: &[(&str, &str)]| report(&doctor(variables));
    let used = report_of(&set)["would_use"].clone();
    assert_eq!(used["offered_to_all"], false, "{used}");
    assert_eq!(used["layer_offered_to_all"], false, "{used}");
    assert_eq!(used["in_this_environment"], "all", "{used}");
    let said = doctor_at(built(), &[], &set);
    let said = command::text(&said.stdout);
    assert!(
        said.contains("This shell sets VK_ICD_FILENAMES: its programs have this driver and no other. `unset VK_ICD_FILENAMES` undoes"),
        "{said}"
    );
    assert!(
        !said.contains("offers the driver to every program"),
        "{said}"
    );

    let used = report_of(&set[..1])["would_use"].clone();
    assert_eq!(used["offered_to_all"], false, "{used}");
    assert_eq!(used["in_this_environment"], "none", "{used}");

    let installed = folder.path().join("vulkan/icd.d");
    fs::create_dir_all(&installed).expect("a folder");
    let library = vulkan::manifest::library_of(&manifest).expect("a manifest");
    let json = serde_json::json!({"file_format_version": "1.0.1", "ICD": {"library_path": library, "api_version": "1.3.0"}});
    fs::write(installed.join("ours.json"), json.to_string()).expect("written");
    for variables in [&set[..1], &set[..2]] {
        let used = report_of(variables)["would_use"].clone();
        assert_eq!(used["offered_to_all"], true, "{used}");
    }
    let said = doctor_at(built(), &[], &set);
    let said = command::text(&said.stdout);
    assert!(
        said.contains("offers the driver to every program"),
        "{said}"
    );
    assert!(!said.contains("This shell sets"), "{said}");
}

#[test]
fn where_the_driver_is_not_beside_the_command_tidy_paths_say_where_it_looked() {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    let alone = bin.join("panvk-sparse");
    fs::copy(built(), &alone).expect("a copy");
    let output = doctor_at(&alone, &["--json"], &[]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let place = folder
        .path()
        .join("share/vulkan/icd.d/panvk_sparse_icd.json");
    says(
        &report,
        "driver",
        "missing",
        &[place.to_str().expect("UTF-8")],
    );
    let said = report.to_string();
    assert!(!said.contains("/../") && !said.contains("--icd"), "{said}");
}

#[test]
fn that_programs_run_on_the_cpu_is_said_first() {
    const NO_GPU: &str = "\nWhat would be used\n  No Mali GPU with the panthor driver was found: ";
    let text = |variables: &[(&str, &str)]| {
        let output = doctor_at(built(), &[], variables);
        command::text(&output.stdout).to_owned()
    };
    let without = text(&[]);
    // A board has one.
    assert_eq!(
        without.contains(NO_GPU),
        vpanthor::nodes::find().is_err(),
        "{without}"
    );
    let library = preload::library();
    let with = text(&[
        ("LD_PRELOAD", library.to_str().expect("UTF-8")),
        ("VPANTHOR", "1.9"),
    ]);
    assert!(!with.contains("No Mali GPU"), "{with}");
    let library = vulkan::manifest::library_of(&config::base_manifest()).expect("a manifest");
    assert_eq!(
        with.contains("run on the CPU (lavapipe), although there is a Mali GPU"),
        library.to_string_lossy().contains("lvp"),
        "{with}"
    );
}

#[test]
fn without_a_base_driver_it_says_which_to_install() {
    let output = doctor(&[
        ("PANVK_SPARSE_BASE_ICD", ""),
        ("XDG_DATA_DIRS", "/nowhere"),
        ("XDG_CONFIG_DIRS", "/nowhere"),
        ("HOME", "/nowhere"),
    ]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    says(
        &report,
        "base driver",
        "missing",
        &["/nowhere/vulkan/icd.d", "mesa-vulkan-drivers"],
    );
    says(&report, "driver", "wrong", &["no base driver"]);
    assert_eq!(report.get("would_use"), None);
}

#[test]
fn a_base_driver_that_is_none_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("libc.json");
    fs::write(&manifest, r#"{"file_format_version":"1.0.1","ICD":{"library_path":"libc.so.6","api_version":"1.3.0"}}"#)
        .expect("written");
    let named = manifest.to_str().expect("text");
    let output = doctor(&[("PANVK_SPARSE_BASE_ICD", named)]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    says(&report, "base driver", "wrong", &[named]);
}

#[test]
fn a_driver_that_crashes_is_a_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("crash.c");
    fs::write(
        &source,
        "#include <stdlib.h>\nint vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *v) { abort(); }\n\
         void *vk_icdGetInstanceProcAddr(void *i, const char *n) { abort(); }\n",
    )
    .expect("written");
    let library = folder.path().join("libcrash.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.expect("a C compiler").success());
    // The library itself, not a manifest: the driver takes both.
    let output = doctor(&[("PANVK_SPARSE_BASE_ICD", library.to_str().expect("text"))]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    says(&report, "base driver", "wrong", &["signal: 6"]);
    says(&report, "loader", "ok", &[]);
}

#[test]
fn without_a_loader_it_says_which_package_has_one() {
    let folder = tempfile::tempdir().expect("a folder");
    // What the dynamic linker finds first is no library.
    fs::write(folder.path().join("libvulkan.so.1"), "").expect("written");
    let output = doctor(&[("LD_LIBRARY_PATH", folder.path().to_str().expect("text"))]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    says(&report, "loader", "wrong", &["libvulkan.so.1"]);
}

#[test]
fn a_variable_that_is_not_understood_is_named() {
    let output = doctor(&[("PANVK_SPARSE_NULL", "zero")]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    says(
        &report,
        "settings",
        "wrong",
        &["PANVK_SPARSE_NULL", "zero", "auto, sparse, repeat"],
    );
}

#[test]
fn a_node_is_found_and_used_if_the_kernel_is_auto() {
    let library = preload::library();
    let output = doctor(&[
        ("LD_PRELOAD", library.to_str().expect("text")),
        ("VPANTHOR", "1.9"),
        ("PANVK_SPARSE_KERNEL", "auto"),
    ]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    says(&report, "node", "ok", &["/dev/dri/renderD"]);
    assert_eq!(
        check(&report, "node")["path"],
        report["would_use"]["kernel"]
    );
    assert_eq!(report["would_use"]["strategy"], "sparse");
}
