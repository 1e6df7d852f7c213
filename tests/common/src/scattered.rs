//! A sparse buffer whose contents are put into memory by others, so that it has them only where it is bound rightly.

use crate::gpu::{Batch, Gpu, bind, unbind};
use crate::objects::{Buffer, Memory};
use crate::random::Random;
use ash::vk;

/// A sparse buffer for which each granule lies in another place of two memories.
pub struct Scattered<'g> {
    pub buffer: Buffer<'g>,
    /// Bytes of a granule.
    pub granule: u64,
    memories: [Memory<'g>; 2],
    random: Random,
}

impl<'g> Scattered<'g> {
    /// So many granules, of 64 KiB at least, none of them bound.
    pub fn new(gpu: &'g Gpu, granules: u64, usage: vk::BufferUsageFlags) -> Self {
        let granule = gpu.sparse_buffer(1).granularity().max(super::SZ_64K);
        let buffer = gpu.sparse_buffer_for(granules * granule, usage);
        // Places for two sets of contents and for the holes.
        let memories = [0, 1].map(|_| gpu.memory(&buffer, 2 * buffer.size));
        Self {
            buffer,
            granule,
            memories,
            random: Random::new(granules),
        }
    }

    pub fn granules(&self) -> u64 {
        self.buffer.size / self.granule
    }

    /// The buffer shows `words`, but for these granules, which are unbound. The words are written into places that are
    /// chosen anew each time, through buffers that are not sparse; then they are bound, the granules in shuffled order.
    pub fn show(&mut self, words: &[u32], holes: &[u64]) {
        let per_granule = (self.granule / 4) as usize;
        assert_eq!(words.len() as u64 * 4, self.buffer.size);
        let n = self.granules();
        let mut places: Vec<(usize, u64)> = (0..4 * n).map(|i| ((i % 2) as usize, i / 2)).collect();
        self.random.shuffle(&mut places);
        let mut held = [0, 1].map(|_| vec![0xDEAD_BEEF_u32; words.len() * 2]);
        let mut binds = Vec::new();
        for (i, (memory, place)) in (0..n).zip(places) {
            let at = i * self.granule;
            if holes.contains(&i) {
                binds.push(unbind(at, self.granule));
                continue;
            }
            let own = &words[i as usize * per_granule..][..per_granule];
            held[memory][place as usize * per_granule..][..per_granule].copy_from_slice(own);
            let offset = place * self.granule;
            binds.push(bind(at, self.granule, &self.memories[memory], offset));
        }
        for (memory, words) in self.memories.iter().zip(&held) {
            memory.write(0, words);
        }
        self.random.shuffle(&mut binds);
        self.buffer.gpu.bind(&[Batch::buffer(&self.buffer, binds)]);
    }
}
