//! No bit of a call is without a meaning: if one is flipped, the kernel refuses, or something else happens.

use panvk_sparse::bind::{Ranges, Run, SparseRange, Target};
use panvk_sparse::lower::PlannedBatch;
use panvk_sparse::uapi::{SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SyncOp};
use panvk_sparse::units::{BoHandle, BoRef, Va};

use super::model::{BASE, NAMES, SCRATCH, Vm};
use crate::{Encoder, Ioctl, Kernel, Step};

const FIRST: Va = Va(1 << 32);

/// A VM with one range, and the ioctls of a call that says all that can be said.
fn rich_call(kernel: Kernel, runs: usize) -> (Vm, Vec<Ioctl>) {
    let unit = kernel.limits().memory_page;
    let encoder = Encoder {
        kernel,
        names: NAMES,
    };
    let bos = [(1, 64 * unit), (SCRATCH, unit)];
    let mut vm = Vm::new(kernel, bos.into());
    let range = SparseRange::new(FIRST, 16 * unit, unit);
    for step in encoder.create(&range).unwrap() {
        let Step::Ioctl(ioctl) = step else {
            panic!("{step:?}")
        };
        vm.ioctl(&ioctl).unwrap();
    }
    let mut ranges = Ranges::default();
    ranges.add(range).unwrap();
    let bo = BoRef {
        handle: BoHandle(1),
        serial: 0,
    };
    let targets = [Target::memory(bo, 2 * unit), Target::Null];
    let runs: Vec<Run> = (0..runs as u64)
        .map(|i| Run {
            va: Va(FIRST.0 + 2 * i * unit),
            len: unit,
            target: targets[i as usize % 2],
        })
        .collect();
    // All of it is bound to something else, so that whatever is changed shows.
    vm.map(FIRST.0, range.len, 1, 32 * unit, false);
    let binary = |handle| SyncOp {
        handle,
        ..SyncOp::default()
    };
    let point = SyncOp {
        flags: SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
        handle: 23,
        timeline_value: 77,
    };
    let batch = PlannedBatch {
        waits: &[binary(21)],
        signals: &[point],
        runs: &runs,
        ..PlannedBatch::default()
    };
    let steps = encoder.call(&[batch], &ranges).unwrap();
    let ioctls = steps.into_iter().filter_map(|step| match step {
        Step::Ioctl(ioctl) => Some(ioctl),
        _ => None,
    });
    (vm, ioctls.collect())
}

#[test]
fn no_bit_of_a_call_is_without_a_meaning() {
    for kernel in Kernel::ALL {
        for runs in 1..4 {
            let (mut vm, ioctls) = rich_call(kernel, runs);
            for ioctl in ioctls {
                let bytes = ioctl.at(BASE);
                let mut right = vm.clone();
                let done = right.bytes(ioctl.request, &bytes).expect("taken as it is");
                for bit in 0..bytes.len() * 8 {
                    let mut wrong = bytes.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let mut after = vm.clone();
                    if after.bytes(ioctl.request, &wrong) == Ok(done.clone()) {
                        assert!(
                            after != right,
                            "{kernel}: bit {} of byte {}",
                            bit % 8,
                            bit / 8
                        );
                    }
                }
                vm = right;
            }
        }
    }
}

#[test]
fn the_request_number_is_the_kernels() {
    for kernel in Kernel::ALL {
        let (mut vm, ioctls) = rich_call(kernel, 1);
        let wrong = vm.bytes(ioctls[0].request + 1, &ioctls[0].at(BASE));
        assert_eq!(wrong, Err("request".to_owned()));
    }
}
