//! What a [`SparseVm`] leaves when something fails: nothing of the call, or a lost device.
//!
//! [`SparseVm`]: panvk_sparse::vm::SparseVm

use panvk_sparse::bind::{Request, SparseRange, Target};
use panvk_sparse::drm::Device;
use panvk_sparse::units::{SZ_4K, SZ_64K, Va};
use panvk_sparse::vm::{Batch, Initial, SparseVm, VmError};
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, OpStage, Virtual};

use crate::sparse_vm::{device, sparse_vm};

const BASE: u64 = 1 << 32;
const VM_BIND: u8 = 0x43;

fn range(len: u64) -> SparseRange {
    SparseRange::new(Va(BASE), len, SZ_4K)
}

fn fail_bind(device: &Device, nth: u64, errno: Errno) {
    let fault = Fault::Ioctl {
        number: VM_BIND,
        nth,
        errno,
    };
    device.vpanthor().expect("a virtual kernel").inject(fault);
}

/// Buffer object and offset of every page.
fn pages(device: &Device, vm: &SparseVm, len: u64) -> Vec<Option<(u64, u64)>> {
    let file = device.vpanthor().expect("a virtual kernel");
    let look = |gpuvm: &vpanthor::gpuvm::Gpuvm| {
        let pages = (0..len).step_by(SZ_4K as usize);
        let seen = pages.map(|at| gpuvm.translate(BASE + at));
        seen.map(|seen| seen.map(|seen| (seen.bo, seen.offset)))
            .collect()
    };
    file.with_gpuvm(vm.vm().id().0, look).expect("a VM")
}

fn bind(vm: &mut SparseVm, requests: &[Request]) -> Result<(), VmError> {
    let batch = Batch {
        requests,
        ..Batch::default()
    };
    vm.bind(&[batch]).map(drop)
}

/// A call of 196,608 operations takes three ioctls.
#[test]
fn a_failure_in_any_ioctl_of_a_call_leaves_the_page_tables_exactly_as_they_were() {
    const PIECES: u64 = 196_608;
    const LEN: u64 = 2 * PIECES * SZ_4K;
    for nth in 1..=3 {
        let device = device(Flavour::V1_9);
        let mut vm = sparse_vm(&device, None);
        vm.add_range(range(LEN), Initial::Unbound).unwrap();
        let bo = device.create_bo(LEN, 0, None).unwrap();
        let memory = vm.memory(bo.handle());
        let piece = |i: u64, offset| Request {
            va: Va(BASE + i * SZ_4K),
            len: SZ_4K,
            target: Target::memory(memory, offset),
        };
        // Some of it is bound before.
        let before: Vec<_> = (0..2 * PIECES)
            .step_by(4099)
            .map(|i| piece(i, (i + 7) * SZ_4K % LEN))
            .collect();
        bind(&mut vm, &before).unwrap();
        let (shadow, table) = (vm.shadow().clone(), pages(&device, &vm, LEN));
        let totals = vm.totals();

        fail_bind(&device, nth, Errno::NOMEM);
        let call: Vec<_> = (0..PIECES).map(|i| piece(2 * i, 0)).collect();
        let error = bind(&mut vm, &call).unwrap_err();
        let VmError::Refused(failure) = error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.errno, Errno::NOMEM);
        assert_eq!(pages(&device, &vm, LEN), table, "ioctl {nth}");
        assert_eq!((vm.shadow(), vm.totals()), (&shadow, totals));

        bind(&mut vm, &call).expect("and the same call goes well afterwards");
        assert_ne!(pages(&device, &vm, LEN), table);
    }
}

#[test]
fn what_cannot_be_put_back_is_a_lost_device_now_and_ever_after() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    let len = 2 * 65_537 * SZ_4K;
    vm.add_range(range(len), Initial::Unbound).unwrap();
    let bo = device.create_bo(SZ_4K, 0, None).unwrap();
    let target = Target::memory(vm.memory(bo.handle()), 0);
    let call: Vec<_> = (0..65_537)
        .map(|i| Request {
            va: Va(BASE + 2 * i * SZ_4K),
            len: SZ_4K,
            target,
        })
        .collect();
    fail_bind(&device, 2, Errno::NOMEM);
    fail_bind(&device, 3, Errno::NOMEM);
    let is_lost = |error: &VmError| matches!(error, VmError::Lost(why) if why.contains("could not be taken back"));
    let error = bind(&mut vm, &call).unwrap_err();
    assert!(is_lost(&error), "{error:?}");
    let ioctls = vm.kernel_counters().vm_bind_ioctls;
    for error in [
        bind(&mut vm, &call).unwrap_err(),
        vm.bind_now(&call[..1]).unwrap_err(),
        vm.add_range(range(SZ_64K), Initial::Unbound).unwrap_err(),
        vm.check_usable().unwrap_err(),
    ] {
        assert!(is_lost(&error), "{error:?}");
    }
    vm.remove_range(Va(BASE)).expect("there is nothing to do");
    assert_eq!(
        vm.kernel_counters().vm_bind_ioctls,
        ioctls,
        "the kernel is asked nothing more"
    );
}

#[test]
fn an_operation_that_fails_when_the_kernel_runs_it_loses_the_device() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range(SZ_64K), Initial::Unbound).unwrap();
    let bo = device.create_bo(SZ_64K, 0, None).unwrap();
    let request = Request {
        va: Va(BASE),
        len: SZ_64K,
        target: Target::memory(vm.memory(bo.handle()), 0),
    };
    let fault = Fault::Op {
        nth: 1,
        stage: OpStage::Run,
        errno: Errno::NOMEM,
    };
    device.vpanthor().expect("a virtual kernel").inject(fault);
    bind(&mut vm, &[request]).expect("an asynchronous bind is only checked");
    for _ in 0..2 {
        let error = vm.check_usable().unwrap_err();
        assert!(matches!(error, VmError::Lost(_)), "{error:?}");
    }
    assert!(matches!(bind(&mut vm, &[request]), Err(VmError::Lost(_))));
}

#[test]
fn a_range_that_cannot_be_mapped_leaves_nothing_and_one_that_cannot_be_unmapped_says_so() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    fail_bind(&device, 1, Errno::NOMEM);
    let error = vm.add_range(range(SZ_64K), Initial::Unbound).unwrap_err();
    assert!(matches!(error, VmError::Refused(_)), "{error:?}");
    assert_eq!(vm.ranges().iter().count(), 0);
    assert_eq!(pages(&device, &vm, SZ_64K), [None; 16]);

    fail_bind(&device, 1, Errno::NOMEM);
    fail_bind(&device, 2, Errno::NOMEM);
    let error = vm.add_range(range(SZ_64K), Initial::Unbound).unwrap_err();
    assert!(matches!(error, VmError::StillMapped(_)), "{error:?}");

    vm.add_range(range(SZ_64K), Initial::Unbound)
        .expect("the kernel takes it now");
    fail_bind(&device, 1, Errno::NOMEM);
    let error = vm.remove_range(Va(BASE)).unwrap_err();
    assert!(matches!(error, VmError::StillMapped(_)), "{error:?}");
    assert_eq!(vm.ranges().iter().count(), 0);
}

#[test]
fn what_makes_no_sense_is_refused_before_the_kernel_is_asked_with_the_numbers() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    vm.add_range(range(SZ_64K), Initial::Unbound).unwrap();
    let bo = device.create_bo(SZ_64K, 0, None).unwrap();
    let (memory, handle) = (vm.memory(bo.handle()), bo.handle());
    vm.memory_gone(handle);
    let ioctls = vm.kernel_counters().ioctls;
    let request = |va, len, target| Request {
        va: Va(va),
        len,
        target,
    };
    for (request, part) in [
        (request(BASE + 1, SZ_4K, Target::Null), "whole pages"),
        (request(BASE, SZ_4K + 1, Target::Null), "whole pages"),
        (request(BASE, 0, Target::Null), "at least one"),
        (
            request(BASE - SZ_4K, SZ_4K, Target::Null),
            "no sparse range is there",
        ),
        (
            request(BASE + SZ_64K, SZ_4K, Target::Null),
            "no sparse range is there",
        ),
        (
            request(BASE + SZ_4K, SZ_64K, Target::Null),
            "beyond the sparse range",
        ),
        (
            request(BASE, u64::MAX - 4095, Target::Null),
            "beyond the sparse range",
        ),
        (request(BASE, SZ_4K, Target::memory(memory, 0)), "freed"),
        (
            request(BASE, SZ_4K, Target::memory(vm.memory(handle), 5)),
            "whole pages",
        ),
    ] {
        // Behind one that is right: nothing of the call happens.
        let right = Request {
            va: Va(BASE),
            len: SZ_4K,
            target: Target::memory(vm.memory(handle), 0),
        };
        let error = bind(&mut vm, &[right, request]).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, VmError::BadRequest(_)) && text.contains(part),
            "{text}"
        );
        assert!(
            text.contains(&format!("{} bytes at {}", request.len, request.va)),
            "{text}"
        );
    }
    let unbound = [request(BASE, SZ_4K, Target::Null)];
    for ends in [&[2][..], &[1, 0], &[0]] {
        let batch = Batch {
            requests: &unbound,
            ends,
            ..Batch::default()
        };
        let error = vm.bind(&[batch]).unwrap_err();
        assert!(
            matches!(&error, VmError::BadRequest(why) if why.contains("ends of binds")),
            "{error:?}"
        );
    }
    for (va, len, granularity, part) in [
        (BASE + 1, SZ_64K, SZ_4K, "whole pages"),
        (1 << 40, 5, SZ_4K, "whole pages"),
        (1 << 40, 0, SZ_4K, "at least one"),
        (1 << 40, SZ_64K, 0, "granularity 0"),
        (1 << 40, SZ_64K, 3 * SZ_4K, "granularity 12288"),
        (1 << 47, SZ_64K, SZ_4K, "inside the VM"),
        (u64::MAX - 4095, SZ_64K, SZ_4K, "inside the VM"),
        (BASE + SZ_4K, SZ_4K, SZ_4K, "overlap"),
    ] {
        let bad = SparseRange::new(Va(va), len, granularity);
        let error = vm.add_range(bad, Initial::Unbound).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, VmError::BadRange(_)) && text.contains(part),
            "{text}"
        );
    }
    assert!(matches!(
        vm.remove_range(Va(BASE + SZ_4K)),
        Err(VmError::BadRange(_))
    ));
    assert_eq!(vm.kernel_counters().ioctls, ioctls);
    assert_eq!(vm.ranges().iter().count(), 1);
}

#[test]
fn a_device_that_is_gone_is_a_lost_device_when_its_state_is_asked_for() {
    let device = device(Flavour::V1_9);
    let mut vm = sparse_vm(&device, None);
    let fault = Fault::Ioctl {
        number: 0x44,
        nth: 1,
        errno: Errno::NODEV,
    };
    device.vpanthor().expect("a virtual kernel").inject(fault);
    for _ in 0..2 {
        let error = vm.check_usable().unwrap_err();
        assert!(
            matches!(&error, VmError::Lost(why) if why.contains("ENODEV")),
            "{error:?}"
        );
    }
}
