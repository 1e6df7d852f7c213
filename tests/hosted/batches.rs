//! How infos become batches, and what the kernel is asked for them.

use panvk_sparse::lower::Strategy;
use panvk_sparse::units::SZ_64K;
use vpanthor::{Flavour, Virtual};
use vulkan::calls::{BindCall, BindInfo, ResourceId, Semaphore};

use crate::base::*;

const BUFFER: ResourceId = ResourceId::Buffer(1);
const MEMORY: u64 = 2;
const SIZE: u64 = 256 * SZ_64K;

fn info(piece: u64) -> BindInfo {
    BindInfo {
        binds: vec![(
            BUFFER,
            vec![bind(piece * SZ_64K, SZ_64K, Some(MEMORY), piece * SZ_64K)],
        )],
        joins_previous: true,
        ..BindInfo::default()
    }
}

fn semaphore(handle: u64) -> Vec<Semaphore> {
    vec![Semaphore { handle, value: 7 }]
}

/// Runs the call; gives `[vm_bind_ioctls, vm_bind_ops, sync_ops]` of it and how the base driver saw the infos.
fn run(calls: &[BindCall]) -> ([u64; 3], Vec<Vec<(usize, usize)>>) {
    let hosted = hosted(Flavour::V1_8Repeat, Strategy::Repeat);
    hosted.add_memory(MEMORY, SIZE).unwrap();
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    let before = hosted.stats();
    let mut base = FakeBase::default();
    for call in calls {
        base.bind(&hosted, call).unwrap();
    }
    let after = hosted.stats();
    let seen = base
        .submits
        .iter()
        .map(|batches| batches.iter().map(|b| (b.first, b.last)).collect())
        .collect();
    let counts = [
        after.vm_bind_ioctls - before.vm_bind_ioctls,
        after.vm_bind_ops - before.vm_bind_ops,
        after.sync_ops - before.sync_ops,
    ];
    (counts, seen)
}

#[test]
fn infos_without_semaphores_are_one_batch_and_one_op() {
    let call = BindCall {
        infos: (0..100).map(info).collect(),
        fence: Some(9),
    };
    assert_eq!(run(&[call]), ([1, 1, 0], vec![vec![(0, 99)]]));
}

#[test]
fn a_semaphore_between_two_infos_keeps_them_apart_but_in_one_ioctl() {
    let mut infos: Vec<BindInfo> = (0..4).map(info).collect();
    infos[1].signals = semaphore(5);
    let call = BindCall {
        infos: infos.clone(),
        fence: None,
    };
    assert_eq!(run(&[call]), ([1, 2, 0], vec![vec![(0, 1), (2, 3)]]));

    let mut infos: Vec<BindInfo> = (0..4).map(info).collect();
    infos[0].waits = semaphore(5);
    infos[3].waits = semaphore(6);
    infos[3].signals = semaphore(7);
    let call = BindCall { infos, fence: None };
    assert_eq!(run(&[call]), ([1, 2, 0], vec![vec![(0, 2), (3, 3)]]));
}

#[test]
fn an_info_that_may_not_join_stays_apart() {
    let mut infos: Vec<BindInfo> = (0..3).map(info).collect();
    infos[1].joins_previous = false;
    assert_eq!(
        run(&[BindCall { infos, fence: None }]),
        ([1, 2, 0], vec![vec![(0, 0), (1, 2)]])
    );
}

#[test]
fn what_has_nothing_to_map_but_something_to_signal_is_one_sync_only() {
    let empty = BindInfo {
        signals: semaphore(5),
        ..BindInfo::default()
    };
    let wait = BindInfo {
        waits: semaphore(5),
        ..BindInfo::default()
    };
    let fence = |infos| BindCall {
        infos,
        fence: Some(9),
    };
    assert_eq!(run(&[fence(vec![])]), ([1, 1, 1], vec![vec![]]));
    assert_eq!(
        run(&[BindCall {
            infos: vec![empty, wait],
            fence: None
        }]),
        ([1, 2, 2], vec![vec![(0, 0), (1, 1)]])
    );
    // The same bind again, with a fence and without.
    let first = BindCall {
        infos: vec![info(0)],
        fence: None,
    };
    assert_eq!(run(&[first.clone(), first.clone()]).0, [1, 1, 0]);
    assert_eq!(run(&[first.clone(), fence(vec![info(0)])]).0, [2, 2, 1]);
    assert_eq!(run(&[BindCall::default()]), ([0, 0, 0], vec![vec![]]));
}

#[test]
fn a_later_batch_is_planned_against_what_the_earlier_ones_leave() {
    let other = |memory_offset| BindInfo {
        binds: vec![(BUFFER, vec![bind(0, SZ_64K, Some(MEMORY), memory_offset)])],
        waits: semaphore(5),
        ..BindInfo::default()
    };
    // There, to another place, and back: three ops, though the state in the end is that after the first.
    let infos = vec![info(0), other(SZ_64K), other(0), other(0)];
    let (counts, seen) = run(&[BindCall { infos, fence: None }]);
    assert_eq!(
        counts,
        [1, 4, 1],
        "the last one changes nothing and only waits"
    );
    assert_eq!(seen[0].len(), 4);
}

/// Whoever allocates memory or destroys a semaphore need not wait until another thread's bind is planned.
#[test]
fn what_is_said_of_memories_semaphores_and_fences_does_not_wait_for_a_bind() {
    use std::sync::mpsc::channel;
    use std::time::Duration;
    let hosted = hosted(Flavour::V1_9, Strategy::Sparse);
    hosted.add_memory(MEMORY, SIZE).unwrap();
    hosted.add_resource(BUFFER, SIZE, PAGE, None).unwrap();
    let bos = hosted.kernel().vpanthor().unwrap().objects().bos;
    let (done, all_done) = channel();
    std::thread::scope(|scope| {
        hosted.with_space(|_| {
            scope.spawn(|| {
                for handle in 10..20 {
                    hosted.add_memory(handle, SIZE).unwrap();
                    hosted.remove_memory(handle);
                    hosted.add_timeline(handle);
                    hosted.remove_semaphore(handle);
                    hosted.remove_fence(handle);
                }
                // The handle comes again, and is bound once the books are free.
                hosted.add_memory(10, SIZE).unwrap();
                done.send(()).unwrap();
            });
            let waited = all_done.recv_timeout(Duration::from_secs(60));
            assert!(waited.is_ok(), "somebody waits for the books");
        });
    });
    let mut base = FakeBase::default();
    base.bind(&hosted, &call(BUFFER, &[bind(0, SIZE, Some(10), 0)]))
        .unwrap();
    assert_eq!(base.pages[&(BUFFER, 0)], (10, 0));
    assert_eq!(hosted.kernel().vpanthor().unwrap().objects().bos, bos + 1);
    let error = base.bind(&hosted, &call(BUFFER, &[bind(0, SIZE, Some(11), 0)]));
    assert!(error.is_err(), "it is freed");
}
