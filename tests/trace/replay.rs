//! Recordings replayed: the counts of the driver, step by step, and the command as people run it.

use std::process::{Command, Output, Stdio};
use vpanthor::Virtual;

use common::random::Random;
use hosted::Hosted;
use hosted::config::NullChoice;
use hosted::{BaseBatch, Stats};
use kernels::Kernel;
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::SZ_64K;
use replay::{Counts, Replay, Stopped, Wanted, Way, side_by_side};
use trace::{BufferCreated, DeviceCreated, Event, Header, MemoryRequirements, Record, Writer};
use vpanthor::Flavour;
use vpanthor::KernelSpec;
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId, Semaphore};

const WAYS: [(Flavour, Strategy); 5] = [
    (Flavour::V1_5, Strategy::Page),
    (Flavour::V1_5, Strategy::Chunk),
    (Flavour::V1_6Repeat, Strategy::Repeat),
    (Flavour::V1_8Repeat, Strategy::Repeat),
    (Flavour::V1_9, Strategy::Sparse),
];
const DEVICE: u64 = 7;
const QUEUE: u64 = 8;
const PIECES: u64 = 40;
const VALIDATION_FAILED: i32 = ash::vk::Result::ERROR_VALIDATION_FAILED_EXT.as_raw();
const OUT_OF_MEMORY: i32 = ash::vk::Result::ERROR_OUT_OF_DEVICE_MEMORY.as_raw();

fn record(event: Event) -> Record {
    Record { time: 0, event }
}

fn device(handle: u64, sparse_binding: bool) -> Record {
    record(Event::DeviceCreated(DeviceCreated {
        device: handle,
        name: format!("device {handle}"),
        sparse_binding,
        ..DeviceCreated::default()
    }))
}

fn memory(device: u64, memory: u64, pieces: u64) -> Record {
    record(Event::MemoryAllocated {
        device,
        memory,
        size: pieces * SZ_64K,
        memory_type: 0,
    })
}

fn buffer(device: u64, buffer: u64, pieces: u64) -> Record {
    let size = pieces * SZ_64K;
    record(Event::BufferCreated(BufferCreated {
        device,
        buffer,
        flags: 3,
        size,
        usage: 32,
        requirements: MemoryRequirements {
            size,
            alignment: SZ_64K,
            memory_type_bits: 1,
        },
    }))
}

fn present() -> Record {
    let (device, queue) = (DEVICE, QUEUE);
    record(Event::Present { device, queue })
}

/// Pieces of a buffer, each bound to the same piece of a memory or unbound.
fn binds(pieces: impl IntoIterator<Item = (u64, Option<u64>)>) -> Vec<Bind> {
    let bind = |(piece, memory): (u64, Option<u64>)| Bind {
        resource_offset: piece * SZ_64K,
        size: SZ_64K,
        memory,
        memory_offset: if memory.is_some() { piece * SZ_64K } else { 0 },
        metadata: false,
    };
    pieces.into_iter().map(bind).collect()
}

fn call(device: u64, infos: Vec<BindInfo>, result: i32) -> Record {
    let fence = (infos.len() == 2).then_some(99);
    record(Event::BindSparse {
        device,
        queue: QUEUE,
        call: BindCall { infos, fence },
        result,
        duration: 0,
    })
}

fn info(buffer: u64, binds: Vec<Bind>) -> BindInfo {
    BindInfo {
        binds: vec![(ResourceId::Buffer(buffer), binds)],
        ..BindInfo::default()
    }
}

fn replay((flavour, strategy): (Flavour, Strategy), records: &[Record]) -> Replay {
    let kernel = KernelSpec::Vpanthor(flavour);
    let mut replay = Replay::new(&kernel, NullChoice::Fixed(strategy)).expect("a virtual kernel");
    for record in records {
        replay.feed(record).expect("a virtual kernel");
    }
    replay
}

/// A run of random creations, frees, destructions and binds, on handles that come again.
fn random_run(seed: u64) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut records = vec![device(DEVICE, true)];
    records.extend((1..4).map(|n| memory(DEVICE, n, PIECES)));
    records.extend((1..4).map(|n| buffer(DEVICE, n, PIECES)));
    records.push(record(Event::TimelineCreated {
        device: DEVICE,
        semaphore: 2,
    }));
    for step in 0..120 {
        let handle = 1 + random.below(3);
        match random.below(12) {
            // Freed while it is bound, and there again.
            0 => {
                records.push(record(Event::MemoryFreed {
                    device: DEVICE,
                    memory: handle,
                }));
                records.push(memory(DEVICE, handle, PIECES));
            }
            1 => {
                records.push(record(Event::ResourceDestroyed {
                    device: DEVICE,
                    resource: ResourceId::Buffer(handle),
                }));
                records.push(buffer(DEVICE, handle, PIECES));
            }
            2 => records.push(present()),
            _ => {
                let infos = (0..1 + random.below(3)).map(|i| {
                    let pieces = (0..random.below(24)).map(|_| {
                        let memory = Some(1 + random.below(3)).filter(|_| random.below(3) > 0);
                        (random.below(PIECES), memory)
                    });
                    let pieces: Vec<_> = pieces.collect();
                    let semaphore = |handle| Semaphore {
                        handle,
                        value: step,
                    };
                    BindInfo {
                        waits: (random.below(4) == 0)
                            .then(|| semaphore(1))
                            .into_iter()
                            .collect(),
                        signals: (random.below(4) == 0)
                            .then(|| semaphore(2))
                            .into_iter()
                            .collect(),
                        joins_previous: i > 0,
                        ..info(1 + random.below(3), binds(pieces))
                    }
                });
                let infos = infos.collect();
                // Some the driver below refuses: all of the call is taken back.
                let result = if random.below(10) == 0 {
                    OUT_OF_MEMORY
                } else {
                    0
                };
                records.push(call(DEVICE, infos, result));
            }
        }
    }
    records
}

/// The same run through the backend as the driver has it, mirror and all.
fn driver((flavour, strategy): (Flavour, Strategy), records: &[Record]) -> Stats {
    let kernel = KernelSpec::Vpanthor(flavour);
    let choice = NullChoice::Fixed(strategy);
    let hosted = Hosted::new(&kernel, choice, "device 7".into(), "".into()).expect("a kernel");
    for record in records {
        match &record.event {
            Event::MemoryAllocated { memory, size, .. } => {
                hosted.add_memory(*memory, *size).expect("memory");
            }
            Event::MemoryFreed { memory, .. } => hosted.remove_memory(*memory),
            Event::BufferCreated(buffer) => {
                let needs = buffer.requirements;
                let id = ResourceId::Buffer(buffer.buffer);
                let added = hosted.add_resource(id, needs.size, needs.alignment, None);
                added.expect("a buffer");
            }
            Event::ResourceDestroyed { resource, .. } => hosted.remove_resource(*resource),
            Event::TimelineCreated { semaphore, .. } => hosted.add_timeline(*semaphore),
            Event::BindSparse { call, result, .. } => {
                let mut base = |_: &[BaseBatch]| match result {
                    0 => Ok(()),
                    _ => Err(ash::vk::Result::from_raw(*result)),
                };
                assert_eq!(hosted.bind(call, &mut base).is_ok(), *result == 0);
            }
            _ => {}
        }
    }
    hosted.stats()
}

#[test]
fn a_replay_counts_what_the_driver_counts() {
    for seed in 0..6 {
        let records = random_run(seed);
        for way in WAYS {
            let replay = replay(way, &records);
            let stats = replay.stats(DEVICE).expect("the device");
            assert_eq!(stats, driver(way, &records), "seed {seed}, {way:?}");
            let totals = replay.totals();
            assert_eq!(totals.vm_bind_ops, stats.vm_bind_ops);
            assert!(
                totals.failed > 0 && totals.runs > 0 && totals.pte_writes > 0,
                "{totals:?}"
            );
            assert_eq!(
                (totals.skipped, totals.refused, totals.not_taken),
                (0, 0, 0)
            );
        }
    }
}

#[test]
fn memories_that_come_and_go_by_the_thousand_are_closed_and_those_that_are_bound_stay() {
    let kernel = KernelSpec::Vpanthor(Flavour::V1_9);
    let hosted = Hosted::new(&kernel, NullChoice::Auto, String::new(), String::new());
    let hosted = hosted.expect("a virtual kernel");
    let id = ResourceId::Buffer(1);
    hosted
        .add_resource(id, SZ_64K, SZ_64K, None)
        .expect("a buffer");
    hosted.add_memory(1, SZ_64K).expect("memory");
    let bind = |memory, base: Result<(), ash::vk::Result>| {
        let infos = vec![info(1, binds([(0, memory)]))];
        hosted.bind(&BindCall { infos, fence: None }, &mut |_| base)
    };
    bind(Some(1), Ok(())).expect("bound");
    hosted.remove_memory(1);
    for _ in 0..5000 {
        hosted.add_memory(2, SZ_64K).expect("memory");
        hosted.remove_memory(2);
    }
    let open = hosted.kernel().vpanthor().expect("virtual").objects().bos;
    assert_eq!(open, 1, "the one that is bound");
    // Taking a bind back needs the handle of what was bound before.
    let refused = bind(None, Err(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY));
    let base = hosted::HostedError::Base(ash::vk::Result::ERROR_OUT_OF_HOST_MEMORY);
    assert_eq!(refused, Err(base));
}

/// The same on 1.9, said to all other kernels.
fn others(records: &[Record]) -> Vec<replay::Other> {
    let kernel = KernelSpec::Vpanthor(Flavour::V1_9);
    let replay = Replay::new(&kernel, NullChoice::Auto).expect("a virtual kernel");
    let mut replay = replay.and_kernels(&Kernel::ALL);
    for record in records {
        replay.feed(record).expect("a virtual kernel");
    }
    replay.others().to_vec()
}

fn destroyed(buffer: u64) -> Record {
    record(Event::ResourceDestroyed {
        device: DEVICE,
        resource: ResourceId::Buffer(buffer),
    })
}

#[test]
fn other_kernels_get_an_operation_for_each_run_and_each_resource_that_comes_or_goes() {
    let bind = |piece, result| call(DEVICE, vec![info(1, binds([(piece, Some(1))]))], result);
    let records = [
        device(DEVICE, true),
        memory(DEVICE, 1, 4),
        buffer(DEVICE, 1, 4),
        call(
            DEVICE,
            vec![info(1, binds([(0, Some(1)), (2, Some(1))]))],
            0,
        ),
        // As it is already.
        bind(2, 0),
        // Bound, and unbound again.
        bind(1, OUT_OF_MEMORY),
        // Refused before anything happens.
        bind(3, VALIDATION_FAILED),
        destroyed(1),
        destroyed(1),
    ];
    for other in others(&records) {
        let counts = other.counts;
        let kinds = (counts.map_ops, counts.null_ops, counts.unmap_ops);
        assert_eq!(kinds, (3, 2, 1), "{other:?}");
        let ioctls = if other.kernel == Kernel::Amdgpu { 6 } else { 5 };
        assert_eq!((counts.ops, counts.ioctls), (6, ioctls), "{other:?}");
        assert_eq!(counts.unfit, 0, "{other:?}");
    }
}

#[test]
fn other_kernels_are_told_the_same_whatever_an_application_does() {
    let mut waits = 0;
    for seed in 0..6 {
        let records = random_run(seed);
        let runs = replay(WAYS[4], &records).totals().runs;
        let others = others(&records);
        let ops = others[0].counts.ops;
        assert!(ops > runs, "those of calls that are taken back, too");
        for other in &others {
            let counts = other.counts;
            assert_eq!((counts.ops, counts.unfit), (ops, 0), "{other:?}");
            let by_itself = (counts.host_waits, counts.host_signals);
            match other.kernel {
                Kernel::Asahi => waits += counts.host_waits,
                Kernel::Amdgpu => assert_eq!(counts.ioctls, ops),
                _ => assert_eq!(by_itself, (0, 0), "{other:?}"),
            }
        }
    }
    assert!(waits > 0, "asahi waits for nothing itself");
}

#[test]
fn what_the_pages_of_another_kernel_do_not_allow_is_counted_and_named() {
    let mut small = buffer(DEVICE, 1, 1);
    if let Event::BufferCreated(buffer) = &mut small.event {
        (buffer.requirements.size, buffer.requirements.alignment) = (5 << 12, 1 << 12);
    }
    let mut bind = binds([(0, Some(1))]);
    bind[0].size = 1 << 12;
    let records = [
        device(DEVICE, true),
        memory(DEVICE, 1, 1),
        small,
        call(DEVICE, vec![info(1, bind)], 0),
    ];
    for other in others(&records) {
        // The buffer and the bind; only the bind; neither.
        let (unfit, page) = match other.kernel {
            Kernel::Asahi => (2, "16384"),
            Kernel::Xe64k => (1, "65536"),
            _ => (0, ""),
        };
        assert_eq!(other.counts.unfit, unfit, "{other:?}");
        let said = other.unfit.map_or(String::new(), |why| why.to_string());
        assert!(said.contains(page), "{said}");
    }
}

fn run(records: &[Record], steps: std::ops::Range<u64>) -> Vec<replay::Replayed> {
    let way = |(flavour, strategy)| Way {
        kernel: KernelSpec::Vpanthor(flavour),
        choice: NullChoice::Fixed(strategy),
    };
    let wanted = Wanted {
        steps,
        residency: true,
        others: Vec::new(),
    };
    let mut records = records.iter().cloned();
    let result: Result<_, Stopped<()>> =
        side_by_side(&WAYS.map(way), &wanted, |_| Ok(records.next()));
    result.expect("replayed")
}

#[test]
fn steps_add_up_to_the_whole_and_side_by_side_is_one_by_one() {
    let with_frames = random_run(3);
    let is_present = |record: &&Record| matches!(record.event, Event::Present { .. });
    let presents = with_frames.iter().filter(is_present).count() as u64;
    let mut without = with_frames.clone();
    without.retain(|record| !is_present(&record));
    for records in [&with_frames, &without] {
        let whole = run(records, 0..u64::MAX);
        for (way, replayed) in WAYS.into_iter().zip(&whole) {
            assert_eq!(replayed.totals, replay(way, records).totals());
            assert_eq!(replayed.kept.sum, replayed.totals);
            let sum = replayed
                .kept
                .steps
                .iter()
                .fold(Counts::default(), |a, &b| a + b);
            assert_eq!(sum, replayed.totals);
            assert_eq!(replayed.kept.steps.len() as u64, replayed.kept.count);
        }
        let part = run(records, 2..5);
        for (part, whole) in part.iter().zip(&whole) {
            assert_eq!(part.kept.steps, whole.kept.steps[2..5]);
            assert_eq!(part.totals, whole.totals);
        }
    }
    let count = run(&with_frames, 0..0)[0].kept.count;
    assert!(
        (presents..=presents + 1).contains(&count),
        "{count} of {presents}"
    );
}

#[test]
fn residency_is_the_share_of_each_resource_that_is_bound() {
    let bound = |pieces: std::ops::Range<u64>, to| {
        call(
            DEVICE,
            vec![info(1, binds(pieces.map(|piece| (piece, to))))],
            0,
        )
    };
    let records = [
        device(DEVICE, true),
        memory(DEVICE, 1, 4),
        present(),
        buffer(DEVICE, 1, 4),
        bound(0..2, Some(1)),
        present(),
        bound(0..1, None),
        present(),
    ];
    let replayed = run(&records, 0..0);
    let residency = replayed[0].residency.as_ref().expect("it was wanted");
    assert!(replayed[1].residency.is_none());
    assert_eq!((residency.samples, residency.stride), (3, 1));
    let band = &residency.bands[0];
    assert_eq!(
        (band.first, band.size, band.name.as_str()),
        (1, 4 * SZ_64K, "VkBuffer 0x1")
    );
    assert_eq!(band.shares, [[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
}

#[test]
fn devices_have_their_own_counts_and_handles_come_again() {
    let bind = |device| call(device, vec![info(1, binds([(0, Some(1))]))], 0);
    let records = [
        device(1, true),
        device(2, true),
        device(3, false),
        memory(1, 1, 4),
        memory(2, 1, 4),
        buffer(1, 1, 4),
        buffer(2, 1, 4),
        bind(1),
        bind(2),
        bind(2),
        record(Event::DeviceDestroyed { device: 1 }),
        device(1, true),
    ];
    let replay = replay(WAYS[4], &records);
    assert_eq!(replay.stats(2).expect("known").queue_bind_sparse_calls, 2);
    assert_eq!(replay.stats(1).expect("known").queue_bind_sparse_calls, 0);
    assert_eq!(replay.stats(3).expect("known").strategy, "sparse");
    assert_eq!(replay.stats(4), None);
    assert_eq!(replay.totals().queue_bind_sparse_calls, 3);
    assert_eq!(replay.totals().binds_elided, 1);
}

#[test]
fn what_the_driver_had_refused_is_refused_and_what_cannot_be_placed_is_skipped() {
    let mut records = vec![
        device(DEVICE, true),
        memory(DEVICE, 1, 4),
        buffer(DEVICE, 1, 4),
    ];
    let before = replay(WAYS[4], &records).totals();
    let beyond = || vec![info(1, binds([(0, Some(1)), (4, Some(1))]))];
    records.push(call(DEVICE, beyond(), VALIDATION_FAILED));
    let totals = replay(WAYS[4], &records).totals();
    assert_eq!(
        totals,
        Counts {
            refused: 1,
            ..before
        },
        "nothing of it happened"
    );
    // Another driver took it, and binds of objects that were made before the recording began.
    records.push(call(DEVICE, beyond(), 0));
    records.push(call(DEVICE, vec![info(9, binds([(0, Some(1))]))], 0));
    records.push(call(
        DEVICE,
        vec![info(1, binds([(1, Some(9)), (2, Some(1))]))],
        0,
    ));
    records.push(call(1234, vec![info(1, binds([(0, None)]))], 0));
    let replay = replay(WAYS[4], &records);
    let totals = replay.totals();
    assert_eq!((totals.skipped, totals.refused), (4, 1));
    assert_eq!(totals.queue_bind_sparse_calls, 3);
    assert_eq!(
        (totals.binds, totals.map_ops),
        (2, 2),
        "what can be placed is"
    );
    assert!(
        replay.remarks()[0].contains("skipped 1 of 2 binds"),
        "{:?}",
        replay.remarks()
    );
    assert!(
        replay.remarks()[3].contains("VkDevice 0x4d2"),
        "{:?}",
        replay.remarks()
    );
}

// The command.

fn written(records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &Header::new("test", 1)).expect("written");
    for record in records {
        writer.record(record).expect("written");
        writer.flush().expect("written");
    }
    writer.finish().expect("written")
}

fn command(arguments: &[&str]) -> Output {
    Command::new(common::command::binary())
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_reports_frames_and_says_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.trace");
    let records = random_run(1);
    let bytes = written(&records);
    std::fs::write(&path, &bytes).expect("written");
    let path = path.to_str().expect("text");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = command(&[&[path, "--json"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let whole = json(&[]);
    let expected = run(&records, 0..u64::MAX);
    assert_eq!(whole["step"], "frame");
    let ways = whole["strategies"].as_array().expect("strategies");
    assert_eq!(ways.len(), 4);
    let totals = |way: &serde_json::Value| way["totals"].clone();
    for (way, at) in ways.iter().zip([0, 1, 3, 4]) {
        let counts = serde_json::to_value(expected[at].totals).expect("JSON");
        assert_eq!(totals(way), counts);
    }
    let part = json(&["--frames", "1..3", "--strategy", "sparse"]);
    assert_eq!(part["steps"], serde_json::json!([1, 3]));
    let steps = &expected[4].kept.steps;
    let sum = serde_json::to_value(steps[1] + steps[2]).expect("JSON");
    assert_eq!(totals(&part["strategies"][0]), sum);
    assert_eq!(part["strategies"][0]["steps"][1]["step"], 2);

    let with_others = json(&["--kernel", "msm", "--kernel", "amdgpu"]);
    let kernel = &with_others["strategies"][0]["kernel"];
    assert_eq!(
        kernel, "vpanthor:1.9",
        "what the others are told is planned on"
    );
    let msm = &with_others["others"][0];
    let expected_msm = &others(&records)[2];
    assert_eq!(
        (&msm["kernel"], expected_msm.kernel),
        (&"msm".into(), Kernel::Msm)
    );
    assert_eq!(msm["ops"], expected_msm.counts.ops);
    assert_eq!(msm["bytes_to_kernel"], expected_msm.counts.bytes_to_kernel);
    assert_eq!(with_others["others"][1]["kernel"], "amdgpu");
    assert_eq!(whole["others"], serde_json::json!([]));

    let svg = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (plot, map) = (svg("plot.svg"), svg("map.svg"));
    let output = command(&[path, "--frames", "2", "--plot", &plot, "--map", &map]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("frames 2 to 2 of") && shown.contains("Map: "),
        "{shown}"
    );
    for (file, part) in [(&plot, "repeat on 1.8-repeat"), (&map, "VkBuffer 0x1")] {
        let svg = std::fs::read_to_string(file).expect("a picture");
        assert!(svg.contains(part) && svg.contains("frame"), "{file}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .collect();
    assert_eq!(left.len(), 3, "nothing else is left behind: {left:?}");

    let damaged = folder.path().join("damaged.trace");
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("written");
    let damaged = damaged.to_str().expect("text");
    let no_trace = folder.path().join("plot.svg");
    let no_trace = no_trace.to_str().expect("text");
    for (arguments, status, reasons) in [
        (
            &["/nonexistent.trace"][..],
            1,
            &["/nonexistent.trace", "No such file"][..],
        ),
        (&[no_trace], 1, &["plot.svg", "expected a recording"]),
        (&[damaged], 1, &["damaged.trace", "at offset", "--salvage"]),
        (
            &[path, "--frames", "4000..4001"],
            1,
            &["4000..4001", "the frames 0 to"],
        ),
        (&[path, "--frames", "3..2"], 2, &["3..2", "A..B"]),
        (
            &[path, "--kernel", "vpanthor:9"],
            2,
            &["vpanthor:9", "1.8-repeat"],
        ),
        (
            &[path, "--strategy", "none"],
            2,
            &["none", "sparse, repeat, chunk, page"],
        ),
        (
            &[path, "--kernel", "vpanthor:1.5", "--strategy", "sparse"],
            2,
            &["vpanthor:1.5", "sparse"],
        ),
        (
            &[path, "--kernel", "xe", "--frames", "1..3"],
            2,
            &["--frames", "whole recording"],
        ),
        (
            &[path, "--plot", "/nonexistent/p.svg"],
            1,
            &["/nonexistent/p.svg"],
        ),
    ] {
        let output = command(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        for reason in reasons {
            assert!(said.contains(reason), "{arguments:?}: {said}");
        }
        // The variables are the driver's.
        assert!(!said.contains("PANVK_SPARSE_"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    let output = command(&[damaged, "--salvage", "--strategy", "sparse"]);
    let said = text(&output.stdout);
    assert!(
        output.status.success() && said.contains("Damaged, replayed up to there: at offset"),
        "{said}"
    );
}

#[test]
fn a_recording_without_frames_is_reported_call_by_call() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("calls.trace");
    let bind = |piece| call(DEVICE, vec![info(1, binds([(piece, Some(1))]))], 0);
    let mut records = vec![
        device(DEVICE, true),
        memory(DEVICE, 1, 4),
        buffer(DEVICE, 1, 4),
    ];
    records.extend((0..3).map(bind));
    std::fs::write(&path, written(&records)).expect("written");
    let output = command(&[path.to_str().expect("text")]);
    let said = text(&output.stdout);
    assert!(
        said.contains("test, 3 binds in 3 calls")
            && !said.contains("calls: ")
            && said.contains("no frames"),
        "{said}"
    );
}

#[test]
fn what_would_take_more_memory_than_there_is_is_left_out_and_said() {
    let huge = (40 << 30) / SZ_64K;
    let records = [
        device(DEVICE, true),
        buffer(DEVICE, 1, huge),
        call(DEVICE, vec![info(1, binds([(0, None)]))], 0),
    ];
    let by_page = replay(WAYS[0], &records);
    assert_eq!(
        (by_page.totals().unplaced, by_page.totals().skipped),
        (1, 1)
    );
    assert!(
        by_page.remarks()[0].contains("42949672960 bytes"),
        "{:?}",
        by_page.remarks()
    );
    let sparse = replay(WAYS[4], &records).totals();
    assert_eq!(
        (sparse.unplaced, sparse.null_ops, sparse.binds_elided),
        (0, 1, 1)
    );
}
