//! Buffers: what is written through one binding is read through another.

use common::gpu::{bind, unbind};
use common::pattern::{assert_pattern, assert_words, words};
use common::{Batch, Gpu, SZ_2M};

/// A bind granule for `gpu`'s buffers: at least 64 KiB, so that the numbers mean the same on every driver.
fn granule(gpu: &Gpu) -> u64 {
    gpu.sparse_buffer(SZ_2M).granularity().max(common::SZ_64K)
}

pub fn shader_writes_are_read_by_a_copy(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(4 * SZ_2M);
    let memory = gpu.memory(&buffer, buffer.requirements.size);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, memory.size, &memory, 0)])]);
    buffer.shader_write(0, buffer.size, 1);
    assert_pattern(
        "through the buffer",
        &buffer.copy_read(0, buffer.size),
        1,
        0,
    );
    assert_pattern("in the memory", &memory.read(0, buffer.size), 1, 0);
}

pub fn copies_are_read_by_a_shader(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(4 * SZ_2M);
    let memory = gpu.memory(&buffer, buffer.requirements.size);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, memory.size, &memory, 0)])]);
    buffer.copy_write(0, &words(2, buffer.size / 4));
    assert_pattern(
        "through the buffer",
        &buffer.shader_read(0, buffer.size),
        2,
        0,
    );
    assert_pattern("in the memory", &memory.read(0, buffer.size), 2, 0);
}

pub fn memory_in_two_buffers_is_shared(gpu: &Gpu) {
    let (a, b) = (gpu.sparse_buffer(SZ_2M), gpu.sparse_buffer(3 * SZ_2M));
    let memory = gpu.memory(&a, SZ_2M);
    let at = SZ_2M + granule(gpu);
    gpu.bind(&[Batch::buffer(&a, [bind(0, SZ_2M, &memory, 0)])
        .and_buffer(&b, [bind(at, SZ_2M, &memory, 0)])]);
    a.shader_write(0, SZ_2M, 3);
    assert_pattern(
        "written by a shader, read by a copy",
        &b.copy_read(at, SZ_2M),
        3,
        0,
    );
    assert_pattern(
        "written by a shader, read by a shader",
        &b.shader_read(at, SZ_2M),
        3,
        0,
    );
    b.copy_write(at, &words(4, SZ_2M / 4));
    assert_pattern(
        "written by a copy, read by a shader",
        &a.shader_read(0, SZ_2M),
        4,
        0,
    );
    // One lets go; the other keeps it.
    gpu.bind(&[Batch::buffer(&a, [unbind(0, SZ_2M)])]);
    assert_pattern(
        "after the first is unbound",
        &b.shader_read(at, SZ_2M),
        4,
        0,
    );
}

pub fn memory_twice_in_one_buffer_is_shared(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(64 * g);
    let memory = gpu.memory(&buffer, 4 * g);
    gpu.bind(&[Batch::buffer(
        &buffer,
        [
            bind(3 * g, 4 * g, &memory, 0),
            bind(40 * g, 4 * g, &memory, 0),
        ],
    )]);
    buffer.shader_write(3 * g, 4 * g, 5);
    assert_pattern("the second place", &buffer.shader_read(40 * g, 4 * g), 5, 0);
    buffer.copy_write(41 * g, &words(6, g / 4));
    assert_pattern("the first place", &buffer.copy_read(4 * g, g), 6, 0);
    let around = buffer.shader_read(3 * g, 4 * g);
    let block = (g / 4) as usize;
    assert_pattern("the block before", &around[..block], 5, 0);
    assert_pattern(
        "the blocks after",
        &around[2 * block..],
        5,
        2 * block as u32,
    );
}

pub fn aliases_may_overlap_with_a_shift(gpu: &Gpu) {
    // Block k holds memory block k; block 8 + k holds memory block k + 3.
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(16 * g);
    let memory = gpu.memory(&buffer, 8 * g);
    gpu.bind(&[Batch::buffer(
        &buffer,
        [
            bind(0, 8 * g, &memory, 0),
            bind(8 * g, 5 * g, &memory, 3 * g),
        ],
    )]);
    buffer.shader_write(0, 8 * g, 7);
    assert_pattern(
        "the shifted alias",
        &buffer.copy_read(8 * g, 5 * g),
        7,
        (3 * g / 4) as u32,
    );
}

pub fn blocks_in_reverse_order_hold_reversed_memory(gpu: &Gpu) {
    let g = granule(gpu);
    let n = 48;
    let buffer = gpu.sparse_buffer(n * g);
    let memory = gpu.memory(&buffer, n * g);
    let binds: Vec<_> = (0..n)
        .map(|i| bind(i * g, g, &memory, (n - 1 - i) * g))
        .collect();
    gpu.bind(&[Batch::buffer(&buffer, binds)]);
    buffer.shader_write(0, n * g, 8);
    assert_pattern("through the buffer", &buffer.shader_read(0, n * g), 8, 0);
    let held = memory.read(0, n * g);
    for i in 0..n {
        let at = (i * g / 4) as usize..((i + 1) * g / 4) as usize;
        assert_pattern(
            &format!("memory block {i}"),
            &held[at],
            8,
            ((n - 1 - i) * g / 4) as u32,
        );
    }
}

pub fn partial_binds_leave_the_rest_usable(gpu: &Gpu) {
    let g = granule(gpu);
    let n = 64;
    let buffer = gpu.sparse_buffer(n * g);
    let memory = gpu.memory(&buffer, n / 2 * g);
    let even = |i: u64| bind(2 * i * g, g, &memory, i * g);
    gpu.bind(&[Batch::buffer(
        &buffer,
        (0..n / 2).map(even).collect::<Vec<_>>(),
    )]);
    // The shader writes all of it, the unbound half included.
    buffer.shader_write(0, n * g, 9);
    let held = memory.read(0, memory.size);
    for i in 0..n / 2 {
        let at = (i * g / 4) as usize..((i + 1) * g / 4) as usize;
        assert_pattern(
            &format!("memory block {i}"),
            &held[at],
            9,
            (2 * i * g / 4) as u32,
        );
        let through = buffer.copy_read(2 * i * g, g);
        assert_pattern(
            &format!("buffer block {}", 2 * i),
            &through,
            9,
            (2 * i * g / 4) as u32,
        );
    }
}

pub fn a_rebind_switches_memory_and_keeps_the_old_contents(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(16 * g);
    let (a, b) = (gpu.memory(&buffer, 16 * g), gpu.memory(&buffer, 8 * g));
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 16 * g, &a, 0)])]);
    buffer.shader_write(0, 16 * g, 10);
    b.write(0, &words(11, b.size / 4));
    // The middle changes hands while it is bound.
    gpu.bind(&[Batch::buffer(&buffer, [bind(4 * g, 8 * g, &b, 0)])]);
    assert_pattern("the new middle", &buffer.shader_read(4 * g, 8 * g), 11, 0);
    assert_pattern("the start", &buffer.copy_read(0, 4 * g), 10, 0);
    assert_pattern(
        "the end",
        &buffer.copy_read(12 * g, 4 * g),
        10,
        (12 * g / 4) as u32,
    );
    buffer.shader_write(4 * g, 8 * g, 12);
    assert_pattern("the old memory", &a.read(0, a.size), 10, 0);
    assert_pattern("the new memory", &b.read(0, b.size), 12, 0);
    // And back.
    gpu.bind(&[Batch::buffer(&buffer, [bind(4 * g, 8 * g, &a, 4 * g)])]);
    assert_pattern("all of it again", &buffer.shader_read(0, 16 * g), 10, 0);
}

pub fn an_unbind_keeps_memory_and_neighbours(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(64 * g);
    let memory = gpu.memory(&buffer, 64 * g);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 64 * g, &memory, 0)])]);
    buffer.shader_write(0, 64 * g, 13);
    gpu.bind(&[Batch::buffer(&buffer, [unbind(20 * g, 7 * g)])]);
    assert_pattern("below", &buffer.shader_read(0, 20 * g), 13, 0);
    assert_pattern(
        "above",
        &buffer.copy_read(27 * g, 37 * g),
        13,
        (27 * g / 4) as u32,
    );
    // Writes to the unbound range and around it.
    buffer.shader_write(19 * g, 9 * g, 14);
    let held = memory.read(0, memory.size);
    let block = (g / 4) as usize;
    assert_pattern("memory below", &held[..19 * block], 13, 0);
    assert_pattern(
        "the block before the hole",
        &held[19 * block..20 * block],
        14,
        0,
    );
    assert_pattern(
        "memory of the hole",
        &held[20 * block..27 * block],
        13,
        20 * block as u32,
    );
    assert_pattern(
        "the block behind the hole",
        &held[27 * block..28 * block],
        14,
        8 * block as u32,
    );
    assert_pattern("memory above", &held[28 * block..], 13, 28 * block as u32);
    // Bound again, the hole has its old contents.
    gpu.bind(&[Batch::buffer(
        &buffer,
        [bind(20 * g, 7 * g, &memory, 20 * g)],
    )]);
    assert_pattern(
        "the former hole",
        &buffer.shader_read(20 * g, 7 * g),
        13,
        20 * block as u32,
    );
}

pub fn memory_moves_to_another_place(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(128 * g);
    let memory = gpu.memory(&buffer, 8 * g);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 8 * g, &memory, 0)])]);
    buffer.shader_write(0, 8 * g, 15);
    for at in [8, 100, 31, 120] {
        gpu.bind(&[Batch::buffer(&buffer, [unbind(0, 128 * g)])]);
        gpu.bind(&[Batch::buffer(&buffer, [bind(at * g, 8 * g, &memory, 0)])]);
        assert_pattern(
            &format!("at block {at}"),
            &buffer.shader_read(at * g, 8 * g),
            15,
            0,
        );
    }
}

pub fn writes_to_unbound_ranges_change_no_bound_memory(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(96 * g);
    let other = gpu.sparse_buffer(96 * g);
    let memory = gpu.memory(&buffer, 2 * g);
    gpu.bind(&[Batch::buffer(&buffer, [bind(50 * g, 2 * g, &memory, 0)])]);
    buffer.shader_write(50 * g, 2 * g, 16);
    buffer.shader_write(0, 50 * g, 17);
    buffer.copy_write(52 * g, &words(18, 44 * g / 4));
    other.shader_write(0, 96 * g, 19);
    assert_pattern(
        "the bound blocks",
        &buffer.shader_read(50 * g, 2 * g),
        16,
        0,
    );
    assert_pattern("their memory", &memory.read(0, 2 * g), 16, 0);
}

pub fn a_binding_only_buffer_bound_in_pieces(gpu: &Gpu) {
    let buffer = gpu.sparse_binding_buffer(5 * SZ_2M + 12345 * 4);
    let (size, g) = (buffer.requirements.size, buffer.granularity());
    let (a, b) = (gpu.memory(&buffer, size), gpu.memory(&buffer, size));
    // Pieces of 1, 2, 3, … granules, taking turns between two memories; the last one ends with the resource.
    let mut binds = Vec::new();
    let mut at = 0;
    for n in 1.. {
        let len = (n * g).min(size - at);
        binds.push(bind(at, len, if n % 2 == 0 { &a } else { &b }, at));
        at += len;
        if at == size {
            break;
        }
    }
    gpu.bind(&[Batch::buffer(&buffer, binds.clone())]);
    buffer.shader_write(0, buffer.size, 20);
    assert_pattern("all of it", &buffer.copy_read(0, buffer.size), 20, 0);
    let (in_a, in_b) = (a.read(0, size), b.read(0, size));
    for piece in binds {
        let held = if piece.memory == a.raw { &in_a } else { &in_b };
        let end = (piece.resource_offset + piece.size).min(buffer.size);
        let words = (piece.resource_offset / 4) as usize..(end / 4) as usize;
        let first = words.start as u32;
        assert_pattern(
            &format!("piece at {:#x}", piece.resource_offset),
            &held[words],
            20,
            first,
        );
    }
}

pub fn a_hundred_million_bytes(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(100_000_000);
    let size = buffer.requirements.size;
    let memory = gpu.memory(&buffer, size);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, size, &memory, 0)])]);
    buffer.shader_write(0, buffer.size, 21);
    let window = 256;
    let mut places: Vec<u64> = (1..size / SZ_2M).map(|i| i * SZ_2M - window / 2).collect();
    places.extend([0, buffer.size - window]);
    // A hole that starts and ends inside 2 MiB pages, far from the start.
    let g = buffer.granularity().max(common::SZ_64K);
    let hole = 300 * g..1000 * g;
    gpu.bind(&[Batch::buffer(
        &buffer,
        [unbind(hole.start, hole.end - hole.start)],
    )]);
    buffer.shader_write(hole.start, hole.end - hole.start, 22);
    places.extend([hole.start - window, hole.end]);
    for at in places
        .iter()
        .copied()
        .filter(|at| at + window <= hole.start || *at >= hole.end)
    {
        assert_pattern(
            &format!("at {at:#x}"),
            &buffer.copy_read(at, window),
            21,
            (at / 4) as u32,
        );
    }
    // Memory takes the way around the buffer: the hole's part is as it was.
    let held = memory.read(hole.start, hole.end - hole.start);
    assert_pattern("the hole's memory", &held, 21, (hole.start / 4) as u32);
}

pub fn a_new_buffer_does_not_see_the_memory_of_a_destroyed_one(gpu: &Gpu) {
    let old = gpu.sparse_buffer(4 * SZ_2M);
    let memory = gpu.memory(&old, 4 * SZ_2M);
    gpu.bind(&[Batch::buffer(&old, [bind(0, 4 * SZ_2M, &memory, 0)])]);
    old.shader_write(0, 4 * SZ_2M, 23);
    drop(old);
    // Likely at the same address; it starts unbound.
    let new = gpu.sparse_buffer(4 * SZ_2M);
    new.shader_write(0, 4 * SZ_2M, 24);
    assert_pattern("the memory", &memory.read(0, 4 * SZ_2M), 23, 0);
    gpu.bind(&[Batch::buffer(&new, [bind(SZ_2M, SZ_2M, &memory, 0)])]);
    assert_pattern(
        "bound to the new one",
        &new.shader_read(SZ_2M, SZ_2M),
        23,
        0,
    );
}

pub fn memory_may_be_freed_after_its_unbind(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(4 * SZ_2M);
    let keep = gpu.memory(&buffer, 2 * SZ_2M);
    gpu.bind(&[Batch::buffer(
        &buffer,
        [bind(2 * SZ_2M, 2 * SZ_2M, &keep, 0)],
    )]);
    buffer.shader_write(2 * SZ_2M, 2 * SZ_2M, 25);
    for round in 0..8 {
        let memory = gpu.memory(&buffer, SZ_2M);
        gpu.bind(&[Batch::buffer(&buffer, [bind(SZ_2M, SZ_2M, &memory, 0)])]);
        buffer.shader_write(SZ_2M, SZ_2M, 26 + round);
        assert_pattern("this round's memory", &memory.read(0, SZ_2M), 26 + round, 0);
        gpu.bind(&[Batch::buffer(&buffer, [unbind(SZ_2M, SZ_2M)])]);
    }
    assert_pattern(
        "what stayed",
        &buffer.shader_read(2 * SZ_2M, 2 * SZ_2M),
        25,
        0,
    );
}

pub fn the_same_bind_twice_changes_nothing(gpu: &Gpu) {
    let g = granule(gpu);
    let buffer = gpu.sparse_buffer(32 * g);
    let memory = gpu.memory(&buffer, 16 * g);
    let binds = [bind(0, 16 * g, &memory, 0), unbind(16 * g, 16 * g)];
    for round in 0..3 {
        gpu.bind(&[Batch::buffer(&buffer, binds)]);
        if round == 0 {
            buffer.shader_write(0, 16 * g, 30);
        }
        assert_pattern(
            &format!("round {round}"),
            &buffer.shader_read(0, 16 * g),
            30,
            0,
        );
        assert_pattern("the memory", &memory.read(0, 16 * g), 30, 0);
    }
}

pub fn memory_outlives_a_destroyed_buffer(gpu: &Gpu) {
    let g = granule(gpu);
    let first = gpu.sparse_buffer(8 * g);
    let second = gpu.sparse_buffer(8 * g);
    let memory = gpu.memory(&first, 8 * g);
    gpu.bind(&[Batch::buffer(&first, [bind(0, 8 * g, &memory, 0)])
        .and_buffer(&second, [bind(0, 8 * g, &memory, 0)])]);
    first.shader_write(0, 8 * g, 31);
    drop(first);
    assert_pattern("through the other", &second.shader_read(0, 8 * g), 31, 0);
    second.copy_write(0, &words(32, 8 * g / 4));
    assert_words(
        "the memory",
        0,
        &memory.read(0, 8 * g),
        &words(32, 8 * g / 4),
    );
}
