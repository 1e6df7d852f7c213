//! `cargo bench --bench hosted`: one `vkQueueBindSparse` in the hosted backend, without Vulkan around it: what the way of
//! a bind costs from the call to the binds for the base driver, the virtual kernel included. Before it measures a case, it prints the
//! operations and the page-table entries of one such call.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hosted::BaseBatch;
use hosted::Hosted;
use hosted::config::NullChoice;
use panvk_sparse::layout::{Aspect, Extent, Image, MipTail, Offset, Region};
use panvk_sparse::units::{SZ_4K, SZ_64K};
use vpanthor::Flavour;
use vpanthor::KernelSpec;
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId};

const PIECES: u64 = 16_384;
const SIZE: u64 = PIECES * SZ_64K;
const BUFFER: ResourceId = ResourceId::Buffer(1);
/// 16384x16384 texels of 4 bytes: as many tiles of 64 KiB as the buffer has pieces.
const IMAGE: u64 = 2;
/// Width and height of a tile, in texels; and tiles in a row of the image.
const TILE: u32 = 128;
const TILES: u64 = 128;
const MEMORY: u64 = 1;

fn hosted(flavour: Flavour) -> Hosted {
    let kernel = KernelSpec::Vpanthor(flavour);
    let hosted = Hosted::new(&kernel, NullChoice::Auto, "device".into(), "base".into())
        .expect("a virtual kernel");
    hosted.add_memory(MEMORY, SIZE).expect("memory");
    hosted
        .add_resource(BUFFER, SIZE, SZ_4K, None)
        .expect("a resource");
    let side = TILE * TILES as u32;
    let color = Aspect {
        mask: 1,
        granularity: Extent::new(TILE, TILE, 1),
        flags: 0,
        subsampling: [1, 1],
        tail: MipTail {
            first_level: 1,
            size: 0,
            offset: 0,
            stride: 0,
        },
    };
    let image = Image {
        extent: Extent::new(side, side, 1),
        levels: 1,
        layers: 1,
        tile_bytes: SZ_64K,
        aspects: vec![color],
    };
    hosted.add_image(IMAGE, &image, None).expect("an image");
    hosted
}

fn call(info: BindInfo) -> BindCall {
    BindCall {
        infos: vec![info],
        fence: Some(1),
    }
}

fn buffer(binds: Vec<Bind>) -> BindCall {
    call(BindInfo {
        binds: vec![(BUFFER, binds)],
        ..BindInfo::default()
    })
}

/// Each tile of the image, row by row, is bound to the piece of the memory that `to` says, or unbound.
fn tiles(to: impl Fn(u64) -> Option<u64>) -> BindCall {
    let bind = |i: u64| ImageBind {
        region: Region {
            aspect: 1,
            level: 0,
            layer: 0,
            offset: Offset {
                x: (i % TILES) as i32 * TILE as i32,
                y: (i / TILES) as i32 * TILE as i32,
                z: 0,
            },
            extent: Extent::new(TILE, TILE, 1),
        },
        memory: to(i).map(|_| MEMORY),
        memory_offset: to(i).unwrap_or(0) * SZ_64K,
    };
    call(BindInfo {
        image_binds: vec![(IMAGE, (0..PIECES).map(bind).collect())],
        ..BindInfo::default()
    })
}

/// Piece `i` of the buffer is bound to piece `to(i)` of the memory.
fn pieces(to: impl Fn(u64) -> u64) -> BindCall {
    let bind = |i| Bind {
        resource_offset: i * SZ_64K,
        size: SZ_64K,
        memory: Some(MEMORY),
        memory_offset: to(i) * SZ_64K,
        metadata: false,
    };
    buffer((0..PIECES).map(bind).collect())
}

fn unbind(size: u64) -> BindCall {
    let bind = |i| Bind {
        resource_offset: i * size,
        size,
        memory: None,
        memory_offset: 0,
        metadata: false,
    };
    buffer((0..SIZE / size).map(bind).collect())
}

fn bind(hosted: &Hosted, call: &BindCall) {
    let mut base = |batches: &[BaseBatch]| {
        black_box(batches);
        Ok(())
    };
    hosted.bind(call, &mut base).expect("a right call");
}

/// Operations and page-table entries until now.
fn work(hosted: &Hosted) -> (u64, u64) {
    let entries = hosted.with_space(|space| space.work().map(|work| work.vm.pt.pte_writes()));
    (
        hosted.stats().vm_bind_ops,
        entries.expect("a virtual kernel counts them"),
    )
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("hosted: 1 GiB in one call");
    group
        .throughput(Throughput::Elements(PIECES))
        .sample_size(20);
    let scattered = || pieces(|i| i * 4093 % PIECES);
    let scenarios = [
        (
            "16,384 contiguous pieces over null",
            unbind(SIZE),
            pieces(|i| i),
        ),
        (
            "16,384 scattered pieces over null",
            unbind(SIZE),
            scattered(),
        ),
        (
            "16,384 scattered pieces over others",
            pieces(|i| i),
            scattered(),
        ),
        (
            "one null bind over scattered pieces",
            scattered(),
            unbind(SIZE),
        ),
        (
            "16,384 null pieces over scattered pieces",
            scattered(),
            unbind(SZ_64K),
        ),
        (
            "16,384 scattered tiles of an image over null",
            tiles(|_| None),
            tiles(|i| Some(i * 4093 % PIECES)),
        ),
    ];
    for flavour in [Flavour::V1_8Repeat, Flavour::V1_9] {
        for (name, before, measured) in &scenarios {
            let hosted = hosted(flavour);
            bind(&hosted, before);
            let (ops, entries) = work(&hosted);
            bind(&hosted, measured);
            let (ops, entries) = (work(&hosted).0 - ops, work(&hosted).1 - entries);
            println!("{flavour}: {name}: {ops} operations, {entries} entries written");
            group.bench_function(format!("{flavour}: {name}"), |b| {
                b.iter_custom(|iterations| {
                    let mut sum = Duration::ZERO;
                    for _ in 0..iterations {
                        bind(&hosted, before);
                        let start = Instant::now();
                        bind(&hosted, measured);
                        sum += start.elapsed();
                    }
                    sum
                })
            });
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
