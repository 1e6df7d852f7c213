//! Asynchronous binds: what they wait for, in which order they run, what they signal, and what their failure does.

use std::thread;

use crate::kit::*;
use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, Kernel, Objects, OpStage, OpenOptions};

const FOR_SUBMIT: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;

struct Setup {
    p: Process,
    vm: u32,
    bo: u32,
}

fn setup() -> Setup {
    let p = Process::model(Flavour::V1_9);
    let (vm, bo) = (p.vm(), p.bo(MIB));
    Setup { p, vm, bo }
}

impl Setup {
    /// A map of the page at `page`.
    fn page(&self, page: u64) -> VmBindOp {
        map(self.bo, page * PAGE, page * PAGE, PAGE)
    }

    fn mapped(&self, pages: u64) -> Vec<bool> {
        let pages = self.p.pages(self.vm, pages);
        pages.iter().map(Option::is_some).collect()
    }
}

#[test]
fn an_op_waits_for_its_fence_and_the_ops_after_it_for_the_op() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    s.p.bind_async(
        s.vm,
        &[
            (s.page(0), &[]),
            (s.page(1), &[wait_for(gate)]),
            (s.page(2), &[]),
        ],
    )
    .unwrap();
    assert_eq!(s.mapped(3), [true, false, false]);
    // The next call queues behind.
    s.p.bind_async(s.vm, &[(unmap(0, PAGE), &[])]).unwrap();
    assert_eq!(s.mapped(3), [true, false, false]);
    assert_eq!(s.p.file.vm_stats(s.vm).unwrap().queued_ops, 3);
    fence.signal();
    assert_eq!(s.mapped(3), [false, true, true]);
    assert_eq!(s.p.file.vm_stats(s.vm).unwrap().queued_ops, 0);
}

#[test]
fn a_synchronous_bind_overtakes_the_queue() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    s.p.bind_async(s.vm, &[(s.page(0), &[wait_for(gate)])])
        .unwrap();
    s.p.bind(s.vm, &[s.page(1)]).unwrap();
    assert_eq!(s.mapped(2), [false, true]);
    fence.signal();
    assert_eq!(s.mapped(2), [true, true]);
}

#[test]
fn what_the_syncobj_held_at_submission_counts() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    s.p.bind_async(s.vm, &[(s.page(0), &[wait_for(gate)])])
        .unwrap();
    s.p.signal(&[gate]).unwrap();
    assert_eq!(s.mapped(1), [false]);
    s.p.reset(&[gate]).unwrap();
    fence.signal();
    assert_eq!(s.mapped(1), [true]);
}

#[test]
fn a_syncobj_without_a_fence_cannot_be_waited_for() {
    let s = setup();
    let (empty, timeline) = (s.p.syncobj(false), s.p.syncobj(false));
    s.p.signal_point(timeline, 3).unwrap();
    let bind = |sync: SyncOp| s.p.bind_async(s.vm, &[(s.page(0), &[sync])]);
    assert_eq!(bind(wait_for(empty)), Err(Errno::INVAL));
    assert_eq!(bind(wait_for_point(empty, 1)), Err(Errno::INVAL));
    assert_eq!(bind(wait_for_point(timeline, 4)), Err(Errno::INVAL));
    assert_eq!(bind(wait_for(99)), Err(Errno::NOENT));
    assert_eq!(s.mapped(1), [false]);
    assert_eq!(bind(wait_for_point(timeline, 3)), Ok(()));
    assert_eq!(s.mapped(1), [true]);
}

#[test]
fn an_op_may_wait_for_an_earlier_op_of_its_call_but_not_for_a_later_one() {
    let s = setup();
    let (a, b) = (s.p.syncobj(false), s.p.syncobj(false));
    let forward: &[(VmBindOp, &[SyncOp])] = &[
        (s.page(0), &[signal(a)]),
        (s.page(1), &[wait_for(a), signal_point(b, 1)]),
        (s.page(2), &[wait_for_point(b, 1)]),
    ];
    assert_eq!(s.p.bind_async(s.vm, forward), Ok(()));
    assert_eq!(s.mapped(3), [true; 3]);
    let c = s.p.syncobj(false);
    let backward: &[(VmBindOp, &[SyncOp])] =
        &[(s.page(3), &[wait_for(c)]), (s.page(4), &[signal(c)])];
    assert_eq!(s.p.bind_async(s.vm, backward), Err(Errno::INVAL));
    assert_eq!(s.mapped(5)[3..], [false, false]);
    assert!(!s.p.is_signalled(c));
}

#[test]
fn waiting_and_signalling_one_syncobj_waits_for_what_it_held_before() {
    let s = setup();
    let both = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(both, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] = &[(s.page(0), &[wait_for(both), signal(both)])];
    s.p.bind_async(s.vm, ops).unwrap();
    assert!(!s.p.is_signalled(both));
    fence.signal();
    assert!(s.p.is_signalled(both));
    assert_eq!(s.mapped(1), [true]);
}

#[test]
fn sync_ops_are_checked() {
    let s = setup();
    let timeline = s.p.syncobj(true);
    let good = signal(timeline);
    let table = [
        ("good", good, Ok(())),
        (
            "unknown flag",
            SyncOp {
                flags: good.flags | 1 << 8,
                ..good
            },
            Err(Errno::INVAL),
        ),
        (
            "unknown type",
            SyncOp { flags: 2, ..good },
            Err(Errno::INVAL),
        ),
        (
            "binary with a point",
            SyncOp {
                timeline_value: 1,
                ..good
            },
            Err(Errno::INVAL),
        ),
        (
            "binary wait with a point",
            SyncOp {
                flags: 0,
                timeline_value: 1,
                ..good
            },
            Err(Errno::INVAL),
        ),
        ("unknown handle", signal(99), Err(Errno::INVAL)),
        (
            "timeline point 0 is the whole",
            signal_point(timeline, 0),
            Ok(()),
        ),
    ];
    for (what, sync, expected) in table {
        let result = s.p.bind_async(s.vm, &[(s.page(0), &[sync])]);
        assert_eq!(result, expected, "{what}");
    }
}

#[test]
fn the_array_of_sync_ops_follows_the_rules_of_arrays() {
    let s = setup();
    let syncobj = s.p.syncobj(true);
    let bind = |stride, count, array| {
        let op = VmBindOp {
            syncs: ObjArray {
                stride,
                count,
                array,
            },
            ..s.page(0)
        };
        s.p.bind_raw(s.vm, VM_BIND_ASYNC, 48, op.as_bytes()).1
    };
    let long = s.p.put_all(&[wait_for(syncobj), SyncOp::default()]);
    let surplus = s.p.put_all(&[wait_for(syncobj), wait_for(syncobj)]);
    assert_eq!(bind(16, 1, long), Ok(()));
    assert_eq!(bind(32, 1, long), Ok(()));
    assert_eq!(bind(32, 1, surplus), Err(Errno::TOOBIG));
    assert_eq!(bind(15, 1, long), Err(Errno::INVAL));
    assert_eq!(bind(16, 1, 8), Err(Errno::FAULT));
    assert_eq!(bind(0, 0, 8), Ok(()));
}

#[test]
fn a_signal_comes_when_the_op_has_run() {
    let s = setup();
    let (gate, done) = (s.p.syncobj(false), s.p.syncobj(false));
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] =
        &[(s.page(0), &[wait_for(gate)]), (s.page(1), &[signal(done)])];
    s.p.bind_async(s.vm, ops).unwrap();
    assert_eq!(s.p.wait(&[done], 0, 0), Err(Errno::TIME));
    fence.signal();
    assert_eq!(s.p.wait(&[done], 0, 0), Ok(0));
}

#[test]
fn timeline_points_are_signalled_op_by_op() {
    let s = setup();
    let (gate, line) = (s.p.syncobj(false), s.p.syncobj(false));
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] = &[
        (s.page(0), &[signal_point(line, 1)]),
        (s.page(1), &[wait_for(gate), signal_point(line, 2)]),
    ];
    s.p.bind_async(s.vm, ops).unwrap();
    let submitted = SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED;
    assert_eq!((s.p.query(line, 0), s.p.query(line, submitted)), (1, 2));
    fence.signal();
    assert_eq!(s.p.query(line, 0), 2);
}

#[test]
fn vms_wait_for_each_other_through_syncobjs_but_not_otherwise() {
    let s = setup();
    let other = s.p.vm();
    let (gate, link) = (s.p.syncobj(false), s.p.syncobj(false));
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    let first: &[(VmBindOp, &[SyncOp])] = &[(s.page(0), &[wait_for(gate), signal(link)])];
    s.p.bind_async(s.vm, first).unwrap();
    s.p.bind_async(other, &[(s.page(1), &[])]).unwrap();
    s.p.bind_async(other, &[(s.page(2), &[wait_for(link)])])
        .unwrap();
    assert!(s.p.is_mapped(other, PAGE) && !s.p.is_mapped(other, 2 * PAGE));
    fence.signal();
    assert!(s.p.is_mapped(s.vm, 0) && s.p.is_mapped(other, 2 * PAGE));
}

#[test]
fn a_chain_through_many_vms_runs_in_one_go() {
    let s = setup();
    let vms: Vec<u32> = (0..20).map(|_| s.p.vm()).collect();
    let links: Vec<u32> = (0..21).map(|_| s.p.syncobj(false)).collect();
    let fence = s.p.file.attach_foreign_fence(links[0], 0).unwrap();
    for (i, vm) in vms.iter().enumerate() {
        let ops: &[(VmBindOp, &[SyncOp])] =
            &[(s.page(0), &[wait_for(links[i]), signal(links[i + 1])])];
        s.p.bind_async(*vm, ops).unwrap();
    }
    assert!(!s.p.is_signalled(links[20]));
    fence.signal();
    assert!(s.p.is_signalled(links[20]));
    assert!(vms.iter().all(|vm| s.p.is_mapped(*vm, 0)));
}

#[test]
fn two_files_order_their_binds_by_a_shared_syncobj() {
    let kernel = Kernel::new(Flavour::V1_9);
    let [a, b] = [(), ()].map(|()| Process::on(&kernel, OpenOptions::default()));
    let (vm_a, vm_b) = (a.vm(), b.vm());
    let (bo_a, bo_b) = (a.bo(PAGE), b.bo(PAGE));
    let (gate, shared) = (a.syncobj(false), a.syncobj(false));
    let fd = a.syncobj_to_fd(shared, 0).unwrap();
    let there = b.syncobj_from_fd(fd, 0, 0).unwrap();
    close(fd);
    let fence = a.file.attach_foreign_fence(gate, 0).unwrap();
    let first: &[(VmBindOp, &[SyncOp])] =
        &[(map(bo_a, 0, 0, PAGE), &[wait_for(gate), signal(shared)])];
    a.bind_async(vm_a, first).unwrap();
    b.bind_async(vm_b, &[(map(bo_b, 0, 0, PAGE), &[wait_for(there)])])
        .unwrap();
    assert!(!b.is_mapped(vm_b, 0));
    fence.signal();
    assert!(a.is_mapped(vm_a, 0) && b.is_mapped(vm_b, 0));
}

#[test]
fn a_queued_bind_outlives_its_file_and_still_signals() {
    let kernel = Kernel::new(Flavour::V1_9);
    let [a, b] = [(), ()].map(|()| Process::on(&kernel, OpenOptions::default()));
    let (vm, bo) = (a.vm(), a.bo(PAGE));
    let (gate, shared) = (a.syncobj(false), a.syncobj(false));
    let fd = a.syncobj_to_fd(shared, 0).unwrap();
    let there = b.syncobj_from_fd(fd, 0, 0).unwrap();
    close(fd);
    let fence = a.file.attach_foreign_fence(gate, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] = &[(map(bo, 0, 0, PAGE), &[wait_for(gate), signal(shared)])];
    a.bind_async(vm, ops).unwrap();
    drop(a);
    assert!(!b.is_signalled(there));
    assert_eq!((kernel.objects().vms, kernel.objects().bos), (1, 1));
    fence.signal();
    assert!(b.is_signalled(there));
    assert_eq!((kernel.objects().vms, kernel.objects().bos), (0, 0));
    drop(b);
    assert_eq!(kernel.objects(), Objects::default());
}

#[test]
fn a_foreign_fence_that_is_dropped_is_signalled() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    s.p.bind_async(s.vm, &[(s.page(0), &[wait_for(gate)])])
        .unwrap();
    drop(fence);
    assert_eq!(s.mapped(1), [true]);
    assert!(s.p.file.attach_foreign_fence(99, 0).is_none());
}

#[test]
fn memory_closed_while_a_bind_of_it_is_queued_is_still_mapped() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    s.p.bind_async(s.vm, &[(s.page(0), &[wait_for(gate)])])
        .unwrap();
    s.p.close_bo(s.bo).unwrap();
    fence.signal();
    assert_eq!(s.mapped(1), [true]);
    assert_eq!(s.p.file.kernel().objects().bos, 1);
}

#[test]
fn an_op_that_fails_when_it_runs_makes_the_vm_unusable_and_still_signals() {
    let p = Process::model(Flavour::V1_8Repeat);
    let (vm, dummy) = (p.vm(), p.bo(64 * 1024));
    let done = p.syncobj(false);
    p.bind_repeat(vm, &[repeat(dummy, 0, MIB, 64 * 1024)])
        .unwrap();
    // A cut inside a repetition: nobody can know before it runs.
    let ops: &[(VmBindOp, &[SyncOp])] = &[
        (unmap(PAGE, PAGE), &[]),
        (map(dummy, 0, 4 * MIB, PAGE), &[]),
        (unmap(0, 64 * 1024), &[signal(done)]),
    ];
    assert_eq!(p.bind_async(vm, ops), Ok(()));
    assert!(!p.usable(vm));
    assert!(p.is_signalled(done));
    // Maps of the same call fail from there on, unmaps run.
    assert!(!p.is_mapped(vm, 4 * MIB) && !p.is_mapped(vm, 0));
    assert!(p.is_mapped(vm, 64 * 1024));
}

#[test]
fn an_unusable_vm_takes_synchronous_unmaps_only() {
    let s = setup();
    let syncobj = s.p.syncobj(true);
    s.p.bind(s.vm, &[s.page(0), s.page(1)]).unwrap();
    s.p.file.inject(Fault::VmUnusable { vm_id: s.vm });
    assert!(!s.p.usable(s.vm));
    let refused = Err(Errno::INVAL);
    assert_eq!(s.p.bind(s.vm, &[s.page(2)]), refused);
    assert_eq!(s.p.bind(s.vm, &[sparse(0, PAGE)]), refused);
    assert_eq!(s.p.bind(s.vm, &[unmap(0, PAGE)]), Ok(()));
    assert_eq!(s.mapped(3), [false, true, false]);
    // No job is created for such a VM, whatever it would do.
    assert_eq!(s.p.bind_async(s.vm, &[(unmap(0, PAGE), &[])]), refused);
    let only: &[(VmBindOp, &[SyncOp])] = &[(sync_only(), &[wait_for(syncobj)])];
    assert_eq!(s.p.bind_async(s.vm, only), refused);
    assert!(s.p.usable(s.p.vm()));
}

fn hosted() -> Setup {
    let options = OpenOptions {
        take_waits_as_met: true,
        ..Default::default()
    };
    let p = Process::on(&Kernel::new(Flavour::V1_9), options);
    let (vm, bo) = (p.vm(), p.bo(MIB));
    Setup { p, vm, bo }
}

#[test]
fn with_waits_taken_as_met_every_op_has_run_when_the_ioctl_returns() {
    let s = hosted();
    let (empty, pending, done) = (s.p.syncobj(false), s.p.syncobj(false), s.p.syncobj(false));
    let _fence = s.p.file.attach_foreign_fence(pending, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] = &[
        (s.page(0), &[wait_for(empty), wait_for(pending)]),
        (s.page(1), &[wait_for_point(empty, 77)]),
        (s.page(2), &[wait_for(done), signal(done)]),
    ];
    assert_eq!(s.p.bind_async(s.vm, ops), Ok(()));
    assert_eq!(s.mapped(3), [true; 3]);
    assert!(s.p.is_signalled(done));
    // What is wrong stays wrong.
    let unknown: &[(VmBindOp, &[SyncOp])] = &[(s.page(3), &[wait_for(99)])];
    assert_eq!(s.p.bind_async(s.vm, unknown), Err(Errno::NOENT));
    let point = SyncOp {
        timeline_value: 1,
        ..wait_for(done)
    };
    let binary_point: &[(VmBindOp, &[SyncOp])] = &[(s.page(3), &[point])];
    assert_eq!(s.p.bind_async(s.vm, binary_point), Err(Errno::INVAL));
    assert_eq!(s.mapped(4)[3..], [false]);
}

#[test]
fn a_fault_while_ops_are_prepared_refuses_the_whole_call() {
    for errno in [Errno::NOMEM, Errno::INVAL, Errno::INTR, Errno::AGAIN] {
        let s = setup();
        let stage = OpStage::Prepare;
        s.p.file.inject(Fault::Op {
            nth: 2,
            stage,
            errno,
        });
        let ops: &[(VmBindOp, &[SyncOp])] = &[(s.page(0), &[]), (s.page(1), &[])];
        assert_eq!(s.p.bind_async(s.vm, ops), Err(errno));
        assert_eq!(s.mapped(2), [false, false]);
        assert!(s.p.usable(s.vm));
        assert_eq!(s.p.bind_async(s.vm, ops), Ok(()));
        assert_eq!(s.mapped(2), [true, true]);
    }
}

#[test]
fn a_fault_while_a_queued_op_runs_makes_the_vm_unusable() {
    let s = setup();
    let gate = s.p.syncobj(false);
    let fence = s.p.file.attach_foreign_fence(gate, 0).unwrap();
    let ops: &[(VmBindOp, &[SyncOp])] = &[(s.page(0), &[wait_for(gate)]), (s.page(1), &[])];
    s.p.bind_async(s.vm, ops).unwrap();
    s.p.file.inject(Fault::Op {
        nth: 2,
        stage: OpStage::Run,
        errno: Errno::NOMEM,
    });
    assert!(s.p.usable(s.vm));
    fence.signal();
    assert!(!s.p.usable(s.vm));
    assert_eq!(s.mapped(2), [true, false]);
}

#[test]
fn a_synchronous_bind_reports_where_a_fault_hit() {
    for stage in [OpStage::Prepare, OpStage::Run] {
        for errno in [Errno::NOMEM, Errno::INVAL, Errno::INTR, Errno::AGAIN] {
            let s = setup();
            s.p.file.inject(Fault::Op {
                nth: 3,
                stage,
                errno,
            });
            let ops = [0, 1, 2, 3].map(|page| s.page(page));
            let (count, result) = s.p.bind_raw(s.vm, 0, 48, VmBindOp::slice_as_bytes(&ops));
            assert_eq!((count, result), (2, Err(errno)));
            assert_eq!(s.mapped(4), [true, true, false, false]);
            assert!(s.p.usable(s.vm));
            // The rest, as a caller would go on.
            assert_eq!(s.p.bind(s.vm, &ops[2..]), Ok(()));
            assert_eq!(s.mapped(4), [true; 4]);
        }
    }
}

#[test]
fn the_nth_ioctl_of_a_number_fails_before_it_does_anything() {
    let s = setup();
    let number = ioctl_nr(IOCTL_BO_CREATE);
    s.p.file.inject(Fault::Ioctl {
        number,
        nth: 2,
        errno: Errno::NOMEM,
    });
    let mut args = BoCreate {
        size: 1,
        ..Default::default()
    };
    assert_eq!(s.p.call(IOCTL_BO_CREATE, &mut args), Ok(()));
    let mut second = BoCreate {
        size: 1,
        ..Default::default()
    };
    assert_eq!(s.p.call(IOCTL_BO_CREATE, &mut second), Err(Errno::NOMEM));
    assert_eq!((second.size, second.handle), (1, 0));
    assert_eq!(s.p.file.objects().bos, 2);
    assert_eq!(s.p.call(IOCTL_BO_CREATE, &mut second), Ok(()));
}

#[test]
fn threads_that_bind_and_signal_at_once_lose_nothing() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 200;
    let kernel = Kernel::new(Flavour::V1_9);
    let a = Process::on(&kernel, OpenOptions::default());
    let gates: Vec<(u32, i32)> = (0..THREADS)
        .map(|_| {
            let s = a.syncobj(false);
            (s, a.syncobj_to_fd(s, 0).unwrap())
        })
        .collect();
    thread::scope(|scope| {
        for (_, fd) in &gates {
            let kernel = &kernel;
            scope.spawn(move || {
                let p = Process::on(kernel, OpenOptions::default());
                let (vm, bo) = (p.vm(), p.bo(PAGE));
                let gate = p.syncobj_from_fd(*fd, 0, 0).unwrap();
                let done = p.syncobj(false);
                for round in 0..ROUNDS {
                    let point = [(gate, round + 1)];
                    p.wait_points(
                        &point,
                        FOR_SUBMIT | SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
                        i64::MAX,
                    )
                    .unwrap();
                    let va = round * PAGE;
                    let wait = wait_for_point(gate, round + 1);
                    p.bind_async(vm, &[(map(bo, 0, va, PAGE), &[wait, signal(done)])])
                        .unwrap();
                    p.wait(&[done], 0, i64::MAX).unwrap();
                    assert!(p.is_mapped(vm, va));
                }
            });
        }
        for round in 0..ROUNDS {
            for (gate, _) in &gates {
                a.file
                    .attach_foreign_fence(*gate, round + 1)
                    .unwrap()
                    .signal();
            }
        }
    });
    for (_, fd) in gates {
        close(fd);
    }
}
