//! The driver in front of a panvk that has the component in it: there is nothing to do for it, and it does nothing.

use common::{config, stats};

use super::oracle::Held;
use super::steps::program;
use super::{CHILD, DRIVER, on_a_virtual_mali_with};

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_with_the_component_is_left_alone_by_the_driver_in_front() {
    let test = common::name_of!(panvk_with_the_component_is_left_alone_by_the_driver_in_front);
    let body = || program(true, true, Held::PagesAndCost);
    if std::env::var_os(CHILD).is_some() {
        on_a_virtual_mali_with(test, "1.9", &[], body);
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("stats.jsonl");
    let ours = config::icd_manifest().as_os_str();
    let panvk = std::env::var_os(DRIVER).expect("scripts/panvk.sh test names the driver");
    let variables = [
        ("VK_ICD_FILENAMES", ours),
        ("VK_DRIVER_FILES", ours),
        ("PANVK_SPARSE_BASE_ICD", &panvk),
        (stats::FILE, file.as_os_str()),
    ];
    on_a_virtual_mali_with(test, "1.9", &variables, body).expect("the process that starts it");
    let line = std::fs::read_to_string(&file).expect("counters");
    let counted: serde_json::Value = serde_json::from_str(&line).expect("one line");
    assert_eq!(counted["mode"], "board");
    assert!(counted["untouched"].is_string(), "{line}");
}
