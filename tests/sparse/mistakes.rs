//! Two mistakes that a driver for this kernel has made with null binds, as claims about data. That the kernel is asked
//! for the right operations is in `op_counts.rs`.

use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::{Batch, Gpu, SZ_2M, SZ_64K};

/// The mistake: the null bind ignores its offset, and the dummy lands at the start of the resource.
pub fn a_null_bind_honours_its_offset(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(16 * SZ_2M);
    let memory = gpu.memory(&buffer, 16 * SZ_2M);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 16 * SZ_2M, &memory, 0)])]);
    buffer.shader_write(0, 16 * SZ_2M, 1);
    let at = 10 << 20;
    gpu.bind(&[Batch::buffer(&buffer, [unbind(at, SZ_64K)])]);
    // A write through the buffer reaches all memory but the unbound piece's: not the start's, if that was lost.
    buffer.shader_write(0, 16 * SZ_2M, 2);
    let held = memory.read(0, 16 * SZ_2M);
    let hole = (at / 4) as usize..((at + SZ_64K) / 4) as usize;
    assert_pattern("below the unbound piece", &held[..hole.start], 2, 0);
    assert_pattern(
        "the unbound piece",
        &held[hole.clone()],
        1,
        hole.start as u32,
    );
    assert_pattern(
        "above the unbound piece",
        &held[hole.end..],
        2,
        hole.end as u32,
    );
}

/// The mistake: the loop over the chunks of the dummy ends after the first, 2 MiB long.
pub fn a_null_bind_of_many_dummy_chunks_reaches_its_end(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(16 * SZ_2M);
    let memory = gpu.memory(&buffer, 16 * SZ_2M);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 16 * SZ_2M, &memory, 0)])]);
    buffer.shader_write(0, 16 * SZ_2M, 1);
    // Starts and ends inside a chunk, with five whole ones between.
    let hole = 3 * SZ_2M + 5 * SZ_64K..9 * SZ_2M + 7 * SZ_64K;
    gpu.bind(&[Batch::buffer(
        &buffer,
        [unbind(hole.start, hole.end - hole.start)],
    )]);
    buffer.shader_write(0, 16 * SZ_2M, 2);
    let held = memory.read(0, 16 * SZ_2M);
    let hole = (hole.start / 4) as usize..(hole.end / 4) as usize;
    assert_pattern("below", &held[..hole.start], 2, 0);
    assert_pattern(
        "the unbound range",
        &held[hole.clone()],
        1,
        hole.start as u32,
    );
    assert_pattern("above", &held[hole.end..], 2, hole.end as u32);
    // Memory bound into it comes back, everywhere.
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, 16 * SZ_2M, &memory, 0)])]);
    buffer.shader_write(0, 16 * SZ_2M, 3);
    assert_pattern("bound again", &memory.read(0, 16 * SZ_2M), 3, 0);
}
