//! The same calls on the kernel in this process, on the node, and on a real node where there is one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use panvk_sparse::drm::{BindMode, Counters, Device, Syncobj, ioctl_name, probe};
use panvk_sparse::lower::{Attach, OpArray, OpCounts, Ops, unmap_op};
use panvk_sparse::uapi;
use panvk_sparse::units::{SZ_4K, SZ_64K, Va};
use vpanthor::Flavour;
use vpanthor::{KernelSpec, Virtual};

use crate::drm::{map_op, plain, point_op, scattered};

use super::kit::{self, NODE, calls, on_node};

const VA: u64 = 1 << 30;

/// What was answered, and what was counted.
type Seen = (Vec<String>, Counters);

fn with_syncs(mut ops: Ops, syncs: &[uapi::SyncOp]) -> Ops {
    ops.syncs = syncs.to_vec();
    ops.attach = vec![Attach {
        op: 0,
        syncs: 0..syncs.len(),
    }];
    ops
}

/// Everything that the transport can do, right and wrong.
fn exercise(device: &Device) -> Seen {
    let mut seen = Vec::new();
    macro_rules! see {
        ($what:expr) => {
            seen.push(format!("{}: {:?}", stringify!($what), $what))
        };
    }
    let found = probe(device).unwrap();
    see!((
        found.version,
        &found.strategies,
        found.page_sizes,
        found.repeat_max_range
    ));
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_64K, 0, None).unwrap();
    let private = device
        .create_bo(5000, uapi::BO_NO_MMAP, Some(vm.id()))
        .unwrap();
    see!((vm.user_va_range(), bo.size(), private.size()));
    see!(vm.bind(&mut plain(vec![map_op(&bo, VA, SZ_64K)]), BindMode::Sync));
    see!(vm.bind(&mut scattered(&bo, 1000), BindMode::Sync));
    // The second op is wrong: it lies in the middle of a page.
    let mut wrong = plain(vec![map_op(&bo, VA, SZ_4K), map_op(&bo, VA + 1, SZ_4K)]);
    see!(vm.bind(&mut wrong, BindMode::Sync));
    let other = device.create_vm(0).unwrap();
    see!(other.bind(
        &mut plain(vec![map_op(&private, VA, SZ_4K)]),
        BindMode::Sync
    ));
    drop(other);

    let done = device.create_syncobj(false).unwrap();
    let timeline = device.create_syncobj(false).unwrap();
    timeline.signal_point(3).unwrap();
    let ops = || plain(vec![unmap_op(Va(VA), SZ_64K)]);
    let syncs = [
        point_op(&timeline, uapi::SYNC_OP_WAIT, 3),
        done.signal_op(),
        point_op(&timeline, uapi::SYNC_OP_SIGNAL, 4),
    ];
    see!(vm.bind(&mut with_syncs(ops(), &syncs), BindMode::Async));
    see!(done.wait(Some(Duration::from_secs(10))));
    see!(timeline.query());
    see!(vm.bind(
        &mut with_syncs(ops(), &[point_op(&timeline, uapi::SYNC_OP_WAIT, 9)]),
        BindMode::Async
    ));
    let only = Ops {
        array: OpArray::Plain(vec![uapi::VmBindOp {
            flags: uapi::VM_BIND_OP_TYPE_SYNC_ONLY,
            ..Default::default()
        }]),
        counts: OpCounts {
            sync: 1,
            ..OpCounts::default()
        },
        ..Ops::default()
    };
    done.reset().unwrap();
    see!(vm.bind(&mut with_syncs(only, &[done.signal_op()]), BindMode::Async));
    let imported = Syncobj::import(device, done.export().unwrap()).unwrap();
    see!(imported.wait(Some(Duration::from_secs(10))));
    see!(Syncobj::import(device, std::fs::File::open("/dev/null").unwrap()).map(|_| ()));
    see!(vm.state());
    see!(device.create_bo(0, 0, None).map(|_| ()));
    see!(device.create_vm(u64::MAX).map(|_| ()));
    drop((imported, done, timeline, bo, private, vm));
    (seen, device.counters())
}

fn in_process(flavour: Flavour) -> Seen {
    exercise(&KernelSpec::Vpanthor(flavour).open().unwrap())
}

/// The nodes of all flavours, in their order.
fn all_flavours() -> String {
    Flavour::ALL.map(Flavour::name).join(";")
}

fn node(index: usize) -> String {
    format!("/dev/dri/renderD{}", 128 + index)
}

#[test]
fn the_node_answers_and_counts_as_the_kernel_in_the_process_does() {
    let body = || {
        for (index, flavour) in Flavour::ALL.into_iter().enumerate() {
            let device = KernelSpec::Node(node(index).into()).open().unwrap();
            assert!(device.vpanthor().is_none());
            assert_eq!(exercise(&device), in_process(flavour), "{flavour}");
        }
    };
    on_node(
        common::name_of!(the_node_answers_and_counts_as_the_kernel_in_the_process_does),
        &all_flavours(),
        body,
        |ran| {
            // The node's own count, ioctl by ioctl, against that of the same calls in this process.
            let dump = ran.dump();
            for (index, flavour) in Flavour::ALL.into_iter().enumerate() {
                let node = &dump["nodes"][index];
                assert_eq!(node["kernel"], flavour.name());
                let counted: BTreeMap<_, _> = (in_process(flavour).1.ioctls.iter())
                    .map(|(&number, &calls)| (ioctl_name(number), calls))
                    .collect();
                let by_node: BTreeMap<_, _> = calls(node).into_iter().collect();
                assert_eq!(by_node, counted, "{flavour}");
                let file = &node["files"][0];
                assert_eq!(file["open"], false, "closed with the device");
            }
        },
    );
}

/// Runs all tests below `modules` of this binary with a node for each flavour behind what they open. Those that look
/// inside the kernel have one in their process, as ever.
fn again_on_nodes(modules: &[&str]) {
    if !kit::machine_has_no_nodes() {
        return;
    }
    let ran = kit::run_tests(modules, &[(crate::drm::NODES, "1")], &all_flavours());
    let dump = ran.dump();
    for node in dump["nodes"].as_array().unwrap() {
        let opened = node["files"].as_array().unwrap().len();
        assert!(opened >= 5, "{} was opened {opened} times", node["path"]);
    }
}

#[test]
fn the_tests_of_the_transport_pass_on_nodes() {
    again_on_nodes(&["drm::"]);
}

#[test]
fn the_tests_of_the_virtual_kernels_ioctls_pass_on_nodes() {
    again_on_nodes(&["ioctls::"]);
}

#[test]
fn a_node_that_goes_to_another_program_is_named_with_its_driver() {
    on_node(
        common::name_of!(a_node_that_goes_to_another_program_is_named_with_its_driver),
        "1.9",
        || {
            let device = KernelSpec::Node(NODE.into()).open().unwrap();
            assert_eq!((device.name(), device.version()), ("panthor", (1, 9)));
            assert!(
                KernelSpec::Node("/dev/dri/renderD129".into())
                    .open()
                    .is_err()
            );
        },
        |_| (),
    );
}

/// `cargo test --test vpanthor -- --ignored real_node`, on a machine with a board's GPU.
#[test]
#[ignore = "needs a real panthor node"]
fn real_node_takes_what_the_virtual_one_takes() {
    let nodes = std::fs::read_dir("/dev/dri")
        .into_iter()
        .flatten()
        .flatten();
    let nodes = nodes
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("renderD"));
    let mut found = 0;
    for path in nodes {
        let Ok(device) = KernelSpec::Node(path.clone()).open() else {
            continue;
        };
        found += 1;
        let (seen, counters) = exercise(&device);
        let flavours = Flavour::ALL
            .into_iter()
            .filter(|flavour| flavour.version() == device.version());
        let mut expected = flavours.map(in_process).peekable();
        // A version that the model does not play is exercised all the same.
        if expected.peek().is_some() {
            assert!(
                expected.any(|one| one == (seen.clone(), counters.clone())),
                "{}: {seen:#?}",
                path.display()
            );
        }
    }
    assert!(
        found > 0,
        "no node of panthor in {}",
        Path::new("/dev/dri").display()
    );
}
