//! A recording of the program, made above this driver, is replayed: it counts what the driver's kernel counted.

use std::path::Path;

use common::cargo;
use hosted::Stats;
use replay::Replay;
use trace::Reader;

use super::on_a_virtual_mali_with;
use super::oracle::Held;
use super::steps::program;

/// What a replay on a virtual kernel asks for, of one device: of all events up to each.
pub fn replayed(recording: &Path, kernel: &str, null: &str) -> Vec<Stats> {
    let file = std::fs::File::open(recording).expect("a recording");
    let mut reader = Reader::new(std::io::BufReader::new(file)).expect("a recording");
    let spec = format!("vpanthor:{kernel}").parse().expect("a kernel");
    let choice = null.parse().expect("a strategy");
    let mut replay = Replay::new(&spec, choice).expect("a virtual kernel");
    let mut counts = vec![Stats::default()];
    while let Some(record) = reader.next_record().expect("a whole recording") {
        let device = record.event.device();
        replay.feed(&record).expect("the kernel has room");
        counts.extend(device.and_then(|device| replay.stats(device)));
    }
    counts
}

/// Holds what the steps of a program cost, as it printed that, to a replay of its recording.
pub fn assert_as_replayed(said: &str, recording: &Path, kernel: &str, null: &str) {
    let counts: Vec<_> = (replayed(recording, kernel, null).iter())
        .map(|stats| (stats.vm_bind_ioctls, stats.vm_bind_ops))
        .collect();
    let together: Vec<_> = (said.lines())
        .filter_map(|line| line.split_once("together ")?.1.split_once('/'))
        .map(|(calls, ops)| (calls.parse::<u64>().unwrap(), ops.parse::<u64>().unwrap()))
        .collect();
    assert!(together.len() >= 35, "{said}");
    // Counts only grow, and at the end they are the same: no step's count can be found at a wrong place for long.
    for (step, counted) in together.iter().enumerate() {
        assert!(
            counts.contains(counted),
            "{kernel}: step {}: {counted:?} is not among {counts:?}",
            step + 1
        );
    }
    assert_eq!(together.last(), counts.last(), "{kernel}");
}

/// Kernels, and how unbound ranges are mapped on them.
pub const KERNELS: [(&str, &str); 3] = [
    ("1.9", "sparse"),
    ("1.8-repeat", "repeat"),
    ("1.5", "chunk"),
];

/// In the process that has a virtual Mali: whether unbinding any range is one operation.
pub fn null_is_one_op() -> bool {
    std::env::var("VPANTHOR").is_ok_and(|kernel| !kernel.starts_with("1.5"))
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_asks_of_the_kernel_what_a_replay_of_its_recording_asks() {
    let test = common::name_of!(panvk_asks_of_the_kernel_what_a_replay_of_its_recording_asks);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("steps.pvst");
    let layer = cargo::build(&["--package", "panvk-sparse-trace-layer"]);
    let layer_path = format!("{}:/usr/share/vulkan/explicit_layer.d", layer.display());
    for (kernel, null) in KERNELS {
        let variables = [
            ("VK_INSTANCE_LAYERS", "VK_LAYER_PANVK_sparse_trace".as_ref()),
            ("VK_LAYER_PATH", layer_path.as_ref()),
            ("PANVK_SPARSE_TRACE_FILE", recording.as_os_str()),
        ];
        let body = || program(null_is_one_op(), false, Held::PagesAndCost);
        let Some(said) = on_a_virtual_mali_with(test, kernel, &variables, body) else {
            return;
        };
        assert_as_replayed(&said, &recording, kernel, null);
    }
}
