//! The libraries that C links.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::cargo::ROOT;

use super::{include, static_library, succeed};

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(include().join("panvk_sparse.h")).expect("the header");
    let lines = header.lines().filter(|line| line.starts_with(['i', 'v']));
    lines
        .filter_map(|line| line.split_once(" pvs_")?.1.split_once('('))
        .map(|(name, _)| format!("pvs_{name}"))
        .collect()
}

#[test]
fn the_shared_library_exports_the_functions_of_the_header_with_their_version_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("libpanvk_sparse.so.1");
    succeed(
        Command::new(Path::new(ROOT).join("mesa/link.sh"))
            .arg(static_library())
            .arg(&library),
    );
    let (symbols, _) = succeed(
        Command::new("nm")
            .args(["--dynamic", "--defined-only", "--with-symbol-versions"])
            .arg(&library),
    );
    let exported: BTreeSet<_> = symbols
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .filter(|name| !name.starts_with("PANVK_SPARSE_1"))
        .map(str::to_owned)
        .collect();
    let declared: BTreeSet<_> = declared()
        .iter()
        .map(|name| format!("{name}@@PANVK_SPARSE_1"))
        .collect();
    assert_eq!(declared.len(), 9, "{declared:?}");
    assert_eq!(exported, declared);

    let (dynamic, _) = succeed(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(&library),
    );
    assert!(
        dynamic.contains("soname: [libpanvk_sparse.so.1]"),
        "{dynamic}"
    );
}
