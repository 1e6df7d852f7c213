//! The component may be linked into a driver: it brings little along, and no module leans on one that leans on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::cargo::ROOT;

/// Crates that a package needs to be built, itself first, for this machine.
fn dependencies(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--package", package])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout);
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    text.lines().map(name).collect()
}

#[test]
fn the_component_and_its_c_abi_need_rustix_and_log_and_what_rustix_needs() {
    let allowed = [
        "panvk-sparse",
        "rustix",
        "log",
        "bitflags",
        "errno",
        "libc",
        "linux-raw-sys",
    ];
    for package in ["panvk-sparse", "panvk-sparse-c"] {
        let found = dependencies(package);
        let others: Vec<_> = found
            .iter()
            .filter(|name| *name != package && !allowed.contains(&name.as_str()))
            .collect();
        assert!(others.is_empty(), "{package} also needs {others:?}");
        assert!(found.contains("rustix") && found.contains("log"));
    }
}

#[test]
fn what_is_loaded_into_other_peoples_processes_brings_no_command_along() {
    for package in ["panvk-sparse-icd", "panvk-sparse-trace-layer"] {
        let found = dependencies(package);
        for heavy in ["clap", "plotters", "regex", "panvk-sparse-cli"] {
            assert!(!found.contains(heavy), "{package} needs {heavy}");
        }
    }
}

/// The folders that hold a crate's source.
const CRATES: [&str; 13] = [
    "src",
    "kernels/src",
    "mesa/src",
    "vpanthor/src",
    "vpanthor/preload/src",
    "vulkan/src",
    "trace/src",
    "trace/replay/src",
    "icd/src",
    "icd/board/src",
    "icd/hosted/src",
    "vk-layers/trace/src",
    "cli/src",
];

/// Files of Rust below a folder.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file, without comments and without its unit tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    let without: Vec<_> = lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    without.join("\n")
}

/// The first words of the paths that start with `prefix`, those in braces among them.
fn heads<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |text: &'a str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        &text[..end.unwrap_or(text.len())]
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        // Not the end of a longer word or path.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = 0;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    found.push(word(list[item..i].trim_start()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.push(word(list[item..i].trim_start()));
                    item = i + 1;
                }
                _ => {}
            }
        }
    }
    found
}

/// For each module of the top level of a crate, those of its modules that it names.
fn arrows(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(ROOT).join(folder);
    let top = ["lib.rs", "main.rs"].map(|file| root.join(file));
    let top = code(top.iter().find(|path| path.exists()).expect("a root"));
    let declared = |line: &str| {
        let line = line.trim().trim_start_matches("pub(crate) ");
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        name.strip_suffix(';').map(str::to_owned)
    };
    let modules: BTreeSet<String> = top.lines().filter_map(declared).collect();
    // What the root hands on under a shorter name is still its module's.
    let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
    for module in &modules {
        for name in heads(&top, &format!("use {module}::")) {
            owner.insert(name, module);
        }
    }
    let mut arrows = BTreeMap::new();
    for module in &modules {
        let own = root.join(format!("{module}.rs"));
        let inner = root.join(module);
        let mut files = Vec::new();
        if inner.is_dir() {
            sources(&inner, &mut files);
        }
        let child = |path: &PathBuf| *path != inner.join("mod.rs");
        let (deep, mut shallow): (Vec<_>, Vec<_>) = files.into_iter().partition(child);
        shallow.extend(Some(own).filter(|path| path.exists()));
        let mut named = BTreeSet::new();
        for (paths, prefixes) in [(deep, &["crate::"][..]), (shallow, &["crate::", "super::"])] {
            for code in paths
                .iter()
                .filter(|path| !is_test(path))
                .map(|path| code(path))
            {
                for name in prefixes.iter().flat_map(|prefix| heads(&code, prefix)) {
                    let name = owner.get(name).copied().unwrap_or(name);
                    if modules.contains(name) && name != module {
                        named.insert(name.to_owned());
                    }
                }
            }
        }
        arrows.insert(module.clone(), named);
    }
    arrows
}

/// Whether the file lies in a folder of unit tests.
fn is_test(path: &Path) -> bool {
    let path = path.strip_prefix(ROOT).unwrap_or(path);
    path.components().any(|part| part.as_os_str() == "tests")
}

/// The modules that some way of arrows leads from and back to.
fn in_cycles(arrows: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&str> {
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in &arrows[module] {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let names = arrows.keys().map(String::as_str);
    names.filter(|name| reach(name).contains(name)).collect()
}

#[test]
fn no_module_leans_on_one_that_leans_on_it() {
    for folder in CRATES {
        let arrows = arrows(folder);
        assert!(!arrows.is_empty(), "{folder} has modules");
        let cycles = in_cycles(&arrows);
        assert!(cycles.is_empty(), "{folder}: {cycles:?}: {arrows:#?}");
    }
}

/// The finder finds: the modules of the component lean on each other as its documentation says.
#[test]
fn the_arrows_of_the_component_are_those_of_the_way_of_a_bind() {
    let arrows = arrows("src");
    for (from, to) in [
        ("vm", "bind"),
        ("vm", "lower"),
        ("vm", "drm"),
        ("drm", "lower"),
        ("drm", "uapi"),
        ("lower", "bind"),
        ("lower", "uapi"),
        ("bind", "layout"),
        ("bind", "spans"),
        ("layout", "units"),
    ] {
        assert!(arrows[from].contains(to), "{from} -> {to}: {arrows:?}");
    }
    let back = BTreeMap::from([
        ("a".to_owned(), BTreeSet::from(["b".to_owned()])),
        ("b".to_owned(), BTreeSet::from(["c".to_owned()])),
        ("c".to_owned(), BTreeSet::from(["b".to_owned()])),
    ]);
    assert_eq!(in_cycles(&back), BTreeSet::from(["b", "c"]));
}

#[test]
fn unsafe_code_stands_only_at_the_border_to_the_kernel() {
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("src"), &mut files);
    for path in files {
        let text = path.to_string_lossy().into_owned();
        let border = text.contains("/src/drm/") || text.contains("/src/uapi/");
        let word = code(&path)
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|w| w == "unsafe");
        assert!(border || !word, "unsafe in {text}");
    }
}
