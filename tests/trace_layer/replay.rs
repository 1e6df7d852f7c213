//! A recording is enough to count: the replay of a run above our driver gives exactly what the driver itself has
//! counted, whatever the kernel and the strategy.

use crate::kit::{FILE, LAYER, Trace, layer_path, recorded};
use ash::vk::{self, Handle};
use common::cargo;
use common::config::Config;
use common::gpu::{bind, bind_raw, unbind};
use common::objects::ImageShape;
use common::stats::{self, Stats};
use common::{App, Batch, Fence, Gpu, Image, Memory, Random, SZ_2M, SZ_64K, Tile, Tiled, child};
use hosted::config::NullChoice;
use replay::Replay;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use trace::Event;
use vpanthor::KernelSpec;

/// Every flavour of the kernel with every strategy that it can do.
const PAIRS: [(&str, &str); 13] = [
    ("1.5", "page"),
    ("1.5", "chunk"),
    ("1.8", "page"),
    ("1.8", "chunk"),
    ("1.6-repeat", "page"),
    ("1.6-repeat", "chunk"),
    ("1.6-repeat", "repeat"),
    ("1.8-repeat", "page"),
    ("1.8-repeat", "chunk"),
    ("1.8-repeat", "repeat"),
    ("1.9", "page"),
    ("1.9", "chunk"),
    ("1.9", "sparse"),
];

/// The counters of a device, in the order of the line.
type Counts = [u64; 9];

fn counted(stats: &Stats) -> Counts {
    [
        stats.queue_bind_sparse_calls,
        stats.binds,
        stats.vm_bind_ioctls,
        stats.vm_bind_ops,
        stats.map_ops,
        stats.null_ops,
        stats.unmap_ops,
        stats.sync_ops,
        stats.binds_elided,
    ]
}

/// What the replay counts, by device.
fn replayed(trace: &Trace, kernel: &str, null: &str) -> Vec<Counts> {
    let spec: KernelSpec = format!("vpanthor:{kernel}").parse().expect("a kernel");
    let choice: NullChoice = null.parse().expect("a strategy");
    let mut replay = Replay::new(&spec, choice).expect("a virtual kernel");
    let mut counts = Vec::new();
    for record in &trace.records {
        replay.feed(record).expect("the kernel has room");
        if let Event::DeviceDestroyed { device } = record.event {
            let stats = replay.stats(device).expect("a device of the recording");
            assert_eq!(stats.strategy, null);
            counts.push([
                stats.queue_bind_sparse_calls,
                stats.binds,
                stats.vm_bind_ioctls,
                stats.vm_bind_ops,
                stats.map_ops,
                stats.null_ops,
                stats.unmap_ops,
                stats.sync_ops,
                stats.binds_elided,
            ]);
        }
    }
    assert!(replay.remarks().is_empty(), "{:?}", replay.remarks());
    // The driver writes a line when a device goes; devices may go in another order than they came.
    counts.sort_unstable();
    counts
}

fn agree(what: &str, trace: &Trace, stats: &[Stats], kernel: &str, null: &str) {
    let mut driver: Vec<_> = stats.iter().map(counted).collect();
    driver.sort_unstable();
    assert!(driver.iter().any(|counts| counts[3] > 0), "{driver:?}");
    let replay = replayed(trace, kernel, null);
    assert_eq!(replay, driver, "{what} on {kernel} with {null}");
}

/// An example, built with this test's own profile.
fn example(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER
        .get_or_init(|| cargo::build(&["--example", "sparse_buffer", "--example", "streaming"]));
    Command::new(cargo::written(&folder.join("examples"), name))
}

fn an_example_agrees(name: &str, arguments: &[&str], pairs: &[(&'static str, &'static str)]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for &(kernel, null) in pairs {
        let file = folder.path().join(format!("{kernel}-{null}.pvst"));
        let counters = folder.path().join(format!("{kernel}-{null}.jsonl"));
        let mut command = example(name);
        Config::Icd { kernel, null }.apply(&mut command);
        command
            .args(arguments)
            .env(stats::FILE, &counters)
            .env("VK_LAYER_PATH", layer_path())
            .env("VK_INSTANCE_LAYERS", LAYER)
            .env(FILE, &file);
        let (status, stdout, stderr) = child::finish(command);
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");
        let trace = Trace::read(&file);
        assert!(trace.ended_cleanly);
        agree(name, &trace, &stats::read(&counters), kernel, null);
    }
}

#[test]
fn of_a_sparse_buffer() {
    an_example_agrees("sparse_buffer", &["--bytes", "9000000"], &PAIRS);
}

#[test]
fn of_a_streamed_texture() {
    // Each strategy once: the other pairs differ in nothing that images would show.
    let pairs = [PAIRS[0], PAIRS[3], PAIRS[9], PAIRS[12]];
    an_example_agrees("streaming", &["--size", "8192", "--frames", "3"], &pairs);
}

/// A bit of everything, on two devices at a time, one of them with mistakes.
fn medley() {
    let app = App::new().expect("vkCreateInstance");
    let devices = [Gpu::new(&app), Gpu::new(&app)];
    for (seed, gpu) in devices.iter().enumerate() {
        chains(gpu);
        shuffled(gpu, seed as u64);
        images(gpu);
        ends(gpu);
    }
    mistakes(&devices[1]);
    // Others come and go meanwhile.
    ends(&Gpu::new(&app));
    ends(&devices[0]);
}

/// Semaphores of both kinds and a fence, between infos of one call and between calls.
fn chains(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    let (timeline, binary) = (gpu.timeline(0), gpu.binary());
    let piece = |i: u64| Batch::buffer(&buffer, [bind(i * SZ_64K, SZ_64K, &memory, 0)]);
    gpu.bind_async(
        &[
            piece(0),
            // Nothing stands between these two, so they are one batch.
            piece(1),
            piece(2).signal(binary.point()),
            piece(3).wait(binary.point()).signal(timeline.at(1)),
            Batch::default().wait(timeline.at(1)).signal(timeline.at(2)),
        ],
        None,
    )
    .expect("vkQueueBindSparse");
    gpu.bind(&[piece(4).wait(timeline.at(2)).signal(timeline.at(3))]);
    timeline.wait(3);
    gpu.bind(&[]);
}

/// Pieces in any order, some of them twice, some as they are already.
fn shuffled(gpu: &Gpu, seed: u64) {
    const PIECES: u64 = 96;
    let mut random = Random::new(seed + 1);
    let buffer = gpu.sparse_buffer(PIECES * SZ_64K);
    let memory = gpu.memory(&buffer, PIECES * SZ_64K);
    for _ in 0..8 {
        let mut order: Vec<u64> = (0..PIECES).collect();
        random.shuffle(&mut order);
        let binds: Vec<_> = order[..40]
            .iter()
            .zip(&order[20..])
            .map(|(&at, &from)| match from % 3 {
                0 => unbind(at * SZ_64K, SZ_64K),
                _ => bind(at * SZ_64K, SZ_64K, &memory, from * SZ_64K),
            })
            .collect();
        gpu.bind(&[Batch::buffer(&buffer, binds.clone())]);
        gpu.bind(&[Batch::buffer(&buffer, &binds[..10])]);
    }
}

/// An opaque image in two pieces, and tiles and a level of a tiled one.
fn images(gpu: &Gpu) {
    let opaque = Image::sparse(gpu, &ImageShape::flat(512, 512));
    let any = vk::MemoryPropertyFlags::empty();
    let memory_type = gpu.memory_type(opaque.requirements.memory_type_bits, any);
    let memory = Memory::new(gpu, 4 * SZ_2M, memory_type);
    let half = opaque.requirements.size / 2;
    gpu.bind(&[Batch::image(
        &opaque,
        [bind(half, half, &memory, 0), bind(0, half, &memory, half)],
    )]);
    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
        layers: 2,
        levels: 3,
        ..ImageShape::flat(512, 512)
    };
    let tiled = Tiled::new(gpu, &shape);
    let tile = |x, y, layer| Tile {
        level: 0,
        layer,
        at: [x, y, 0],
    };
    let some = [tile(0, 0, 0), tile(1, 0, 0), tile(1, 1, 1), tile(3, 2, 1)];
    let places = some.iter().zip(0..);
    tiled.call(
        places
            .map(|(&tile, i)| tiled.bind(tile, &memory, i))
            .collect::<Vec<_>>(),
    );
    tiled.call(
        some[1..3]
            .iter()
            .map(|&tile| tiled.unbind(tile))
            .collect::<Vec<_>>(),
    );
    tiled.call([tiled.bind_level(1, 2, Some((&memory, 8)))]);
}

/// Memory and resources that go while they are bound.
fn ends(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])]);
    drop(memory);
    gpu.bind(&[Batch::buffer(&buffer, [unbind(SZ_64K, SZ_64K)])]);
    let again = gpu.memory(&buffer, SZ_64K);
    gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_64K, &again, 0)])]);
    drop(buffer);
    let other = gpu.sparse_buffer(3 * SZ_64K);
    gpu.bind(&[Batch::buffer(&other, [bind(SZ_64K, SZ_64K, &again, 0)])]);
}

/// Calls that the driver refuses, between calls that it takes.
fn mistakes(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    let memory = gpu.memory(&buffer, SZ_2M);
    let fence = Fence::new(gpu);
    let mut flags = unbind(0, SZ_64K);
    flags.flags = vk::SparseMemoryBindFlags::from_raw(2);
    for mistake in [
        Batch::buffer(&buffer, [unbind(SZ_2M, SZ_64K)]),
        Batch::buffer(&buffer, [bind(1, SZ_64K, &memory, 0)]),
        Batch::buffer(&buffer, [bind(0, SZ_64K, &memory, SZ_2M)]),
        Batch::buffer(
            &buffer,
            [bind_raw(0, SZ_64K, vk::DeviceMemory::from_raw(0x1234), 0)],
        ),
        Batch {
            device_group: Some(1),
            ..Batch::buffer(&buffer, [unbind(0, SZ_64K)])
        },
        Batch::buffer(&buffer, [flags]),
    ] {
        let right = Batch::buffer(&buffer, [bind(0, SZ_64K, &memory, 0)]);
        let refused = gpu.bind_async(&[right, mistake], Some(&fence));
        assert_eq!(refused, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
        gpu.bind(&[Batch::buffer(&buffer, [bind(SZ_64K, SZ_64K, &memory, 0)])]);
    }
}

macro_rules! medleys {
    ($($test:ident: $kernel:literal $null:literal;)*) => {
        $(
            #[test]
            fn $test() {
                let config = Config::Icd { kernel: $kernel, null: $null };
                recorded(common::name_of!($test), config, &[], medley, |recorded| {
                    let stats = &recorded.outcome.stats;
                    assert_eq!(stats.len(), 3);
                    agree("the medley", recorded.trace(), stats, $kernel, $null);
                });
            }
        )*
    };
}

medleys! {
    of_a_medley_v1_5_page: "1.5" "page";
    of_a_medley_v1_5_chunk: "1.5" "chunk";
    of_a_medley_v1_8_page: "1.8" "page";
    of_a_medley_v1_8_chunk: "1.8" "chunk";
    of_a_medley_v1_6_repeat_page: "1.6-repeat" "page";
    of_a_medley_v1_6_repeat_chunk: "1.6-repeat" "chunk";
    of_a_medley_v1_6_repeat_repeat: "1.6-repeat" "repeat";
    of_a_medley_v1_8_repeat_page: "1.8-repeat" "page";
    of_a_medley_v1_8_repeat_chunk: "1.8-repeat" "chunk";
    of_a_medley_v1_8_repeat_repeat: "1.8-repeat" "repeat";
    of_a_medley_v1_9_page: "1.9" "page";
    of_a_medley_v1_9_chunk: "1.9" "chunk";
    of_a_medley_v1_9_sparse: "1.9" "sparse";
}
