//! A node beside the virtual kernel: asked the same, and held against it. Here the node is another virtual kernel.

use std::collections::BTreeMap;

use hosted::Hosted;
use hosted::HostedError;
use hosted::config::NullChoice;
use panvk_sparse::drm::probe;
use panvk_sparse::lower::Strategy;
use panvk_sparse::uapi::{IOCTL_SYNCOBJ_SIGNAL, IOCTL_SYNCOBJ_TIMELINE_SIGNAL, IOCTL_SYNCOBJ_WAIT};
use panvk_sparse::units::{SZ_2M, SZ_64K};
use rustix::io::Errno;
use vpanthor::model_of;
use vpanthor::{Fault, File, Flavour, Kernel, Objects, OpStage, OpenOptions, Virtual};
use vulkan::calls::{BindCall, BindInfo, ResourceId, Semaphore};

use crate::base::*;

const BUFFER: ResourceId = ResourceId::Buffer(0x10);
const MEMORY: u64 = 0x20;
const SIZE: u64 = 4 * SZ_2M;
const VM_BIND: u8 = 0x43;

/// A backend with a node of this flavour beside it, which waits for what it is told to wait for.
pub fn beside(flavour: Flavour, choice: NullChoice) -> Result<Hosted, HostedError> {
    let node = vpanthor::device(Kernel::new(flavour).open(OpenOptions::default()));
    Hosted::beside(
        node.expect("it opens"),
        "/dev/dri/renderD128".into(),
        choice,
        "device".into(),
        "base".into(),
    )
}

fn node_file<R>(hosted: &Hosted, look: impl FnOnce(&File) -> R) -> R {
    let node = hosted.kernel().tee().expect("there is a node").node();
    look(node.vpanthor().expect("a virtual one"))
}

/// The only VM of a file: address, size, buffer object, offset, flags and repeat range and phase of each mapping. Buffer
/// objects are numbered as they first come, since the two kernels have ids of their own for them.
type Mappings = Vec<(u64, u64, usize, u64, u32, Option<(u64, u64)>)>;

fn mappings(file: &File) -> Mappings {
    let vm = (1..=32)
        .find(|&vm| file.vm_stats(vm).is_some())
        .expect("a VM");
    assert_eq!(file.vm_stats(vm).map(|stats| stats.queued_ops), Some(0));
    let mut bos = BTreeMap::new();
    file.with_gpuvm(vm, |gpuvm| {
        gpuvm
            .mappings()
            .map(|m| {
                let next = bos.len();
                let bo = *bos.entry(m.bo).or_insert(next);
                let repeat = m.repeat.map(|repeat| (repeat.range, repeat.phase));
                (m.va, m.size, bo, m.offset, m.flags.bits(), repeat)
            })
            .collect()
    })
    .expect("a VM")
}

/// Both kernels map the same, and none has said otherwise than the other.
pub fn assert_in_step(hosted: &Hosted) {
    let model = mappings(hosted.kernel().vpanthor().expect("the model"));
    assert_eq!(node_file(hosted, mappings), model);
    let stats = hosted.stats();
    assert_eq!(stats.differences, Some(0));
    assert_eq!(
        (stats.node_ioctls, stats.node_ops),
        (Some(stats.vm_bind_ioctls), Some(stats.vm_bind_ops))
    );
}

#[test]
fn the_model_is_the_one_that_does_what_the_node_does() {
    for flavour in Flavour::ALL {
        let node = vpanthor::device(Kernel::new(flavour).open(OpenOptions::default()));
        assert_eq!(model_of(&probe(&node.unwrap()).unwrap()), flavour);
        let hosted = beside(flavour, NullChoice::Auto).unwrap();
        let stats = hosted.stats();
        assert_eq!(stats.kernel, "/dev/dri/renderD128");
        assert_eq!(stats.model, Some(format!("vpanthor:{flavour}")));
    }
}

#[test]
fn without_a_node_the_statistics_do_not_speak_of_one() {
    let line = |hosted: &Hosted| serde_json::to_value(hosted.stats()).unwrap();
    let names = ["model", "node_ioctls", "node_ops", "differences"];
    let with = line(&beside(Flavour::V1_9, NullChoice::Auto).unwrap());
    let without = line(&hosted(Flavour::V1_9, Strategy::Sparse));
    for name in names {
        assert!(with.get(name).is_some(), "{with}");
        assert!(without.get(name).is_none(), "{without}");
    }
}

#[test]
fn a_strategy_that_the_node_does_not_have_is_refused() {
    let error = beside(Flavour::V1_8, NullChoice::Fixed(Strategy::Repeat)).unwrap_err();
    assert!(matches!(error, HostedError::NoStrategy(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("null strategy repeat does not work on this kernel"),
        "{error}"
    );
}

/// A backend with a node, a memory and a buffer.
fn with_buffer(flavour: Flavour) -> (Hosted, FakeBase) {
    let hosted = beside(flavour, NullChoice::Auto).unwrap();
    hosted.add_memory(MEMORY, SIZE).unwrap();
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    (hosted, FakeBase::default())
}

fn pieces(pieces: &[u64]) -> Vec<vulkan::calls::Bind> {
    (pieces.iter())
        .map(|i| bind(2 * i * SZ_64K, SZ_64K, Some(MEMORY), (9 - i) * SZ_64K))
        .collect()
}

#[test]
fn a_wait_for_what_only_the_base_driver_signals_does_not_hold_up_the_node() {
    for flavour in Flavour::ALL {
        let (hosted, mut base) = with_buffer(flavour);
        hosted.add_timeline(2);
        let semaphore = |handle, value| Semaphore { handle, value };
        let info = |piece, waits: &[Semaphore], signals: &[Semaphore]| BindInfo {
            binds: vec![(BUFFER, pieces(&[piece]))],
            waits: waits.to_vec(),
            signals: signals.to_vec(),
            joins_previous: true,
            ..BindInfo::default()
        };
        let calls = [
            // Nothing has signalled them; then the same call signals; then an earlier one has.
            vec![info(0, &[semaphore(1, 0), semaphore(2, 5)], &[])],
            vec![
                info(1, &[], &[semaphore(1, 0), semaphore(2, 6)]),
                info(2, &[semaphore(1, 0), semaphore(2, 6)], &[]),
            ],
            vec![info(
                3,
                &[semaphore(1, 0), semaphore(2, 6)],
                &[semaphore(2, 9)],
            )],
            // A point between those that were signalled, and point 0 of a fresh timeline.
            vec![info(
                4,
                &[semaphore(2, 8), semaphore(3, 0)],
                &[semaphore(3, 1)],
            )],
        ];
        hosted.add_timeline(3);
        for infos in calls {
            let call = BindCall {
                infos,
                fence: Some(7),
            };
            base.bind(&hosted, &call).unwrap();
            assert_in_step(&hosted);
        }
        // Signalled for the node is what nothing else signals: in the first call and the last.
        let signals = hosted.kernel().tee().map(|tee| {
            let counters = tee.node().counters();
            [
                counters.ioctl(IOCTL_SYNCOBJ_SIGNAL),
                counters.ioctl(IOCTL_SYNCOBJ_TIMELINE_SIGNAL),
            ]
        });
        assert_eq!(signals, Some([2, 1]));
    }
}

#[test]
fn a_stand_in_whose_handle_comes_again_is_another_one_on_the_node() {
    let (hosted, mut base) = with_buffer(Flavour::V1_9);
    for (i, handle) in [1u64, 2, 3].into_iter().enumerate() {
        hosted.add_timeline(handle);
        let value = 10 - i as u64;
        let call = BindCall {
            infos: vec![BindInfo {
                binds: vec![(BUFFER, pieces(&[i as u64]))],
                signals: vec![Semaphore { handle, value }],
                ..BindInfo::default()
            }],
            fence: None,
        };
        base.bind(&hosted, &call).unwrap();
        // The next one gets the handle of this one, and starts below its point.
        let syncobjs = |file: &File| file.objects().syncobjs;
        // One more says that the node has run its binds.
        assert_eq!(node_file(&hosted, syncobjs), 2);
        hosted.remove_semaphore(handle);
        assert_eq!(node_file(&hosted, syncobjs), 1);
    }
    assert_in_step(&hosted);
}

#[test]
fn an_operation_that_the_node_alone_refuses_is_a_difference_and_the_others_are_done() {
    for flavour in Flavour::ALL {
        for nth in 1..=3 {
            let (hosted, mut base) = with_buffer(flavour);
            // Once in the bind, and once more when it is made alone.
            for nth in [nth, 2 * nth] {
                node_file(&hosted, |file| {
                    file.inject(Fault::Op {
                        nth,
                        stage: OpStage::Prepare,
                        errno: Errno::INVAL,
                    })
                });
            }
            // The last operation signals, and does alone as well.
            let fenced = BindCall {
                fence: Some(1),
                ..call(BUFFER, &pieces(&[0, 1, 2]))
            };
            base.bind(&hosted, &fenced).unwrap();
            let mut expected = Pages::new();
            for bind in pieces(&[0, 1, 2]) {
                write(&mut expected, BUFFER, &bind);
            }
            assert_eq!(
                base.pages, expected,
                "the application has what it asked for"
            );
            let stats = hosted.stats();
            assert_eq!(stats.differences, Some(1), "{flavour} {nth}");
            assert_eq!(stats.vm_bind_ioctls + 3, stats.node_ioctls.unwrap());
            let mapped = |file: &File| mappings(file).len();
            let model = mapped(hosted.kernel().vpanthor().unwrap());
            assert!(node_file(&hosted, mapped) < model, "one piece is not there");

            // The same once more puts it there, and both are as they should be.
            base.bind(&hosted, &call(BUFFER, &[bind(0, SIZE, None, 0)]))
                .unwrap();
            base.bind(&hosted, &call(BUFFER, &[bind(0, SIZE, Some(MEMORY), 0)]))
                .unwrap();
            let model = mappings(hosted.kernel().vpanthor().unwrap());
            assert_eq!(node_file(&hosted, mappings), model);
        }
    }
}

#[test]
fn a_synchronous_bind_that_the_node_alone_refuses_is_a_difference() {
    let hosted = beside(Flavour::V1_9, NullChoice::Auto).unwrap();
    for _ in 0..2 {
        node_file(&hosted, |file| {
            file.inject(Fault::Op {
                nth: 1,
                stage: OpStage::Run,
                errno: Errno::NOMEM,
            })
        });
    }
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    assert_eq!(hosted.stats().differences, Some(1));
}

#[test]
fn what_the_model_alone_refuses_is_a_difference_and_the_node_is_not_asked_any_more() {
    for flavour in Flavour::ALL {
        for errno in [Errno::INVAL, Errno::NOMEM] {
            let (hosted, mut base) = with_buffer(flavour);
            base.bind(&hosted, &call(BUFFER, &pieces(&[5]))).unwrap();
            let file = hosted.kernel().vpanthor().unwrap();
            file.inject(Fault::Op {
                nth: 2,
                stage: OpStage::Prepare,
                errno,
            });
            let error = base
                .bind(&hosted, &call(BUFFER, &pieces(&[0, 1, 2])))
                .unwrap_err();
            assert!(
                matches!(
                    error,
                    HostedError::Refused(_) | HostedError::OutOfDeviceMemory(_)
                ),
                "{error}"
            );
            let stats = hosted.stats();
            assert_eq!(stats.differences, Some(1), "{flavour}");
            // The node maps what nobody has asked for, so its answers would say nothing.
            base.bind(&hosted, &call(BUFFER, &pieces_of_all())).unwrap();
            let after = hosted.stats();
            assert_eq!(after.differences, Some(1));
            assert_eq!(after.node_ioctls, stats.node_ioctls);
            assert!(after.vm_bind_ioctls > stats.vm_bind_ioctls);
        }
    }
}

fn pieces_of_all() -> Vec<vulkan::calls::Bind> {
    vec![bind(0, SIZE, Some(MEMORY), 0)]
}

#[test]
fn what_both_refuse_alike_is_no_difference() {
    let (hosted, mut base) = with_buffer(Flavour::V1_9);
    let fault = Fault::Op {
        nth: 2,
        stage: OpStage::Prepare,
        errno: Errno::NOMEM,
    };
    hosted.kernel().vpanthor().unwrap().inject(fault);
    node_file(&hosted, |file| file.inject(fault));
    let error = base.bind(&hosted, &call(BUFFER, &pieces(&[0, 1, 2])));
    assert!(matches!(error, Err(HostedError::OutOfDeviceMemory(_))));
    assert_in_step(&hosted);

    // Another reason is another answer.
    hosted.kernel().vpanthor().unwrap().inject(fault);
    node_file(&hosted, |file| {
        file.inject(Fault::Op {
            nth: 2,
            stage: OpStage::Prepare,
            errno: Errno::INVAL,
        })
    });
    let error = base.bind(&hosted, &call(BUFFER, &pieces(&[0, 1, 2])));
    assert!(matches!(error, Err(HostedError::OutOfDeviceMemory(_))));
    assert_eq!(hosted.stats().differences, Some(1));
}

#[test]
fn an_operation_that_fails_when_the_node_runs_it_is_one_difference_and_the_application_goes_on() {
    let (hosted, mut base) = with_buffer(Flavour::V1_9);
    node_file(&hosted, |file| {
        file.inject(Fault::Op {
            nth: 1,
            stage: OpStage::Run,
            errno: Errno::NOMEM,
        })
    });
    for piece in 0..3 {
        base.bind(&hosted, &call(BUFFER, &pieces(&[piece])))
            .unwrap();
    }
    assert_eq!(base.pages.len(), 3 * 16);
    let stats = hosted.stats();
    assert_eq!(stats.differences, Some(1));
    assert_eq!(
        stats.node_ioctls.unwrap(),
        stats.vm_bind_ioctls - 2,
        "a VM that takes nothing is not asked"
    );
}

#[test]
fn a_node_that_vanishes_loses_the_device_now_and_ever_after() {
    let vanish = |hosted: &Hosted, number| {
        node_file(hosted, |file| {
            file.inject(Fault::Ioctl {
                number,
                nth: 1,
                errno: Errno::NODEV,
            })
        });
    };
    let is_lost = |result: Result<(), HostedError>| match result {
        Err(HostedError::DeviceLost(why)) => {
            assert!(why.contains("ioctl "), "{why}");
            assert!(
                why.ends_with("the device behind the node has gone"),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    };
    const BO_CREATE: u8 = 0x45;
    const SYNCOBJ_CREATE: u8 = 0xbf;
    for number in [VM_BIND, SYNCOBJ_CREATE] {
        let (hosted, mut base) = with_buffer(Flavour::V1_9);
        vanish(&hosted, number);
        let fenced = BindCall {
            fence: Some(1),
            ..call(BUFFER, &pieces(&[0]))
        };
        is_lost(base.bind(&hosted, &fenced));
        assert!(base.submits.is_empty(), "the base driver was asked nothing");
        is_lost(base.bind(&hosted, &call(BUFFER, &pieces(&[1]))));
        is_lost(hosted.add_resource(ResourceId::Buffer(0x11), SIZE, PAGE, None));
    }
    let (hosted, mut base) = with_buffer(Flavour::V1_9);
    vanish(&hosted, BO_CREATE);
    is_lost(hosted.add_memory(0x21, SIZE));
    is_lost(base.bind(&hosted, &call(BUFFER, &pieces(&[1]))));
    let (hosted, _) = with_buffer(Flavour::V1_9);
    vanish(&hosted, VM_BIND);
    is_lost(hosted.add_resource(ResourceId::Buffer(0x11), SIZE, PAGE, None));
}

#[test]
fn nothing_is_left_on_the_node_when_all_is_destroyed() {
    for flavour in Flavour::ALL {
        let (hosted, mut base) = with_buffer(flavour);
        let kernel = node_file(&hosted, |file| file.kernel().clone());
        let fenced = BindCall {
            fence: Some(1),
            ..call(BUFFER, &pieces(&[0, 1]))
        };
        base.bind(&hosted, &fenced).unwrap();
        let bos = |file: &File| file.objects().bos;
        let before = node_file(&hosted, bos);
        // Freed while it is bound: it stays until nothing is mapped to it.
        hosted.remove_memory(MEMORY);
        assert_eq!(node_file(&hosted, bos), before);
        hosted.remove_resource(BUFFER);
        assert_eq!(node_file(&hosted, bos), before - 1);
        drop(hosted);
        assert_eq!(kernel.objects(), Objects::default());
    }
}

/// A node may run an asynchronous bind later; a synchronous one, such as that at the end of a resource, does not wait for it.
#[test]
fn a_synchronous_bind_waits_for_the_asynchronous_ones_before_it() {
    let (hosted, mut base) = with_buffer(Flavour::V1_9);
    let waits = || {
        let counters = hosted.kernel().tee().map(|tee| tee.node().counters());
        counters.expect("a node").ioctl(IOCTL_SYNCOBJ_WAIT)
    };
    for piece in 0..3 {
        base.bind(&hosted, &call(BUFFER, &pieces(&[piece])))
            .unwrap();
    }
    assert_eq!(waits(), 0, "they run in order by themselves");
    let other = ResourceId::Buffer(0x11);
    hosted.add_resource(other, SIZE, PAGE, None).unwrap();
    assert_eq!(waits(), 1, "the new buffer is mapped at once");
    hosted.remove_resource(other);
    assert_eq!(waits(), 1, "nothing has been queued since");
    base.bind(&hosted, &call(BUFFER, &pieces(&[3]))).unwrap();
    assert_in_step(&hosted);
    assert_eq!(waits(), 2, "the statistics are of what has run");
}
