//! Random calls against plain memory: what the base driver has in the end is what the binds say, in their order.

use std::cell::Cell;
use std::collections::HashSet;
use vpanthor::Virtual;

use hosted::Hosted;
use hosted::config::NullChoice;
use panvk_sparse::units::SZ_64K;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use vpanthor::Flavour;
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId, Semaphore};

use crate::base::*;
use crate::node::{assert_in_step, beside};

const RESOURCES: [(ResourceId, u64, u64); 3] = [
    (ResourceId::Buffer(1), 700 * PAGE, PAGE),
    (ResourceId::Buffer(2), 3 * PAGE, PAGE),
    (ResourceId::Image(1), 40 * 16 * PAGE, 16 * PAGE),
];
const MEMORIES: [(u64, u64); 2] = [(1, 1024 * PAGE), (2, 64 * PAGE)];

/// A bind of any of the resources that is right by the rules of Vulkan.
fn any_bind() -> impl Strategy<Value = (ResourceId, Bind)> {
    (0..RESOURCES.len(), any::<[u32; 4]>(), 0..4usize).prop_map(
        |(which, [at, len, from, long], memory)| {
            let (id, size, granularity) = RESOURCES[which];
            let blocks = size / granularity;
            let at = u64::from(at) % blocks;
            // Mostly short, sometimes all the rest.
            let most = if long % 8 == 0 {
                blocks - at
            } else {
                (blocks - at).min(6)
            };
            let len = 1 + u64::from(len) % most;
            let memory = MEMORIES
                .get(memory)
                .filter(|(_, room)| len * granularity <= *room);
            let from = memory.map_or(0, |(_, room)| {
                u64::from(from) % ((room / granularity) - len + 1)
            });
            (
                id,
                bind(
                    at * granularity,
                    len * granularity,
                    memory.map(|(memory, _)| *memory),
                    from * granularity,
                ),
            )
        },
    )
}

fn any_info() -> impl Strategy<Value = BindInfo> {
    let semaphores = || {
        prop::collection::vec(
            (1..4u64, 1..9u64).prop_map(|(handle, value)| Semaphore { handle, value }),
            0..2,
        )
    };
    (
        prop::collection::vec(any_bind(), 0..8),
        semaphores(),
        semaphores(),
        any::<bool>(),
    )
        .prop_map(|(binds, waits, signals, joins_previous)| BindInfo {
            binds: binds
                .into_iter()
                .map(|(id, bind)| (id, vec![bind]))
                .collect(),
            waits,
            signals,
            joins_previous,
            ..BindInfo::default()
        })
}

fn any_calls() -> impl Strategy<Value = Vec<BindCall>> {
    let call = (
        prop::collection::vec(any_info(), 0..4),
        prop::option::of(1..3u64),
    )
        .prop_map(|(infos, fence)| BindCall { infos, fence });
    prop::collection::vec(call, 1..5)
}

/// With a `dummy`, the base driver has that memory wherever nothing else is bound, from a resource's first bind on.
fn check(hosted: &Hosted, calls: &[BindCall], dummy: Option<u64>) -> Result<(), TestCaseError> {
    for (memory, size) in MEMORIES {
        hosted
            .add_memory(memory, size)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
    hosted.add_timeline(1);
    for (id, size, granularity) in RESOURCES {
        hosted
            .add_resource(id, size, granularity, dummy)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
    let (mut base, mut model) = (FakeBase::default(), Pages::new());
    let mut started = HashSet::new();
    for call in calls {
        started.extend(call.infos.iter().flat_map(BindInfo::resources));
        let before = hosted.stats();
        base.bind(hosted, call)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (id, bind) in call
            .infos
            .iter()
            .flat_map(|info| &info.binds)
            .flat_map(|(id, binds)| binds.iter().map(move |bind| (*id, bind)))
        {
            write(&mut model, id, bind);
        }
        let mut expected = model.clone();
        if let Some(dummy) = dummy {
            let named = RESOURCES.iter().filter(|(id, ..)| started.contains(id));
            for &(id, size, granularity) in named {
                for page in 0..size / PAGE {
                    // Each 64 KiB, or each piece that can be bound where that is more, is the same memory.
                    let of_dummy = (dummy, page % (granularity.max(SZ_64K) / PAGE));
                    expected.entry((id, page)).or_insert(of_dummy);
                }
            }
        }
        prop_assert_eq!(&base.pages, &expected);
        prop_assert!(hosted.stats().vm_bind_ioctls - before.vm_bind_ioctls <= 1);
        if hosted.kernel().tee().is_some() {
            assert_in_step(hosted);
        }
    }
    for (id, ..) in RESOURCES {
        hosted.remove_resource(id);
    }
    for (memory, _) in MEMORIES {
        hosted.remove_memory(memory);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_base_driver_has_what_the_binds_say(
        calls in any_calls(),
        which in 0..100usize,
        dummy in prop::option::of(Just(0x99)),
    ) {
        let configurations = configurations();
        let (flavour, strategy) = configurations[which % configurations.len()];
        check(&hosted(flavour, strategy), &calls, dummy)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_node_beside_the_model_maps_the_same_at_every_step(
        calls in any_calls(),
        flavour in prop::sample::select(&Flavour::ALL[..]),
    ) {
        check(&beside(flavour, NullChoice::Auto).unwrap(), &calls, None)?;
    }
}

#[test]
fn nothing_is_left_in_the_kernel_when_all_is_destroyed() {
    for (flavour, strategy) in configurations() {
        let hosted = hosted(flavour, strategy);
        let file = hosted.kernel().vpanthor().unwrap();
        let fresh = file.objects();
        let calls = Cell::new(0);
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        for _ in 0..20 {
            let tree = any_calls().new_tree(&mut runner).unwrap();
            check(&hosted, &tree.current(), None).unwrap();
            calls.set(calls.get() + 1);
        }
        for semaphore in 1..4 {
            hosted.remove_semaphore(semaphore);
        }
        for fence in 1..3 {
            hosted.remove_fence(fence);
        }
        assert_eq!(file.objects(), fresh, "{flavour} {strategy}");
    }
}
