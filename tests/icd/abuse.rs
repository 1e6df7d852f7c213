//! A load of right and wrong calls from many threads: nothing crashes, nothing is left, and the log is short.

use ash::vk::{self, Handle};
use common::config::{Config, base_manifest, tail_driver_manifest};
use common::gpu::{bind, bind_raw, unbind};
use common::objects::{Buffer, Memory};
use common::{App, Batch, Gpu, Random, SZ_64K};

const DEVICES: usize = 3;
const THREADS: usize = 8;
const RESOURCES: usize = 20_000;
const BINDS_IN_A_CALL: u64 = 200_000;
const ROUNDS: usize = 120;
/// What may be left, in bytes.
const LEFT: usize = 1 << 20;

/// Bytes that this process has allocated and not freed.
pub fn allocated() -> usize {
    // SAFETY: it only looks, and takes the locks that it needs.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// A bind of a buffer, mostly one that is right.
fn any_bind(
    random: &mut Random,
    buffer: &Buffer<'_>,
    memories: &[Memory<'_>],
) -> vk::SparseMemoryBind {
    let size = buffer.requirements.size;
    let blocks = size.div_ceil(SZ_64K);
    let at = random.below(blocks);
    let len = 1 + random.below(blocks - at);
    let (at, len) = (at * SZ_64K, ((at + len) * SZ_64K).min(size) - at * SZ_64K);
    let memory = &memories[random.below(memories.len() as u64) as usize];
    match random.below(1000) {
        // Handles of nothing, and numbers of no sense.
        0 => bind_raw(at, len, vk::DeviceMemory::from_raw(random.word()), 0),
        1 => unbind(random.word(), len),
        2 => unbind(at, random.word()),
        3 => unbind(at, 0),
        4 => bind(at, len, memory, random.word()),
        5 => unbind(at, len).flags(vk::SparseMemoryBindFlags::from_raw(random.word() as u32)),
        _ if random.one_in(4) || len > memory.size => unbind(at, len),
        _ => bind(at, len, memory, 0),
    }
}

fn any_memory<'g>(random: &mut Random, gpu: &'g Gpu, like: &Buffer<'_>) -> Memory<'g> {
    gpu.memory(like, (1 + random.below(32)) * SZ_64K)
}

fn churn(gpu: &Gpu, seed: u64) {
    let mut random = Random::new(seed);
    let any_size = |random: &mut Random| (1 + random.below(32)) * SZ_64K - 4096 * random.below(2);
    let mut buffers: Vec<_> = (0..RESOURCES / THREADS)
        .map(|_| gpu.sparse_buffer(any_size(&mut random)))
        .collect();
    let mut memories: Vec<_> = (0..4)
        .map(|_| any_memory(&mut random, gpu, &buffers[0]))
        .collect();
    for _ in 0..ROUNDS {
        let batches: Vec<_> = (0..1 + random.below(4))
            .map(|_| {
                let which = random.below(buffers.len() as u64) as usize;
                let count = 1 + random.below(40);
                let buffer = &buffers[which];
                let binds: Vec<_> = (0..count)
                    .map(|_| any_bind(&mut random, buffer, &memories))
                    .collect();
                Batch::buffer(buffer, binds)
            })
            .collect();
        match gpu.try_bind(&batches) {
            Ok(())
            | Err(vk::Result::ERROR_VALIDATION_FAILED_EXT | vk::Result::ERROR_OUT_OF_HOST_MEMORY) =>
                {}
            Err(other) => panic!("vkQueueBindSparse: {other:?}"),
        }
        // Freed while it is bound; the handle comes again.
        let which = random.below(4) as usize;
        let fresh = any_memory(&mut random, gpu, &buffers[0]);
        drop(std::mem::replace(&mut memories[which], fresh));
        let which = random.below(buffers.len() as u64) as usize;
        let size = any_size(&mut random);
        drop(buffers.swap_remove(which));
        buffers.push(gpu.sparse_buffer(size));
    }
}

/// One call of many binds that do not continue each other.
fn one_large_call(gpu: &Gpu) {
    let blocks = BINDS_IN_A_CALL / 4;
    let buffer = gpu.sparse_buffer(blocks * SZ_64K);
    let memory = gpu.memory(&buffer, 64 * SZ_64K);
    let place = |i: u64| (i * 7919) % blocks * SZ_64K;
    let binds: Vec<_> = (0..BINDS_IN_A_CALL)
        .map(|i| bind(place(i), SZ_64K, &memory, i % 63 * SZ_64K))
        .collect();
    // Refused or not.
    let _ = gpu.try_bind(&[Batch::buffer(&buffer, binds)]);
}

fn load(app: &std::sync::Arc<App>) {
    let gpus: Vec<_> = (0..DEVICES).map(|_| Gpu::new(app)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let gpu = &gpus[thread % DEVICES];
            scope.spawn(move || {
                churn(gpu, thread as u64);
                if thread < DEVICES {
                    one_large_call(gpu);
                }
            });
        }
    });
    gpus.iter().for_each(Gpu::wait_idle);
}

#[test]
fn a_load_of_abuse_leaves_nothing_behind() {
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let driver = tail_driver_manifest().to_string_lossy().into_owned();
    let lavapipe = base_manifest().to_string_lossy().into_owned();
    let environment = [
        ("PANVK_SPARSE_BASE_ICD", &*driver),
        ("PANVK_SPARSE_TEST_TAIL", "9:layer"),
        ("PANVK_SPARSE_TEST_TAIL_BASE", &lavapipe),
        ("PANVK_SPARSE_TEST_REFUSE_BINDS", "13"),
    ];
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        // What is made once for all is made now.
        load(&app);
        let before = allocated();
        load(&app);
        let after = allocated();
        let grown = after.saturating_sub(before);
        assert!(grown < LEFT, "{grown} bytes are left");
    };
    let test = common::name_of!(a_load_of_abuse_leaves_nothing_behind);
    common::child::run(test, config, &environment, body, |outcome| {
        let lines = outcome.stderr.lines().count();
        assert!(
            (1..400).contains(&lines),
            "{lines} lines: {}",
            outcome.stderr
        );
    });
}
