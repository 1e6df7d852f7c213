//! What is not said to a kernel, and what the models of the kernels would say to it.

use panvk_sparse::bind::{BindFlags, Ranges, Run, SparseRange, Target};
use panvk_sparse::lower::PlannedBatch;
use panvk_sparse::uapi::SyncOp;
use panvk_sparse::units::{BoHandle, BoRef, Va};

use super::model::{NAMES, SCRATCH, Vm};
use crate::{Encoder, Ioctl, Kernel, Step, UnknownKernel};

const FIRST: u64 = 1 << 32;
const SZ_64K: u64 = 64 << 10;

fn encoder(kernel: Kernel) -> Encoder {
    Encoder {
        kernel,
        names: NAMES,
    }
}

fn memory(offset: u64, flags: BindFlags) -> Target {
    let bo = BoRef {
        handle: BoHandle(1),
        serial: 0,
    };
    Target::Memory { bo, offset, flags }
}

fn bind(kernel: Kernel, va: u64, len: u64, target: Target) -> Result<Vec<Step>, String> {
    let runs = [Run {
        va: Va(va),
        len,
        target,
    }];
    let batch = PlannedBatch {
        runs: &runs,
        ..PlannedBatch::default()
    };
    let steps = encoder(kernel).call(&[batch], &Ranges::default());
    steps.map_err(|unfit| unfit.to_string())
}

#[test]
fn pieces_that_a_kernel_has_no_pages_for_are_refused_with_the_size_of_its_pages() {
    let none = BindFlags::NONE;
    for kernel in Kernel::ALL {
        let limits = kernel.limits();
        for (page, target) in [
            (limits.page, Target::Null),
            (limits.memory_page, memory(0, none)),
        ] {
            assert!(bind(kernel, FIRST, page, target).is_ok(), "{kernel}");
            assert_eq!(bind(kernel, FIRST, 0, target), Ok(Vec::new()), "{kernel}");
            for (va, len) in [(FIRST + page / 2, page), (FIRST, page / 2)] {
                let error = bind(kernel, va, len, target).unwrap_err();
                assert!(
                    error.contains(kernel.name()) && error.contains(&page.to_string()),
                    "{error}"
                );
            }
        }
        let off = memory(limits.memory_page / 2, none);
        assert!(bind(kernel, FIRST, limits.memory_page, off).is_err());
    }
    assert_eq!(Kernel::Asahi.limits().page, 16 << 10);
    assert!(bind(Kernel::Xe64k, FIRST, 4096, Target::Null).is_ok());
}

#[test]
fn addresses_that_an_application_cannot_have_are_refused() {
    for kernel in Kernel::ALL {
        let (first, end) = kernel.limits().addresses;
        assert!(bind(kernel, end - SZ_64K, SZ_64K, Target::Null).is_ok());
        assert!(bind(kernel, end, SZ_64K, Target::Null).is_err());
        if let Some(below) = first.checked_sub(first.min(SZ_64K)).filter(|_| first > 0) {
            assert!(bind(kernel, below, SZ_64K, Target::Null).is_err());
        }
    }
}

#[test]
fn flags_that_a_bind_cannot_have_are_refused() {
    for (kernel, readonly, uncached) in [
        (Kernel::Xe, true, false),
        (Kernel::Msm, false, false),
        (Kernel::Asahi, true, false),
        (Kernel::Nouveau, false, false),
        (Kernel::Amdgpu, true, true),
    ] {
        let can = |flags| bind(kernel, FIRST, SZ_64K, memory(0, flags)).is_ok();
        assert_eq!(
            (can(BindFlags::READONLY), can(BindFlags::UNCACHED)),
            (readonly, uncached),
            "{kernel}"
        );
    }
}

fn ioctls(steps: &[Step]) -> Vec<&Ioctl> {
    let mut ioctls = Vec::new();
    for step in steps {
        if let Step::Ioctl(ioctl) = step {
            ioctls.push(ioctl);
        }
    }
    ioctls
}

#[test]
fn a_call_beyond_the_limit_is_as_few_ioctls_as_can_be() {
    let runs: Vec<Run> = (0..9000)
        .map(|i| Run {
            va: Va(FIRST + 2 * i * SZ_64K),
            len: SZ_64K,
            target: Target::Null,
        })
        .collect();
    let sync = |handle| SyncOp {
        handle,
        ..SyncOp::default()
    };
    let batch = PlannedBatch {
        waits: &[sync(7)],
        signals: &[sync(8), sync(9)],
        runs: &runs,
        ..PlannedBatch::default()
    };
    for (kernel, expected) in [
        (Kernel::Xe, 1),
        (Kernel::Msm, 3),
        (Kernel::Asahi, 3),
        (Kernel::Nouveau, 1),
        (Kernel::Amdgpu, 9000),
    ] {
        let steps = encoder(kernel).call(&[batch], &Ranges::default()).unwrap();
        let ioctls = ioctls(&steps);
        assert_eq!(ioctls.len(), expected, "{kernel}");
        let mut vm = Vm::new(kernel, [(SCRATCH, SZ_64K)].into());
        let done: Vec<_> = ioctls
            .iter()
            .map(|ioctl| vm.ioctl(ioctl).unwrap())
            .collect();
        assert_eq!(done.iter().map(|done| done.ops).sum::<usize>(), 9000);
        let (waits, signals) = match kernel {
            Kernel::Asahi => (0, 0),
            Kernel::Amdgpu => (1, 1),
            _ => (1, 2),
        };
        assert_eq!(done[0].waits.len(), waits, "{kernel}");
        assert_eq!(done[expected - 1].signals.len(), signals, "{kernel}");
        let rest = steps.len() - ioctls.len();
        assert_eq!(
            rest,
            3 - waits - signals,
            "the driver does the rest: {kernel}"
        );
    }
}

#[test]
fn nouveau_takes_no_region_twice_and_gives_none_back_in_parts() {
    let nouveau = encoder(Kernel::Nouveau);
    let mut vm = Vm::new(Kernel::Nouveau, [(1, SZ_64K)].into());
    let mut ask = |steps: Vec<Step>| vm.ioctl(ioctls(&steps)[0]).map(|done| done.ops);
    let range = SparseRange::new(Va(FIRST), 4 * SZ_64K, SZ_64K);
    let half = SparseRange::new(Va(FIRST), 2 * SZ_64K, SZ_64K);
    assert_eq!(ask(nouveau.create(&range).unwrap()), Ok(1));
    assert_eq!(
        ask(nouveau.create(&half).unwrap()),
        Err("regions overlap".into())
    );
    assert_eq!(
        ask(nouveau.destroy(&half).unwrap()),
        Err("no such region".into())
    );
    // Across the end of the region, by an encoder that does not know of it.
    let across = bind(
        Kernel::Nouveau,
        FIRST + 4 * SZ_64K - 4096,
        8192,
        memory(0, BindFlags::NONE),
    );
    assert_eq!(
        ask(across.unwrap()),
        Err("memory across the border of a region".into())
    );
    assert_eq!(ask(nouveau.destroy(&range).unwrap()), Ok(1));
}

#[test]
fn a_name_reads_back_what_it_prints_and_another_is_answered_with_all() {
    for kernel in Kernel::ALL {
        assert_eq!(kernel.to_string().parse(), Ok(kernel));
    }
    let error = "i915".parse::<Kernel>().unwrap_err();
    assert_eq!(error, UnknownKernel("i915".into()));
    assert_eq!(
        error.to_string(),
        "unknown kernel \"i915\", expected xe, xe-64k, msm, asahi, nouveau, amdgpu"
    );
}
