//! What the virtual kernel's gpuvm costs, with changes recorded: it must not hide what the code in front of it costs.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use panvk_sparse::units::{SZ_4K, SZ_64K};
use vpanthor::bo::Bo;
use vpanthor::changes::Change;
use vpanthor::flavour::RepeatRule;
use vpanthor::gpuvm::Gpuvm;
use vpanthor::mapping::{MapFlags, Source};

const SZ_1G: u64 = 1 << 30;
const BASE: u64 = 4 * SZ_1G;
const PIECES: u64 = SZ_1G / SZ_64K;

struct Rig {
    vm: Gpuvm,
    dummy: Arc<Bo>,
    memory: Arc<Bo>,
}

impl Rig {
    fn new() -> Self {
        let mut vm = Gpuvm::new(1 << 47, Some(RepeatRule::V5));
        let dummy = Arc::new(Bo::new(1, SZ_4K, None));
        vm.set_dummy(dummy.id);
        vm.record_changes(true);
        let memory = Arc::new(Bo::new(2, SZ_1G, None));
        Rig { vm, dummy, memory }
    }

    fn null(mut self, range: u64) -> Self {
        let bo = Arc::clone(&self.dummy);
        let source = Source::Repeat {
            bo,
            offset: 0,
            range,
        };
        self.vm
            .map(BASE, SZ_1G, source, MapFlags::NOEXEC)
            .expect("a null bind");
        self
    }

    fn sparse(mut self) -> Self {
        self.vm
            .map(BASE, SZ_1G, Source::Sparse, MapFlags::NOEXEC)
            .expect("a sparse bind");
        self
    }

    fn contiguous(mut self) -> Self {
        self.map(0, 0, SZ_1G);
        self
    }

    fn map(&mut self, at: u64, offset: u64, size: u64) {
        let bo = Arc::clone(&self.memory);
        self.vm
            .map(BASE + at, size, Source::Bo { bo, offset }, MapFlags::NOEXEC)
            .expect("a memory bind");
    }

    /// Each piece of 64 KiB somewhere else in memory, in an order that jumps about.
    fn scattered(mut self) -> Self {
        for i in 0..PIECES {
            let at = i * 7919 % PIECES;
            self.map(at * SZ_64K, i * SZ_64K, SZ_64K);
        }
        self
    }

    fn taken(mut self) -> (Self, Vec<Change>) {
        let changes = self.vm.take_changes();
        (self, changes)
    }
}

fn bench(c: &mut Criterion, name: &str, ops: u64, setup: fn() -> Rig, run: fn(Rig) -> Rig) {
    let mut group = c.benchmark_group("gpuvm");
    group.sample_size(20).throughput(Throughput::Elements(ops));
    group.bench_function(name, |b| {
        b.iter_batched(
            || setup().taken().0,
            |rig| black_box(run(rig).taken()),
            BatchSize::PerIteration,
        );
    });
}

fn benches(c: &mut Criterion) {
    bench(
        c,
        "null 1 GiB, range 4 KiB, over nothing",
        1,
        Rig::new,
        |rig| rig.null(SZ_4K),
    );
    bench(
        c,
        "null 1 GiB, range 4 KiB, over contiguous memory",
        1,
        || Rig::new().contiguous(),
        |rig| rig.null(SZ_4K),
    );
    bench(
        c,
        "null 1 GiB, range 4 KiB, over 16384 scattered pieces",
        1,
        || Rig::new().null(SZ_4K).scattered(),
        |rig| rig.null(SZ_4K),
    );
    bench(
        c,
        "null 1 GiB, range 4 KiB, over null",
        1,
        || Rig::new().null(SZ_4K),
        |rig| rig.null(SZ_4K),
    );
    bench(
        c,
        "memory 1 GiB, contiguous, over null",
        1,
        || Rig::new().null(SZ_4K),
        Rig::contiguous,
    );
    bench(
        c,
        "16384 scattered pieces of 64 KiB over null",
        PIECES,
        || Rig::new().null(SZ_4K),
        Rig::scattered,
    );
    bench(
        c,
        "16384 scattered pieces of 64 KiB over sparse",
        PIECES,
        || Rig::new().sparse(),
        Rig::scattered,
    );
    bench(
        c,
        "16384 scattered pieces of 64 KiB over themselves",
        PIECES,
        || Rig::new().null(SZ_4K).scattered(),
        Rig::scattered,
    );
}

criterion_group!(gpuvm, benches);
criterion_main!(gpuvm);
