//! Binds that are not valid: each is refused whole, with a line in the log that names the resource and the numbers, and
//! leaves what was bound as it was.
//!
//! Only for the ICD: over a bare driver such calls are undefined.

use ash::vk::{self, Handle};
use common::child::Outcome;
use common::config::Config;
use common::gpu::{bind, bind_raw, unbind};
use common::pattern::assert_pattern;
use common::{App, Batch, Buffer, Fence, Gpu, Memory, SZ_2M, SZ_64K};

/// A buffer of 4 MiB, bound as a whole, holding pattern 1.
struct World<'g> {
    gpu: &'g Gpu,
    buffer: Buffer<'g>,
    memory: Memory<'g>,
}

const SIZE: u64 = 2 * SZ_2M;

impl<'g> World<'g> {
    fn new(gpu: &'g Gpu) -> Self {
        let buffer = gpu.sparse_buffer(SIZE);
        let memory = gpu.memory(&buffer, SIZE);
        gpu.bind(&[Batch::buffer(&buffer, [bind(0, SIZE, &memory, 0)])]);
        buffer.shader_write(0, SIZE, 1);
        Self {
            gpu,
            buffer,
            memory,
        }
    }

    /// The call fails, and says so in a line with the resource and `numbers`; everything is as it was.
    #[track_caller]
    fn refused(&self, batches: &[Batch], resource: u64, numbers: &[u64]) {
        let answer = self.gpu.try_bind(batches);
        assert_eq!(answer, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
        expect_log(resource, numbers);
        self.intact();
    }

    #[track_caller]
    fn intact(&self) {
        assert_pattern(
            "through the buffer",
            &self.buffer.shader_read(0, SIZE),
            1,
            0,
        );
        assert_pattern("in the memory", &self.memory.read(0, SIZE), 1, 0);
        // Later binds work: away and back again.
        self.gpu
            .bind(&[Batch::buffer(&self.buffer, [unbind(SZ_64K, SZ_64K)])]);
        self.buffer.shader_write(SZ_64K, SZ_64K, 9);
        self.gpu.bind(&[Batch::buffer(
            &self.buffer,
            [bind(SZ_64K, SZ_64K, &self.memory, SZ_64K)],
        )]);
        assert_pattern("after later binds", &self.buffer.copy_read(0, SIZE), 1, 0);
    }

    fn alone(&self, bind: vk::SparseMemoryBind) -> [Batch; 1] {
        [Batch::buffer(&self.buffer, [bind])]
    }

    fn resource(&self) -> u64 {
        self.buffer.raw.as_raw()
    }
}

/// Tells the parent process what the log must have.
fn expect_log(resource: u64, numbers: &[u64]) {
    println!(
        "expect-log {}",
        serde_json::json!({ "resource": resource, "numbers": numbers })
    );
}

/// Whether `line` has the number, in decimal or in hexadecimal, as a word of its own.
fn names(line: &str, number: u64) -> bool {
    let (decimal, hexadecimal) = (number.to_string(), format!("{number:#x}"));
    line.replace('_', "")
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| {
            let word = word.to_ascii_lowercase();
            word == decimal || word == hexadecimal
        })
}

fn check_log(outcome: &Outcome) {
    let expected: Vec<serde_json::Value> = outcome
        .stdout
        .lines()
        .filter_map(|l| l.split_once("expect-log "))
        .map(|(_, json)| serde_json::from_str(json).expect("our own line"))
        .collect();
    assert!(!expected.is_empty(), "the case expects a line in the log");
    for want in expected {
        let numbers: Vec<u64> = serde_json::from_value(want["numbers"].clone()).expect("numbers");
        let resource = want["resource"].as_u64().expect("a handle");
        let named = |line: &&str| names(line, resource) && numbers.iter().all(|&n| names(line, n));
        assert!(
            outcome.stderr.lines().any(|l| named(&l)),
            "no line of stderr names resource {resource:#x} and {numbers:?}:\n{}",
            outcome.stderr
        );
    }
}

mod cases {
    use super::*;

    pub fn beyond_the_resource(w: &World<'_>) {
        w.refused(
            &w.alone(bind(SIZE, SZ_64K, &w.memory, 0)),
            w.resource(),
            &[SIZE, SZ_64K],
        );
        w.refused(
            &w.alone(bind(SIZE - SZ_64K, 2 * SZ_64K, &w.memory, 0)),
            w.resource(),
            &[SIZE - SZ_64K, 2 * SZ_64K],
        );
        w.refused(
            &w.alone(unbind(0, SIZE + SZ_64K)),
            w.resource(),
            &[SIZE + SZ_64K],
        );
    }

    pub fn beyond_the_memory(w: &World<'_>) {
        let at = SIZE - SZ_64K;
        w.refused(
            &w.alone(bind(0, 2 * SZ_64K, &w.memory, at)),
            w.resource(),
            &[2 * SZ_64K, at],
        );
        w.refused(
            &w.alone(bind(0, SZ_64K, &w.memory, SIZE)),
            w.resource(),
            &[SZ_64K, SIZE],
        );
    }

    pub fn misaligned(w: &World<'_>) {
        w.refused(
            &w.alone(bind(100, SZ_64K, &w.memory, 0)),
            w.resource(),
            &[100],
        );
        w.refused(
            &w.alone(bind(0, SZ_64K, &w.memory, 513)),
            w.resource(),
            &[513],
        );
        w.refused(
            &w.alone(bind(0, SZ_64K + 77, &w.memory, 0)),
            w.resource(),
            &[SZ_64K + 77],
        );
        w.refused(&w.alone(unbind(4, SZ_64K)), w.resource(), &[4]);
    }

    pub fn of_no_bytes(w: &World<'_>) {
        w.refused(&w.alone(bind(SZ_64K, 0, &w.memory, 0)), w.resource(), &[0]);
    }

    pub fn of_half_the_address_space(w: &World<'_>) {
        let huge = 1 << 63;
        w.refused(&w.alone(unbind(0, huge)), w.resource(), &[huge]);
        w.refused(&w.alone(unbind(huge, SZ_64K)), w.resource(), &[huge]);
        w.refused(
            &w.alone(bind(huge, huge, &w.memory, huge)),
            w.resource(),
            &[huge],
        );
        w.refused(
            &w.alone(unbind(SZ_64K, u64::MAX - SZ_64K + 1)),
            w.resource(),
            &[u64::MAX - SZ_64K + 1],
        );
    }

    pub fn with_freed_memory(w: &World<'_>) {
        let gone = w.gpu.memory(&w.buffer, SZ_2M);
        let handle = gone.raw;
        drop(gone);
        w.refused(
            &w.alone(bind_raw(0, SZ_2M, handle, 0)),
            w.resource(),
            &[handle.as_raw()],
        );
    }

    pub fn to_a_destroyed_buffer(w: &World<'_>) {
        let gone = w.gpu.sparse_buffer(SZ_2M);
        let handle = gone.raw;
        drop(gone);
        let batch = Batch {
            buffers: vec![(handle, vec![bind(0, SZ_2M, &w.memory, 0)])],
            ..Batch::default()
        };
        w.refused(&[batch], handle.as_raw(), &[]);
    }

    /// There is one address space, that of device 0.
    pub fn of_another_device_of_a_group(w: &World<'_>) {
        let mut away = w.alone(unbind(0, SZ_64K));
        away[0].device_group = Some(1);
        w.refused(&away, 1, &[0]);
    }

    /// One bad bind among good ones: nothing of the call happens, in no batch of it.
    pub fn among_good_ones(w: &World<'_>) {
        let other = w.gpu.memory(&w.buffer, SIZE);
        let good = || {
            Batch::buffer(
                &w.buffer,
                [bind(0, SZ_2M, &other, 0), unbind(SZ_2M, SZ_64K)],
            )
        };
        let bad = Batch::buffer(
            &w.buffer,
            [
                bind(SZ_2M, SZ_64K, &other, SZ_2M),
                bind(SIZE, SZ_64K, &other, 0),
            ],
        );
        w.refused(&[good(), bad.clone()], w.resource(), &[SIZE]);
        w.refused(&[bad, good()], w.resource(), &[SIZE]);
    }

    /// A refused call signals nothing and waits for nothing.
    pub fn with_semaphores_and_a_fence(w: &World<'_>) {
        let timeline = w.gpu.timeline(0);
        let fence = Fence::new(w.gpu);
        let [bad] = w.alone(bind(SIZE, SZ_64K, &w.memory, 0));
        let answer = w.gpu.bind_async(
            &[bad.wait(timeline.at(1)).signal(timeline.at(2))],
            Some(&fence),
        );
        assert_eq!(answer, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
        expect_log(w.resource(), &[SIZE]);
        timeline.signal(1);
        w.gpu.wait_idle();
        assert_eq!(timeline.value(), 1);
        assert!(!fence.signalled());
        // Both can still be used.
        w.gpu
            .bind_async(
                &[Batch::default().wait(timeline.at(1)).signal(timeline.at(2))],
                Some(&fence),
            )
            .expect("the next call");
        fence.wait();
        timeline.wait(2);
        w.intact();
    }
}

/// Binds of tiles of a partially resident image.
mod tiles {
    use super::*;
    use common::objects::{Image, ImageShape};
    use common::tiles::Contents;
    use common::{Tile, Tiled};
    use vk::SparseImageMemoryBind as Bind;

    /// R32_UINT: tiles of 128x128 texels, 4x3 of them on level 0, cut at the right and at the bottom.
    const WIDTH: u32 = 500;
    const HEIGHT: u32 = 300;
    const LEVELS: u32 = 3;
    const LAYERS: u32 = 2;

    /// An image, bound as a whole but for one tile of layer 1, holding a pattern.
    pub struct TileWorld<'g> {
        gpu: &'g Gpu,
        image: Tiled<'g>,
        memory: Memory<'g>,
        /// The tiles that are bound.
        tiles: Vec<Tile>,
        contents: Contents,
    }

    impl<'g> TileWorld<'g> {
        pub fn new(gpu: &'g Gpu) -> Self {
            let shape = ImageShape {
                levels: LEVELS,
                layers: LAYERS,
                ..ImageShape::flat(WIDTH, HEIGHT)
            };
            let image = Tiled::new(gpu, &shape);
            let mut tiles = image.tiles();
            assert_eq!(tiles.len(), 2 * (12 + 4 + 1), "tiles are 128x128 texels");
            let memory = image.memory(tiles.len() as u64);
            tiles.pop();
            let contents = image.pattern(1);
            let world = Self {
                gpu,
                image,
                memory,
                tiles,
                contents,
            };
            world.image.call(
                (0..world.tiles.len())
                    .map(|i| world.bound(i))
                    .collect::<Vec<_>>(),
            );
            world.image.upload(&world.contents);
            world
        }

        /// The bind that tile `i` has.
        fn bound(&self, i: usize) -> Bind {
            self.image.bind(self.tiles[i], &self.memory, i as u64)
        }

        fn resource(&self) -> u64 {
            self.image.image.raw.as_raw()
        }

        #[track_caller]
        fn refused(&self, bind: Bind, numbers: &[u64]) {
            // Alone, and behind a good one: neither happens.
            let good = self.image.unbind(self.tiles[0]);
            for binds in [vec![bind], vec![good, bind]] {
                let batch = Batch::tiles(&self.image.image, binds);
                self.refused_batches(&[batch], self.resource(), numbers);
            }
        }

        #[track_caller]
        fn refused_batches(&self, batches: &[Batch], resource: u64, numbers: &[u64]) {
            let answer = self.gpu.try_bind(batches);
            assert_eq!(answer, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
            expect_log(resource, numbers);
            self.intact();
        }

        #[track_caller]
        fn intact(&self) {
            let now = |what: &str| {
                let got = self.image.download();
                self.image
                    .assert_tiles(what, &got, &self.contents, &self.tiles);
            };
            now("after the refusal");
            // Later binds work: away and back again.
            self.image.call([self.image.unbind(self.tiles[5])]);
            self.image.upload_levels(&self.image.pattern(2), 0..1);
            self.image.call([self.bound(5)]);
            let got = self.image.download();
            let (kept, others) = self.tiles.split_at(6);
            self.image
                .assert_tiles("the kept one", &got, &self.contents, &kept[5..]);
            self.image
                .assert_tiles("the others", &got, &self.image.pattern(2), &others[..6]);
            self.image.upload(&self.contents);
            now("after later binds");
        }
    }

    /// The first tile of a level.
    fn region(w: &TileWorld<'_>) -> Bind {
        w.bound(0)
    }

    pub fn misaligned_tiles(w: &TileWorld<'_>) {
        let at = |x, y, z| region(w).offset(vk::Offset3D { x, y, z });
        w.refused(at(5, 0, 0), &[5, 128]);
        w.refused(at(128, 127, 0), &[127, 128]);
        w.refused(at(-128, 0, 0), &[128]);
        w.refused(at(i32::MIN, 0, 0), &[1 << 31]);
        w.refused(region(w).memory_offset(SZ_64K + 513), &[SZ_64K + 513]);
        w.refused(region(w).memory_offset(0x1000), &[0x1000, SZ_64K]);
    }

    pub fn of_a_side_that_is_no_tile(w: &TileWorld<'_>) {
        let of = |width, height, depth| {
            region(w).extent(vk::Extent3D {
                width,
                height,
                depth,
            })
        };
        w.refused(of(100, 128, 1), &[100, 128]);
        w.refused(of(256, 200, 1), &[200, 128]);
        w.refused(of(0, 128, 1), &[0]);
        w.refused(of(128, 0, 1), &[0]);
        w.refused(of(128, 128, 0), &[0]);
    }

    pub fn beyond_the_level(w: &TileWorld<'_>) {
        let of = |x, y, z, width, height, depth| {
            region(w)
                .offset(vk::Offset3D { x, y, z })
                .extent(vk::Extent3D {
                    width,
                    height,
                    depth,
                })
        };
        w.refused(of(0, 0, 0, 640, 128, 1), &[640, WIDTH.into()]);
        w.refused(of(384, 0, 0, 256, 128, 1), &[384, 256, WIDTH.into()]);
        w.refused(of(0, 384, 0, 128, 128, 1), &[384, 128, HEIGHT.into()]);
        w.refused(of(0, 0, 0, 128, 128, 2), &[2, 1]);
        w.refused(of(0, 0, 1, 128, 128, 1), &[1]);
        w.refused(of(0, 0, 0, 128, 1 << 31, 1), &[1 << 31, HEIGHT.into()]);
        let last = i32::MAX - 127;
        w.refused(
            of(last, 0, 0, 128, 128, 1),
            &[last as u64, 128, WIDTH.into()],
        );
    }

    pub fn of_a_level_a_layer_or_an_aspect_that_is_not_there(w: &TileWorld<'_>) {
        let of = |aspect_mask, mip_level, array_layer| {
            region(w).subresource(vk::ImageSubresource {
                aspect_mask,
                mip_level,
                array_layer,
            })
        };
        let color = vk::ImageAspectFlags::COLOR;
        w.refused(of(color, LEVELS, 0), &[LEVELS.into()]);
        w.refused(of(color, u32::MAX, 0), &[u32::MAX.into(), LEVELS.into()]);
        w.refused(of(color, 0, LAYERS), &[LAYERS.into()]);
        w.refused(of(color, 0, u32::MAX), &[u32::MAX.into(), LAYERS.into()]);
        w.refused(of(vk::ImageAspectFlags::DEPTH, 0, 0), &[2, 1]);
        w.refused(of(vk::ImageAspectFlags::empty(), 0, 0), &[0, 1]);
    }

    pub fn tiles_beyond_the_memory(w: &TileWorld<'_>) {
        let small = w.image.memory(3);
        let corner = w.tiles[0];
        let four = w.image.bind_box(corner, [2, 2, 1], Some((&small, 0)));
        w.refused(four, &[4 * SZ_64K, 3 * SZ_64K]);
        w.refused(w.image.bind(corner, &small, 3), &[SZ_64K, 3 * SZ_64K]);
        // Cut tiles are whole ones in memory.
        let level = w.image.bind_level(0, 1, Some((&small, 0)));
        w.refused(level, &[4 * SZ_64K, 3 * SZ_64K]);
        w.refused(region(w).memory_offset(1 << 63), &[1 << 63, SZ_64K]);
        let end = u64::MAX - SZ_64K + 1;
        w.refused(region(w).memory_offset(end), &[end, SZ_64K]);
    }

    pub fn tiles_with_freed_memory(w: &TileWorld<'_>) {
        let gone = w.image.memory(3);
        let bind = w.image.bind(w.tiles[0], &gone, 0);
        let handle = gone.raw.as_raw();
        drop(gone);
        w.refused(bind, &[handle]);
    }

    pub fn to_an_image_without_residency(w: &TileWorld<'_>) {
        let opaque = Image::sparse(w.gpu, &ImageShape::flat(WIDTH, HEIGHT));
        let batch = Batch::tiles(&opaque, [region(w)]);
        w.refused_batches(&[batch], opaque.raw.as_raw(), &[]);
    }

    pub fn to_a_destroyed_image(w: &TileWorld<'_>) {
        let gone = Tiled::new(w.gpu, &ImageShape::flat(WIDTH, HEIGHT));
        let batch = Batch::tiles(&gone.image, [region(w)]);
        let handle = gone.image.raw.as_raw();
        drop(gone);
        w.refused_batches(&[batch], handle, &[]);
    }

    /// One bad bind among good ones, in any batch of the call: nothing of it happens, to no resource.
    pub fn tiles_among_good_ones(w: &TileWorld<'_>) {
        let buffer = w.gpu.sparse_buffer(SZ_2M);
        let (memory, other) = (w.gpu.memory(&buffer, SZ_2M), w.image.memory(40));
        w.gpu
            .bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])]);
        buffer.shader_write(0, SZ_2M, 3);
        let good = || {
            let level = w.image.bind_level(0, 0, Some((&other, 0)));
            Batch::tiles(&w.image.image, [level, w.image.unbind(w.tiles[20])])
                .and_buffer(&buffer, [unbind(0, SZ_2M)])
        };
        let bad = || {
            let beyond = region(w).offset(vk::Offset3D { x: 512, y: 0, z: 0 });
            Batch::tiles(&w.image.image, [w.image.unbind(w.tiles[1]), beyond])
        };
        for call in [[good(), bad()], [bad(), good()]] {
            w.refused_batches(&call, w.resource(), &[512]);
            assert_pattern("the buffer", &buffer.shader_read(0, SZ_2M), 3, 0);
        }
    }
}

fn refused_tiles(test: &str, kernel: &'static str, case: fn(&tiles::TileWorld<'_>)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        case(&tiles::TileWorld::new(&gpu));
    };
    let config = Config::Icd {
        kernel,
        null: "auto",
    };
    common::child::run(test, config, &[], body, check_log);
}

fn refused(test: &str, kernel: &'static str, case: fn(&World<'_>)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        case(&World::new(&gpu));
    };
    common::child::run(
        test,
        Config::Icd {
            kernel,
            null: "auto",
        },
        &[],
        body,
        check_log,
    );
}

/// Not mistakes of the call, but of the order of destruction: what is left works, and nothing is logged as an error.
mod order {
    use super::*;
    use common::Tiled;
    use common::objects::ImageShape;

    pub fn memory_freed_while_bound(gpu: &Gpu) {
        let buffer = gpu.sparse_buffer(4 * SZ_2M);
        let (keep, gone) = (gpu.memory(&buffer, SZ_2M), gpu.memory(&buffer, 2 * SZ_2M));
        gpu.bind(&[Batch::buffer(
            &buffer,
            [bind(0, SZ_2M, &keep, 0), bind(SZ_2M, 2 * SZ_2M, &gone, 0)],
        )]);
        buffer.shader_write(0, SZ_2M, 1);
        drop(gone);
        // Not touched any more, the range may be bound to other memory, or to none.
        assert_pattern("what is still bound", &buffer.shader_read(0, SZ_2M), 1, 0);
        let new = gpu.memory(&buffer, 2 * SZ_2M);
        gpu.bind(&[Batch::buffer(
            &buffer,
            [bind(SZ_2M, SZ_2M, &new, 0), unbind(2 * SZ_2M, SZ_2M)],
        )]);
        buffer.shader_write(SZ_2M, SZ_2M, 2);
        assert_pattern("the new memory", &new.read(0, SZ_2M), 2, 0);
        assert_pattern("what is still bound", &buffer.copy_read(0, SZ_2M), 1, 0);
    }

    pub fn memory_of_tiles_freed_while_bound(gpu: &Gpu) {
        let image = Tiled::new(gpu, &ImageShape::flat(300, 300));
        let tiles = image.tiles();
        let (keep, gone) = (image.memory(3), image.memory(6));
        // A row, and the two others.
        let rows = |at: usize, n, memory: Option<(&Memory<'_>, u64)>| {
            image.bind_box(tiles[at], [3, n, 1], memory)
        };
        image.call([rows(0, 1, Some((&keep, 0))), rows(3, 2, Some((&gone, 0)))]);
        let contents = image.pattern(5);
        image.upload(&contents);
        drop(gone);
        let new = image.memory(6);
        image.call([rows(3, 1, Some((&new, 0))), rows(6, 1, None)]);
        let got = image.download();
        image.assert_tiles("what is still bound", &got, &contents, &tiles[..3]);
        image.upload(&image.pattern(6));
        image.call([rows(3, 2, Some((&new, 0)))]);
        let got = image.download();
        image.assert_tiles("the new memory", &got, &image.pattern(6), &tiles[..6]);
    }

    pub fn an_image_destroyed_while_bound(gpu: &Gpu) {
        let shape = ImageShape {
            flags: vk::ImageCreateFlags::SPARSE_ALIASED,
            ..ImageShape::flat(300, 300)
        };
        let stays = Tiled::new(gpu, &shape);
        let memory = stays.memory(9);
        stays.call([stays.bind_level(0, 0, Some((&memory, 0)))]);
        for seed in 0..4 {
            let goes = Tiled::new(gpu, &shape);
            goes.call([goes.bind_level(0, 0, Some((&memory, 0)))]);
            let contents = goes.pattern(seed);
            goes.upload(&contents);
            drop(goes);
            let got = stays.download();
            stays.assert_tiles("the one that stays", &got, &contents, &stays.tiles());
        }
    }

    pub fn a_buffer_destroyed_while_bound(gpu: &Gpu) {
        let stays = gpu.sparse_buffer(SZ_2M);
        let memory = gpu.memory(&stays, SZ_2M);
        for seed in 0..4 {
            let goes = gpu.sparse_buffer(SZ_2M);
            let all = [bind(0, SZ_2M, &memory, 0)];
            gpu.bind(&[Batch::buffer(&goes, all).and_buffer(&stays, all)]);
            goes.shader_write(0, SZ_2M, seed);
            drop(goes);
            assert_pattern(
                "through the one that stays",
                &stays.shader_read(0, SZ_2M),
                seed,
                0,
            );
        }
    }

    pub fn everything_destroyed_while_bound(gpu: &Gpu) {
        for memory_first in [true, false] {
            let buffer = gpu.sparse_buffer(8 * SZ_2M);
            let memory = gpu.memory(&buffer, 8 * SZ_2M);
            gpu.bind(&[Batch::buffer(&buffer, [bind(0, 8 * SZ_2M, &memory, 0)])]);
            buffer.shader_write(0, 8 * SZ_2M, 3);
            if memory_first {
                drop(memory);
                drop(buffer);
            } else {
                drop(buffer);
                drop(memory);
            }
        }
        let buffer = gpu.sparse_buffer(SZ_2M);
        let memory = gpu.memory(&buffer, SZ_2M);
        gpu.bind(&[Batch::buffer(&buffer, [bind(0, SZ_2M, &memory, 0)])]);
        buffer.shader_write(0, SZ_2M, 4);
        assert_pattern("a new pair", &memory.read(0, SZ_2M), 4, 0);
    }
}

fn survived(test: &str, kernel: &'static str, case: fn(&Gpu)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        case(&Gpu::new(&app));
    };
    common::child::run(
        test,
        Config::Icd {
            kernel,
            null: "auto",
        },
        &[],
        body,
        |outcome| {
            assert!(
                !outcome.stderr.to_lowercase().contains("error"),
                "nothing failed:\n{}",
                outcome.stderr
            );
        },
    );
}

macro_rules! tests {
    ($($module:ident $kernel:literal;)*) => { $(
        mod $module {
            use super::*;
            tests! { @ $kernel refused cases: beyond_the_resource beyond_the_memory misaligned of_no_bytes
                of_half_the_address_space with_freed_memory to_a_destroyed_buffer of_another_device_of_a_group among_good_ones
                with_semaphores_and_a_fence }
            tests! { @ $kernel refused_tiles tiles: misaligned_tiles of_a_side_that_is_no_tile beyond_the_level
                of_a_level_a_layer_or_an_aspect_that_is_not_there tiles_beyond_the_memory tiles_with_freed_memory
                to_an_image_without_residency to_a_destroyed_image tiles_among_good_ones }
            tests! { @ $kernel survived order: memory_freed_while_bound a_buffer_destroyed_while_bound
                everything_destroyed_while_bound memory_of_tiles_freed_while_bound an_image_destroyed_while_bound }
        }
    )* };
    (@ $kernel:literal $run:ident $file:ident: $($case:ident)*) => { $(
        #[test]
        fn $case() {
            $run(common::name_of!($case), $kernel, $file::$case);
        }
    )* };
}

tests! {
    v1_5 "1.5";
    v1_8_repeat "1.8-repeat";
    v1_9 "1.9";
}
