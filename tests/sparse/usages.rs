//! Sparse buffers in every place where a pipeline reads a buffer by itself: uniforms, vertices, indices, and the parameters
//! of indirect commands. Each granule lies in another place of two memories, in other places after a rebind, and one
//! has no memory at all.

use ash::vk;
use common::canvas::{CLEAR, Canvas, Value};
use common::objects::Staging;
use common::pattern::{assert_words, words};
use common::program::{Bound, Program};
use common::scattered::Scattered;
use common::work::Work;
use common::{Gpu, Random};

/// What is shown one after another: other contents each time, each in other places, with another granule unbound.
const ROUNDS: [(u32, u64); 3] = [(1, 2), (2, 0), (3, 1)];

/// Words of a uniform block.
const BLOCK: u64 = 4096;
const COPY_BLOCK: &str = "
struct Parameters { at: u32, a: u32, b: u32, c: u32 }
var<push_constant> p: Parameters;
@group(0) @binding(0) var<storage, read_write> destination: array<vec4<u32>>;
@group(0) @binding(1) var<uniform> source: array<vec4<u32>, 1024>;

@compute @workgroup_size(64)
fn copy_block(@builtin(global_invocation_id) id: vec3<u32>) { destination[p.at + id.x] = source[id.x]; }
";

pub fn uniform_blocks(gpu: &Gpu) {
    let mut sparse = Scattered::new(gpu, 4, vk::BufferUsageFlags::UNIFORM_BUFFER);
    let block = BLOCK * 4;
    let last = sparse.buffer.size / block - 1;
    // Every block, and those that start in one granule and end in the next.
    let half = block / 2;
    let mut starts: Vec<u64> = (0..=last).map(|i| i * block).collect();
    starts.extend((1..sparse.granules()).map(|i| i * sparse.granule - half));
    let kinds = [
        vk::DescriptorType::STORAGE_BUFFER,
        vk::DescriptorType::UNIFORM_BUFFER,
    ];
    let sets = (starts.len() * ROUNDS.len()) as u32;
    let program = Program::new(gpu, COPY_BLOCK, "copy_block", &kinds, sets);
    let out = Staging::new(gpu, starts.len() as u64 * block);
    for (seed, hole) in ROUNDS {
        let contents = words(seed, sparse.buffer.size / 4);
        sparse.show(&contents, &[hole]);
        let hole = hole * sparse.granule..(hole + 1) * sparse.granule;
        let bound = |&start: &u64| start + block <= hole.start || start >= hole.end;
        let seen: Vec<u64> = starts.iter().copied().filter(bound).collect();
        assert!(seen.iter().any(|s| s % block == half), "some straddle");
        Work::record(gpu, |r| {
            r.barriers_around(|commands| {
                for (&start, at) in seen.iter().zip(0..) {
                    let set = program.set(&[
                        Bound::Buffer(&out.buffer, 0, vk::WHOLE_SIZE),
                        Bound::Buffer(&sparse.buffer, start, block),
                    ]);
                    let to = at * (BLOCK / 4) as u32;
                    let groups = [(BLOCK / 4 / 64) as u32, 1, 1];
                    program.dispatch(commands, set, [to, 0, 0, 0], groups);
                }
            });
        })
        .run();
        let got = out.read();
        for (start, got) in seen.into_iter().zip(got.chunks(BLOCK as usize)) {
            let want = &contents[(start / 4) as usize..][..BLOCK as usize];
            assert_words("a uniform block", start, got, want);
        }
    }
}

/// Whether the queue draws; says so where it does not.
fn draws(gpu: &Gpu) -> bool {
    if !gpu.draws {
        println!("no queue that binds draws, too");
    }
    gpu.draws
}

pub fn vertices(gpu: &Gpu) {
    if !draws(gpu) {
        return;
    }
    let mut sparse = Scattered::new(gpu, 4, vk::BufferUsageFlags::VERTEX_BUFFER);
    let count = (sparse.buffer.size / 4) as u32;
    let per_granule = (sparse.granule / 4) as u32;
    let canvas = Canvas::new(gpu, 256, count / 256, Value::Attribute);
    for (seed, hole) in ROUNDS {
        let contents = words(seed, u64::from(count));
        sparse.show(&contents, &[hole]);
        let hole = hole as u32 * per_granule..(hole as u32 + 1) * per_granule;
        let got = canvas.draw(|commands| {
            let device = &gpu.device;
            // SAFETY: a recording command buffer in a render pass; the vertices are inside the buffer.
            unsafe {
                device.cmd_bind_vertex_buffers(commands, 0, &[sparse.buffer.raw], &[0]);
                for range in [0..hole.start, hole.end..count] {
                    if !range.is_empty() {
                        let n = range.end - range.start;
                        device.cmd_draw(commands, n, 1, range.start, 0);
                    }
                }
            }
        });
        let mut want = contents;
        want[hole.start as usize..hole.end as usize].fill(CLEAR);
        assert_words("the vertices", 0, &got, &want);
    }
}

pub fn indices(gpu: &Gpu) {
    if !draws(gpu) {
        return;
    }
    let mut sparse = Scattered::new(gpu, 4, vk::BufferUsageFlags::INDEX_BUFFER);
    let count = (sparse.buffer.size / 4) as u32;
    let per_granule = (sparse.granule / 4) as u32;
    // Each draw has a number, and takes indices that no other takes. Some end in the granule after that of their start.
    let draws: Vec<_> = (0..16)
        .map(|i| i * count / 16 + per_granule / 8)
        .map(|at| at..(at + count / 16).min(count))
        .collect();
    let canvas = Canvas::new(gpu, 256, count / 256, Value::Draw);
    for (seed, hole) in ROUNDS {
        let mut order: Vec<u32> = (0..count).collect();
        Random::new(u64::from(seed)).shuffle(&mut order);
        sparse.show(&order, &[hole]);
        let hole = hole as u32 * per_granule..(hole as u32 + 1) * per_granule;
        let outside = |r: &std::ops::Range<u32>| r.end <= hole.start || r.start >= hole.end;
        let drawn = || draws.iter().zip(1..).filter(|(r, _)| outside(r));
        let got = canvas.draw(|commands| {
            let device = &gpu.device;
            // SAFETY: a recording command buffer in a render pass; the indices are inside the buffer.
            unsafe {
                let kind = vk::IndexType::UINT32;
                device.cmd_bind_index_buffer(commands, sparse.buffer.raw, 0, kind);
                for (range, number) in drawn() {
                    canvas.number(commands, number);
                    let n = range.end - range.start;
                    device.cmd_draw_indexed(commands, n, 1, range.start, 0, 0);
                }
            }
        });
        let mut want = vec![CLEAR; count as usize];
        for (range, number) in drawn() {
            let indices = &order[range.start as usize..range.end as usize];
            indices.iter().for_each(|&i| want[i as usize] = number);
        }
        assert_words("what the indices draw", 0, &got, &want);
    }
}

/// Where indirect commands of `bytes` bytes lie: one every 4 KiB, and across every border of two granules one that has its
/// first half in the one and its second in the other. None is in the unbound granule.
fn places(sparse: &Scattered<'_>, bytes: u64, hole: u64) -> Vec<u64> {
    let g = sparse.granule;
    let starts = (0..sparse.buffer.size / 4096).map(|i| i * 4096 + 1024);
    let across = (1..sparse.granules()).map(|i| i * g - (bytes / 2).next_multiple_of(4));
    let bound = |&at: &u64| at + bytes <= hole * g || at >= (hole + 1) * g;
    starts.chain(across).filter(bound).collect()
}

/// A buffer's words, with a command's own words at each place.
fn commands_at(
    sparse: &Scattered<'_>,
    places: &[u64],
    command: impl Fn(u32) -> Vec<u32>,
) -> Vec<u32> {
    // What a wrong place has would draw nothing.
    let mut contents = vec![0; (sparse.buffer.size / 4) as usize];
    for (&at, i) in places.iter().zip(0..) {
        let own = command(i);
        contents[(at / 4) as usize..][..own.len()].copy_from_slice(&own);
    }
    contents
}

pub fn indirect_draws(gpu: &Gpu) {
    if !draws(gpu) {
        return;
    }
    let mut sparse = Scattered::new(gpu, 4, vk::BufferUsageFlags::INDIRECT_BUFFER);
    const WIDTH: u32 = 64;
    let canvas = Canvas::new(gpu, WIDTH, WIDTH, Value::Draw);
    for (seed, hole) in ROUNDS {
        let places = places(&sparse, 16, hole);
        // The i-th of them draws 1 to 29 pixels of its own.
        let step = 30;
        let pixels = |i: u32| (i * step, 1 + (i * 7 + seed) % 29);
        assert!(places.len() as u32 * step <= WIDTH * WIDTH);
        let contents = commands_at(&sparse, &places, |i| {
            let (first, n) = pixels(i);
            vec![n, 1, first, 0]
        });
        sparse.show(&contents, &[hole]);
        let got = canvas.draw(|commands| {
            for (&at, number) in places.iter().zip(1..) {
                canvas.number(commands, number);
                // SAFETY: a recording command buffer in a render pass; the command is inside the buffer.
                unsafe {
                    gpu.device
                        .cmd_draw_indirect(commands, sparse.buffer.raw, at, 1, 16);
                }
            }
        });
        let mut want = vec![CLEAR; (WIDTH * WIDTH) as usize];
        for i in 0..places.len() as u32 {
            let (first, n) = pixels(i);
            want[first as usize..(first + n) as usize].fill(i + 1);
        }
        assert_words("what the commands draw", 0, &got, &want);
    }
}

const COUNT_GROUPS: &str = "
struct Parameters { at: u32, a: u32, b: u32, c: u32 }
var<push_constant> p: Parameters;
@group(0) @binding(0) var<storage, read_write> destination: array<vec4<u32>>;

@compute @workgroup_size(1)
fn count_groups(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    if (all(id == vec3<u32>(0u))) { destination[p.at] = vec4<u32>(groups, p.at); }
}
";

pub fn indirect_dispatches(gpu: &Gpu) {
    let mut sparse = Scattered::new(gpu, 4, vk::BufferUsageFlags::INDIRECT_BUFFER);
    let kinds = [vk::DescriptorType::STORAGE_BUFFER];
    let program = Program::new(gpu, COUNT_GROUPS, "count_groups", &kinds, 1);
    let out = Staging::new(gpu, 128 * 16);
    let set = program.set(&[Bound::Buffer(&out.buffer, 0, vk::WHOLE_SIZE)]);
    for (seed, hole) in ROUNDS {
        let places = places(&sparse, 12, hole);
        assert!(places.len() <= 128);
        let groups = |i: u32| vec![1 + (i + seed) % 5, 1 + i / 5 % 7, 1 + i / 35];
        let contents = commands_at(&sparse, &places, groups);
        sparse.show(&contents, &[hole]);
        out.write(&[0; 128 * 4]);
        Work::record(gpu, |r| {
            r.barriers_around(|commands| {
                for (&at, i) in places.iter().zip(0..) {
                    program.use_in(commands, set, [i, 0, 0, 0]);
                    // SAFETY: a recording command buffer; the command is inside the buffer.
                    unsafe {
                        gpu.device
                            .cmd_dispatch_indirect(commands, sparse.buffer.raw, at);
                    }
                }
            });
        })
        .run();
        let got = out.read();
        for i in 0..places.len() as u32 {
            let mut want = groups(i);
            want.push(i);
            let at = i as usize * 4;
            let what = format!("the groups of the dispatch at {}", places[i as usize]);
            assert_words(&what, 0, &got[at..at + 4], &want);
        }
    }
}

pub fn storage_blocks(gpu: &Gpu) {
    let mut sparse = Scattered::new(gpu, 6, vk::BufferUsageFlags::empty());
    for (seed, hole) in ROUNDS {
        let contents = words(seed, sparse.buffer.size / 4);
        sparse.show(&contents, &[hole]);
        let per_granule = (sparse.granule / 4) as usize;
        for i in (0..sparse.granules()).filter(|&i| i != hole) {
            let at = i * sparse.granule;
            let got = sparse.buffer.shader_read(at, sparse.granule);
            let want = &contents[i as usize * per_granule..][..per_granule];
            assert_words("what a shader reads", at, &got, want);
        }
    }
}
