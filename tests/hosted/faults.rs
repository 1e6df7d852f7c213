//! What fails, and what is left then: the state before it.

use hosted::Hosted;
use hosted::HostedError;
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::{SZ_2M, SZ_64K};
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, OpStage, Virtual};
use vulkan::calls::{BindCall, ResourceId, Semaphore};

use crate::base::*;

const BUFFER: ResourceId = ResourceId::Buffer(0x10);
const MEMORY: u64 = 0x20;
const SIZE: u64 = 4 * SZ_2M;
const VM_BIND: u8 = 0x43;

/// A buffer whose first 64 KiB are bound, as it has to be found again after what goes wrong.
fn one_bound_piece(flavour: Flavour, strategy: Strategy) -> (Hosted, FakeBase) {
    let hosted = hosted(flavour, strategy);
    hosted.add_memory(MEMORY, SIZE).unwrap();
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    let mut base = FakeBase::default();
    base.bind(&hosted, &call(BUFFER, &[bind(0, SZ_64K, Some(MEMORY), 0)]))
        .unwrap();
    (hosted, base)
}

/// Three pieces of memory, apart from each other: three operations.
fn three_pieces() -> BindCall {
    call(
        BUFFER,
        &[0u64, 1, 2].map(|i| bind((4 + 2 * i) * SZ_64K, SZ_64K, Some(MEMORY), (9 - i) * SZ_64K)),
    )
}

/// What the page tables say of each mapped page: a page of a buffer object, or `None` for one of a dummy. Which page
/// of the dummy stands for an unbound one does not matter.
#[derive(PartialEq)]
struct Image(Vec<(u64, Option<(u64, u64)>)>);

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bound = self.0.iter().filter(|(_, place)| place.is_some());
        write!(
            f,
            "{} pages, bound: {:x?}",
            self.0.len(),
            bound.collect::<Vec<_>>()
        )
    }
}

fn kernel_image(hosted: &Hosted) -> Image {
    let file = hosted.kernel().vpanthor().unwrap();
    // The device has one VM, made after the scratch VMs of the probe were destroyed.
    let vm = (1..=32).find(|&vm| file.vm_stats(vm).is_some()).unwrap();
    let dummy =
        file.bo_id(hosted.with_space(|space| space.dummy().map_or(0, |dummy| dummy.handle().0)));
    let mut image = Vec::new();
    file.with_gpuvm(vm, |gpuvm| {
        for mapping in gpuvm.mappings() {
            for page in 0..mapping.size / PAGE {
                let va = mapping.va + page * PAGE;
                let place = gpuvm.translate(va).unwrap();
                let memory = place.bo != 0 && Some(place.bo) != dummy;
                image.push((va, memory.then_some((place.bo, place.offset))));
            }
        }
    });
    Image(image)
}

fn inject(hosted: &Hosted, fault: Fault) {
    hosted.kernel().vpanthor().unwrap().inject(fault);
}

#[test]
fn an_op_that_the_kernel_refuses_leaves_everything_as_it_was() {
    for (flavour, strategy) in configurations() {
        for nth in 1..=3 {
            for (errno, expected) in [
                (Errno::NOMEM, "ERROR_OUT_OF_DEVICE_MEMORY"),
                (Errno::INVAL, "ERROR_UNKNOWN"),
            ] {
                let (hosted, mut base) = one_bound_piece(flavour, strategy);
                let (before, pages) = (kernel_image(&hosted), base.pages.clone());
                inject(
                    &hosted,
                    Fault::Op {
                        nth,
                        stage: OpStage::Prepare,
                        errno,
                    },
                );
                let error = base.bind(&hosted, &three_pieces()).unwrap_err();
                assert_eq!(format!("{:?}", error.result()), expected, "{error}");
                assert!(error.to_string().contains("VM_BIND"), "{error}");
                assert_eq!(
                    kernel_image(&hosted),
                    before,
                    "{flavour} {strategy} {nth} {errno}"
                );
                assert_eq!(base.pages, pages);
                // And it goes on from there.
                base.bind(&hosted, &three_pieces()).unwrap();
                assert_eq!(base.pages.len(), 4 * 16);
            }
        }
    }
}

#[test]
fn a_call_that_the_kernel_breaks_off_is_made_again() {
    for errno in [Errno::INTR, Errno::AGAIN] {
        let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
        for nth in 1..=3 {
            inject(
                &hosted,
                Fault::Ioctl {
                    number: VM_BIND,
                    nth,
                    errno,
                },
            );
        }
        let before = hosted.stats();
        base.bind(&hosted, &three_pieces()).unwrap();
        assert_eq!(base.pages.len(), 4 * 16);
        let after = hosted.stats();
        assert_eq!(
            after.vm_bind_ops - before.vm_bind_ops,
            3,
            "the ops count once"
        );
        assert!(
            after.vm_bind_ioctls - before.vm_bind_ioctls > 1,
            "the calls count each time"
        );
    }
}

#[test]
fn a_vm_that_becomes_unusable_is_a_lost_device_now_and_ever_after() {
    for flavour in Flavour::ALL {
        for nth in 1..=3 {
            let (hosted, mut base) = one_bound_piece(flavour, Strategy::Chunk);
            inject(
                &hosted,
                Fault::Op {
                    nth,
                    stage: OpStage::Run,
                    errno: Errno::NOMEM,
                },
            );
            let submits = base.submits.len();
            let error = base.bind(&hosted, &three_pieces()).unwrap_err();
            assert!(matches!(error, HostedError::DeviceLost(_)), "{error}");
            assert_eq!(
                base.submits.len(),
                submits,
                "the base driver is not asked for half of a bind"
            );
            for call in [three_pieces(), BindCall::default()] {
                let error = base.bind(&hosted, &call).unwrap_err();
                assert!(matches!(error, HostedError::DeviceLost(_)), "{error}");
            }
            let error = hosted
                .add_resource(ResourceId::Image(1), SIZE, SZ_64K, None)
                .unwrap_err();
            assert!(matches!(error, HostedError::DeviceLost(_)), "{error}");
            hosted.remove_resource(BUFFER);
        }
    }
}

#[test]
fn a_vm_that_was_unusable_before_is_a_lost_device() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_9, Strategy::Sparse);
    let file = hosted.kernel().vpanthor().unwrap();
    let vm_id = (1..=32).find(|&vm| file.vm_stats(vm).is_some()).unwrap();
    inject(&hosted, Fault::VmUnusable { vm_id });
    let error = base.bind(&hosted, &three_pieces()).unwrap_err();
    assert!(matches!(error, HostedError::DeviceLost(_)), "{error}");
}

#[test]
fn a_resource_that_the_kernel_has_no_memory_for_leaves_nothing_behind() {
    for (flavour, strategy) in configurations() {
        let (hosted, mut base) = one_bound_piece(flavour, strategy);
        let before = kernel_image(&hosted);
        let ops = 4; // At least as many as `chunk` needs for SIZE.
        for nth in [1, ops] {
            inject(
                &hosted,
                Fault::Op {
                    nth,
                    stage: OpStage::Prepare,
                    errno: Errno::NOMEM,
                },
            );
            let id = ResourceId::Buffer(0x30 + nth);
            let result = hosted.add_resource(id, SIZE, PAGE, None);
            if let Err(error) = &result {
                assert!(
                    matches!(error, HostedError::OutOfDeviceMemory(_)),
                    "{error}"
                );
                assert_eq!(kernel_image(&hosted), before, "{flavour} {strategy} {nth}");
                let error = base
                    .bind(&hosted, &call(id, &[bind(0, PAGE, None, 0)]))
                    .unwrap_err();
                assert!(matches!(error, HostedError::Invalid(_)), "{error}");
            } else {
                assert!(nth > 1, "the first op always is one");
                // One op was enough, and the fault hits the first three pieces' third op instead.
                hosted.remove_resource(id);
                break;
            }
        }
    }
}

/// What the kernel did for a creation that failed is none of the next bind's.
#[test]
fn the_bind_after_a_creation_that_failed_reaches_the_base_driver() {
    for (flavour, strategy) in configurations() {
        let (hosted, mut base) = one_bound_piece(flavour, strategy);
        inject(
            &hosted,
            Fault::Op {
                nth: 1,
                stage: OpStage::Prepare,
                errno: Errno::NOMEM,
            },
        );
        let id = ResourceId::Buffer(0x31);
        hosted.add_resource(id, SIZE, PAGE, None).unwrap_err();
        let piece = bind(SZ_2M, SZ_64K, Some(MEMORY), 0);
        base.bind(&hosted, &call(BUFFER, &[piece])).unwrap();
        let mirrored = base.pages.get(&(BUFFER, SZ_2M / PAGE));
        assert_eq!(mirrored, Some(&(MEMORY, 0)), "{flavour} {strategy}");
    }
}

#[test]
fn a_base_driver_that_refuses_has_the_kernel_put_back() {
    for (flavour, strategy) in configurations() {
        let (hosted, mut base) = one_bound_piece(flavour, strategy);
        let before = kernel_image(&hosted);
        base.refuse = Some(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY);
        let mut over_all = three_pieces();
        over_all.infos[0].binds[0]
            .1
            .push(bind(0, SZ_64K, Some(MEMORY), SZ_2M));
        let error = base.bind(&hosted, &over_all).unwrap_err();
        assert_eq!(
            error,
            HostedError::Base(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY)
        );
        assert_eq!(kernel_image(&hosted), before, "{flavour} {strategy}");
        base.bind(&hosted, &over_all).unwrap();
        assert_eq!(base.pages.len(), 4 * 16);
        assert_eq!(base.pages[&(BUFFER, 0)], (MEMORY, SZ_2M / PAGE));
    }
}

#[test]
fn what_can_not_be_put_back_is_a_lost_device() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
    base.refuse = Some(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY);
    inject(
        &hosted,
        Fault::Ioctl {
            number: VM_BIND,
            nth: 2,
            errno: Errno::NOMEM,
        },
    );
    for _ in 0..2 {
        let error = base.bind(&hosted, &three_pieces()).unwrap_err();
        assert!(matches!(error, HostedError::DeviceLost(_)), "{error}");
    }
}

#[test]
fn a_bind_that_is_wrong_is_refused_before_anything_happens() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
    hosted.add_memory(0x21, SZ_64K).unwrap();
    hosted.remove_memory(0x21);
    hosted
        .add_resource(ResourceId::Buffer(0x11), SIZE, PAGE, None)
        .unwrap();
    hosted.remove_resource(ResourceId::Buffer(0x11));
    let good = bind(SZ_2M, SZ_64K, Some(MEMORY), 0);
    let before = (kernel_image(&hosted), hosted.stats(), base.submits.len());
    for (bad, id, parts) in [
        (
            bind(SIZE, SZ_64K, Some(MEMORY), 0),
            BUFFER,
            ["VkBuffer 0x10", "8388608"],
        ),
        (
            bind(SIZE - PAGE, SZ_64K, None, 0),
            BUFFER,
            ["VkBuffer 0x10", "8384512"],
        ),
        (
            bind(1, SZ_64K, Some(MEMORY), 0),
            BUFFER,
            ["VkBuffer 0x10", "4096"],
        ),
        (
            bind(0, 100, Some(MEMORY), 0),
            BUFFER,
            ["VkBuffer 0x10", "100"],
        ),
        (
            bind(0, SZ_64K, Some(MEMORY), 12),
            BUFFER,
            ["VkBuffer 0x10", "12"],
        ),
        (
            bind(0, SZ_64K, Some(MEMORY), SIZE),
            BUFFER,
            ["VkBuffer 0x10", "8388608"],
        ),
        (
            bind(0, 1 << 63, None, 0),
            BUFFER,
            ["VkBuffer 0x10", "9223372036854775808"],
        ),
        (
            bind(1 << 63, 1 << 63, None, 0),
            BUFFER,
            ["VkBuffer 0x10", "9223372036854775808"],
        ),
        (bind(0, 0, None, 0), BUFFER, ["VkBuffer 0x10", "size is 0"]),
        (
            bind(0, SZ_64K, Some(0x21), 0),
            BUFFER,
            ["VkBuffer 0x10", "VkDeviceMemory 0x21"],
        ),
        (
            bind(0, SZ_64K, Some(MEMORY), 0),
            ResourceId::Buffer(0x11),
            ["VkBuffer 0x11", "destroyed"],
        ),
        (
            bind(0, SZ_64K, Some(MEMORY), 0),
            ResourceId::Image(0x10),
            ["VkImage 0x10", "destroyed"],
        ),
    ] {
        let mut call = call(BUFFER, &[good]);
        call.infos[0].binds.push((id, vec![bad]));
        let error = base.bind(&hosted, &call).unwrap_err();
        assert_eq!(error.result(), ash::vk::Result::ERROR_VALIDATION_FAILED_EXT);
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "{error} does not say {part}"
            );
        }
        assert_eq!(
            (kernel_image(&hosted), hosted.stats(), base.submits.len()),
            before,
            "{error}"
        );
    }
}

#[test]
fn memory_that_is_freed_while_bound_stays_where_it_is_until_something_else_is_bound() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
    let before = kernel_image(&hosted);
    hosted.remove_memory(MEMORY);
    assert_eq!(kernel_image(&hosted), before);
    // The next memory must not be taken for the one that was freed.
    hosted.add_memory(0x22, SIZE).unwrap();
    base.bind(&hosted, &call(BUFFER, &[bind(0, SZ_64K, Some(0x22), 0)]))
        .unwrap();
    assert_eq!(
        base.last_binds(),
        [(BUFFER, bind(0, SZ_64K, Some(0x22), 0))]
    );
    assert_eq!(base.pages[&(BUFFER, 0)], (0x22, 0));
    assert_ne!(kernel_image(&hosted), before);
}

#[test]
fn a_bind_over_freed_memory_is_taken_back_to_that_memory() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
    let file = hosted.kernel().vpanthor().unwrap();
    let bos = file.objects().bos;
    hosted.remove_memory(MEMORY);
    // Another one that could take the handle of the first.
    hosted.add_memory(0x22, SIZE).unwrap();
    let before = kernel_image(&hosted);
    let over = call(BUFFER, &[bind(0, SZ_64K, Some(0x22), 0)]);
    base.refuse = Some(ash::vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
    base.bind(&hosted, &over).unwrap_err();
    assert_eq!(kernel_image(&hosted), before);
    base.bind(&hosted, &over).unwrap();
    assert_eq!(
        base.last_binds(),
        [(BUFFER, bind(0, SZ_64K, Some(0x22), 0))]
    );
    assert_eq!(
        file.objects().bos,
        bos,
        "what is neither bound nor allocated is gone"
    );
}

/// Memory that is freed before the base driver has answered can be mapped again all the same.
#[test]
fn a_call_over_memory_that_is_freed_meanwhile_is_taken_back_and_can_come_again() {
    for (flavour, strategy) in configurations() {
        for memory in [Some(MEMORY + 1), None] {
            let (hosted, mut base) = one_bound_piece(flavour, strategy);
            hosted.add_memory(MEMORY + 1, SIZE).unwrap();
            let before = kernel_image(&hosted);
            let call = call(BUFFER, &[bind(0, SZ_64K, memory, SZ_64K)]);
            let freed = hosted.bind(&call, &mut |_| {
                hosted.remove_memory(MEMORY);
                let other = ResourceId::Buffer(0x11);
                hosted.add_resource(other, SIZE, PAGE, None).unwrap();
                hosted.remove_resource(other);
                Err(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY)
            });
            assert!(freed.is_err());
            assert_eq!(kernel_image(&hosted), before, "{flavour} {strategy}");
            base.bind(&hosted, &call).unwrap();
            let mut expected = Pages::new();
            write(&mut expected, BUFFER, &bind(0, SZ_64K, memory, SZ_64K));
            assert_eq!(base.pages, expected, "{flavour} {strategy}");
        }
    }
}

#[test]
fn a_resource_that_is_destroyed_while_bound_takes_its_mappings_along() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_8Repeat, Strategy::Repeat);
    hosted.remove_resource(BUFFER);
    assert_eq!(kernel_image(&hosted), Image(vec![]));
    // The next one at the same addresses starts unbound.
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    base.bind(&hosted, &call(BUFFER, &[bind(0, SIZE, None, 0)]))
        .unwrap();
    assert_eq!(base.last_binds(), []);
    assert_eq!(hosted.stats().binds_elided, 1);
    base.bind(&hosted, &call(BUFFER, &[bind(0, SZ_64K, Some(MEMORY), 0)]))
        .unwrap();
    assert_eq!(
        base.last_binds(),
        [(BUFFER, bind(0, SZ_64K, Some(MEMORY), 0))]
    );
}

#[test]
fn a_kernel_without_room_for_another_syncobj_changes_nothing() {
    let (hosted, mut base) = one_bound_piece(Flavour::V1_9, Strategy::Sparse);
    let before = kernel_image(&hosted);
    const SYNCOBJ_CREATE: u8 = 0xbf;
    inject(
        &hosted,
        Fault::Ioctl {
            number: SYNCOBJ_CREATE,
            nth: 2,
            errno: Errno::NOMEM,
        },
    );
    let mut call = three_pieces();
    call.infos[0].waits = vec![
        Semaphore {
            handle: 1,
            value: 0,
        },
        Semaphore {
            handle: 2,
            value: 0,
        },
    ];
    let error = base.bind(&hosted, &call).unwrap_err();
    assert!(
        matches!(error, HostedError::OutOfDeviceMemory(_)),
        "{error}"
    );
    assert_eq!(kernel_image(&hosted), before);
    base.bind(&hosted, &call).unwrap();
}

/// The second and the third ioctl of a call of 196,608 operations, whole or in their midst, and memory that was freed while
/// it was bound.
#[test]
fn a_call_of_three_ioctls_leaves_the_page_tables_as_they_were_wherever_it_fails() {
    const LARGE: u64 = 3 * 65_536 * PAGE;
    let op = |stage| Fault::Op {
        nth: 70_000,
        stage,
        errno: Errno::NOMEM,
    };
    let ioctl = |nth, errno| Fault::Ioctl {
        number: VM_BIND,
        nth,
        errno,
    };
    for (fault, lost) in [
        (ioctl(2, Errno::NOMEM), false),
        (ioctl(3, Errno::INVAL), false),
        (op(OpStage::Prepare), false),
        (op(OpStage::Run), true),
    ] {
        let hosted = hosted(Flavour::V1_5, Strategy::Page);
        hosted.add_memory(MEMORY, LARGE).unwrap();
        hosted.add_resource(BUFFER, LARGE, SZ_64K, None).unwrap();
        let mut base = FakeBase::default();
        base.bind(&hosted, &call(BUFFER, &[bind(0, LARGE, Some(MEMORY), 0)]))
            .unwrap();
        hosted.remove_memory(MEMORY);
        let (before, pages, submits) = (
            kernel_image(&hosted),
            base.pages.clone(),
            base.submits.len(),
        );
        let unbind = call(BUFFER, &[bind(0, LARGE, None, 0)]);
        inject(&hosted, fault);
        let error = base.bind(&hosted, &unbind).unwrap_err();
        assert_eq!(base.submits.len(), submits, "{fault:?}");
        assert!(base.pages == pages, "{fault:?}");
        assert_eq!(matches!(error, HostedError::DeviceLost(_)), lost, "{error}");
        if lost {
            continue;
        }
        assert!(kernel_image(&hosted) == before, "{fault:?}");
        base.bind(&hosted, &unbind).unwrap();
        assert!(base.pages.is_empty());
    }
}

#[test]
fn a_call_of_two_ioctls_whose_second_is_refused_is_taken_back_whole() {
    const LARGE: u64 = 150 * SZ_2M; // 76,800 pages: more ops than go into one ioctl.
    let hosted = hosted(Flavour::V1_5, Strategy::Page);
    hosted.add_memory(MEMORY, LARGE).unwrap();
    hosted.add_resource(BUFFER, LARGE, PAGE, None).unwrap();
    let mut base = FakeBase::default();
    base.bind(&hosted, &call(BUFFER, &[bind(0, LARGE, Some(MEMORY), 0)]))
        .unwrap();
    let (before, pages, stats) = (kernel_image(&hosted), base.pages.clone(), hosted.stats());

    let unbind = call(BUFFER, &[bind(0, LARGE, None, 0)]);
    inject(
        &hosted,
        Fault::Op {
            nth: 70_000,
            stage: OpStage::Prepare,
            errno: Errno::NOMEM,
        },
    );
    let error = base.bind(&hosted, &unbind).unwrap_err();
    assert!(
        matches!(error, HostedError::OutOfDeviceMemory(_)),
        "{error}"
    );
    assert!(kernel_image(&hosted) == before && base.pages == pages);
    assert_eq!(
        hosted.stats().vm_bind_ioctls - stats.vm_bind_ioctls,
        3,
        "two, and one back"
    );

    base.bind(&hosted, &unbind).unwrap();
    assert!(base.pages.is_empty());
}
