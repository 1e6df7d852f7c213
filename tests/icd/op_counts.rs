//! What a panthor kernel is asked to do for what an application does: VM_BIND ioctls and operations, read from the
//! counters that the ICD writes.
//!
//! A row is two devices in one process, one that does the setup alone and one that does the setup and the step: the
//! difference of their counters is the step's. Destroying the objects is in both, and so in neither.

use common::config::Config;
use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::stats::{self, Stats};
use common::{App, Batch, Buffer, Fence, Gpu, Memory, Random, SZ_2M, SZ_64K};

/// The example that everyone in the field measures: 100,000,000 bytes, 24,415 pages, 48 chunks of 2 MiB.
const BYTES: u64 = 100_000_000;
const CHUNKS: u64 = 48;
/// Pieces of 64 KiB, the last one cut by the end of the resource; and every second one of them.
const PIECES: u64 = 1526;
const HALF: u64 = 763;

/// A buffer of [`BYTES`], and memory for all of it, nothing bound.
struct World<'g> {
    gpu: &'g Gpu,
    buffer: Buffer<'g>,
    memory: Memory<'g>,
}

impl<'g> World<'g> {
    fn new(gpu: &'g Gpu) -> Self {
        let buffer = gpu.sparse_buffer(BYTES);
        let memory = gpu.memory(&buffer, buffer.requirements.size);
        Self {
            gpu,
            buffer,
            memory,
        }
    }

    fn size(&self) -> u64 {
        self.buffer.requirements.size
    }

    /// Offset and length of piece `i`.
    fn piece(&self, i: u64) -> (u64, u64) {
        (i * SZ_64K, SZ_64K.min(self.size() - i * SZ_64K))
    }

    fn call(&self, binds: Vec<ash::vk::SparseMemoryBind>) {
        self.gpu.bind(&[Batch::buffer(&self.buffer, binds)]);
    }

    fn pieces(&self, which: impl Iterator<Item = u64>) -> Vec<ash::vk::SparseMemoryBind> {
        which
            .map(|i| self.piece(i))
            .map(|(at, len)| bind(at, len, &self.memory, at))
            .collect()
    }

    fn null_pieces(&self, which: impl Iterator<Item = u64>) -> Vec<ash::vk::SparseMemoryBind> {
        which
            .map(|i| self.piece(i))
            .map(|(at, len)| unbind(at, len))
            .collect()
    }
}

fn every_second() -> impl Iterator<Item = u64> {
    (0..HALF).map(|i| 2 * i)
}

/// What `step` costs after `setup`.
fn cost(setup: fn(&World<'_>), step: fn(&World<'_>)) -> Stats {
    difference(|gpu, with_step| {
        let world = World::new(gpu);
        setup(&world);
        if with_step {
            step(&world);
        }
    })
}

/// What `run` costs more when it is told to do the step.
fn difference(run: impl Fn(&Gpu, bool)) -> Stats {
    let app = App::new().expect("vkCreateInstance");
    for with_step in [false, true] {
        run(&Gpu::new(&app), with_step);
    }
    let stats = stats::so_far();
    assert_eq!(stats.len(), 2, "a line for each device");
    stats[1].beyond(&stats[0])
}

/// ioctls, maps of memory, maps of the dummy, unmaps.
#[track_caller]
fn expect(cost: &Stats, ioctls: u64, maps: u64, nulls: u64, unmaps: u64) {
    assert_eq!(
        (
            cost.vm_bind_ioctls,
            cost.map_ops,
            cost.null_ops,
            cost.unmap_ops,
            cost.sync_ops
        ),
        (ioctls, maps, nulls, unmaps, 0),
        "(ioctls, map ops, null ops, unmap ops, sync ops): {cost:#?}"
    );
    assert_eq!(cost.vm_bind_ops, maps + nulls + unmaps);
}

/// Ops that map an unbound range which covers `chunks` chunks of 2 MiB.
fn null(chunked: bool, chunks: u64) -> u64 {
    if chunked { chunks } else { 1 }
}

fn nothing(_: &World<'_>) {}

fn bind_all(w: &World<'_>) {
    w.call(vec![bind(0, w.size(), &w.memory, 0)]);
}

mod rows {
    use super::*;

    pub fn create_and_destroy_a_buffer(chunked: bool) {
        let cost = cost(nothing, |w| drop(w.gpu.sparse_buffer(BYTES)));
        // One bind to map it to the dummy, one to unmap it when it is destroyed.
        expect(&cost, 2, 0, null(chunked, CHUNKS), 1);
        assert_eq!(cost.queue_bind_sparse_calls, 0);
    }

    pub fn bind_all_in_one_bind(_: bool) {
        let cost = cost(nothing, bind_all);
        expect(&cost, 1, 1, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (1, 1));
    }

    pub fn the_identical_bind_again_maps_nothing(_: bool) {
        let cost = cost(bind_all, bind_all);
        assert_eq!(
            (cost.map_ops, cost.null_ops, cost.unmap_ops),
            (0, 0, 0),
            "{cost:#?}"
        );
        assert!(
            cost.vm_bind_ioctls <= 1 && cost.vm_bind_ops == cost.sync_ops,
            "{cost:#?}"
        );
        assert_eq!(cost.binds_elided, 1);
    }

    pub fn contiguous_pieces_in_one_call(_: bool) {
        let cost = cost(nothing, |w| w.call(w.pieces(0..PIECES)));
        expect(&cost, 1, 1, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (1, PIECES));
    }

    pub fn shuffled_pieces_in_one_call(_: bool) {
        let cost = cost(nothing, |w| {
            let mut pieces = w.pieces(0..PIECES);
            Random::new(1).shuffle(&mut pieces);
            w.call(pieces);
        });
        expect(&cost, 1, 1, 0, 0);
    }

    pub fn pieces_with_memory_in_reverse_order(_: bool) {
        // The whole ones: the last piece is shorter.
        const N: u64 = PIECES - 1;
        let cost = cost(nothing, |w| {
            w.call(
                (0..N)
                    .map(|i| bind(i * SZ_64K, SZ_64K, &w.memory, (N - 1 - i) * SZ_64K))
                    .collect(),
            );
        });
        expect(&cost, 1, N, 0, 0);
    }

    pub fn every_second_piece_in_one_call(_: bool) {
        let cost = cost(nothing, |w| w.call(w.pieces(every_second())));
        expect(&cost, 1, HALF, 0, 0);
    }

    pub fn unbind_all_in_one_bind(chunked: bool) {
        let cost = cost(bind_all, |w| w.call(vec![unbind(0, w.size())]));
        expect(&cost, 1, 0, null(chunked, CHUNKS), 0);
    }

    pub fn unbind_every_second_piece(_: bool) {
        let cost = cost(bind_all, |w| w.call(w.null_pieces(every_second())));
        expect(&cost, 1, 0, HALF, 0);
    }

    pub fn unbind_every_second_piece_where_the_rest_is_unbound(chunked: bool) {
        let setup = |w: &World<'_>| w.call(w.pieces(every_second()));
        let cost = cost(setup, |w| w.call(w.null_pieces(every_second())));
        // Nobody names what lies between, and uAPI 1.5 has no region lock: the GPU may be reading there.
        expect(&cost, 1, 0, null(chunked, HALF), 0);
    }

    pub fn unbind_in_contiguous_pieces(chunked: bool) {
        let cost = cost(bind_all, |w| w.call(w.null_pieces(0..PIECES)));
        expect(&cost, 1, 0, null(chunked, CHUNKS), 0);
    }

    pub fn unbind_what_is_unbound_maps_nothing(_: bool) {
        let cost = cost(nothing, |w| w.call(w.null_pieces(0..PIECES)));
        assert_eq!(
            (cost.map_ops, cost.null_ops, cost.unmap_ops),
            (0, 0, 0),
            "{cost:#?}"
        );
        assert!(
            cost.vm_bind_ioctls <= 1 && cost.vm_bind_ops == cost.sync_ops,
            "{cost:#?}"
        );
        assert_eq!(cost.binds_elided, PIECES);
    }

    pub fn a_hundred_batches_in_one_call(_: bool) {
        let cost = cost(nothing, |w| {
            let batches: Vec<_> = (0..100)
                .map(|i| Batch::buffer(&w.buffer, w.pieces(i..i + 1)))
                .collect();
            w.gpu.bind(&batches);
        });
        expect(&cost, 1, 1, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (1, 100));
    }

    pub fn a_hundred_calls_with_a_bind_each(_: bool) {
        let cost = cost(nothing, |w| {
            (0..100).for_each(|i| w.call(w.pieces(i..i + 1)))
        });
        expect(&cost, 100, 100, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (100, 100));
    }

    pub fn a_fence_alone_is_one_sync_op(_: bool) {
        let cost = cost(nothing, |w| {
            let fence = Fence::new(w.gpu);
            w.gpu.bind_async(&[], Some(&fence)).expect("no batch");
            fence.wait();
        });
        assert_eq!(
            (cost.vm_bind_ioctls, cost.vm_bind_ops, cost.sync_ops),
            (1, 1, 1),
            "{cost:#?}"
        );
    }

    pub fn semaphores_between_batches_keep_them_apart(_: bool) {
        let cost = cost(nothing, |w| {
            let links: Vec<_> = (0..9).map(|_| w.gpu.binary()).collect();
            let batches: Vec<_> = (0..10)
                .map(|i: usize| {
                    let mut batch = Batch::buffer(&w.buffer, w.pieces(i as u64..i as u64 + 1));
                    batch.waits.extend((i > 0).then(|| links[i - 1].point()));
                    batch.signals.extend((i < 9).then(|| links[i].point()));
                    batch
                })
                .collect();
            w.gpu.bind(&batches);
        });
        expect(&cost, 1, 10, 0, 0);
    }

    /// A null bind of 64 KiB at 10 MiB is one op there; the data of all the rest is still reached.
    pub fn a_null_bind_with_an_offset_is_one_op(_: bool) {
        let cost = cost(
            |w| {
                bind_all(w);
                w.buffer.shader_write(0, w.buffer.size, 1);
            },
            |w| {
                w.call(vec![unbind(10 << 20, SZ_64K)]);
                let hole = (10 << 20)..(10 << 20) + SZ_64K;
                assert_pattern("below", &w.buffer.copy_read(0, hole.start), 1, 0);
                let above = w.buffer.copy_read(hole.end, BYTES - hole.end);
                assert_pattern("above", &above, 1, (hole.end / 4) as u32);
            },
        );
        expect(&cost, 1, 0, 1, 0);
    }

    /// From inside chunk 3 to inside chunk 9: seven chunks of 2 MiB are touched.
    pub fn a_null_bind_of_many_chunks_covers_them_all(chunked: bool) {
        let cost = cost(bind_all, |w| {
            let hole = 3 * SZ_2M + 5 * SZ_64K..9 * SZ_2M + 7 * SZ_64K;
            w.call(vec![unbind(hole.start, hole.end - hole.start)]);
            w.buffer.shader_write(hole.start, hole.end - hole.start, 2);
        });
        expect(&cost, 1, 0, null(chunked, 7), 0);
    }
}

/// Partially resident images of RGBA8 with all their levels: tiles of 64 KiB, 128x128 texels each.
mod images {
    use super::*;
    use ash::vk;
    use common::objects::ImageShape;
    use common::{Tile, Tiled};

    /// 1,024 tiles on level 0, and 1,372 in all: 256, 64, 16, 4, and one on each of levels 5 to 12.
    const SIDE: u32 = 4096;
    const LEVELS: u32 = 13;
    const TILES: u64 = 1372;
    /// 89,915,392 bytes, from a multiple of 2 MiB on.
    const IMAGE_CHUNKS: u64 = 43;
    /// 1 GiB on level 0.
    const LARGE_SIDE: u32 = 16384;
    const LARGE_LEVELS: u32 = 15;
    const LARGE_TILES: u64 = 16384;

    fn shape(side: u32, levels: u32) -> ImageShape {
        ImageShape {
            format: vk::Format::R8G8B8A8_UNORM,
            levels,
            ..ImageShape::flat(side, side)
        }
    }

    fn small(gpu: &Gpu) -> Tiled<'_> {
        Tiled::untouched(gpu, &shape(SIDE, LEVELS))
    }

    fn large(gpu: &Gpu) -> Tiled<'_> {
        Tiled::untouched(gpu, &shape(LARGE_SIDE, LARGE_LEVELS))
    }

    type Make = fn(&Gpu) -> Tiled<'_>;
    type Do = fn(&Tiled<'_>, &Memory<'_>);

    /// What `step` costs after `setup`, on an image with memory for all of it.
    fn cost(make: Make, setup: Do, step: Do) -> Stats {
        difference(|gpu, with_step| {
            let image = make(gpu);
            let memory = image.memory(image.tiles().len() as u64);
            setup(&image, &memory);
            if with_step {
                step(&image, &memory);
            }
        })
    }

    fn nothing(_: &Tiled<'_>, _: &Memory<'_>) {}

    fn bind_level_0(image: &Tiled<'_>, memory: &Memory<'_>) {
        image.call([image.bind_level(0, 0, Some((memory, 0)))]);
    }

    /// One bind a level; the memory of one goes on where that of the one before ends.
    fn bind_all(image: &Tiled<'_>, memory: &Memory<'_>) {
        let mut place = 0;
        let binds: Vec<_> = (0..image.image.levels)
            .map(|level| {
                let first = place;
                place += image.tiles_of(0, level).len() as u64;
                image.bind_level(0, level, Some((memory, first)))
            })
            .collect();
        image.call(binds);
    }

    fn unbind_all(image: &Tiled<'_>, _: &Memory<'_>) {
        let levels = 0..image.image.levels;
        image.call(
            levels
                .map(|level| image.bind_level(0, level, None))
                .collect::<Vec<_>>(),
        );
    }

    /// Every second tile of level 0, with memory that is contiguous nowhere.
    fn bind_every_second_tile(image: &Tiled<'_>, memory: &Memory<'_>) {
        let tiles = image.tiles_of(0, 0);
        let places = (0..tiles.len() as u64 / 2).rev();
        let binds = tiles.iter().step_by(2).zip(places);
        image.call(
            binds
                .map(|(&tile, place)| image.bind(tile, memory, place))
                .collect::<Vec<_>>(),
        );
    }

    /// 4x4 tiles in the middle, with contiguous memory.
    fn bind_a_box(image: &Tiled<'_>, memory: &Memory<'_>) {
        let middle = Tile {
            layer: 0,
            level: 0,
            at: [14, 14, 0],
        };
        image.call([image.bind_box(middle, [4, 4, 1], Some((memory, 7)))]);
    }

    /// Nothing is mapped: no op, or one that only passes the fence on.
    #[track_caller]
    fn expect_no_map(cost: &Stats, elided: u64) {
        assert_eq!(
            (cost.map_ops, cost.null_ops, cost.unmap_ops),
            (0, 0, 0),
            "{cost:#?}"
        );
        assert!(
            cost.vm_bind_ioctls <= 1 && cost.vm_bind_ops == cost.sync_ops,
            "{cost:#?}"
        );
        assert_eq!(cost.binds_elided, elided);
    }

    pub fn create_and_destroy_an_image(chunked: bool) {
        let cost = difference(|gpu, with_step| {
            if with_step {
                let image = small(gpu);
                assert_eq!((image.shape, image.bytes), ([128, 128, 1], SZ_64K));
                assert_eq!(image.tiles().len() as u64, TILES);
                assert_eq!(image.image.requirements.size, TILES * SZ_64K);
            }
        });
        expect(&cost, 2, 0, null(chunked, IMAGE_CHUNKS), 1);
        assert_eq!(cost.queue_bind_sparse_calls, 0);
    }

    pub fn bind_level_0_in_one_bind(_: bool) {
        let cost = cost(small, nothing, bind_level_0);
        expect(&cost, 1, 1, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (1, 1));
    }

    pub fn bind_level_0_tile_by_tile(_: bool) {
        let cost = cost(small, nothing, |image, memory| {
            let tiles = image.tiles_of(0, 0).into_iter().zip(0..);
            image.call(
                tiles
                    .map(|(tile, place)| image.bind(tile, memory, place))
                    .collect::<Vec<_>>(),
            );
        });
        expect(&cost, 1, 1, 0, 0);
        assert_eq!((cost.queue_bind_sparse_calls, cost.binds), (1, 1024));
    }

    pub fn bind_level_0_tile_by_tile_in_shuffled_order(_: bool) {
        let cost = cost(small, nothing, |image, memory| {
            let mut tiles: Vec<_> = image.tiles_of(0, 0).into_iter().zip(0..).collect();
            Random::new(2).shuffle(&mut tiles);
            image.call(
                tiles
                    .into_iter()
                    .map(|(tile, place)| image.bind(tile, memory, place))
                    .collect::<Vec<_>>(),
            );
        });
        expect(&cost, 1, 1, 0, 0);
    }

    pub fn bind_a_box_of_4x4_tiles(_: bool) {
        let cost = cost(small, nothing, bind_a_box);
        expect(&cost, 1, 4, 0, 0);
        assert_eq!(cost.binds, 1);
    }

    pub fn the_identical_box_again_maps_nothing(_: bool) {
        expect_no_map(&cost(small, bind_a_box, bind_a_box), 1);
    }

    pub fn tile_by_tile_after_one_bind_maps_nothing(_: bool) {
        let cost = cost(small, bind_level_0, |image, memory| {
            let tiles = image.tiles_of(0, 0).into_iter().zip(0..);
            image.call(
                tiles
                    .map(|(tile, place)| image.bind(tile, memory, place))
                    .collect::<Vec<_>>(),
            );
        });
        expect_no_map(&cost, 1024);
    }

    pub fn bind_all_levels_from_contiguous_memory(_: bool) {
        let cost = cost(small, nothing, bind_all);
        expect(&cost, 1, 1, 0, 0);
        assert_eq!(cost.binds, u64::from(LEVELS));
    }

    /// Levels follow each other in the addresses, so they are one range.
    pub fn unbind_all_levels_of_an_image(chunked: bool) {
        let cost = cost(small, bind_all, unbind_all);
        expect(&cost, 1, 0, null(chunked, IMAGE_CHUNKS), 0);
        assert_eq!(cost.binds, u64::from(LEVELS));
    }

    /// What vkd3d-proton does with a new image.
    pub fn unbind_a_new_image_maps_nothing(_: bool) {
        expect_no_map(&cost(small, nothing, unbind_all), u64::from(LEVELS));
    }

    pub fn evict_every_second_tile(_: bool) {
        let cost = cost(small, bind_all, |image, _| {
            let tiles = image.tiles_of(0, 0);
            let evicted = tiles.iter().step_by(2).map(|&tile| image.unbind(tile));
            image.call(evicted.collect::<Vec<_>>());
        });
        expect(&cost, 1, 0, 512, 0);
    }

    pub fn a_gibibyte_in_one_bind(_: bool) {
        let cost = cost(large, nothing, bind_level_0);
        expect(&cost, 1, 1, 0, 0);
    }

    pub fn every_second_tile_of_a_gibibyte(_: bool) {
        let cost = cost(large, nothing, bind_every_second_tile);
        expect(&cost, 1, LARGE_TILES / 2, 0, 0);
        assert_eq!(cost.binds, LARGE_TILES / 2);
    }

    /// From whatever was bound, all of it in one op; in chunks, all 683 that the image touches (21,852 tiles).
    pub fn unbind_a_gibibyte(chunked: bool) {
        let cost = cost(large, bind_all, unbind_all);
        assert!(
            chunked || cost.null_ops <= u64::from(LARGE_LEVELS),
            "one op a level at most: {cost:#?}"
        );
        expect(&cost, 1, 0, null(chunked, 683), 0);
    }

    /// The unbound tiles between the bound ones need no op of their own.
    pub fn unbind_a_gibibyte_of_which_half_is_bound(chunked: bool) {
        let cost = cost(large, bind_every_second_tile, unbind_all);
        assert!(
            chunked || cost.null_ops <= u64::from(LARGE_LEVELS),
            "one op a level at most: {cost:#?}"
        );
        expect(&cost, 1, 0, null(chunked, 512), 0);
    }
}

macro_rules! with_rows {
    ($callback:ident $($arguments:tt)*) => {
        $callback! { [$($arguments)*]
            rows: create_and_destroy_a_buffer;
            rows: bind_all_in_one_bind;
            rows: the_identical_bind_again_maps_nothing;
            rows: contiguous_pieces_in_one_call;
            rows: shuffled_pieces_in_one_call;
            rows: pieces_with_memory_in_reverse_order;
            rows: every_second_piece_in_one_call;
            rows: unbind_all_in_one_bind;
            rows: unbind_every_second_piece;
            rows: unbind_every_second_piece_where_the_rest_is_unbound;
            rows: unbind_in_contiguous_pieces;
            rows: unbind_what_is_unbound_maps_nothing;
            rows: a_hundred_batches_in_one_call;
            rows: a_hundred_calls_with_a_bind_each;
            rows: a_fence_alone_is_one_sync_op;
            rows: semaphores_between_batches_keep_them_apart;
            rows: a_null_bind_with_an_offset_is_one_op;
            rows: a_null_bind_of_many_chunks_covers_them_all;
            images: create_and_destroy_an_image;
            images: bind_level_0_in_one_bind;
            images: bind_level_0_tile_by_tile;
            images: bind_level_0_tile_by_tile_in_shuffled_order;
            images: bind_a_box_of_4x4_tiles;
            images: the_identical_box_again_maps_nothing;
            images: tile_by_tile_after_one_bind_maps_nothing;
            images: bind_all_levels_from_contiguous_memory;
            images: unbind_all_levels_of_an_image;
            images: unbind_a_new_image_maps_nothing;
            images: evict_every_second_tile;
            images: a_gibibyte_in_one_bind;
            images: every_second_tile_of_a_gibibyte;
            images: unbind_a_gibibyte;
            images: unbind_a_gibibyte_of_which_half_is_bound;
        }
    };
}

macro_rules! tests {
    ([$module:ident $kernel:literal $strategy:literal] $($rows:ident: $row:ident;)*) => {
        mod $module {
            use super::*;
            $(
                #[test]
                fn $row() {
                    // `auto` must choose this strategy by itself.
                    let config = Config::Icd { kernel: $kernel, null: "auto" };
                    common::child::run(common::name_of!($row), config, &[], || $rows::$row($strategy == "chunk"), |outcome| {
                        for stats in &outcome.stats {
                            assert_eq!(stats.strategy, $strategy);
                        }
                    });
                }
            )*
        }
    };
}

with_rows! { tests v1_5 "1.5" "chunk" }
with_rows! { tests v1_8_repeat "1.8-repeat" "repeat" }
with_rows! { tests v1_9 "1.9" "sparse" }

/// The headline, by strategy: a new buffer of 100,000,000 bytes takes 24,415 operations page by page.
#[test]
fn a_hundred_million_bytes_page_by_page_are_24415_ops() {
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "page",
    };
    common::child::run(
        common::name_of!(a_hundred_million_bytes_page_by_page_are_24415_ops),
        config,
        &[],
        || {
            let app = App::new().expect("vkCreateInstance");
            let gpu = Gpu::new(&app);
            let buffer = gpu.sparse_buffer(BYTES);
            println!("reported size {}", buffer.requirements.size);
        },
        |outcome| {
            // libtest leaves the line of the test open, so ours starts in the middle of one.
            let (_, size) = outcome
                .stdout
                .split_once("reported size ")
                .expect("the size");
            let size = size.lines().next().expect("a line");
            let size: u64 = size.parse().expect("a number");
            assert_eq!(
                outcome.stats[0].null_ops,
                size.div_ceil(0x1000),
                "one op a page of the size that is reported"
            );
            assert_eq!(outcome.stats[0].null_ops, 24_415);
        },
    );
}
