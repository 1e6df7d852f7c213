//! `cargo bench --bench hosted`: one `vkQueueBindSparse` in the hosted backend, without Vulkan around it: what the way of
//! a bind costs from the call to the binds for the base driver, the virtual kernel included.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hosted::BaseBatch;
use hosted::Hosted;
use hosted::config::NullChoice;
use panvk_sparse::units::{SZ_4K, SZ_64K};
use vpanthor::Flavour;
use vpanthor::KernelSpec;
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId};

const PIECES: u64 = 16_384;
const SIZE: u64 = PIECES * SZ_64K;
const BUFFER: ResourceId = ResourceId::Buffer(1);
const MEMORY: u64 = 1;

fn hosted(flavour: Flavour) -> Hosted {
    let kernel = KernelSpec::Vpanthor(flavour);
    let hosted = Hosted::new(&kernel, NullChoice::Auto, "device".into(), "base".into())
        .expect("a virtual kernel");
    hosted.add_memory(MEMORY, SIZE).expect("memory");
    hosted
        .add_resource(BUFFER, SIZE, SZ_4K, None)
        .expect("a resource");
    hosted
}

fn call(binds: Vec<Bind>) -> BindCall {
    let info = BindInfo {
        binds: vec![(BUFFER, binds)],
        ..BindInfo::default()
    };
    BindCall {
        infos: vec![info],
        fence: Some(1),
    }
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
    call((0..PIECES).map(bind).collect())
}

fn unbind(size: u64) -> BindCall {
    let bind = |i| Bind {
        resource_offset: i * size,
        size,
        memory: None,
        memory_offset: 0,
        metadata: false,
    };
    call((0..SIZE / size).map(bind).collect())
}

fn bind(hosted: &Hosted, call: &BindCall) {
    let mut base = |batches: &[BaseBatch]| {
        black_box(batches);
        Ok(())
    };
    hosted.bind(call, &mut base).expect("a right call");
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
    ];
    for flavour in [Flavour::V1_8Repeat, Flavour::V1_9] {
        for (name, before, measured) in &scenarios {
            let hosted = hosted(flavour);
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
