//! Many of everything: resources, batches, threads, devices, pieces.

use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::{Batch, Gpu, Random, SZ_2M, SZ_64K};

pub fn resources_in_one_call(gpu: &Gpu) {
    let buffers: Vec<_> = (1..=64).map(|n| gpu.sparse_buffer(n * SZ_64K)).collect();
    let memory = gpu.memory(&buffers[0], (1..=64).sum::<u64>() * SZ_64K);
    let mut batch = Batch::default();
    let mut places = Vec::new();
    let mut at = 0;
    for buffer in &buffers {
        batch = batch.and_buffer(buffer, [bind(0, buffer.size, &memory, at)]);
        places.push(at);
        at += buffer.size;
    }
    gpu.bind(&[batch]);
    for (seed, buffer) in buffers.iter().enumerate() {
        buffer.shader_write(0, buffer.size, seed as u32);
    }
    let held = memory.read(0, memory.size);
    for (seed, (buffer, at)) in buffers.iter().zip(places).enumerate() {
        let words = (at / 4) as usize..((at + buffer.size) / 4) as usize;
        assert_pattern(&format!("buffer {seed}"), &held[words], seed as u32, 0);
    }
}

pub fn batches_in_one_call(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(100 * SZ_64K);
    let memory = gpu.memory(&buffer, 100 * SZ_64K);
    let batches: Vec<_> = (0..100)
        .map(|i| {
            Batch::buffer(
                &buffer,
                [bind(i * SZ_64K, SZ_64K, &memory, (99 - i) * SZ_64K)],
            )
        })
        .collect();
    gpu.bind(&batches);
    buffer.shader_write(0, buffer.size, 1);
    let held = memory.read(0, memory.size);
    let block = (SZ_64K / 4) as usize;
    for (i, words) in held.chunks(block).enumerate() {
        assert_pattern(
            &format!("memory block {i}"),
            words,
            1,
            ((99 - i) * block) as u32,
        );
    }
}

/// Binds, writes, rebinds, reads, unbinds, frees; alone on its resources.
fn worker(gpu: &Gpu, seed: u64) {
    let mut random = Random::new(seed);
    let buffer = gpu.sparse_buffer(32 * SZ_64K);
    for _ in 0..6 {
        let memory = gpu.memory(&buffer, 32 * SZ_64K);
        let mut order: Vec<u64> = (0..32).collect();
        random.shuffle(&mut order);
        let binds: Vec<_> = order
            .iter()
            .zip(0..)
            .map(|(&m, i)| bind(i * SZ_64K, SZ_64K, &memory, m * SZ_64K))
            .collect();
        gpu.bind(&[Batch::buffer(&buffer, binds)]);
        let tag = random.word() as u32;
        buffer.shader_write(0, buffer.size, tag);
        let held = memory.read(0, memory.size);
        let block = (SZ_64K / 4) as usize;
        for (i, &m) in order.iter().enumerate() {
            let at = m as usize * block;
            assert_pattern(
                &format!("worker {seed}, block {i}"),
                &held[at..at + block],
                tag,
                (i * block) as u32,
            );
        }
        let other = gpu.sparse_buffer(SZ_2M);
        gpu.bind(&[
            Batch::buffer(&other, [bind(0, SZ_2M, &memory, 0)]),
            Batch::buffer(&buffer, [unbind(0, buffer.size)]),
        ]);
        other.shader_write(0, SZ_2M, tag.wrapping_add(1));
        assert_pattern(
            "through the other buffer",
            &memory.read(0, SZ_2M),
            tag.wrapping_add(1),
            0,
        );
    }
}

pub fn threads_on_one_device(gpu: &Gpu) {
    std::thread::scope(|s| {
        for seed in 0..6 {
            s.spawn(move || worker(gpu, seed));
        }
    });
}

pub fn threads_with_a_device_each(gpu: &Gpu) {
    std::thread::scope(|s| {
        for seed in 0..4 {
            s.spawn(move || {
                let mine = Gpu::new(&gpu.app);
                worker(&mine, seed);
            });
        }
        worker(gpu, 100);
    });
}

pub fn devices_in_one_process_one_after_another(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])]);
    buffer.shader_write(0, SZ_2M, 1);
    for seed in 0..3 {
        let other = Gpu::new(&gpu.app);
        worker(&other, seed);
    }
    assert_pattern("the first device", &buffer.shader_read(0, SZ_2M), 1, 0);
}

pub fn thousand_pieces_in_shuffled_order(gpu: &Gpu) {
    let mut random = Random::new(42);
    let buffer = gpu.sparse_buffer(1000 * SZ_64K);
    let memory = gpu.memory(&buffer, 1000 * SZ_64K);
    let mut order: Vec<u64> = (0..1000).collect();
    random.shuffle(&mut order);
    // The order of the list is shuffled; what each piece gets is not.
    gpu.bind(&[Batch::buffer(
        &buffer,
        order
            .iter()
            .map(|&i| bind(i * SZ_64K, SZ_64K, &memory, i * SZ_64K))
            .collect::<Vec<_>>(),
    )]);
    buffer.shader_write(0, buffer.size, 2);
    assert_pattern("in order", &memory.read(0, memory.size), 2, 0);
    // Now the pieces are shuffled too.
    gpu.bind(&[Batch::buffer(
        &buffer,
        order
            .iter()
            .zip(0..)
            .map(|(&m, i)| bind(i * SZ_64K, SZ_64K, &memory, m * SZ_64K))
            .collect::<Vec<_>>(),
    )]);
    buffer.shader_write(0, buffer.size, 3);
    let held = memory.read(0, memory.size);
    let block = (SZ_64K / 4) as usize;
    for (i, &m) in order.iter().enumerate() {
        let at = m as usize * block;
        assert_pattern(
            &format!("block {i}"),
            &held[at..at + block],
            3,
            (i * block) as u32,
        );
    }
}
