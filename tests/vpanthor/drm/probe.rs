//! The capability probe: what it finds, what it leaves, what it says.

use super::{fail_ioctl, objects, open, open_model};
use panvk_sparse::drm::probe::{Outcome, Trial};
use panvk_sparse::drm::{Buffer, CallMemory, Capabilities, Device, NullMapError, Transport, probe};
use panvk_sparse::lower::{NullMap, Strategy};
use panvk_sparse::uapi;
use panvk_sparse::uapi::Plain;
use panvk_sparse::units::{SZ_2M, SZ_4K, SZ_64K};
use rustix::io::Errno;
use std::any::Any;
use std::path::Path;
use vpanthor::{Fault, File, Flavour, Kernel, Objects, OpStage, OpenOptions, Virtual};

/// What each kernel can do.
fn expected(flavour: Flavour) -> &'static [Strategy] {
    match flavour {
        Flavour::V1_0 | Flavour::V1_5 | Flavour::V1_8 => &[Strategy::Chunk, Strategy::Page],
        Flavour::V1_6Repeat | Flavour::V1_8Repeat => {
            &[Strategy::Repeat, Strategy::Chunk, Strategy::Page]
        }
        Flavour::V1_9 => &[Strategy::Sparse, Strategy::Chunk, Strategy::Page],
    }
}

fn outcomes(capabilities: &Capabilities, strategy: Strategy) -> Vec<Outcome> {
    let of_it = capabilities
        .tried
        .iter()
        .filter(|trial| trial.strategy == Some(strategy));
    of_it.map(|trial| trial.outcome).collect()
}

#[test]
fn the_probe_finds_what_each_kernel_can_do_and_leaves_nothing() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let found = probe(&device).unwrap();
        assert_eq!(found.strategies, expected(flavour), "{flavour}");
        assert_eq!(found.version, flavour.version());
        assert_eq!(found.page_sizes, SZ_4K | SZ_2M);
        // Only the series' v4 cuts a repeat range at any page.
        let max_range = if flavour == Flavour::V1_6Repeat {
            SZ_2M
        } else {
            0
        };
        assert_eq!(found.repeat_max_range, max_range, "{flavour}");
        assert_eq!(objects(&device), Objects::default(), "{flavour}");
        assert_eq!(
            device.vpanthor().unwrap().objects(),
            Objects::default(),
            "{flavour}"
        );
    }
}

#[test]
fn version_1_8_is_only_a_reason_to_try() {
    use Outcome::{Accepted, NotTried, Refused};
    let of = |flavour, strategy| outcomes(&probe(&open(flavour)).unwrap(), strategy);
    let refused = Refused(Errno::INVAL);
    assert_eq!(
        of(Flavour::V1_8, Strategy::Repeat),
        [Refused(Errno::TOOBIG)]
    );
    assert_eq!(
        of(Flavour::V1_9, Strategy::Repeat),
        [Refused(Errno::TOOBIG)]
    );
    // Accepted, the control refused, and then the cuts of a large range.
    assert_eq!(
        of(Flavour::V1_8Repeat, Strategy::Repeat),
        [Accepted, refused, refused]
    );
    assert_eq!(
        of(Flavour::V1_6Repeat, Strategy::Repeat),
        [Accepted, refused, Accepted, Accepted]
    );
    assert_eq!(of(Flavour::V1_5, Strategy::Repeat), [NotTried]);
    assert_eq!(of(Flavour::V1_9, Strategy::Sparse), [Accepted]);
    assert_eq!(of(Flavour::V1_8, Strategy::Sparse), [NotTried]);
}

/// Every ioctl that the probe makes fails once, at every place.
#[test]
fn a_probe_that_fails_anywhere_leaves_nothing() {
    let calls = [
        (uapi::IOCTL_DEV_QUERY, "ask for MMU_INFO"),
        (uapi::IOCTL_BO_CREATE, "create a scratch buffer object"),
        (uapi::IOCTL_VM_CREATE, "map "),
        (uapi::IOCTL_VM_BIND, "map "),
        (uapi::IOCTL_VM_GET_STATE, "map "),
    ];
    for flavour in Flavour::ALL {
        for (request, what) in calls {
            let once = {
                let device = open_model(flavour);
                probe(&device).unwrap();
                device.counters().ioctl(request)
            };
            assert!(once > 0);
            for nth in 1..=once {
                let device = open_model(flavour);
                fail_ioctl(&device, request, nth, Errno::NOMEM);
                let error = probe(&device).unwrap_err();
                assert_eq!(error.error.errno, Errno::NOMEM);
                assert!(
                    error.to_string().starts_with("cannot probe the kernel: "),
                    "{error}"
                );
                assert!(error.what.starts_with(what), "{error}");
                assert_eq!(objects(&device), Objects::default(), "{flavour} {error}");
                assert_eq!(
                    probe(&device).unwrap().strategies,
                    expected(flavour),
                    "and it can be done again"
                );
            }
        }
    }
}

/// Operations inside the kernel, not whole ioctls.
fn operations(flavour: Flavour) -> u64 {
    let device = open(flavour);
    probe(&device).unwrap();
    device.counters().vm_bind_ops
}

#[test]
fn a_failing_operation_is_an_error_and_leaves_nothing() {
    for flavour in Flavour::ALL {
        // Refused operations never get to run: the last ones from now may not come.
        let mut failed = 0;
        for nth in 1..=operations(flavour) {
            for stage in [OpStage::Prepare, OpStage::Run] {
                let device = open_model(flavour);
                device.vpanthor().unwrap().inject(Fault::Op {
                    nth,
                    stage,
                    errno: Errno::NOMEM,
                });
                failed += u64::from(probe(&device).is_err());
                assert_eq!(
                    objects(&device),
                    Objects::default(),
                    "{flavour} {nth} {stage:?}"
                );
            }
        }
        assert!(
            failed > operations(flavour),
            "{flavour}: {failed} of the faults were met"
        );
    }
}

#[test]
fn a_refusal_makes_the_probe_claim_less_never_more() {
    for flavour in Flavour::ALL {
        let all = probe(&open_model(flavour)).unwrap();
        for nth in 1..=operations(flavour) {
            let device = open_model(flavour);
            device.vpanthor().unwrap().inject(Fault::Op {
                nth,
                stage: OpStage::Run,
                errno: Errno::INVAL,
            });
            let found = probe(&device).unwrap();
            assert!(
                found
                    .strategies
                    .iter()
                    .all(|strategy| all.strategies.contains(strategy)),
                "{found:?}"
            );
            assert!(found.repeat_max_range <= all.repeat_max_range);
            assert_eq!(objects(&device), Objects::default());
        }
    }
}

#[test]
fn interruptions_do_not_change_what_the_probe_finds() {
    for flavour in Flavour::ALL {
        let undisturbed = probe(&open_model(flavour)).unwrap();
        for nth in 1..=operations(flavour) {
            let device = open_model(flavour);
            device.vpanthor().unwrap().inject(Fault::Op {
                nth,
                stage: OpStage::Run,
                errno: Errno::INTR,
            });
            fail_ioctl(&device, uapi::IOCTL_VM_CREATE, 2, Errno::INTR);
            assert_eq!(probe(&device).unwrap(), undisturbed);
        }
    }
}

fn null_map(device: &Device, choice: Option<Strategy>) -> Result<NullMap, NullMapError> {
    let backing = probe(device).unwrap().null_map(device, choice)?;
    assert_eq!(backing.dummy().is_some(), backing.map() != NullMap::Sparse);
    assert_eq!(objects(device).bos, usize::from(backing.dummy().is_some()));
    if let Some(bo) = backing.dummy() {
        let (dummy, size) = match backing.map() {
            NullMap::Repeat {
                dummy, dummy_size, ..
            }
            | NullMap::Chunk { dummy, dummy_size } => (dummy, dummy_size),
            NullMap::Page { dummy } => (dummy, SZ_4K),
            NullMap::Sparse => unreachable!(),
        };
        assert_eq!((bo.handle(), bo.size()), (dummy, size));
    }
    Ok(backing.map())
}

#[test]
fn the_best_strategy_is_chosen_with_a_dummy_of_the_right_size() {
    let best = |flavour| null_map(&open_model(flavour), None).unwrap();
    assert_eq!(best(Flavour::V1_9), NullMap::Sparse);
    assert!(matches!(
        best(Flavour::V1_8),
        NullMap::Chunk {
            dummy_size: SZ_2M,
            ..
        }
    ));
    assert!(matches!(
        best(Flavour::V1_8Repeat),
        NullMap::Repeat {
            dummy_size: SZ_64K,
            max_range: 0,
            ..
        }
    ));
    assert!(matches!(
        best(Flavour::V1_6Repeat),
        NullMap::Repeat {
            dummy_size: SZ_2M,
            max_range: SZ_2M,
            ..
        }
    ));
}

#[test]
fn every_strategy_that_works_can_be_chosen_and_its_dummy_goes_with_it() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        for strategy in expected(flavour) {
            assert_eq!(
                null_map(&device, Some(*strategy)).unwrap().strategy(),
                *strategy
            );
            assert_eq!(objects(&device), Objects::default());
        }
    }
}

#[test]
fn a_strategy_that_does_not_work_is_refused_with_those_that_do() {
    let refused = |flavour, strategy| {
        null_map(&open(flavour), Some(strategy))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(Flavour::V1_8, Strategy::Repeat),
        "null strategy repeat does not work on this kernel (its operations are shorter: a kernel without REPEAT); \
         these do: chunk, page"
    );
    assert_eq!(
        refused(Flavour::V1_8Repeat, Strategy::Sparse),
        "null strategy sparse does not work on this kernel (uAPI 1.8: SPARSE came with 1.9); these do: repeat, chunk, page"
    );
}

#[test]
fn a_kernel_that_maps_nothing_has_no_strategy() {
    let device = open_model(Flavour::V1_5);
    for nth in 1..=2 {
        device.vpanthor().unwrap().inject(Fault::Op {
            nth,
            stage: OpStage::Run,
            errno: Errno::INVAL,
        });
    }
    let found = probe(&device).unwrap();
    assert_eq!(found.strategies, []);
    assert!(matches!(
        found.null_map(&device, None),
        Err(NullMapError::NothingWorks { .. })
    ));
}

#[test]
fn no_memory_for_the_dummy_is_said_with_its_size() {
    let device = open_model(Flavour::V1_8);
    let found = probe(&device).unwrap();
    fail_ioctl(&device, uapi::IOCTL_BO_CREATE, 1, Errno::NOMEM);
    let error = found.null_map(&device, None).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "cannot create the dummy buffer object of 2097152 bytes: ioctl BO_CREATE: ENOMEM"
        ),
        "{error}"
    );
}

#[test]
fn what_was_tried_reads_well() {
    let found = probe(&open(Flavour::V1_8Repeat)).unwrap();
    assert_eq!((found.version, found.page_sizes), ((1, 8), SZ_4K | SZ_2M));
    assert_eq!(
        found.strategies,
        [Strategy::Repeat, Strategy::Chunk, Strategy::Page]
    );
    assert_eq!(found.repeat_max_range, 0);
    let asked = Trial {
        strategy: None,
        what: "DEV_QUERY MMU_INFO".into(),
        outcome: Outcome::Accepted,
        meaning: "page sizes 4 KiB, 2 MiB".into(),
    };
    assert_eq!(found.tried[0], asked);
    let cut = Trial {
        strategy: Some(Strategy::Repeat),
        what: "map 4 MiB with a repeat range of 2 MiB, cut it at 64 KiB, unmap it in pieces".into(),
        outcome: Outcome::Refused(Errno::INVAL),
        meaning: "it refused to cut the repeat range by a map: repeat ranges stay as small as what can be bound in them"
            .into(),
    };
    assert_eq!(found.tried[5], cut);
}

/// A virtual kernel that announces another version than its own.
#[derive(Debug)]
struct Announcing(File, (i32, i32));

impl Transport for Announcing {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        let memory = CallMemory { arg: &arg, buffers };
        let answer = self.0.ioctl(request, arg.addr(), &memory)?;
        if request == uapi::IOCTL_VERSION {
            let mut version = uapi::Version::default();
            memory.read(arg.addr(), version.as_bytes_mut())?;
            (version.version_major, version.version_minor) = self.1;
            memory.write(arg.addr(), version.as_bytes())?;
        }
        Ok(answer)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Kernels announce what they like: with either trial made on every kernel, only the right one is accepted.
#[test]
fn no_kernel_passes_for_another_whatever_version_it_announces() {
    for flavour in Flavour::ALL {
        for announced in [(1, 9), (1, 12)] {
            let file = Kernel::new(flavour).open(OpenOptions::default());
            let transport = Announcing(file, announced);
            let device = Device::new(Box::new(transport), Path::new("vpanthor")).unwrap();
            let found = probe(&device).unwrap();
            let expected = match flavour {
                Flavour::V1_0 | Flavour::V1_5 | Flavour::V1_8 => &Strategy::ALL[2..],
                Flavour::V1_6Repeat | Flavour::V1_8Repeat => &Strategy::ALL[1..],
                Flavour::V1_9 => &[Strategy::Sparse, Strategy::Chunk, Strategy::Page],
            };
            assert_eq!(
                found.strategies, expected,
                "{flavour} that announces {announced:?}"
            );
            assert!(
                found
                    .tried
                    .iter()
                    .all(|trial| trial.outcome != Outcome::NotTried)
            );
        }
    }
}
