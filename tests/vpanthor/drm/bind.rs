//! VM_BIND: what takes effect, what is said of failures, what is counted.

use super::{fail_ioctl, map_op, mappings, open, open_model, plain, point_op, scattered, unmap};
use panvk_sparse::bind::{Ranges, Run, Shadow, Target};
use panvk_sparse::drm::{BindFailure, BindMode, MAX_RETRIES_EAGAIN, VmState, probe};
use panvk_sparse::lower::{Attach, Lowering, OpArray, OpCounts, Ops, PlannedBatch, Strategy};
use panvk_sparse::uapi::{self, ObjArray, SyncOp, VmBindOpRepeat};
use panvk_sparse::units::{SZ_2M, SZ_4K, SZ_64K, Va};
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, OpStage, Virtual};

const VA: u64 = 1 << 30;

fn with_syncs(mut ops: Ops, op: usize, syncs: &[SyncOp]) -> Ops {
    let start = ops.syncs.len();
    ops.syncs.extend_from_slice(syncs);
    ops.attach.push(Attach {
        op,
        syncs: start..ops.syncs.len(),
    });
    ops
}

fn sync_only(syncs: &[SyncOp]) -> Ops {
    let op = uapi::VmBindOp {
        flags: uapi::VM_BIND_OP_TYPE_SYNC_ONLY,
        ..Default::default()
    };
    let counts = OpCounts {
        sync: 1,
        ..OpCounts::default()
    };
    with_syncs(
        Ops {
            array: OpArray::Plain(vec![op]),
            counts,
            ..Ops::default()
        },
        0,
        syncs,
    )
}

#[test]
fn a_synchronous_bind_is_in_effect_when_it_returns() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let vm = device.create_vm(0).unwrap();
        let bo = device.create_bo(SZ_64K, 0, None).unwrap();
        vm.bind(&mut plain(vec![map_op(&bo, VA, SZ_64K)]), BindMode::Sync)
            .unwrap();
        let file = device.vpanthor().unwrap();
        let seen = file
            .with_gpuvm(vm.id().0, |gpuvm| gpuvm.translate(VA + 3 * SZ_4K))
            .unwrap()
            .unwrap();
        assert_eq!(
            (Some(seen.bo), seen.offset),
            (file.bo_id(bo.handle().0), 3 * SZ_4K)
        );
        vm.bind(&mut unmap(VA, SZ_64K), BindMode::Sync).unwrap();
        assert_eq!(mappings(&vm), 0);
        assert_eq!(vm.state(), Ok(VmState::Usable));
    }
}

#[test]
fn an_asynchronous_bind_waits_and_signals() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let vm = device.create_vm(0).unwrap();
        let bo = device.create_bo(SZ_64K, 0, None).unwrap();
        let (start, timeline) = (
            device.create_syncobj(false).unwrap(),
            device.create_syncobj(false).unwrap(),
        );
        timeline.signal_point(1).unwrap();
        // A wait needs a fence that is to come, such as that of a job.
        let gate = device
            .vpanthor()
            .unwrap()
            .attach_foreign_fence(start.handle().0, 0)
            .unwrap();
        let ops = with_syncs(
            scattered(&bo, 3),
            0,
            &[
                SyncOp {
                    flags: uapi::SYNC_OP_WAIT | uapi::SYNC_OP_HANDLE_TYPE_SYNCOBJ,
                    handle: start.handle().0,
                    timeline_value: 0,
                },
                point_op(&timeline, uapi::SYNC_OP_WAIT, 1),
            ],
        );
        let mut ops = with_syncs(ops, 2, &[point_op(&timeline, uapi::SYNC_OP_SIGNAL, 2)]);
        vm.bind(&mut ops, BindMode::Async).unwrap();
        assert_eq!(mappings(&vm), 0);
        assert_eq!(timeline.query(), Ok(1));
        gate.signal();
        assert_eq!(timeline.query(), Ok(2));
        assert_eq!(mappings(&vm), 3);
        let done = device.create_syncobj(false).unwrap();
        vm.bind(
            &mut sync_only(&[point_op(&timeline, uapi::SYNC_OP_WAIT, 2), done.signal_op()]),
            BindMode::Async,
        )
        .unwrap();
        assert_eq!(done.wait(None), Ok(true));
        assert_eq!(device.counters().sync_ops, 1);
    }
}

#[test]
fn a_synchronous_bind_that_fails_says_how_much_is_in_effect() {
    for errno in [Errno::NOMEM, Errno::INVAL] {
        for failing in 1..=4 {
            let device = open_model(Flavour::V1_8);
            let vm = device.create_vm(0).unwrap();
            let bo = device.create_bo(SZ_4K, 0, None).unwrap();
            let file = device.vpanthor().unwrap();
            file.inject(Fault::Op {
                nth: failing,
                stage: OpStage::Run,
                errno,
            });
            let failure = vm.bind(&mut scattered(&bo, 4), BindMode::Sync).unwrap_err();
            assert_eq!(
                failure,
                BindFailure {
                    errno,
                    applied: failing - 1
                }
            );
            assert_eq!(mappings(&vm) as u64, failing - 1);
            assert_eq!(device.counters().vm_bind_ioctls, 1);
        }
    }
}

#[test]
fn an_operation_that_the_kernel_refuses_stops_a_synchronous_bind_there() {
    let device = open_model(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    let mut ops = scattered(&bo, 3);
    ops.array.op_mut(2).unwrap().bo_handle = 77;
    let failure = vm.bind(&mut ops, BindMode::Sync).unwrap_err();
    assert_eq!(
        failure,
        BindFailure {
            errno: Errno::INVAL,
            applied: 2
        }
    );
    assert!(failure.to_string().contains("at operation 2"), "{failure}");
    let failure = vm.bind(&mut ops, BindMode::Async).unwrap_err();
    assert_eq!(
        failure,
        BindFailure {
            errno: Errno::INVAL,
            applied: 0
        },
        "all or nothing"
    );
    assert_eq!(mappings(&vm), 2);
}

#[test]
fn an_interrupted_synchronous_bind_goes_on_where_it_stopped() {
    for errno in [Errno::INTR, Errno::AGAIN] {
        for flavour in Flavour::ALL {
            let device = open_model(flavour);
            let vm = device.create_vm(0).unwrap();
            let bo = device.create_bo(SZ_4K, 0, None).unwrap();
            let file = device.vpanthor().unwrap();
            // The operation that was broken off is the first of the next call, and is broken off once more.
            for nth in [4, 5, 9] {
                file.inject(Fault::Op {
                    nth,
                    stage: OpStage::Run,
                    errno,
                });
            }
            vm.bind(&mut scattered(&bo, 10), BindMode::Sync).unwrap();
            assert_eq!(mappings(&vm), 10);
            let counters = device.counters();
            assert_eq!(
                (
                    counters.vm_bind_ioctls,
                    counters.vm_bind_ops,
                    counters.map_ops
                ),
                (4, 10, 10)
            );
            // 10 operations, 7 after the first 3, 7 again, 4 after 3 more.
            assert_eq!(counters.bytes_to_kernel, 4 * 24 + (10 + 7 + 7 + 4) * 48);
        }
    }
}

#[test]
fn an_interrupted_asynchronous_bind_is_made_again_as_a_whole() {
    let device = open_model(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    let done = device.create_syncobj(false).unwrap();
    device.vpanthor().unwrap().inject(Fault::Op {
        nth: 2,
        stage: OpStage::Prepare,
        errno: Errno::INTR,
    });
    let mut ops = with_syncs(scattered(&bo, 3), 2, &[done.signal_op()]);
    vm.bind(&mut ops, BindMode::Async).unwrap();
    assert_eq!(done.wait(None), Ok(true));
    assert_eq!(mappings(&vm), 3);
    let counters = device.counters();
    assert_eq!((counters.vm_bind_ioctls, counters.vm_bind_ops), (2, 3));
    assert_eq!(counters.bytes_to_kernel, 2 * (24 + 3 * 48 + 16));
}

#[test]
fn a_kernel_that_always_says_eagain_is_not_asked_for_ever() {
    let device = open_model(Flavour::V1_8Repeat);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    let calls = u64::from(MAX_RETRIES_EAGAIN) + 1;
    for nth in 1..=calls {
        fail_ioctl(&device, uapi::IOCTL_VM_BIND, nth, Errno::AGAIN);
    }
    let failure = vm.bind(&mut scattered(&bo, 2), BindMode::Sync).unwrap_err();
    assert_eq!(
        failure,
        BindFailure {
            errno: Errno::AGAIN,
            applied: 0
        }
    );
    assert_eq!(device.counters().vm_bind_ioctls, calls);
    vm.bind(&mut scattered(&bo, 2), BindMode::Sync).unwrap();
}

#[test]
fn a_failed_call_before_the_first_operation_has_applied_none() {
    let device = open_model(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    fail_ioctl(&device, uapi::IOCTL_VM_BIND, 1, Errno::NOMEM);
    let failure = vm.bind(&mut scattered(&bo, 3), BindMode::Sync).unwrap_err();
    assert_eq!(
        failure,
        BindFailure {
            errno: Errno::NOMEM,
            applied: 0
        }
    );
}

#[test]
fn a_vm_whose_asynchronous_operation_failed_is_unusable_but_unmaps() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let vm = device.create_vm(0).unwrap();
        let bo = device.create_bo(SZ_4K, 0, None).unwrap();
        vm.bind(&mut scattered(&bo, 1), BindMode::Sync).unwrap();
        device.vpanthor().unwrap().inject(Fault::Op {
            nth: 1,
            stage: OpStage::Run,
            errno: Errno::NOMEM,
        });
        vm.bind(&mut scattered(&bo, 2), BindMode::Async).unwrap();
        assert_eq!(vm.state(), Ok(VmState::Unusable));
        let refused = BindFailure {
            errno: Errno::INVAL,
            applied: 0,
        };
        assert_eq!(
            vm.bind(&mut scattered(&bo, 1), BindMode::Sync),
            Err(refused)
        );
        assert_eq!(vm.bind(&mut unmap(VA, SZ_4K), BindMode::Sync), Ok(()));
    }
}

#[test]
fn no_operations_are_no_ioctl() {
    let device = open(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    vm.bind(&mut Ops::default(), BindMode::Sync).unwrap();
    vm.bind(&mut Ops::default(), BindMode::Async).unwrap();
    assert_eq!(device.counters().vm_bind_ioctls, 0);
}

#[test]
fn syncs_that_do_not_fit_their_operations_reach_no_kernel() {
    let device = open(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    let refused = Err(BindFailure {
        errno: Errno::INVAL,
        applied: 0,
    });
    let mut ops = scattered(&bo, 1);
    ops.attach.push(Attach { op: 0, syncs: 0..1 });
    assert_eq!(vm.bind(&mut ops, BindMode::Async), refused);
    let mut ops = with_syncs(scattered(&bo, 1), 1, &[SyncOp::default()]);
    assert_eq!(vm.bind(&mut ops, BindMode::Async), refused);
    assert_eq!(device.counters().vm_bind_ioctls, 0);
}

#[test]
fn a_stray_address_is_efault() {
    let device = open(Flavour::V1_9);
    let vm = device.create_vm(0).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    for array in [8, u64::MAX - 7] {
        let mut ops = scattered(&bo, 1);
        ops.array.op_mut(0).unwrap().syncs = ObjArray {
            stride: 16,
            count: 1,
            array,
        };
        let failure = vm.bind(&mut ops, BindMode::Async).unwrap_err();
        assert_eq!(
            failure,
            BindFailure {
                errno: Errno::FAULT,
                applied: 0
            }
        );
    }
}

#[test]
fn an_operation_with_a_repeat_range_is_56_bytes_and_e2big_in_mainline() {
    for flavour in Flavour::ALL {
        let device = open(flavour);
        let vm = device.create_vm(0).unwrap();
        let bo = device.create_bo(SZ_4K, 0, None).unwrap();
        let mut op = map_op(&bo, VA, SZ_2M);
        op.flags |= uapi::VM_BIND_OP_MAP_REPEAT;
        let array = OpArray::Repeat(vec![VmBindOpRepeat {
            op,
            bo_repeat_range: SZ_4K,
        }]);
        let result = vm.bind(
            &mut Ops {
                array,
                ..Ops::default()
            },
            BindMode::Sync,
        );
        match flavour.repeat_rule() {
            Some(_) => assert_eq!(result, Ok(()), "{flavour}"),
            None => assert_eq!(
                result,
                Err(BindFailure {
                    errno: Errno::TOOBIG,
                    applied: 0
                }),
                "{flavour}"
            ),
        }
        assert_eq!(device.counters().bytes_to_kernel, 24 + 56);
    }
}

/// 100,000,000 bytes, rounded up to pages, unbound: what a sparse buffer of that size starts with.
#[test]
fn a_null_run_of_100e6_bytes_is_one_ioctl_with_the_fewest_operations_of_each_strategy() {
    const LEN: u64 = 100_003_840;
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let capabilities = probe(&device).unwrap();
        for strategy in &capabilities.strategies {
            let backing = capabilities.null_map(&device, Some(*strategy)).unwrap();
            let vm = device.create_vm(0).unwrap();
            let before = device.counters();
            let mut lowering = Lowering::new();
            let null = backing.map();
            let ranges = Ranges::default();
            let mut call = lowering.begin(&null, &ranges);
            let runs = [Run {
                va: Va(VA),
                len: LEN,
                target: Target::Null,
            }];
            call.batch(
                &PlannedBatch {
                    runs: &runs,
                    ..PlannedBatch::default()
                },
                &Shadow::new(),
            );
            for ops in call.finish() {
                vm.bind(ops, BindMode::Sync).unwrap();
            }
            let counters = device.counters().since(&before);
            let ops = match strategy {
                Strategy::Page => 24_415,
                Strategy::Chunk => 48,
                // Whole slots repeat, and the tail is an operation of its own.
                Strategy::Repeat if capabilities.repeat_max_range > 0 => 2,
                Strategy::Repeat | Strategy::Sparse => 1,
            };
            let stride = if *strategy == Strategy::Repeat {
                56
            } else {
                48
            };
            assert_eq!(
                (
                    counters.vm_bind_ioctls,
                    counters.vm_bind_ops,
                    counters.null_ops
                ),
                (1, ops, ops),
                "{flavour}"
            );
            assert_eq!(counters.bytes_to_kernel, 24 + ops * stride);
            assert_eq!(mappings(&vm) as u64, ops);
        }
    }
}
