//! Random sequences of binds and writes against a model in plain memory.

use super::flat;
use ash::vk;
use common::objects::ImageShape;
use common::tiles::Contents;
use common::{Batch, Gpu, Memory, Random, SZ_64K, Tile, Tiled};

const SEQUENCES: u64 = 150;
const STEPS: u64 = 8;
/// Tiles of the three memories.
const MEMORIES: [u64; 3] = [12, 7, 20];

/// A box of tiles and the memory for it, from this place on.
#[derive(Debug, Clone, Copy)]
struct Piece {
    first: Tile,
    size: [u32; 3],
    memory: Option<(usize, u64)>,
}

#[derive(Debug, Clone)]
enum Step {
    /// Calls with a batch each, or one call with a semaphore between the batches.
    Bind {
        in_one_call: bool,
        batches: Vec<Vec<Piece>>,
    },
    /// All layers of some levels.
    Write {
        seed: u32,
        levels: std::ops::Range<u32>,
    },
}

/// What must be in memory, and where it is bound.
struct Model {
    /// For each tile of each memory, its texels by where they lie in a whole tile; `None` where they are not known.
    held: Vec<Vec<Vec<Option<u8>>>>,
    /// For each tile of the image, in the order of [`Tiled::tiles`].
    bound: Vec<Option<(usize, u64)>>,
}

impl Model {
    fn new(tiles: usize, tile_bytes: u64) -> Self {
        Self {
            held: MEMORIES
                .iter()
                .map(|&n| vec![vec![None; tile_bytes as usize]; n as usize])
                .collect(),
            bound: vec![None; tiles],
        }
    }

    fn apply(&mut self, image: &Tiled<'_>, tiles: &[Tile], step: &Step) {
        match step {
            Step::Bind { batches, .. } => {
                for piece in batches.iter().flatten() {
                    let mut place = 0;
                    for (i, tile) in tiles.iter().enumerate() {
                        let within = |axis: usize| {
                            let from = piece.first.at[axis];
                            (from..from + piece.size[axis]).contains(&tile.at[axis])
                        };
                        let here =
                            (tile.layer, tile.level) == (piece.first.layer, piece.first.level);
                        if here && within(0) && within(1) && within(2) {
                            self.bound[i] = piece.memory.map(|(m, at)| (m, at + place));
                            place += 1;
                        }
                    }
                }
            }
            Step::Write { seed, levels } => {
                let contents = image.pattern(*seed);
                let mut written = std::collections::HashSet::new();
                for (i, &tile) in tiles.iter().enumerate() {
                    let Some((m, place)) = self.bound[i] else {
                        continue;
                    };
                    if !levels.contains(&tile.level) {
                        continue;
                    }
                    let held = &mut self.held[m][place as usize];
                    if !written.insert((m, place)) {
                        // Two tiles of one copy met here.
                        held.fill(None);
                        continue;
                    }
                    for (at, row) in image.cut_rows(&contents, tile) {
                        let known = held[at..at + row.len()].iter_mut();
                        known.zip(row).for_each(|(h, b)| *h = Some(*b));
                    }
                }
            }
        }
    }

    fn difference(&self, image: &Tiled<'_>, tiles: &[Tile], got: &Contents) -> Option<String> {
        for (i, &tile) in tiles.iter().enumerate() {
            let Some((m, place)) = self.bound[i] else {
                continue;
            };
            let held = &self.held[m][place as usize];
            for (at, row) in image.cut_rows(got, tile) {
                for (n, (got, want)) in row.iter().zip(&held[at..]).enumerate() {
                    if want.is_some_and(|want| want != *got) {
                        return Some(format!(
                            "{tile:?} (memory {m} tile {place}): byte {} is {got:#x}, expected {want:x?}",
                            at + n
                        ));
                    }
                }
            }
        }
        None
    }
}

fn random_step(random: &mut Random, image: &Tiled<'_>) -> Step {
    let levels = image.image.levels;
    if random.one_in(3) {
        let from = random.below(u64::from(levels)) as u32;
        let range = if random.one_in(2) {
            0..levels
        } else {
            from..from + 1
        };
        return Step::Write {
            seed: random.word() as u32,
            levels: range,
        };
    }
    let batches = (0..1 + random.below(3))
        .map(|_| {
            (0..1 + random.below(6))
                .map(|_| {
                    // The large levels more often.
                    let level = random.below(u64::from(levels)).min(random.below(4)) as u32;
                    let layer = random.below(u64::from(image.image.layers)) as u32;
                    let grid = image.grid(level);
                    let at = grid.map(|n| random.below(u64::from(n)) as u32);
                    let mut size =
                        [0, 1, 2].map(|i| 1 + random.below(u64::from(grid[i] - at[i])) as u32);
                    let memory = random.below(3) as usize;
                    let place = random.below(MEMORIES[memory]);
                    let target = (!random.one_in(3)).then_some((memory, place));
                    if target.is_some() {
                        // As many as the memory has.
                        while u64::from(size.iter().product::<u32>()) > MEMORIES[memory] - place {
                            let longest = if size[0] > size[1] { 0 } else { 1 };
                            size[longest] -= 1;
                        }
                    }
                    Piece {
                        first: Tile { layer, level, at },
                        size,
                        memory: target,
                    }
                })
                .collect()
        })
        .collect();
    Step::Bind {
        in_one_call: random.one_in(2),
        batches,
    }
}

fn apply(image: &Tiled<'_>, memories: &[Memory<'_>], step: &Step) {
    let gpu = image.image.gpu;
    match step {
        Step::Write { seed, levels } => image.upload_levels(&image.pattern(*seed), levels.clone()),
        Step::Bind {
            in_one_call,
            batches,
        } => {
            let mut calls: Vec<Batch> = batches
                .iter()
                .map(|pieces| {
                    let bind = |p: &Piece| {
                        let memory = p.memory.map(|(m, place)| (&memories[m], place));
                        image.bind_box(p.first, p.size, memory)
                    };
                    Batch::tiles(&image.image, pieces.iter().map(bind).collect::<Vec<_>>())
                })
                .collect();
            if !in_one_call {
                calls.into_iter().for_each(|batch| gpu.bind(&[batch]));
                return;
            }
            let links: Vec<_> = calls.iter().map(|_| gpu.binary()).collect();
            for i in 1..calls.len() {
                calls[i - 1].signals.push(links[i - 1].point());
                calls[i].waits.push(links[i - 1].point());
            }
            gpu.bind(&calls);
        }
    }
}

/// Boxes of an array image with mip levels, bound, unbound and written at random; the number of a sequence is its seed,
/// and a failing one is printed step by step. (Boxes of one batch may overlap: see the_last_bind_of_a_tile_counts.)
pub fn random_sequences(gpu: &Gpu) {
    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_ALIASED,
        layers: 2,
        levels: 4,
        ..flat(vk::Format::R32G32B32A32_UINT, 250, 150)
    };
    let image = Tiled::new(gpu, &shape);
    assert_eq!(image.bytes, SZ_64K);
    let tiles = image.tiles();
    let memories = MEMORIES.map(|n| image.memory(n));
    for seed in 0..SEQUENCES {
        let mut random = Random::new(seed);
        let clear = (0..2).flat_map(|layer| (0..4).map(move |level| (layer, level)));
        image.call(
            clear
                .map(|(layer, level)| image.bind_level(layer, level, None))
                .collect::<Vec<_>>(),
        );
        let mut model = Model::new(tiles.len(), image.bytes);
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let step = random_step(&mut random, &image);
            apply(&image, &memories, &step);
            model.apply(&image, &tiles, &step);
            steps.push(step);
        }
        if let Some(difference) = model.difference(&image, &tiles, &image.download()) {
            let listing = steps.iter().enumerate();
            let listing: Vec<_> = listing.map(|(i, s)| format!("{i}: {s:?}")).collect();
            panic!("sequence {seed}: {difference}\n{}", listing.join("\n"));
        }
    }
}
