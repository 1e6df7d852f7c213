//! Binds on two queues at once, over a base driver that has two: the panvk in small, with the binds going to a kernel in this
//! process.

use ash::vk;
use common::{Random, name_of};

use crate::board::kit::{App, Bind, Gpu, PIECE, Ran, Syncs, bo, run, va};

const KERNELS: [&str; 2] = ["vpanthor:1.9", "vpanthor:1.5"];
const PIECES: u64 = 40;
/// Calls of each queue that bind the buffer that both bind.
const ROUNDS: u64 = 200;

/// Runs `body` over each kernel, and then `check` on what is left.
fn over_each_kernel(test: &str, body: fn(&Gpu), check: fn(Ran)) {
    for kernel in KERNELS {
        let body = || {
            // The panvk in small knows no such word.
            let kernel = std::env::var("SMALL_PANVK").expect("the kernel");
            // SAFETY: no other thread of the child looks at the environment.
            unsafe { std::env::set_var("PANVK_SPARSE_KERNEL", kernel) };
            let (app, _library) = App::new();
            body(&Gpu::new(&app, 0));
        };
        let Some(ran) = run(test, "1.9", kernel, body) else {
            return;
        };
        assert!(!ran.stderr.contains("error"), "{kernel}: {}", ran.stderr);
        check(ran);
    }
}

/// What the call of a number binds: some pieces.
fn binds(call: u64) -> Vec<Bind> {
    let mut random = Random::new(call);
    let any = |random: &mut Random| random.below(PIECES) * PIECE;
    (0..1 + random.below(8))
        .map(|_| {
            let at = any(&mut random);
            (at, (!random.one_in(3)).then(|| any(&mut random)))
        })
        .collect()
}

/// Where pieces are bound to after these calls.
fn after(calls: impl Iterator<Item = u64>) -> Vec<Option<u64>> {
    let mut pieces = vec![None; PIECES as usize];
    for (at, memory) in calls.flat_map(binds) {
        pieces[(at / PIECE) as usize] = memory;
    }
    pieces
}

/// Two threads submit to a queue each, without waiting for one another. The calls on one buffer take turns, by a timeline, so
/// most of them wait for what is submitted later; between them each queue binds a buffer of its own.
#[test]
fn what_two_queues_bind_in_turns_is_what_the_base_driver_maps() {
    let body = |gpu: &Gpu| {
        let both = gpu.buffer(PIECES * PIECE, true);
        let own = [(); 2].map(|()| gpu.buffer(PIECES * PIECE, true));
        let memory = gpu.memory(PIECES * PIECE);
        let timeline = gpu.timeline();
        let fences = [gpu.fence(), gpu.fence()];
        std::thread::scope(|scope| {
            for queue in [0, 1] {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let call = 2 * round + queue as u64;
                        let in_turn = Syncs {
                            wait: (call > 0).then_some((timeline, call)),
                            signal: Some((timeline, call + 1)),
                            ..Syncs::default()
                        };
                        gpu.bind(queue, both, memory, &binds(call), in_turn)
                            .expect("it is taken");
                        let mut syncs = Syncs::default();
                        if round == ROUNDS - 1 {
                            syncs.fence = fences[queue];
                        }
                        gpu.bind(queue, own[queue], memory, &binds(call), syncs)
                            .expect("it is taken");
                    }
                });
            }
        });
        for fence in fences {
            gpu.wait(fence).expect("it is done");
        }
        let buffers = [both, own[0], own[1]].map(va);
        println!(
            "both {} first {} second {}",
            buffers[0], buffers[1], buffers[2]
        );
        println!("memory {}", bo(memory));
    };
    let check = |ran: Ran| {
        let memory = ran.told("memory");
        let calls = 0..2 * ROUNDS;
        for (buffer, expected) in [
            ("both", after(calls.clone())),
            ("first", after(calls.clone().step_by(2))),
            ("second", after(calls.skip(1).step_by(2))),
        ] {
            for (piece, expected) in (0..).zip(expected) {
                let mapping = ran.mapping(ran.told(buffer) + piece * PIECE);
                let mapping = mapping.expect("all of a resident buffer is mapped");
                let bound = mapping.0.map(|bo| (bo, mapping.1));
                let expected = expected.map(|offset| (memory, offset));
                assert_eq!(bound, expected, "piece {piece} of {buffer}");
            }
        }
    };
    let test = name_of!(what_two_queues_bind_in_turns_is_what_the_base_driver_maps);
    over_each_kernel(test, body, check);
}

/// The queue is known to have come past what it waited for, although no bind waits for that again.
#[test]
fn after_a_wait_that_is_over_equal_binds_are_elided_again() {
    let body = |gpu: &Gpu| {
        let (buffer, memory) = (gpu.buffer(PIECE, true), gpu.memory(PIECE));
        let (timeline, fence) = (gpu.timeline(), gpu.fence());
        let late = Syncs {
            wait: Some((timeline, 1)),
            signal: None,
            fence,
        };
        gpu.bind(0, buffer, memory, &[(0, Some(0))], late)
            .expect("it is taken");
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(timeline)
            .value(1);
        // SAFETY: a semaphore of the device.
        unsafe { gpu.device.signal_semaphore(&info) }.expect("it is signalled");
        gpu.wait(fence).expect("it is done");
        for _ in 0..3 {
            gpu.bind_and_wait(0, buffer, memory, &[(0, Some(0))]);
        }
        // SAFETY: nothing of it is used any more.
        unsafe { gpu.device.destroy_device(None) };
    };
    let check = |ran: Ran| {
        let stats = &ran.stats[0];
        assert_eq!(stats["binds_elided"], 2, "{stats}");
    };
    let test = name_of!(after_a_wait_that_is_over_equal_binds_are_elided_again);
    over_each_kernel(test, body, check);
}
