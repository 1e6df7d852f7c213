//! The order of binds among themselves and with other work: semaphores of both kinds, and fences.
//!
//! Timeline values are waited for, never compared behind a fence: lavapipe may signal a fence a moment before the value.

use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::work::Work;
use common::{Batch, Fence, Gpu, SZ_2M, SZ_64K, Semaphore};

pub fn a_binary_chain_orders_binds_and_shaders(gpu: &Gpu) {
    // write to a -> bind b -> write to b -> bind a -> copy a's contents out; the host waits once, at the end.
    let buffer = gpu.sparse_buffer(SZ_2M);
    let out = gpu.sparse_buffer(SZ_2M);
    let (a, b, c) = (
        gpu.memory(&buffer, SZ_2M),
        gpu.memory(&buffer, SZ_2M),
        gpu.memory(&out, SZ_2M),
    );
    let links: Vec<Semaphore<'_>> = (0..5).map(|_| gpu.binary()).collect();
    let first = Work::record(gpu, |r| r.fill(&buffer, 0, SZ_2M, 1));
    let second = Work::record(gpu, |r| r.fill(&buffer, 0, SZ_2M, 2));
    let third = Work::record(gpu, |r| r.shader_copy(&buffer, 0, &out, 0, SZ_2M));
    let to = |m| [bind(0, SZ_2M, m, 0)];
    gpu.bind_async(
        &[Batch::buffer(&buffer, to(&a))
            .and_buffer(&out, to(&c))
            .signal(links[0].point())],
        None,
    )
    .expect("bind a");
    first.submit(&[links[0].point()], &[links[1].point()]);
    gpu.bind_async(
        &[Batch::buffer(&buffer, to(&b))
            .wait(links[1].point())
            .signal(links[2].point())],
        None,
    )
    .expect("bind b");
    second.submit(&[links[2].point()], &[links[3].point()]);
    gpu.bind_async(
        &[Batch::buffer(&buffer, to(&a))
            .wait(links[3].point())
            .signal(links[4].point())],
        None,
    )
    .expect("bind a again");
    third.submit(&[links[4].point()], &[]);
    third.wait();
    assert_pattern("a, through the copy", &c.read(0, SZ_2M), 1, 0);
    assert_pattern("a", &a.read(0, SZ_2M), 1, 0);
    assert_pattern("b", &b.read(0, SZ_2M), 2, 0);
}

pub fn a_bind_may_wait_before_the_signal(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let (a, b) = (gpu.memory(&buffer, SZ_2M), gpu.memory(&buffer, SZ_2M));
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &a, 0)])]);
    let timeline = gpu.timeline(0);
    let fence = Fence::new(gpu);
    // Nothing has signalled 1 yet, and the shader's work waits for 2, which only this bind will signal.
    gpu.bind_async(
        &[Batch::buffer(&buffer, [bind(0, SZ_2M, &b, 0)])
            .wait(timeline.at(1))
            .signal(timeline.at(2))],
        Some(&fence),
    )
    .expect("a bind that waits");
    let write = Work::record(gpu, |r| r.fill(&buffer, 0, SZ_2M, 3));
    write.submit(&[timeline.at(2)], &[timeline.at(3)]);
    assert!(
        !fence.signalled() && !write.done(),
        "nothing runs before the signal"
    );
    assert_eq!(timeline.value(), 0);
    timeline.signal(1);
    timeline.wait(3);
    fence.wait();
    write.wait();
    assert_pattern("the memory bound late", &b.read(0, SZ_2M), 3, 0);
}

pub fn a_timeline_orders_many_binds(gpu: &Gpu) {
    // Bind memory k, write k; 24 times, one timeline, one wait.
    const ROUNDS: u64 = 24;
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, ROUNDS * SZ_64K);
    let timeline = gpu.timeline(10);
    let writes: Vec<_> = (0..ROUNDS)
        .map(|k| Work::record(gpu, |r| r.fill(&buffer, SZ_64K, SZ_64K, k as u32)))
        .collect();
    for (k, write) in (0..ROUNDS).zip(&writes) {
        let at = 10 + 2 * k;
        gpu.bind_async(
            &[
                Batch::buffer(&buffer, [bind(SZ_64K, SZ_64K, &memory, k * SZ_64K)])
                    .wait(timeline.at(at))
                    .signal(timeline.at(at + 1)),
            ],
            None,
        )
        .expect("bind");
        write.submit(&[timeline.at(at + 1)], &[timeline.at(at + 2)]);
    }
    timeline.wait(10 + 2 * ROUNDS);
    drop(writes);
    for k in 0..ROUNDS {
        assert_pattern(
            &format!("round {k}"),
            &memory.read(k * SZ_64K, SZ_64K),
            k as u32,
            0,
        );
    }
}

pub fn an_empty_submit_signals_its_fence(gpu: &Gpu) {
    for _ in 0..3 {
        let fence = Fence::new(gpu);
        gpu.bind_async(&[], Some(&fence)).expect("no batch");
        fence.wait();
    }
    gpu.bind_async(&[], None).expect("no batch, no fence");
    // After a bind that is still waiting, the fence of an empty submit comes later than the bind.
    let buffer = gpu.sparse_buffer(SZ_2M);
    let timeline = gpu.timeline(0);
    let fence = Fence::new(gpu);
    gpu.bind_async(
        &[Batch::buffer(&buffer, [unbind(0, SZ_2M)]).wait(timeline.at(1))],
        None,
    )
    .expect("bind");
    gpu.bind_async(&[], Some(&fence)).expect("no batch");
    assert!(
        !fence.signalled(),
        "a fence waits for all work before it on the queue"
    );
    timeline.signal(1);
    fence.wait();
    // The validation layer does not conclude from that fence that the bind before it is done.
    gpu.wait_idle();
}

pub fn a_batch_without_binds_passes_semaphores_on(gpu: &Gpu) {
    let (binary, timeline) = (gpu.binary(), gpu.timeline(0));
    let fence = Fence::new(gpu);
    gpu.bind_async(&[Batch::default().signal(binary.point())], None)
        .expect("signal only");
    gpu.bind_async(
        &[Batch::default().wait(binary.point()).signal(timeline.at(5))],
        None,
    )
    .expect("both");
    gpu.bind_async(
        &[
            Batch::default().wait(timeline.at(7)),
            Batch::default().signal(timeline.at(9)),
        ],
        Some(&fence),
    )
    .expect("wait only, then signal only");
    timeline.wait(5);
    assert!(!fence.signalled());
    timeline.signal(7);
    fence.wait();
    timeline.wait(9);
}

pub fn batches_of_one_call_may_wait_for_each_other(gpu: &Gpu) {
    // The same range in every batch; a semaphore between any two makes the order certain.
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memories: Vec<_> = (0..4).map(|_| gpu.memory(&buffer, SZ_2M)).collect();
    let binary: Vec<_> = (0..3).map(|_| gpu.binary()).collect();
    let batches: Vec<_> = memories
        .iter()
        .enumerate()
        .map(|(i, m)| {
            let mut batch = Batch::buffer(&buffer, [bind(0, SZ_2M, m, 0)]);
            batch
                .waits
                .extend(i.checked_sub(1).map(|before| binary[before].point()));
            batch.signals.extend(binary.get(i).map(Semaphore::point));
            batch
        })
        .collect();
    gpu.bind(&batches);
    buffer.shader_write(0, SZ_2M, 4);
    assert_pattern("the last one has it", &memories[3].read(0, SZ_2M), 4, 0);
}

pub fn many_waits_and_signals_of_both_kinds(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    let binary: Vec<_> = (0..8).map(|_| gpu.binary()).collect();
    let timelines: Vec<_> = (0..8).map(|i| gpu.timeline(i)).collect();
    let mut give = Batch::default();
    let mut take = Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)]);
    for (i, (b, t)) in binary.iter().zip(&timelines).enumerate() {
        let value = i as u64 + 100;
        give.signals.extend([b.point(), t.at(value)]);
        take.waits.extend([t.at(value), b.point()]);
        take.signals.push(t.at(value + 100));
    }
    gpu.bind_async(&[give], None).expect("signals");
    gpu.bind(&[take]);
    for (i, t) in timelines.iter().enumerate() {
        t.wait(i as u64 + 200);
    }
    buffer.shader_write(0, SZ_2M, 5);
    assert_pattern("the memory", &memory.read(0, SZ_2M), 5, 0);
}

pub fn a_device_group_struct_is_taken(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    let (binary, timeline) = (gpu.binary(), gpu.timeline(0));
    let with = |batch: Batch| Batch {
        device_group: Some(0),
        ..batch
    };
    gpu.bind(&[
        with(
            Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])
                .signal(binary.point())
                .signal(timeline.at(1)),
        ),
        with(Batch::default().wait(binary.point())),
        with(Batch::default()),
    ]);
    timeline.wait(1);
    buffer.shader_write(0, SZ_2M, 6);
    assert_pattern("the memory", &memory.read(0, SZ_2M), 6, 0);
}

pub fn batches_without_a_resource_are_taken(gpu: &Gpu) {
    // Batches may name no resource at all (a resource with an empty list is not valid usage).
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    let timeline = gpu.timeline(0);
    gpu.bind(&[
        Batch::default(),
        Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)]),
        Batch::default().signal(timeline.at(1)),
        Batch::default(),
    ]);
    timeline.wait(1);
    buffer.shader_write(0, SZ_2M, 7);
    assert_pattern("the memory", &memory.read(0, SZ_2M), 7, 0);
}
