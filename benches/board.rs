//! `cargo bench --bench board`: the CPU time of one `vkQueueBindSparse` with one bind of one piece, of a panvk alone and with the
//! driver in front of it.
//!
//! The panvk is the small one of the tests, and the kernel is the virtual node in the same process. So the time without us is
//! the small panvk's, which does less than Mesa's; the model's, which takes the operation and writes its page table; and three
//! system calls of the machine's own kernel, with which the virtual node copies what a pointer leads to. A board's kernel has one
//! system call, and panthor's work.
//!
//! Both take turns, each time in a new process. The table has the fastest of all blocks of calls.

use std::process::Command;
use std::time::Duration;

use ash::vk;
use common::{cargo, child, preload};
use kit::{App, Gpu, PIECE};
use rustix::time::{ClockId, clock_gettime};

#[path = "../tests/icd/board/kit.rs"]
#[allow(dead_code)]
mod kit;

/// In a measuring process, the driver's library.
const MEASURE: &str = "PANVK_SPARSE_BENCH_MEASURE";
const PROCESSES: usize = 5;
const BLOCKS: usize = 40;
const CALLS: u64 = 1000;
/// Pieces of the buffer that are bound in turn, every second one.
const PLACES: u64 = 64;

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Binds one piece after another, to memory that is not bound there. With a fence, what waits for it and resets it counts.
fn calls(gpu: &Gpu, buffer: vk::Buffer, memory: vk::DeviceMemory, fence: vk::Fence) -> Duration {
    let begin = cpu_time();
    for i in 0..CALLS {
        let binds = [vk::SparseMemoryBind::default()
            .resource_offset(i % PLACES * 2 * PIECE)
            .size(PIECE)
            .memory(memory)
            .memory_offset((i + i / PLACES) % 2 * PIECE)];
        let lists = [vk::SparseBufferMemoryBindInfo::default()
            .buffer(buffer)
            .binds(&binds)];
        let infos = [vk::BindSparseInfo::default().buffer_binds(&lists)];
        // SAFETY: structs that outlive the call, and objects of the device.
        unsafe {
            let bound = gpu.device.queue_bind_sparse(gpu.queues[0], &infos, fence);
            bound.expect("it is bound");
            if fence != vk::Fence::null() {
                gpu.wait(fence).expect("it is done");
                gpu.device.reset_fences(&[fence]).expect("it is reset");
            }
        }
    }
    (cpu_time() - begin) / CALLS as u32
}

/// Prints the nanoseconds of a call without and with a fence.
fn measure(library: &str) {
    let (app, _library) = App::of(library);
    let gpu = Gpu::new(&app, 0);
    let buffer = gpu.buffer(2 * PLACES * PIECE, true);
    let memory = gpu.memory(2 * PIECE);
    for fence in [vk::Fence::null(), gpu.fence()] {
        let blocks = (0..BLOCKS).map(|_| calls(&gpu, buffer, memory, fence));
        println!("{}", blocks.min().unwrap_or_default().as_nanos());
    }
}

fn main() {
    if let Ok(library) = std::env::var(MEASURE) {
        return measure(&library);
    }
    let small = cargo::build(&["--package", "panvk-sparse-small-panvk"]).join("libsmall_panvk.so");
    let ours = cargo::build(&["--package", "panvk-sparse-icd"]).join("libvulkan_panvk_sparse.so");
    // `cargo test --benches` only wants to know that it starts.
    let processes = match std::env::args().any(|arg| arg == "--bench") {
        true => PROCESSES,
        false => 1,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fastest = [[u64::MAX; 2]; 2];
    for _ in 0..processes {
        for (library, fastest) in [&small, &ours].into_iter().zip(&mut fastest) {
            let mut command =
                Command::new(std::env::current_exe().expect("the bench knows its executable"));
            preload::apply(&mut command, "1.9", &folder.path().join("dump.json"));
            command
                .env(MEASURE, library)
                .env("PANVK_SPARSE_BASE_ICD", &small)
                .env("SMALL_PANVK", "")
                .env(kit::NODES, preload::node(0));
            let (status, stdout, stderr) = child::finish(command);
            assert!(status.success(), "{status}\n{stdout}\n{stderr}");
            for (line, fastest) in stdout.lines().zip(fastest) {
                *fastest = (*fastest).min(line.parse().expect("nanoseconds"));
            }
        }
    }
    println!(
        "one bind of one piece, CPU time in ns: panvk alone, with this driver in front, ratio"
    );
    for (i, name) in ["without a fence", "with a fence"].into_iter().enumerate() {
        let [alone, with] = fastest.map(|times| times[i]);
        println!(
            "{name:<20} {alone:>8} {with:>8} {:>6.2}",
            with as f64 / alone as f64
        );
    }
}
