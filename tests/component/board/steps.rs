//! The program of steps that panvk with the component in it runs, too.

use common::app::App;
use common::gpu::Gpu;

use super::{Driver, Left, built, driver_here, mesa_is, on_a_board, recording_in, wrong_pages};
use crate::panvk::oracle::Held;
use crate::panvk::recorded::{KERNELS, assert_as_replayed, null_is_one_op};
use crate::panvk::steps::program;

/// panvk 26.1.6 binds null ranges elsewhere than it is told to.
#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_panvk_alone_binds_what_is_asked_for_but_for_null_of_26_1_6() {
    let test = common::name_of!(board_panvk_alone_binds_what_is_asked_for_but_for_null_of_26_1_6);
    for (kernel, _) in KERNELS {
        let body = || {
            assert_eq!(driver_here(), Driver::Alone);
            program(null_is_one_op(), false, Held::Nothing);
        };
        let Some(left) = on_a_board(test, Driver::Alone, kernel, &[], body) else {
            return;
        };
        let wrong = wrong_pages(&left.stdout);
        assert_eq!(
            wrong > 0,
            mesa_is("26.1.6"),
            "{kernel}: {wrong} wrong pages"
        );
    }
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_with_the_driver_in_front_binds_what_is_asked_for_and_what_a_replay_asks() {
    let test = common::name_of!(
        board_with_the_driver_in_front_binds_what_is_asked_for_and_what_a_replay_asks
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recording = folder.path().join("steps.pvst");
    for (kernel, null) in KERNELS {
        let body = || {
            assert_eq!(driver_here(), Driver::Ours);
            program(null_is_one_op(), false, Held::PagesAndCost);
        };
        // The process itself knows nothing of what is built.
        let layers = std::env::var(super::CHILD).map_or_else(|_| built("."), |_| ".".into());
        let Some(left) = on_a_board(
            test,
            Driver::Ours,
            kernel,
            &recording_in(&recording, &layers),
            body,
        ) else {
            return;
        };
        assert_eq!(wrong_pages(&left.stdout), 0);
        assert_as_replayed(&left.stdout, &recording, kernel, null);
    }
}

/// VM_BIND calls and operations that the node has counted and the driver has not.
fn not_counted(left: &Left, stats: &str) -> (u64, u64) {
    let counted: serde_json::Value = serde_json::from_str(stats).expect("one line");
    let of = |field: &str| counted[field].as_u64().expect("a number");
    let node = &left.dump.nodes[0];
    (
        node.count("VM_BIND") - of("vm_bind_ioctls") - of("other_ioctls"),
        node.vm_bind.ops - of("vm_bind_ops") - of("other_ops"),
    )
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_the_driver_counts_what_the_node_counts() {
    let test = common::name_of!(board_the_driver_counts_what_the_node_counts);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stats = folder.path().join("stats.jsonl");
    let run = |idle: &str| {
        let _ = std::fs::remove_file(&stats);
        let variables = [
            ("PANVK_SPARSE_STATS", stats.to_str().expect("UTF-8")),
            ("PANVK_SPARSE_TEST_IDLE", idle),
        ];
        let left = on_a_board(test, Driver::Ours, "1.9", &variables, || {
            if std::env::var("PANVK_SPARSE_TEST_IDLE").is_ok_and(|idle| idle == "1") {
                drop(Gpu::new(&App::new().expect("an instance")));
            } else {
                program(null_is_one_op(), false, Held::Nothing);
            }
        })?;
        let line = std::fs::read_to_string(&stats).expect("counters");
        Some(not_counted(&left, &line))
    };
    // What comes before the trial, and what the trial tries: the same for every device.
    let Some(idle) = run("1") else { return };
    assert_eq!(run("0"), Some(idle));
}
