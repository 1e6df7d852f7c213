//! `meson install`: every part lands where distributions expect it, and works from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::cargo::ROOT;

fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup.sh test installs it"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// `meson`, without what the surrounding cargo says to its children.
fn meson() -> Command {
    let mut command = Command::new("meson");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let of_cargo = name.starts_with("CARGO_") && name != "CARGO_HOME";
        if of_cargo || name.starts_with("VK_") || name == "DESTDIR" || name == "LD_LIBRARY_PATH" {
            command.env_remove(name);
        }
    }
    command
}

/// Kept between runs, so that only the first one compiles everything.
fn target_dir() -> PathBuf {
    Path::new(ROOT).join("target/meson")
}

fn set_up(source: &Path, build: &Path, prefix: &Path) {
    run(meson()
        .arg("setup")
        .args([build, source])
        .arg("--prefix")
        .arg(prefix)
        .arg("-Dbuildtype=debug"));
}

fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap();
                found.insert(name.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

/// The one file whose name ends so.
fn only<'a>(files: &'a BTreeSet<String>, end: &str) -> &'a str {
    let found: Vec<_> = files.iter().filter(|name| name.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{end}: {found:?} of {files:#?}");
    found[0]
}

fn library_path(manifest: &Path, object: &str) -> String {
    let text = fs::read_to_string(manifest).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json[object]["library_path"].as_str().unwrap().to_owned()
}

/// Installs into `<scratch>/usr`, under DESTDIR and without, and looks at both.
#[test]
fn what_meson_installs_works_from_where_it_lies() {
    let scratch = tempfile::tempdir().unwrap();
    let (build, prefix) = (scratch.path().join("build"), scratch.path().join("usr"));
    let target = format!("-Dcargo-target-dir={}", target_dir().display());
    set_up(Path::new(ROOT), &build, &prefix);
    run(meson().arg("configure").arg(&build).arg(&target));
    run(meson().arg("compile").arg("-C").arg(&build));
    let install = |destdir: Option<&Path>| {
        let mut command = meson();
        command.args(["install", "--no-rebuild", "-C"]).arg(&build);
        command.envs(destdir.map(|folder| ("DESTDIR", folder)));
        run(&mut command);
    };

    // A package is put together under DESTDIR, and speaks of the prefix alone.
    let package = scratch.path().join("package");
    install(Some(&package));
    assert!(!prefix.exists(), "nothing goes past DESTDIR");
    let packed = package.join(prefix.strip_prefix("/").unwrap());
    let installed = files(&packed);
    for (manifest, object, library) in [
        (
            only(
                &installed,
                &format!("panvk_sparse_icd.{}.json", std::env::consts::ARCH),
            ),
            "ICD",
            only(&installed, "libvulkan_panvk_sparse.so"),
        ),
        (
            only(&installed, "VkLayer_panvk_sparse_trace.json"),
            "layer",
            only(&installed, "libVkLayer_panvk_sparse_trace.so"),
        ),
    ] {
        let path = library_path(&packed.join(manifest), object);
        assert_eq!(Path::new(&path), prefix.join(library), "{manifest}");
    }
    assert!(only(&installed, "panvk_sparse_icd.x86_64.json").starts_with("share/vulkan/icd.d/"));
    assert!(
        only(&installed, "VkLayer_panvk_sparse_trace.json")
            .starts_with("share/vulkan/explicit_layer.d/")
    );
    only(&installed, "libvpanthor_preload.so");
    for file in [
        "libpanvk_sparse.so.1",
        "libpanvk_sparse.so",
        "libpanvk_sparse.a",
    ] {
        only(&installed, file);
    }
    assert!(installed.contains("include/panvk_sparse.h"));
    for file in [
        "bin/panvk-sparse",
        "share/bash-completion/completions/panvk-sparse",
        "share/zsh/site-functions/_panvk-sparse",
        "share/fish/vendor_completions.d/panvk-sparse.fish",
        "share/panvk-sparse/cts-lists/sparse.txt",
    ] {
        assert!(installed.contains(file), "{file} is not in {installed:#?}");
    }

    install(None);
    assert_eq!(files(&prefix), installed);
    let command = prefix.join("bin/panvk-sparse");
    let version = run(Command::new(&command).arg("--version")).stdout;
    assert_eq!(
        String::from_utf8_lossy(&version).trim(),
        concat!("panvk-sparse ", env!("CARGO_PKG_VERSION"))
    );
    // meson.build lists the pages; the command knows which there are.
    let pages = scratch.path().join("pages");
    fs::create_dir(&pages).unwrap();
    run(Command::new(&command).arg("man").arg("--out").arg(&pages));
    assert_eq!(files(&pages), files(&prefix.join("share/man/man1")));

    // The loader finds driver and layer by itself where data folders are searched.
    let mut data_dirs = prefix.join("share").into_os_string();
    data_dirs.push(":/usr/local/share:/usr/share");
    let mut vulkaninfo = Command::new("vulkaninfo");
    vulkaninfo
        .arg("--summary")
        .env("XDG_DATA_DIRS", data_dirs)
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_PANVK_sparse_trace")
        .env("PANVK_SPARSE_TRACE_FILE", scratch.path().join("info.pvst"))
        .env_remove("VK_ICD_FILENAMES")
        .env_remove("VK_DRIVER_FILES");
    let summary = String::from_utf8(run(&mut vulkaninfo).stdout).unwrap();
    assert!(
        summary.contains("driverInfo         = panvk-sparse"),
        "{summary}"
    );
    assert!(summary.contains("VK_LAYER_PANVK_sparse_trace"), "{summary}");

    a_c_driver_finds_the_component(&prefix.join(only(&installed, "panvk-sparse.pc")));
    run(Command::new("ninja").arg("-C").arg(&build).arg("uninstall"));
    // It takes the folders along that it leaves empty.
    assert!(!prefix.exists(), "{:#?} is left", files(&prefix));
    as_subproject(scratch.path(), &target);
}

/// A C program built as pkg-config says, with the shared library and with the static one.
fn a_c_driver_finds_the_component(pc: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("driver.c");
    fs::write(
        &source,
        "#include <panvk_sparse.h>\nint main(void) { return pvs_bind(0, 0, 0) == -22 ? 42 : 1; }\n",
    )
    .unwrap();
    for kind in ["shared", "static"] {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config
            .args(["--cflags", "--libs"])
            .args((kind == "static").then_some("--static"))
            .arg("panvk-sparse")
            .env("PKG_CONFIG_PATH", pc.parent().unwrap());
        let flags = String::from_utf8(run(&mut pkg_config).stdout).unwrap();
        let flags = flags.split_whitespace().map(|flag| match (kind, flag) {
            ("static", "-lpanvk_sparse") => "-l:libpanvk_sparse.a",
            _ => flag,
        });
        let program = folder.path().join(kind);
        run(Command::new("cc")
            .arg(&source)
            .args(flags)
            .arg("-o")
            .arg(&program));
        let mut command = Command::new(&program);
        if kind == "shared" {
            command.env("LD_LIBRARY_PATH", pc.ancestors().nth(2).unwrap());
        }
        let ended = command.status().unwrap();
        assert_eq!(ended.code(), Some(42), "{kind}");
    }
}

/// Another project that has it in `subprojects/` gets the same.
fn as_subproject(scratch: &Path, target: &str) {
    let outer = scratch.join("outer");
    fs::create_dir_all(outer.join("subprojects")).unwrap();
    std::os::unix::fs::symlink(ROOT, outer.join("subprojects/panvk-sparse")).unwrap();
    fs::write(
        outer.join("meson.build"),
        "project('outer', meson_version : '>= 1.0')\nsubproject('panvk-sparse')\n",
    )
    .unwrap();
    let (build, prefix) = (outer.join("build"), outer.join("usr"));
    set_up(&outer, &build, &prefix);
    let target = target.replace("-D", "-Dpanvk-sparse:");
    run(meson().arg("configure").arg(&build).arg(target));
    run(meson().arg("compile").arg("-C").arg(&build));
    run(meson().args(["install", "--no-rebuild", "-C"]).arg(&build));
    let installed = files(&prefix);
    only(&installed, "libvulkan_panvk_sparse.so");
    only(&installed, "panvk-sparse-compare.1");
}

#[test]
fn every_file_that_has_the_version_has_the_same() {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("meson.build", format!("  version : '{VERSION}',")),
        (
            "debian/changelog",
            format!("panvk-sparse ({VERSION}) unstable; urgency=medium"),
        ),
        ("CHANGELOG.md", format!("## {VERSION}")),
        (
            "Cargo.toml",
            format!("panvk-sparse = {{ path = \".\", version = \"{VERSION}\" }}"),
        ),
        ("fuzz/Cargo.lock", format!("version = \"{VERSION}\"")),
    ] {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        assert!(
            text.lines().any(|found| found == line),
            "{file} has no line {line:?}"
        );
    }
}
