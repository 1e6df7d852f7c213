//! Updates of tile mappings as Direct3D 12 has them, which vkd3d-proton turns into binds tile by tile: runs of tiles that
//! continue each other or only seem to, one tile of memory for many, unmapped runs, and mappings copied from elsewhere.

use common::gpu::{bind, unbind};
use common::pattern::{assert_pattern, words};
use common::{Batch, Gpu, Memory, Random, SZ_64K};

const TILES: u64 = 96;
const HEAP: u64 = 48;
const ROUNDS: u32 = 60;

/// A heap, and the tile in it.
type Place = Option<(usize, u64)>;

/// What a run of `count` tiles gets, if that is not copied.
fn targets(random: &mut Random, count: u64) -> Vec<Place> {
    let heap = random.below(2) as usize;
    let first = random.below(HEAP - count + 1);
    let split = random.below(count);
    let place = |tile| Some((heap, tile));
    let kind = random.below(6);
    let target = |i: u64| match kind {
        0 => place(first + i),
        // The resource goes on where the memory does not, or is that of the other heap.
        1 => place((first + i + 7 * u64::from(i >= split)) % HEAP),
        2 => Some((heap ^ usize::from(i >= split), first + i)),
        3 => place(first + count - 1 - i),
        4 => place(first),
        _ => None,
    };
    (0..count).map(target).collect()
}

pub fn rounds_of_runs_unmapped_tiles_and_copied_mappings(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(TILES * SZ_64K);
    let tile = buffer.granularity().max(SZ_64K);
    let tiles = TILES * SZ_64K / tile;
    let heaps = [(); 2].map(|()| gpu.memory(&buffer, HEAP * tile));
    // The seed of each tile of memory.
    let mut seeds: [Vec<u32>; 2] = std::array::from_fn(|heap| {
        (0..HEAP as u32)
            .map(|at| 1000 * (heap as u32 + 1) + at)
            .collect()
    });
    let fill = |heap: &Memory<'_>, at: u64, seed| heap.write(at * tile, &words(seed, tile / 4));
    for (heap, seeds) in heaps.iter().zip(&seeds) {
        for (at, &seed) in (0..).zip(seeds) {
            fill(heap, at, seed);
        }
    }
    let mut mapped: Vec<Place> = vec![None; tiles as usize];
    let mut random = Random::new(12);
    for round in 0..ROUNDS {
        for _ in 0..1 + random.below(3) {
            let count = 1 + random.below(24.min(tiles));
            let at = random.below(tiles - count + 1);
            let new = match random.below(4) {
                0 => {
                    let from = random.below(tiles - count + 1) as usize;
                    mapped[from..from + count as usize].to_vec()
                }
                _ => targets(&mut random, count),
            };
            let binds: Vec<_> = (at..)
                .zip(&new)
                .map(|(at, place)| match *place {
                    Some((heap, from)) => bind(at * tile, tile, &heaps[heap], from * tile),
                    None => unbind(at * tile, tile),
                })
                .collect();
            gpu.bind(&[Batch::buffer(&buffer, binds)]);
            mapped[at as usize..(at + count) as usize].copy_from_slice(&new);
        }
        // Tiles are written where they are mapped, and so wherever else the same memory is.
        for i in 0..4u32 {
            let at = random.below(tiles);
            let seed = 10_000 + 10 * round + i;
            if let Some((heap, from)) = mapped[at as usize] {
                buffer.copy_write(at * tile, &words(seed, tile / 4));
                seeds[heap][from as usize] = seed;
            } else {
                buffer.copy_write(at * tile, &words(seed, tile / 4));
            }
        }
        let all = match round % 2 {
            0 => buffer.shader_read(0, tiles * tile),
            _ => buffer.copy_read(0, tiles * tile),
        };
        for (at, place) in mapped.iter().enumerate() {
            if let Some((heap, from)) = *place {
                let words = &all[at * (tile / 4) as usize..][..(tile / 4) as usize];
                let what = format!("round {round}, tile {at}");
                assert_pattern(&what, words, seeds[heap][from as usize], 0);
            }
        }
    }
    for (heap, seeds) in heaps.iter().zip(&seeds) {
        for (at, &seed) in (0..).zip(seeds) {
            let held = heap.read(at * tile, tile);
            assert_pattern(&format!("tile {at} of memory"), &held, seed, 0);
        }
    }
}
