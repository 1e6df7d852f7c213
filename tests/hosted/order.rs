//! Binds on two queues, over a base driver that runs them in any order that semaphores allow.

use std::collections::{BTreeMap, BTreeSet};

use hosted::config::NullChoice;
use hosted::{BaseBatch, Hosted};
use panvk_sparse::lower::Strategy as Null;
use panvk_sparse::units::SZ_64K;
use proptest::prelude::*;
use vpanthor::{Flavour, KernelSpec};
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId, Semaphore};

use crate::base::*;

const BUFFERS: [ResourceId; 2] = [ResourceId::Buffer(1), ResourceId::Buffer(2)];
const PIECES: u64 = 6;
const SIZE: u64 = PIECES * SZ_64K;
const MEMORIES: [u64; 2] = [0xa, 0xb];

/// A batch that a queue has yet to run.
#[derive(Debug)]
struct Waiting {
    /// Its number among all batches of the application.
    name: usize,
    waits: Vec<Semaphore>,
    signals: Vec<Semaphore>,
    binds: Vec<(ResourceId, Bind)>,
    /// What the application itself asked for.
    asked: Vec<(ResourceId, Bind)>,
}

/// A base driver whose queues each run one batch after another, once what it waits for is signalled.
#[derive(Debug, Default)]
struct Base {
    queues: [Vec<Waiting>; 2],
    values: BTreeMap<u64, u64>,
    pages: Pages,
    /// What the pages would be if it were asked what the application asks for.
    asked: Pages,
    /// The batches that it has run, in that order.
    ran: Vec<usize>,
}

impl Base {
    fn can_run(&self, queue: usize) -> bool {
        let reached = |wait: &Semaphore| self.values.get(&wait.handle) >= Some(&wait.value);
        let next = self.queues[queue].first();
        next.is_some_and(|batch| batch.waits.iter().all(reached))
    }

    fn run(&mut self, queue: usize) {
        let batch = self.queues[queue].remove(0);
        for (id, bind) in &batch.binds {
            write(&mut self.pages, *id, bind);
        }
        for (id, bind) in &batch.asked {
            write(&mut self.asked, *id, bind);
        }
        for signal in batch.signals {
            self.values.insert(signal.handle, signal.value);
        }
        self.ran.push(batch.name);
    }

    fn run_all(&mut self) {
        while let Some(queue) = [0, 1].into_iter().find(|&queue| self.can_run(queue)) {
            self.run(queue);
        }
        assert!(self.queues.iter().all(Vec::is_empty), "{self:?}");
    }
}

fn device(flavour: Flavour, null: Null) -> Hosted {
    let kernel = KernelSpec::Vpanthor(flavour);
    let names = ("device".to_owned(), "base".to_owned());
    let hosted = Hosted::new(&kernel, NullChoice::Fixed(null), names.0, names.1);
    let hosted = hosted.expect("the kernel can do it");
    for memory in MEMORIES {
        hosted.add_memory(memory, SIZE).unwrap();
    }
    for buffer in BUFFERS {
        hosted.add_resource(buffer, SIZE, SZ_64K, None).unwrap();
    }
    hosted
}

/// Has `hosted` carry out the call, whose infos have these names. `refuse`: the base driver does not take it.
fn submit(
    hosted: &Hosted,
    base: &mut Base,
    queue: usize,
    infos: &[(usize, BindInfo)],
    refuse: bool,
) {
    let call = BindCall {
        infos: infos.iter().map(|(_, info)| info.clone()).collect(),
        fence: None,
    };
    let values = base.values.clone();
    let value = |semaphore| values.get(&semaphore).copied().unwrap_or(0);
    let mut take = |batches: &[BaseBatch]| {
        if refuse {
            return Err(ash::vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        }
        for batch in batches {
            let of = &infos[batch.first..=batch.last];
            let all = |binds: &[(ResourceId, Vec<Bind>)]| -> Vec<(ResourceId, Bind)> {
                let each = binds.iter();
                each.flat_map(|(id, binds)| binds.iter().map(|&bind| (*id, bind)))
                    .collect()
            };
            base.queues[queue].push(Waiting {
                name: of[0].0,
                waits: of[0].1.waits.clone(),
                signals: of[of.len() - 1].1.signals.clone(),
                binds: all(&batch.binds),
                asked: of.iter().flat_map(|(_, info)| all(&info.binds)).collect(),
            });
        }
        Ok(())
    };
    let done = hosted.bind_on(queue as u64, &value, &call, &mut take);
    assert_eq!(done.is_err(), refuse, "{done:?}");
}

fn piece(at: u64, memory: Option<u64>) -> Bind {
    bind(at * SZ_64K, SZ_64K, memory, at * SZ_64K)
}

fn info(binds: Vec<(ResourceId, Bind)>, waits: &[u64], signals: &[u64]) -> BindInfo {
    let semaphore = |&handle: &u64| Semaphore { handle, value: 1 };
    BindInfo {
        binds: binds
            .into_iter()
            .map(|(id, bind)| (id, vec![bind]))
            .collect(),
        waits: waits.iter().map(semaphore).collect(),
        signals: signals.iter().map(semaphore).collect(),
        joins_previous: false,
        ..BindInfo::default()
    }
}

/// One bind of the first piece.
fn one(memory: Option<u64>, waits: &[u64], signals: &[u64]) -> [(usize, BindInfo); 1] {
    [(
        0,
        info(vec![(BUFFERS[0], piece(0, memory))], waits, signals),
    )]
}

const T: u64 = 5;

#[test]
fn a_bind_that_waits_for_a_later_submit_leaves_nothing_to_be_elided() {
    for (flavour, null) in configurations() {
        for last in [Some(0xb), None] {
            let (hosted, mut base) = (device(flavour, null), Base::default());
            hosted.add_timeline(T);
            submit(&hosted, &mut base, 0, &one(Some(0xa), &[T], &[]), false);
            submit(&hosted, &mut base, 1, &one(last, &[], &[T]), false);
            base.run_all();
            // The buffer has 0xa, which was asked for first and bound last.
            submit(&hosted, &mut base, 1, &one(last, &[], &[]), false);
            base.run_all();
            assert_eq!(base.pages, base.asked, "{flavour} {null} {last:?}");
        }
    }
}

#[test]
fn a_bind_between_two_equal_ones_of_another_queue_is_undone_by_the_second() {
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    let (there, back) = (6, 7);
    hosted.add_timeline(there);
    hosted.add_timeline(back);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[there]), false);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[back], &[]), false);
    submit(
        &hosted,
        &mut base,
        1,
        &one(Some(0xb), &[there], &[back]),
        false,
    );
    base.run_all();
    assert_eq!(base.pages, base.asked);
    assert_eq!(base.pages[&(BUFFERS[0], 0)], (0xa, 0));
}

#[test]
fn binds_in_the_order_of_semaphores_are_elided_on_any_queue() {
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    let binary = 8;
    hosted.add_timeline(T);
    submit(
        &hosted,
        &mut base,
        0,
        &one(Some(0xa), &[], &[T, binary]),
        false,
    );
    submit(&hosted, &mut base, 1, &one(Some(0xa), &[T], &[]), false);
    submit(&hosted, &mut base, 1, &one(Some(0xa), &[], &[]), false);
    assert_eq!(hosted.stats().binds_elided, 2, "by a timeline");
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[]), false);
    assert_eq!(hosted.stats().binds_elided, 2, "by nothing");
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    submit(
        &hosted,
        &mut base,
        0,
        &one(Some(0xa), &[], &[binary]),
        false,
    );
    submit(
        &hosted,
        &mut base,
        1,
        &one(Some(0xa), &[binary], &[]),
        false,
    );
    assert_eq!(hosted.stats().binds_elided, 1, "by a binary semaphore");
}

#[test]
fn a_wait_that_the_timeline_has_reached_makes_no_bind_unordered() {
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    hosted.add_timeline(T);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[T], &[]), false);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[]), false);
    assert_eq!(hosted.stats().binds_elided, 0);
    // The host signals it.
    base.values.insert(T, 1);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[T], &[]), false);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[]), false);
    assert_eq!(hosted.stats().binds_elided, 1);
}

/// The binds after it need not wait for it again.
#[test]
fn a_wait_makes_no_bind_unordered_once_the_timeline_has_reached_it() {
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    hosted.add_timeline(T);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[T], &[]), false);
    submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[]), false);
    assert_eq!(hosted.stats().binds_elided, 0);
    // The host signals it.
    base.values.insert(T, 1);
    for elided in [0, 1, 2] {
        submit(&hosted, &mut base, 0, &one(Some(0xa), &[], &[]), false);
        assert_eq!(hosted.stats().binds_elided, elided);
    }
}

/// The base driver refuses a call after another queue has bound the same, and been told that it is done.
#[test]
fn a_call_that_is_taken_back_leaves_an_equal_bind_of_another_queue() {
    let (hosted, mut base) = (device(Flavour::V1_9, Null::Sparse), Base::default());
    let call = call(BUFFERS[0], &[piece(0, Some(0xa))]);
    let refused = hosted.bind_on(0, &|_| 0, &call, &mut |_| {
        submit(&hosted, &mut base, 1, &one(Some(0xa), &[], &[]), false);
        Err(ash::vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)
    });
    assert!(refused.is_err());
    submit(&hosted, &mut base, 1, &one(Some(0xa), &[], &[]), false);
    base.run_all();
    assert_eq!(base.pages[&(BUFFERS[0], 0)], (0xa, 0));
    submit(&hosted, &mut base, 1, &one(None, &[], &[]), false);
    base.run_all();
    assert_eq!(base.pages.get(&(BUFFERS[0], 0)), None);
}

/// A batch of a random application.
#[derive(Clone, Debug)]
struct Step {
    queue: usize,
    binds: Vec<(usize, u64, Option<usize>)>,
    /// How far back the batches are whose ends it waits for.
    after: Vec<usize>,
    /// How many batches of the queue after this one it is submitted with.
    with_next: bool,
    refused: bool,
}

fn any_step() -> impl Strategy<Value = Step> {
    let target = (0..2usize, 0..PIECES, prop::option::of(0..2usize));
    (
        0..2usize,
        prop::collection::vec(target, 0..4),
        prop::collection::vec(1..5usize, 0..3),
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(queue, binds, after, with_next, refused)| Step {
            queue,
            binds,
            after,
            with_next,
            refused,
        })
}

/// `steps` stand in an order in which they can run, so each waits for earlier ones only. They are submitted in another one:
/// `choices` says which queue is next, and when the base driver runs something. Gives the pages that are as they have to be.
fn play(
    hosted: &Hosted,
    base: &mut Base,
    steps: &[Step],
    semaphores: u64,
    choices: &[bool],
) -> BTreeSet<(ResourceId, u64)> {
    let mut choices = choices.iter().cycle().copied();
    let mut choose = move || choices.next().unwrap_or(false);
    let mut queues = [Vec::new(), Vec::new()];
    // For each step those that end before it begins.
    let mut before: Vec<BTreeSet<usize>> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let handle = |i: usize| semaphores + i as u64;
        let waits: BTreeSet<usize> = step
            .after
            .iter()
            .filter_map(|&n| i.checked_sub(n))
            .collect();
        let last = (0..i).rev().find(|&other| steps[other].queue == step.queue);
        let mut all: BTreeSet<usize> = waits.iter().copied().chain(last).collect();
        let earlier: Vec<_> = all.iter().flat_map(|&one| before[one].clone()).collect();
        all.extend(earlier);
        before.push(all);
        let memory = |which: Option<usize>| which.map(|which| MEMORIES[which]);
        let binds = step.binds.iter();
        let binds = binds.map(|&(id, at, which)| (BUFFERS[id], piece(at, memory(which))));
        let waits: Vec<u64> = waits.into_iter().map(handle).collect();
        hosted.add_timeline(handle(i));
        queues[step.queue].push((i, info(binds.collect(), &waits, &[handle(i)])));
    }
    let mut places = [0, 0];
    while (0..2).any(|queue| places[queue] < queues[queue].len()) {
        let queue = usize::from(choose());
        let rest = &queues[queue][places[queue]..];
        let Some(&(first, _)) = rest.first() else {
            continue;
        };
        let count = if steps[first].with_next {
            rest.len().min(2)
        } else {
            1
        };
        if steps[first].refused {
            submit(hosted, base, queue, &rest[..count], true);
        }
        submit(hosted, base, queue, &rest[..count], false);
        places[queue] += count;
        while choose() && choose() {
            let queue = usize::from(choose());
            if base.can_run(queue) {
                base.run(queue);
            }
        }
    }
    base.run_all();
    // A page is as the last batch says that names it, if that comes after all others.
    let mut certain = BTreeSet::new();
    for (id, buffer) in BUFFERS.iter().enumerate() {
        for at in 0..PIECES {
            let names = |step: &Step| step.binds.iter().any(|&(i, a, _)| (i, a) == (id, at));
            let all: Vec<usize> = (0..steps.len()).filter(|&i| names(&steps[i])).collect();
            if all.windows(2).all(|two| before[two[1]].contains(&two[0])) && !all.is_empty() {
                certain.insert((*buffer, at));
            }
        }
    }
    certain
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_two_queues_bind_in_a_certain_order_is_what_the_base_driver_has(
        rounds in prop::collection::vec(
            (prop::collection::vec(any_step(), 1..12), prop::collection::vec(any::<bool>(), 64)),
            1..4,
        ),
        which in 0..100usize,
    ) {
        let configurations = configurations();
        let (flavour, null) = configurations[which % configurations.len()];
        let (hosted, mut base) = (device(flavour, null), Base::default());
        for (round, (steps, choices)) in rounds.iter().enumerate() {
            let certain = play(&hosted, &mut base, steps, 100 * (round as u64 + 1), choices);
            for &(id, at) in &certain {
                let pages = |of: &Pages| -> Vec<_> {
                    let all = at * 16..(at + 1) * 16;
                    all.map(|page| of.get(&(id, page)).copied()).collect()
                };
                prop_assert_eq!(pages(&base.pages), pages(&base.asked), "{} {} of {:?}", id, at, base.ran);
            }
        }
        // What was bound in no certain order is bound again, by one who has waited for all of it.
        let all = BUFFERS.iter().flat_map(|&id| (0..PIECES).map(move |at| (id, piece(at, Some(0xb)))));
        submit(&hosted, &mut base, 1, &[(0, info(all.collect(), &[], &[]))], false);
        base.run_all();
        prop_assert_eq!(&base.pages, &base.asked);
    }
}
