//! Copies from and to sparse resources, on a queue that does nothing but copy where the driver has one, and says so.

use common::gpu::bind;
use common::objects::{ImageShape, Staging};
use common::pattern::{assert_pattern, assert_words, words};
use common::tiles::Contents;
use common::work::{Recorder, Work};
use common::{Batch, Buffer, Engine, Gpu, Memory, Random, SZ_64K, Tiled};

fn on_transfer(gpu: &Gpu, f: impl FnOnce(&mut Recorder<'_>)) {
    Work::record_for(gpu, Engine::Transfer, f).run();
}

fn say(gpu: &Gpu) {
    println!(
        "queue families: computes {}, binds {}, copies {}",
        gpu.compute_family, gpu.sparse_family, gpu.transfer_family
    );
}

/// Blocks of the buffers.
const BLOCKS: u64 = 12;

/// The buffer's blocks lie in the memory in this order.
fn bind_blocks(buffer: &Buffer<'_>, memory: &Memory<'_>, order: &[u64]) -> Batch {
    let binds = order.iter().zip(0..);
    let binds = binds.map(|(&place, i)| bind(i * SZ_64K, SZ_64K, memory, place * SZ_64K));
    Batch::buffer(buffer, binds.collect::<Vec<_>>())
}

pub fn buffer_copies(gpu: &Gpu) {
    say(gpu);
    let size = BLOCKS * SZ_64K;
    let (a, b) = (gpu.sparse_buffer(size), gpu.sparse_buffer(size));
    let (in_a, in_b) = (gpu.memory(&a, size), gpu.memory(&b, size));
    let mut order: Vec<u64> = (0..BLOCKS).collect();
    Random::new(1).shuffle(&mut order);
    gpu.bind(&[
        bind_blocks(&a, &in_a, &order),
        bind_blocks(&b, &in_b, &order),
    ]);
    let (from, to) = (Staging::new(gpu, size), Staging::new(gpu, size));
    from.write(&words(1, size / 4));
    // Into the one, on to the other, out of it; in pieces that no block's border cuts.
    let piece = size / 9 / 4 * 4;
    let pieces = || (0..size.div_ceil(piece)).map(|i| (i * piece, piece.min(size - i * piece)));
    on_transfer(gpu, |r| {
        pieces().for_each(|(at, n)| r.copy(&from.buffer, at, &a, at, n));
    });
    let held = in_a.read(0, size);
    let block = (SZ_64K / 4) as usize;
    for (i, &place) in order.iter().enumerate() {
        let at = place as usize * block;
        let first = (i * block) as u32;
        assert_pattern("a block of the first", &held[at..at + block], 1, first);
    }
    on_transfer(gpu, |r| {
        pieces().for_each(|(at, n)| r.copy(&a, at, &b, at, n));
        pieces().for_each(|(at, n)| r.copy(&b, at, &to.buffer, at, n));
    });
    assert_pattern("out of the second", &to.read(), 1, 0);
    assert_words("both memories", 0, &in_b.read(0, size), &held);
    // Rebound while copies are queued before and after: the semaphores alone keep the order.
    let (bound, copied) = (gpu.binary(), gpu.binary());
    order.rotate_left(5);
    let before = Work::record_for(gpu, Engine::Transfer, |r| {
        r.copy(&a, 0, &to.buffer, 0, size / 2)
    });
    let after = Work::record_for(gpu, Engine::Transfer, |r| {
        r.copy(&a, size / 2, &to.buffer, size / 2, size / 2)
    });
    before.submit(&[], &[copied.point()]);
    let rebind = bind_blocks(&a, &in_a, &order);
    gpu.bind_async(&[rebind.wait(copied.point()).signal(bound.point())], None)
        .expect("vkQueueBindSparse");
    after.submit(&[bound.point()], &[]);
    before.wait();
    after.wait();
    gpu.wait_idle();
    let got = to.read();
    let half = got.len() / 2;
    assert_pattern("copied before the rebind", &got[..half], 1, 0);
    // Block i has the place that block i + 5 had.
    for i in BLOCKS as usize / 2..BLOCKS as usize {
        let first = ((i + 5) % BLOCKS as usize * block) as u32;
        let own = &got[i * block..(i + 1) * block];
        assert_pattern("copied after the rebind", own, 1, first);
    }
}

pub fn image_copies(gpu: &Gpu) {
    say(gpu);
    let shape = ImageShape {
        layers: 2,
        levels: 3,
        ..ImageShape::flat(300, 260)
    };
    let image = Tiled::new(gpu, &shape);
    let mut tiles = image.tiles();
    Random::new(2).shuffle(&mut tiles);
    let memories = [0, 1].map(|_| image.memory(tiles.len() as u64));
    let into = |memory| {
        let binds = tiles.iter().zip(0..);
        image.call(
            binds
                .map(|(&t, i)| image.bind(t, memory, i))
                .collect::<Vec<_>>(),
        );
    };
    let (regions, n) = image.image.regions();
    let staging = Staging::new(gpu, n * 4);
    let contents = [3, 4].map(|seed| image.pattern(seed));
    for (memory, seed) in memories.iter().zip([3, 4]) {
        into(memory);
        staging.write(&words(seed, n));
        on_transfer(gpu, |r| {
            r.regions_write(&staging.buffer, &image.image, &regions);
        });
    }
    for (memory, contents) in memories.iter().zip(&contents) {
        into(memory);
        on_transfer(gpu, |r| {
            r.regions_read(&image.image, &staging.buffer, &regions);
        });
        let got = Contents::of_words(&staging.read());
        image.assert_tiles("copied out", &got, contents, &tiles);
        // And the computing queue's copies see the same.
        image.assert_tiles("copied elsewhere", &image.download(), contents, &tiles);
    }
}
