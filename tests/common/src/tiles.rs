//! Partially resident images: bound tile by tile, and looked at tile by tile.

use crate::gpu::{Batch, Gpu};
use crate::objects::{Image, ImageShape, Memory, Staging};
use crate::work::Work;
use ash::vk;

/// An image in GENERAL that may have memory for some of its tiles only.
pub struct Tiled<'g> {
    pub image: Image<'g>,
    /// The shape of a tile, in texels.
    pub shape: [u32; 3],
    /// Bytes of a tile: the places in memory that tiles are bound to are counted in these.
    pub bytes: u64,
}

/// A tile, by where it is; `at` is counted in tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    pub layer: u32,
    pub level: u32,
    pub at: [u32; 3],
}

/// The texels of an image, as copies of [`Image::regions`] write and read them.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(pub Vec<u8>);

impl Contents {
    pub fn of_words(words: &[u32]) -> Self {
        Self(words.iter().flat_map(|w| w.to_le_bytes()).collect())
    }

    fn words(&self) -> Vec<u32> {
        let words = self.0.chunks_exact(4);
        words
            .map(|w| u32::from_le_bytes(w.try_into().expect("four bytes")))
            .collect()
    }
}

impl<'g> Tiled<'g> {
    /// `shape`, with residency. It starts unbound, in GENERAL.
    pub fn new(gpu: &'g Gpu, shape: &ImageShape) -> Self {
        let tiled = Self::untouched(gpu, shape);
        Work::record(gpu, |r| r.image_start(&tiled.image)).run();
        tiled
    }

    /// As [`Tiled::new`], still in UNDEFINED: for images whose contents are of no interest.
    pub fn untouched(gpu: &'g Gpu, shape: &ImageShape) -> Self {
        let (tiled, needs) = Self::with_requirements(gpu, shape);
        assert!(
            needs.image_mip_tail_first_lod >= shape.levels,
            "every level of {shape:?} has tiles of its own: {needs:?}"
        );
        tiled
    }

    /// As [`Tiled::untouched`], perhaps with a mip tail: then the tiles of the levels in it are where texels are, but
    /// can't be bound.
    pub fn with_requirements(
        gpu: &'g Gpu,
        shape: &ImageShape,
    ) -> (Self, vk::SparseImageMemoryRequirements) {
        let flags = shape.flags | vk::ImageCreateFlags::SPARSE_RESIDENCY;
        let image = Image::sparse(gpu, &ImageShape { flags, ..*shape });
        // SAFETY: the image is alive.
        let needs = unsafe { gpu.device.get_image_sparse_memory_requirements(image.raw) };
        let [needs] = needs[..] else {
            panic!("{shape:?} has one aspect: {needs:?}");
        };
        let e = needs.format_properties.image_granularity;
        let bytes = image.requirements.alignment;
        let tiled = Self {
            image,
            shape: [e.width, e.height, e.depth],
            bytes,
        };
        (tiled, needs)
    }

    /// Texels of a level.
    fn extent(&self, level: u32) -> [u32; 3] {
        let e = self.image.level_extent(level);
        [e.width, e.height, e.depth]
    }

    /// Tiles along each side of a level.
    pub fn grid(&self, level: u32) -> [u32; 3] {
        let e = self.extent(level);
        [0, 1, 2].map(|i| e[i].div_ceil(self.shape[i]))
    }

    /// The tiles of one level of one layer, row by row, slice by slice.
    pub fn tiles_of(&self, layer: u32, level: u32) -> Vec<Tile> {
        let [columns, rows, slices] = self.grid(level);
        let mut tiles = Vec::new();
        for z in 0..slices {
            for y in 0..rows {
                tiles.extend((0..columns).map(|x| Tile {
                    layer,
                    level,
                    at: [x, y, z],
                }));
            }
        }
        tiles
    }

    /// All of them, in the board's order: layer by layer, level by level.
    pub fn tiles(&self) -> Vec<Tile> {
        (0..self.image.layers)
            .flat_map(|layer| (0..self.image.levels).map(move |level| (layer, level)))
            .flat_map(|(layer, level)| self.tiles_of(layer, level))
            .collect()
    }

    /// The first texel of a box of tiles, and its texels, cut where the level ends.
    fn texels(&self, first: Tile, tiles: [u32; 3]) -> ([u32; 3], [u32; 3]) {
        let e = self.extent(first.level);
        let offset = [0, 1, 2].map(|i| first.at[i] * self.shape[i]);
        let size = [0, 1, 2].map(|i| (tiles[i] * self.shape[i]).min(e[i] - offset[i]));
        (offset, size)
    }

    /// The texels of a tile: fewer than [`Tiled::shape`] has at the edge of a level.
    pub fn size_of(&self, tile: Tile) -> [u32; 3] {
        self.texels(tile, [1, 1, 1]).1
    }

    /// A box of tiles gets contiguous memory from tile `place` of it on, or none.
    pub fn bind_box(
        &self,
        first: Tile,
        tiles: [u32; 3],
        memory: Option<(&Memory<'_>, u64)>,
    ) -> vk::SparseImageMemoryBind {
        let ([x, y, z], [width, height, depth]) = self.texels(first, tiles);
        let bind = vk::SparseImageMemoryBind::default()
            .subresource(vk::ImageSubresource {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: first.level,
                array_layer: first.layer,
            })
            .offset(vk::Offset3D {
                x: x as i32,
                y: y as i32,
                z: z as i32,
            })
            .extent(vk::Extent3D {
                width,
                height,
                depth,
            });
        match memory {
            None => bind,
            Some((memory, place)) => bind.memory(memory.raw).memory_offset(place * self.bytes),
        }
    }

    /// All of a level.
    pub fn bind_level(
        &self,
        layer: u32,
        level: u32,
        memory: Option<(&Memory<'_>, u64)>,
    ) -> vk::SparseImageMemoryBind {
        let first = Tile {
            layer,
            level,
            at: [0; 3],
        };
        self.bind_box(first, self.grid(level), memory)
    }

    pub fn bind(&self, tile: Tile, memory: &Memory<'_>, place: u64) -> vk::SparseImageMemoryBind {
        self.bind_box(tile, [1, 1, 1], Some((memory, place)))
    }

    pub fn unbind(&self, tile: Tile) -> vk::SparseImageMemoryBind {
        self.bind_box(tile, [1, 1, 1], None)
    }

    /// One call with one batch of these.
    #[track_caller]
    pub fn call(&self, binds: impl Into<Vec<vk::SparseImageMemoryBind>>) {
        self.image.gpu.bind(&[Batch::tiles(&self.image, binds)]);
    }

    /// Memory for `tiles` tiles.
    pub fn memory(&self, tiles: u64) -> Memory<'g> {
        let gpu = self.image.gpu;
        let bits = self.image.requirements.memory_type_bits;
        let kind = gpu.memory_type(bits, vk::MemoryPropertyFlags::empty());
        Memory::new(gpu, tiles * self.bytes, kind)
    }

    /// The pattern `seed` for every texel.
    pub fn pattern(&self, seed: u32) -> Contents {
        Contents::of_words(&crate::pattern::words(seed, self.image.regions().1))
    }

    /// Copies into all levels and layers, whether bound or not.
    pub fn upload(&self, contents: &Contents) {
        self.upload_levels(contents, 0..self.image.levels);
    }

    /// Copies into some levels, all layers of them.
    pub fn upload_levels(&self, contents: &Contents, levels: std::ops::Range<u32>) {
        let (regions, words) = self.image.regions();
        let staging = Staging::new(self.image.gpu, words * 4);
        staging.write(&contents.words());
        let regions = &regions[levels.start as usize..levels.end as usize];
        Work::record(self.image.gpu, |r| {
            r.regions_write(&staging.buffer, &self.image, regions)
        })
        .run();
    }

    /// What copies read, of all levels and layers.
    pub fn download(&self) -> Contents {
        let (regions, words) = self.image.regions();
        let staging = Staging::new(self.image.gpu, words * 4);
        Work::record(self.image.gpu, |r| {
            r.regions_read(&self.image, &staging.buffer, &regions)
        })
        .run();
        Contents::of_words(&staging.read())
    }

    /// For each row of texels of a tile, where it starts in [`Contents`] and where in a whole tile's own bytes, and how long
    /// it is. All in bytes.
    fn rows(&self, tile: Tile) -> Vec<(usize, usize, usize)> {
        let texel = self.image.texel;
        let level = self.extent(tile.level).map(u64::from);
        let shape = self.shape.map(u64::from);
        let (offset, size) = self.texels(tile, [1, 1, 1]);
        let (offset, size) = (offset.map(u64::from), size.map(u64::from));
        let start = self.image.regions().0[tile.level as usize].buffer_offset
            + u64::from(tile.layer) * level.iter().product::<u64>() * texel;
        let mut rows = Vec::new();
        for z in 0..size[2] {
            for y in 0..size[1] {
                let texels = ((offset[2] + z) * level[1] + offset[1] + y) * level[0] + offset[0];
                let own = (z * shape[1] + y) * shape[0];
                let row = (start + texels * texel, own * texel, size[0] * texel);
                rows.push((row.0 as usize, row.1 as usize, row.2 as usize));
            }
        }
        rows
    }

    /// The texels of one tile.
    pub fn cut(&self, contents: &Contents, tile: Tile) -> Vec<u8> {
        let rows = self.rows(tile).into_iter();
        rows.flat_map(|(at, _, len)| &contents.0[at..at + len])
            .copied()
            .collect()
    }

    /// As [`Tiled::cut`], by where each row lies in a whole tile: for contents that are seen by tiles of several sizes.
    pub fn cut_rows<'c>(&self, contents: &'c Contents, tile: Tile) -> Vec<(usize, &'c [u8])> {
        let rows = self.rows(tile).into_iter();
        rows.map(|(at, own, len)| (own, &contents.0[at..at + len]))
            .collect()
    }

    /// Tile `a` has what tile `b` has in `want`.
    #[track_caller]
    pub fn assert_tile(&self, what: &str, got: &Contents, a: Tile, want: &Contents, b: Tile) {
        let (got, want) = (self.cut(got, a), self.cut(want, b));
        assert_eq!(got.len(), want.len(), "{a:?} and {b:?} have one size");
        if let Some(at) = got.iter().zip(&want).position(|(g, w)| g != w) {
            let wrong = got.iter().zip(&want).filter(|(g, w)| g != w).count();
            panic!(
                "{what}: {a:?}: byte {at} of the tile is {:#04x}, expected {:#04x} ({wrong} of {} differ)",
                got[at],
                want[at],
                got.len()
            );
        }
    }

    /// These tiles have what they have in `want`.
    #[track_caller]
    pub fn assert_tiles(&self, what: &str, got: &Contents, want: &Contents, tiles: &[Tile]) {
        for &tile in tiles {
            self.assert_tile(what, got, tile, want, tile);
        }
    }
}
