//! Writing and reading recordings of 1,000,000 binds: in memory, so that it is encoding, checksums and decoding that are
//! measured. Says first how many bytes a bind takes.
//!
//! `cargo bench --bench trace`. The throughput's reciprocal is the time a bind.

use std::hint::black_box;
use std::io;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use panvk_sparse::layout::{Extent, Offset, Region};
use panvk_sparse::units::SZ_64K;
use trace::{Event, Header, Reader, Record, Writer};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

const BINDS: u64 = 1_000_000;
const DEVICE: u64 = 0x5581_c3a0_4be0;
const QUEUE: u64 = 0x5581_c3a0_5d28;
const RESOURCE: u64 = 0x5581_c3d1_1f90;
const POOL: u64 = 0x5581_c3d1_9a00;

/// Xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn call(time: u64, info: BindInfo) -> Record {
    Record {
        time,
        event: Event::BindSparse {
            device: DEVICE,
            queue: QUEUE,
            call: BindCall {
                infos: vec![info],
                fence: None,
            },
            result: 0,
            duration: 83_211,
        },
    }
}

fn bind(offset: u64, memory_offset: u64) -> Bind {
    Bind {
        resource_offset: offset * SZ_64K,
        size: SZ_64K,
        memory: Some(POOL),
        memory_offset: memory_offset * SZ_64K,
        metadata: false,
    }
}

/// Calls of `per_call` binds of 64 KiB.
fn buffer(per_call: u64, mut at: impl FnMut(u64) -> Bind) -> Vec<Record> {
    (0..BINDS / per_call)
        .map(|n| {
            let binds = (n * per_call..(n + 1) * per_call).map(&mut at).collect();
            let info = BindInfo {
                binds: vec![(ResourceId::Buffer(RESOURCE), binds)],
                ..BindInfo::default()
            };
            call(n * 1_000_000, info)
        })
        .collect()
}

/// Each bind goes on where the one before it ends.
fn ascending() -> Vec<Record> {
    buffer(1000, |n| bind(n, n))
}

/// Anywhere in 64 GiB, to anywhere in 4 GiB.
fn anywhere() -> Vec<Record> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    buffer(1000, |_| bind(random.below(1 << 20), random.below(1 << 16)))
}

/// One bind a call.
fn single() -> Vec<Record> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    buffer(1, |_| bind(random.below(1 << 20), random.below(1 << 16)))
}

/// A virtual texture: each frame, 100 tiles in rows come from a pool and 100 others go.
fn streaming() -> Vec<Record> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut records = Vec::new();
    for frame in 0..BINDS / 200 {
        let mut binds = Vec::new();
        for evicted in [true, false] {
            let mut tiles = 100;
            while tiles > 0 {
                let row = (1 + random.below(12)).min(tiles);
                let (x, y) = (random.below(240), random.below(256));
                for column in 0..row {
                    binds.push(tile(x + column, y, (!evicted).then(|| random.below(1024))));
                }
                tiles -= row;
            }
        }
        let semaphore = |n: u64| Semaphore {
            handle: 0x5581_c3d2_0000 + n % 4 * 0x1a0,
            value: 0,
        };
        let info = BindInfo {
            waits: vec![semaphore(frame)],
            signals: vec![semaphore(frame + 1)],
            image_binds: vec![(RESOURCE, binds)],
            ..BindInfo::default()
        };
        let time = frame * 16_666_667;
        records.push(call(time, info));
        records.push(Record {
            time: time + 2_000_000,
            event: Event::Submit {
                device: DEVICE,
                queue: QUEUE,
                count: 1,
            },
        });
        records.push(Record {
            time: time + 2_500_000,
            event: Event::Present {
                device: DEVICE,
                queue: QUEUE,
            },
        });
    }
    records
}

fn tile(x: u64, y: u64, place: Option<u64>) -> ImageBind {
    ImageBind {
        region: Region {
            aspect: 1,
            level: 0,
            layer: 0,
            offset: Offset {
                x: x as i32 * 128,
                y: y as i32 * 128,
                z: 0,
            },
            extent: Extent::new(128, 128, 1),
        },
        memory: place.map(|_| POOL),
        memory_offset: place.unwrap_or(0) * SZ_64K,
    }
}

fn write<W: io::Write>(records: &[Record], out: W) -> W {
    let header = Header::new("bench", 1);
    let written = Writer::new(out, &header).and_then(|mut writer| {
        records
            .iter()
            .try_for_each(|record| writer.record(record))?;
        writer.finish()
    });
    written.expect("memory takes everything")
}

fn trace(c: &mut Criterion) {
    let traces = [
        ("ascending", ascending()),
        ("anywhere", anywhere()),
        ("streaming", streaming()),
        ("single", single()),
    ];
    for (name, records) in &traces {
        let file = write(records, Vec::new());
        let per_bind = file.len() as f64 / BINDS as f64;
        println!(
            "{name}: {} records, {} bytes, {per_bind:.2} a bind",
            records.len(),
            file.len()
        );
        let mut group = c.benchmark_group(format!("trace/{name}"));
        group.throughput(Throughput::Elements(BINDS));
        group.sample_size(20);
        group.bench_function("write", |b| {
            b.iter(|| write(black_box(records), io::sink()));
        });
        group.bench_function("read", |b| {
            b.iter(|| {
                let reader = Reader::new(black_box(&file[..])).expect("a recording");
                let read = reader.filter(|record| black_box(record).is_ok()).count();
                assert_eq!(read, records.len());
            });
        });
        group.finish();
    }
}

criterion_group!(benches, trace);
criterion_main!(benches);
