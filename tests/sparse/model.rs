//! Random sequences of binds and writes against a model in plain memory.

use common::gpu::{bind_raw, unbind};
use common::objects::Staging;
use common::work::Work;
use common::{Batch, Buffer, Gpu, Memory, Random, pattern};

const SEQUENCES: u64 = if cfg!(feature = "all-pairs") {
    500
} else {
    150
};
const STEPS: u64 = 6;
/// Blocks of the two buffers, and of the three memories.
const BUFFERS: [u64; 2] = [24, 40];
const MEMORIES: [u64; 3] = [16, 8, 24];

/// One step, as it is printed when a sequence fails. Numbers are blocks, except in `Write`, where they are words.
#[derive(Debug, Clone)]
enum Step {
    /// Each batch a call or a `VkBindSparseInfo`: (buffer, first block, blocks, memory and its first block).
    Bind {
        in_one_call: bool,
        batches: Vec<Vec<Piece>>,
    },
    Write {
        buffer: usize,
        first: u64,
        words: u64,
        seed: u32,
        by_shader: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    buffer: usize,
    at: u64,
    len: u64,
    memory: Option<(usize, u64)>,
}

/// What must be in memory and where it is bound.
struct Model {
    block_words: usize,
    /// For each memory, its words; `None` where two writes of one command met.
    words: Vec<Vec<Option<u32>>>,
    /// For each buffer, the memory block that each of its blocks has.
    bound: Vec<Vec<Option<(usize, u64)>>>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Bind { batches, .. } => {
                for piece in batches.iter().flatten() {
                    for i in 0..piece.len {
                        self.bound[piece.buffer][(piece.at + i) as usize] =
                            piece.memory.map(|(m, at)| (m, at + i));
                    }
                }
            }
            Step::Write {
                buffer,
                first,
                words,
                seed,
                ..
            } => {
                let mut touched = std::collections::HashSet::new();
                for i in 0..*words {
                    let word = (first + i) as usize;
                    let Some((m, block)) = self.bound[*buffer][word / self.block_words] else {
                        continue;
                    };
                    let at = block as usize * self.block_words + word % self.block_words;
                    let value = pattern(*seed, i as u32);
                    self.words[m][at] = touched.insert((m, at)).then_some(value);
                }
            }
        }
    }
}

fn random_step(random: &mut Random, block_words: u64) -> Step {
    if random.one_in(3) {
        let buffer = random.below(BUFFERS.len() as u64) as usize;
        let all = BUFFERS[buffer] * block_words;
        let first = random.below(all - 1);
        // Long and short ones; few end at a block.
        let words = 1 + random.below(all - first);
        let words = if random.one_in(2) {
            words
        } else {
            words.min(block_words * 3)
        };
        return Step::Write {
            buffer,
            first,
            words,
            seed: random.word() as u32,
            by_shader: !random.one_in(3),
        };
    }
    let batches = (0..1 + random.below(3))
        .map(|_| {
            // Pieces of one batch don't overlap: their order would be undefined.
            let mut taken: [Vec<bool>; 2] = BUFFERS.map(|n| vec![false; n as usize]);
            let mut pieces = Vec::new();
            for _ in 0..1 + random.below(8) {
                let buffer = random.below(BUFFERS.len() as u64) as usize;
                let at = random.below(BUFFERS[buffer]);
                let memory = random.below(MEMORIES.len() as u64) as usize;
                let mut len = 1 + random.below((BUFFERS[buffer] - at).min(12));
                let place = random.below(MEMORIES[memory]);
                let target = if random.one_in(3) {
                    None
                } else {
                    len = len.min(MEMORIES[memory] - place);
                    Some((memory, place))
                };
                let range = at as usize..(at + len) as usize;
                if !taken[buffer][range.clone()].iter().any(|&t| t) {
                    taken[buffer][range].fill(true);
                    pieces.push(Piece {
                        buffer,
                        at,
                        len,
                        memory: target,
                    });
                }
            }
            pieces
        })
        .collect();
    Step::Bind {
        in_one_call: random.one_in(2),
        batches,
    }
}

struct Real<'g> {
    gpu: &'g Gpu,
    block: u64,
    buffers: Vec<Buffer<'g>>,
    memories: Vec<Memory<'g>>,
    /// Sees the memories from the start of each sequence on, whatever the buffers have.
    windows: Vec<Buffer<'g>>,
    staging: Staging<'g>,
}

impl<'g> Real<'g> {
    fn new(gpu: &'g Gpu) -> Self {
        let block = gpu.sparse_buffer(1 << 20).granularity().max(0x1000);
        let buffers: Vec<_> = BUFFERS
            .iter()
            .map(|n| gpu.sparse_buffer(n * block))
            .collect();
        let memories: Vec<_> = MEMORIES
            .iter()
            .map(|n| gpu.memory(&buffers[0], n * block))
            .collect();
        let windows: Vec<_> = memories
            .iter()
            .map(|m| {
                let plain = Buffer::new(gpu, m.size, ash::vk::BufferCreateFlags::empty());
                plain.attach(m);
                plain
            })
            .collect();
        let blocks: u64 = BUFFERS.iter().chain(&MEMORIES).sum();
        Self {
            gpu,
            block,
            buffers,
            memories,
            windows,
            staging: Staging::new(gpu, blocks * block),
        }
    }

    fn apply(&self, step: &Step) {
        match step {
            Step::Bind {
                in_one_call,
                batches,
            } => {
                let batches: Vec<Batch> = batches.iter().map(|pieces| self.batch(pieces)).collect();
                if *in_one_call {
                    // A semaphore between any two: they may name the same blocks.
                    let links: Vec<_> = batches.iter().map(|_| self.gpu.binary()).collect();
                    let last = batches.len() - 1;
                    let chained: Vec<_> = batches
                        .into_iter()
                        .enumerate()
                        .map(|(i, mut batch)| {
                            batch.waits.extend((i > 0).then(|| links[i - 1].point()));
                            batch.signals.extend((i < last).then(|| links[i].point()));
                            batch
                        })
                        .collect();
                    self.gpu.bind(&chained);
                } else {
                    batches
                        .into_iter()
                        .for_each(|batch| self.gpu.bind(&[batch]));
                }
            }
            Step::Write {
                buffer,
                first,
                words,
                seed,
                by_shader,
            } => {
                let to = &self.buffers[*buffer];
                // Storage buffers start at a multiple of the driver's alignment; a copy starts at any word.
                let aligned =
                    (first * 4 % self.gpu.app.limits().min_storage_buffer_offset_alignment) == 0;
                if *by_shader && aligned {
                    to.shader_write(first * 4, words * 4, *seed);
                } else {
                    to.copy_write(first * 4, &pattern::words(*seed, *words));
                }
            }
        }
    }

    fn batch(&self, pieces: &[Piece]) -> Batch {
        let b = self.block;
        let mut batch = Batch::default();
        for piece in pieces {
            let raw = match piece.memory {
                Some((m, at)) => {
                    bind_raw(piece.at * b, piece.len * b, self.memories[m].raw, at * b)
                }
                None => unbind(piece.at * b, piece.len * b),
            };
            let buffer = self.buffers[piece.buffer].raw;
            match batch.buffers.iter_mut().find(|(name, _)| *name == buffer) {
                Some((_, binds)) => binds.push(raw),
                None => batch.buffers.push((buffer, vec![raw])),
            }
        }
        batch
    }

    /// Everything, read by a shader (buffers) and by copies (memories), in one submission.
    fn read(&self) -> Vec<u32> {
        Work::record(self.gpu, |r| {
            let mut at = 0;
            for buffer in &self.buffers {
                r.shader_copy(buffer, 0, &self.staging.buffer, at, buffer.size);
                at += buffer.size;
            }
            for window in &self.windows {
                r.copy(window, 0, &self.staging.buffer, at, window.size);
                at += window.size;
            }
        })
        .run();
        self.staging.read()
    }

    /// What differs from the model, if anything.
    fn difference(&self, model: &Model) -> Option<String> {
        let all = self.read();
        let n = model.block_words;
        let mut blocks = all.chunks(n);
        let differs = |got: &[u32], want: &[Option<u32>]| {
            got.iter()
                .zip(want)
                .position(|(g, w)| w.is_some_and(|w| w != *g))
                .map(|at| (at, got[at], want[at]))
        };
        for (b, bound) in model.bound.iter().enumerate() {
            for (i, place) in bound.iter().enumerate() {
                let got = blocks.next()?;
                let Some((m, block)) = *place else { continue };
                let want = &model.words[m][block as usize * n..][..n];
                if let Some((at, got, want)) = differs(got, want) {
                    return Some(format!(
                        "buffer {b} block {i} (memory {m} block {block}): word {at} is {got:#x}, expected {want:x?}"
                    ));
                }
            }
        }
        for (m, words) in model.words.iter().enumerate() {
            for (i, want) in words.chunks(n).enumerate() {
                if let Some((at, got, want)) = differs(blocks.next()?, want) {
                    return Some(format!(
                        "memory {m} block {i}: word {at} is {got:#x}, expected {want:x?}"
                    ));
                }
            }
        }
        None
    }
}

/// 500 sequences; the number of a sequence is its seed, and a failing one is printed step by step.
pub fn random_sequences(gpu: &Gpu) {
    let real = Real::new(gpu);
    let block_words = (real.block / 4) as usize;
    for seed in 0..SEQUENCES {
        let mut random = Random::new(seed);
        // Every sequence starts unbound, with known memory.
        let clear = real
            .buffers
            .iter()
            .map(|b| Batch::buffer(b, [unbind(0, b.size)]))
            .collect::<Vec<_>>();
        gpu.bind(&clear);
        let mut model = Model {
            block_words,
            words: Vec::new(),
            bound: BUFFERS.iter().map(|&n| vec![None; n as usize]).collect(),
        };
        Work::record(gpu, |r| {
            for (m, window) in real.windows.iter().enumerate() {
                r.fill(window, 0, window.size, start_seed(seed, m));
            }
        })
        .run();
        for (m, window) in real.windows.iter().enumerate() {
            model.words.push(
                (0..window.size / 4)
                    .map(|i| Some(pattern(start_seed(seed, m), i as u32)))
                    .collect(),
            );
        }
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let step = random_step(&mut random, block_words as u64);
            real.apply(&step);
            model.apply(&step);
            steps.push(step);
        }
        if let Some(difference) = real.difference(&model) {
            let listing: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(i, s)| format!("{i}: {s:?}"))
                .collect();
            panic!(
                "sequence {seed}: {difference}\nblocks of {} bytes\n{}",
                real.block,
                listing.join("\n")
            );
        }
    }
}

fn start_seed(sequence: u64, memory: usize) -> u32 {
    (sequence * 8 + memory as u64) as u32
}
