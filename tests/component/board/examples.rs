//! The examples, whose shaders do not run here: after each of their binds the same is mapped as with panvk alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::stats;
use serde_json::Value;

use super::{Driver, built, emulated, mesa_is, panvk, recording_in};
use crate::panvk::recorded::{KERNELS, replayed};

/// A range of addresses that maps one thing: address, bytes, and the number of a buffer object with an offset, or the dummy.
type Range = (u64, u64, Option<(usize, u64)>);

/// A mapping as the node writes it: address, bytes, buffer object, offset, and whether it repeats.
type Mapping = (u64, u64, u64, u64, bool);

fn mappings(dump: &Path) -> Vec<Mapping> {
    let text = std::fs::read(dump).expect("a dump");
    let dump: Value = serde_json::from_slice(&text).expect("whole JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let files = list(&dump["nodes"][0]["files"]);
    let vms = files.iter().flat_map(|file| list(&file["vms"]));
    let mut all: Vec<_> = vms
        .flat_map(|vm| list(&vm["mappings"]))
        .map(|mapping| {
            let of = |field: &str| mapping[field].as_u64().expect("a number");
            let repeats = mapping.get("repeat_range").is_some_and(|of| !of.is_null());
            (of("va"), of("size"), of("bo"), of("offset"), repeats)
        })
        .collect();
    all.sort_unstable();
    all
}

/// The dumps of a run. Memory is in two places at most: where panvk maps all memory, and where it is bound. What is in more is
/// a dummy. Buffer objects are numbered in the order in which they were made.
fn ranges(dumps: &[Vec<Mapping>]) -> Vec<Vec<Range>> {
    let mut dummies = BTreeSet::new();
    for mappings in dumps {
        let mut places = BTreeMap::<_, u32>::new();
        for (_, _, bo, offset, repeats) in mappings {
            let count = places.entry((bo, offset)).or_default();
            *count += 1;
            if *count > 2 || *repeats {
                dummies.insert(*bo);
            }
        }
    }
    let of_all = dumps.iter().flatten().map(|(_, _, bo, ..)| *bo);
    let memories: BTreeSet<_> = of_all.filter(|bo| !dummies.contains(bo)).collect();
    let numbers: BTreeMap<_, _> = memories
        .iter()
        .enumerate()
        .map(|(i, bo)| (*bo, i))
        .collect();
    let merged = |mappings: &Vec<Mapping>| {
        let mut list: Vec<Range> = Vec::new();
        for &(va, len, bo, offset, _) in mappings {
            let target = numbers.get(&bo).map(|number| (*number, offset));
            match list.last_mut() {
                Some((from, bytes, of))
                    if *from + *bytes == va && of.map(|(bo, at)| (bo, at + *bytes)) == target =>
                {
                    *bytes += len;
                }
                _ => list.push((va, len, target)),
            }
        }
        list
    };
    dumps.iter().map(merged).collect()
}

/// Runs an example in front of which the dumping driver stands. Gives what was mapped after each of its binds, and the
/// counters of the driver, if it is ours.
fn run(
    example: &str,
    arguments: &[&str],
    driver: Driver,
    kernel: &str,
    recording: &Path,
) -> (Vec<Vec<Range>>, Option<stats::Stats>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let manifest = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": built("libdump_driver.so"), "api_version": "1.3.0" },
    });
    std::fs::write(path("driver.json"), manifest.to_string()).expect("a file");
    std::fs::create_dir(path("dumps")).expect("a folder");
    let base = match driver {
        Driver::Alone => panvk(),
        Driver::Ours => built("panvk_sparse_icd.json"),
    };
    let (front, base, dumps, stats) = (
        text(&path("driver.json")),
        text(&base),
        text(&path("dumps")),
        text(&path("stats.json")),
    );
    let layers = built(".");
    let mut variables = vec![
        ("VK_ICD_FILENAMES", front.as_str()),
        ("VK_DRIVER_FILES", front.as_str()),
        ("PANVK_SPARSE_TEST_DUMP_BASE", base.as_str()),
        ("PANVK_SPARSE_TEST_DUMPS", dumps.as_str()),
        (stats::FILE, stats.as_str()),
    ];
    variables.extend(recording_in(recording, &layers));
    let program = built(&format!("examples/{example}"));
    let output = emulated(driver, kernel, &path("dump.json"), &variables, &program)
        .args(arguments)
        .output()
        .expect("qemu-aarch64 starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    // No shader runs, so the data is wrong.
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("verdict FAIL"),
        "{stderr}"
    );
    let count = std::fs::read_dir(path("dumps")).expect("a folder").count();
    let all: Vec<_> = (0..count)
        .map(|i| mappings(&path("dumps").join(format!("{i}.json"))))
        .collect();
    let stats = (driver == Driver::Ours).then(|| stats::read(Path::new(&stats)).remove(0));
    (ranges(&all), stats)
}

/// Holds the example to panvk alone and to a replay of its recording.
fn compare(example: &str, arguments: &[&str], binds: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("example.pvst");
    for (kernel, null) in KERNELS {
        let (ours, stats) = run(example, arguments, Driver::Ours, kernel, &recording);
        let stats = stats.expect("counters");
        // Whoever waits for a queue asks for an operation that only signals, of which a recording knows nothing.
        let counted = (
            stats.vm_bind_ioctls - stats.sync_ops,
            stats.vm_bind_ops - stats.sync_ops,
        );
        let replayed = replayed(&recording, kernel, null);
        let of_all = replayed.last().expect("events");
        assert_eq!(
            counted,
            (
                of_all.vm_bind_ioctls - of_all.sync_ops,
                of_all.vm_bind_ops - of_all.sync_ops
            ),
            "{kernel}"
        );
        assert!(ours.len() >= binds, "{} binds", ours.len());
        let (alone, _) = run(example, arguments, Driver::Alone, kernel, &recording);
        assert_eq!(ours.len(), alone.len());
        let differ = (ours.iter().zip(&alone)).position(|(ours, alone)| ours != alone);
        // It binds null ranges elsewhere than it is told to.
        let wrong_alone = mesa_is("26.1.6");
        assert_eq!(
            differ.is_some(),
            wrong_alone,
            "{kernel}: after bind {differ:?}"
        );
        println!(
            "{example} on {kernel}: {} binds, {counted:?} VM_BINDs and operations",
            ours.len()
        );
    }
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_a_sparse_buffer_is_mapped_as_with_panvk_alone() {
    compare("sparse_buffer", &["--bytes", "20000000"], 8);
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_a_streamed_texture_is_mapped_as_with_panvk_alone() {
    compare("streaming", &["--size", "16384", "--frames", "20"], 20);
}
