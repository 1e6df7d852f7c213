//! A program of sparse binds. After each step, what is mapped and what it cost.

use ash::vk;
use common::app::App;
use common::gpu::{Batch, Gpu, bind, unbind};
use common::objects::{Fence, Image, ImageShape, Memory};

use super::on_a_virtual_mali;
use super::oracle::{Cost, Held, Oracle};

const SIZE: u64 = 100_003_840;
const PIECE: u64 = 65536;
const PIECES: u64 = SIZE.div_ceil(PIECE);

/// The `i`th piece of the buffer, at the same place in memory.
fn piece(i: u64) -> (u64, u64) {
    (i * PIECE, PIECE.min(SIZE - i * PIECE))
}

fn shuffled(count: u64) -> Vec<u64> {
    let (mut order, mut random) = ((0..count).collect::<Vec<_>>(), 1u64);
    for i in (1..order.len()).rev() {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        order.swap(i, (random >> 33) as usize % (i + 1));
    }
    order
}

/// Binds of the buffer's pieces: (place, memory's place) or none.
struct Pieces<'a, 'g> {
    gpu: &'g Gpu,
    buffer: vk::Buffer,
    memory: &'a (Memory<'g>, u64),
}

impl Pieces<'_, '_> {
    fn bind(
        &self,
        oracle: &mut Oracle<'_>,
        what: &str,
        binds: impl IntoIterator<Item = (u64, u64, Option<u64>)>,
    ) -> Cost {
        let mut list = Vec::new();
        for (offset, size, from) in binds {
            list.push(match from {
                Some(from) => bind(offset, size, &self.memory.0, from),
                None => unbind(offset, size),
            });
            oracle.bind(
                "buffer",
                offset,
                size,
                from.map(|from| (self.memory.1, from)),
            );
        }
        let batch = Batch {
            buffers: vec![(self.buffer, list)],
            ..Batch::default()
        };
        self.gpu.bind(&[batch]);
        oracle.step(what)
    }
}

#[track_caller]
fn costs(cost: Cost, wanted: (u64, u64)) {
    assert!(
        cost.is_none_or(|cost| cost == wanted),
        "it cost {cost:?}, expected {wanted:?}"
    );
}

/// With `all`, also what this driver asks of the kernel otherwise than a replay does: images, which lie otherwise in their
/// addresses; buffers without residency, which a replay maps to the dummy; two batches with a semaphore between them, which Mesa
/// submits one after the other; and `vkDeviceWaitIdle`, which asks for a signal after all binds.
pub fn program(null_is_one_op: bool, all: bool, held: Held) {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    // The kit's shaders, by limits that this driver does not have before Vulkan 1.2.
    app.take_complaints();
    let mut oracle = Oracle::new(&gpu, held);
    let slots = |bytes: u64| {
        if null_is_one_op {
            1
        } else {
            bytes.div_ceil(2 << 20)
        }
    };

    // --- a buffer
    let buffer = gpu.sparse_buffer(100_000_000);
    assert_eq!(
        (buffer.requirements.size, buffer.requirements.alignment),
        (SIZE, 4096)
    );
    costs(oracle.create("buffer", SIZE, true), (1, slots(SIZE)));
    let memory = oracle.allocate(SIZE);
    let on = Pieces {
        gpu: &gpu,
        buffer: buffer.raw,
        memory: &memory,
    };
    let whole = || [(0, SIZE, Some(0))];
    let none = || [(0, SIZE, None)];
    let in_order = || {
        (0..PIECES)
            .map(piece)
            .map(|(at, size)| (at, size, Some(at)))
    };
    costs(on.bind(&mut oracle, "bind all", whole()), (1, 1));
    costs(
        on.bind(&mut oracle, "bind all again", whole()),
        // One SYNC_ONLY, for the fence.
        (1, 1),
    );
    costs(on.bind(&mut oracle, "unbind all", none()), (1, slots(SIZE)));
    costs(on.bind(&mut oracle, "unbind all again", none()), (1, 1));
    costs(on.bind(&mut oracle, "pieces in order", in_order()), (1, 1));
    on.bind(&mut oracle, "unbind them", none());
    let order = shuffled(PIECES);
    let pieces = order
        .iter()
        .map(|i| piece(*i))
        .map(|(at, size)| (at, size, Some(at)));
    costs(on.bind(&mut oracle, "pieces shuffled", pieces), (1, 1));
    on.bind(&mut oracle, "unbind them", none());
    let reversed = (0..PIECES - 1).map(|i| (i * PIECE, PIECE, Some((PIECES - 2 - i) * PIECE)));
    costs(
        on.bind(&mut oracle, "memory in reverse", reversed),
        (1, PIECES - 1),
    );
    costs(
        on.bind(&mut oracle, "unbind all of that", none()),
        (1, slots(SIZE)),
    );
    let second = || (0..PIECES).step_by(2).map(piece);
    costs(
        on.bind(
            &mut oracle,
            "every second piece",
            second().map(|(at, size)| (at, size, Some(at))),
        ),
        (1, PIECES / 2),
    );
    let unbound = || second().map(|(at, size)| (at, size, None));
    let cost = on.bind(&mut oracle, "unbind every second piece", unbound());
    // Nobody names what lies between, and uAPI 1.5 has no region lock: the GPU may be reading there.
    let most = if null_is_one_op { 1 } else { PIECES / 2 };
    assert!(
        cost.is_none_or(|cost| cost.0 == 1 && cost.1 <= most),
        "{cost:?}"
    );
    costs(on.bind(&mut oracle, "unbind them again", unbound()), (1, 1));
    on.bind(&mut oracle, "pieces in order", in_order());
    let cost = on.bind(
        &mut oracle,
        "unbind piece by piece",
        (0..PIECES).map(piece).map(|(at, size)| (at, size, None)),
    );
    costs(cost, (1, slots(SIZE)));
    on.bind(
        &mut oracle,
        "64 KiB in the middle",
        [(10 << 20, PIECE, Some(0))],
    );
    on.bind(
        &mut oracle,
        "unbind 64 KiB in the middle",
        [(10 << 20, PIECE, None)],
    );
    on.bind(
        &mut oracle,
        "the last page",
        [(SIZE - 4096, 4096, Some(4096))],
    );
    on.bind(
        &mut oracle,
        "a later bind wins",
        [
            (0, 4 * PIECE, Some(0)),
            (PIECE, PIECE, None),
            (2 * PIECE, PIECE, Some(PIECE)),
        ],
    );
    on.bind(
        &mut oracle,
        "the same memory twice",
        [(0, PIECE, Some(0)), (PIECE, PIECE, Some(0))],
    );
    on.bind(&mut oracle, "unbind all", none());

    // --- batches, semaphores and fences
    let one = |i: u64, from: u64| {
        Batch::buffer(&buffer, [bind(i * PIECE, PIECE, &memory.0, from * PIECE)])
    };
    let batches: Vec<_> = (0..100).map(|i| one(200 + i, i)).collect();
    gpu.bind(&batches);
    oracle.bind("buffer", 200 * PIECE, 100 * PIECE, Some((memory.1, 0)));
    costs(oracle.step("100 batches in one call"), (1, 1));
    for i in 0..100 {
        gpu.bind(&[one(400 + i, i)]);
    }
    oracle.bind("buffer", 400 * PIECE, 100 * PIECE, Some((memory.1, 0)));
    costs(oracle.step("100 calls"), (100, 100));
    gpu.bind(&[]);
    costs(oracle.step("a fence only"), (1, 1));
    gpu.bind(&[Batch::default(), Batch::default()]);
    costs(oracle.step("two empty batches"), (1, 1));
    gpu.bind(&[Batch {
        device_group: Some(0),
        ..one(600, 3)
    }]);
    oracle.bind("buffer", 600 * PIECE, PIECE, Some((memory.1, 3 * PIECE)));
    oracle.step("with a device group's struct");
    if all {
        let between = gpu.binary();
        gpu.bind(&[
            one(700, 0).signal(between.point()),
            one(701, 5).wait(between.point()),
        ]);
        oracle.bind("buffer", 700 * PIECE, PIECE, Some((memory.1, 0)));
        oracle.bind("buffer", 701 * PIECE, PIECE, Some((memory.1, 5 * PIECE)));
        oracle.step("a semaphore between two batches");
        gpu.bind_async(&[one(702, 9)], None).expect("a bind");
        gpu.wait_idle();
        oracle.bind("buffer", 702 * PIECE, PIECE, Some((memory.1, 9 * PIECE)));
        oracle.step("vkDeviceWaitIdle waits for a bind without a fence");
    }
    let timeline = gpu.timeline(0);
    gpu.bind_async(
        &[one(703, 11).wait(timeline.at(1)).signal(timeline.at(2))],
        None,
    )
    .expect("a bind");
    std::thread::sleep(std::time::Duration::from_millis(100));
    oracle.step("a wait for what nobody has signalled");
    assert_eq!(timeline.value(), 0);
    timeline.signal(1);
    timeline.wait(2);
    oracle.bind("buffer", 703 * PIECE, PIECE, Some((memory.1, 11 * PIECE)));
    oracle.step("after the host has signalled it");
    let fence = Fence::new(&gpu);
    gpu.bind_async(&[one(704, 12)], Some(&fence))
        .expect("a bind");
    fence.wait();
    oracle.bind("buffer", 704 * PIECE, PIECE, Some((memory.1, 12 * PIECE)));
    oracle.step("a bind on the queue's own thread");

    // --- memory that is freed while it is bound
    let mut on = on;
    on.bind(&mut oracle, "bind all", whole());
    drop(memory.0);
    let memory = oracle.allocate(SIZE);
    oracle.step("freed memory stays mapped");
    on = Pieces {
        gpu: &gpu,
        buffer: buffer.raw,
        memory: &memory,
    };
    costs(
        on.bind(&mut oracle, "what comes on its handle is bound", whole()),
        (1, 1),
    );

    // --- a second buffer at the same memory
    let alias = gpu.sparse_buffer(4 * PIECE);
    oracle.create("alias", 4 * PIECE, true);
    gpu.bind(&[Batch::buffer(&alias, [bind(0, 4 * PIECE, &memory.0, 0)])]);
    oracle.bind("alias", 0, 4 * PIECE, Some((memory.1, 0)));
    oracle.step("two buffers at the same memory");
    oracle.destroy("alias");
    drop(alias);
    costs(oracle.step("one of them is destroyed"), (1, 1));
    if all {
        let plain = gpu.sparse_binding_buffer(8 * PIECE);
        oracle.create("plain", 8 * PIECE, false);
        gpu.bind(&[Batch::buffer(
            &plain,
            [bind(0, 8 * PIECE, &memory.0, PIECE)],
        )]);
        oracle.bind("plain", 0, 8 * PIECE, Some((memory.1, PIECE)));
        costs(oracle.step("a buffer without residency"), (1, 1));
        oracle.destroy("plain");
        drop(plain);
        oracle.step("it is destroyed");
        images(&gpu, &mut oracle, &memory, slots);
    }
    oracle.destroy("buffer");
    drop(buffer);
    costs(oracle.step("the buffer is destroyed"), (1, 1));
    println!(
        "{} steps, {} wrong pages",
        oracle.steps(),
        oracle.wrong_pages()
    );
    assert!(oracle.steps() >= 40 || !all);
}

fn images<'g>(
    gpu: &'g Gpu,
    oracle: &mut Oracle<'g>,
    memory: &(Memory<'g>, u64),
    slots: impl Fn(u64) -> u64,
) {
    let shape = ImageShape {
        format: vk::Format::R8G8B8A8_UNORM,
        levels: 11,
        ..ImageShape::flat(1024, 1024)
    };
    let opaque = Image::sparse(gpu, &shape);
    let size = opaque.requirements.size;
    costs(oracle.create("opaque image", size, false), (0, 0));
    gpu.bind(&[Batch::image(&opaque, [bind(0, size, &memory.0, 0)])]);
    oracle.bind("opaque image", 0, size, Some((memory.1, 0)));
    costs(oracle.step("an image as a whole"), (1, 1));
    oracle.destroy("opaque image");
    drop(opaque);
    oracle.step("it is destroyed");

    for (format, texel) in [
        (vk::Format::R8_UINT, 1),
        (vk::Format::R16_UINT, 2),
        (vk::Format::R8G8B8A8_UNORM, 4),
        (vk::Format::R32G32_UINT, 8),
        (vk::Format::R32G32B32A32_UINT, 16),
    ] {
        tiles(gpu, oracle, memory, format, texel, &slots);
    }
}

/// Texels of a standard block, by bytes of a texel.
fn block(texel: u64) -> (u64, u64) {
    match texel {
        1 => (256, 256),
        2 => (256, 128),
        4 => (128, 128),
        8 => (128, 64),
        _ => (64, 64),
    }
}

/// A partially resident image of two layers, of which two levels consist of blocks. All that is known of its layout is what
/// docs/panvk.md says: 16x16 tiles row by row, each level padded to whole blocks, the levels one after another.
fn tiles(
    gpu: &Gpu,
    oracle: &mut Oracle<'_>,
    memory: &(Memory<'_>, u64),
    format: vk::Format,
    texel: u64,
    slots: impl Fn(u64) -> u64,
) {
    let (width, height) = block(texel);
    let (columns, lines) = (5, 3);
    // Not whole blocks, and level 1 is two blocks and a bit wide.
    let shape = ImageShape {
        format,
        flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
        extent: [(columns * width - 7) as u32, (lines * height - 7) as u32, 1],
        layers: 2,
        levels: 4,
        ..ImageShape::flat(1, 1)
    };
    let image = Image::sparse(gpu, &shape);
    // SAFETY: the image is alive.
    let needs = unsafe { gpu.device.get_image_sparse_memory_requirements(image.raw) };
    assert_eq!(needs.len(), 1);
    let granularity = needs[0].format_properties.image_granularity;
    assert_eq!(
        (granularity.width, granularity.height, granularity.depth),
        (width as u32, height as u32, 1)
    );
    assert_eq!(needs[0].image_mip_tail_first_lod, 2);
    let (tail, tail_size, stride) = (
        needs[0].image_mip_tail_offset,
        needs[0].image_mip_tail_size,
        needs[0].image_mip_tail_stride,
    );
    // Blocks of level 0 (5 by 3) and 1 (3 by 2, of 2.4 by 1.4).
    let level_columns = [columns, 3];
    let level_lines = [lines, 2];
    let level_start = [0, columns * lines * PIECE];
    assert_eq!(tail, (columns * lines + 6) * PIECE);
    assert_eq!(image.requirements.size, 2 * stride);
    assert_eq!(stride, tail + tail_size);
    let name = "image";
    costs(
        oracle.create(name, image.requirements.size, true),
        (1, slots(image.requirements.size)),
    );

    // Each block's rows of tiles, in the image and in memory.
    let rows = height / 16;
    let row_of_block = PIECE / rows;
    let ask = |oracle: &mut Oracle<'_>,
               layer: u64,
               level: usize,
               (x, y): (u64, u64),
               from: Option<u64>| {
        let row = level_columns[level] * row_of_block;
        for r in 0..rows {
            let at = layer * stride + level_start[level] + (y * rows + r) * row + x * row_of_block;
            oracle.bind(
                name,
                at,
                row_of_block,
                from.map(|from| (memory.1, from + r * row_of_block)),
            );
        }
    };
    let region =
        |layer: u32, level: u32, (x, y): (u64, u64), (w, h): (u64, u64), from: Option<u64>| {
            let of_level = image.level_extent(level);
            let (left, top) = ((x * width) as u32, (y * height) as u32);
            let mut region = vk::SparseImageMemoryBind::default()
                .subresource(vk::ImageSubresource {
                    aspect_mask: vk::ImageAspectFlags::COLOR,
                    mip_level: level,
                    array_layer: layer,
                })
                .offset(vk::Offset3D {
                    x: left as i32,
                    y: top as i32,
                    z: 0,
                })
                .extent(vk::Extent3D {
                    width: ((w * width) as u32).min(of_level.width - left),
                    height: ((h * height) as u32).min(of_level.height - top),
                    depth: 1,
                });
            if let Some(from) = from {
                region = region.memory(memory.0.raw).memory_offset(from);
            }
            region
        };
    for layer in 0..2u64 {
        for level in 0..2 {
            let (w, h) = (level_columns[level], level_lines[level]);
            let from = (layer * 32 + level as u64 * 16) * PIECE;
            gpu.bind(&[Batch::tiles(
                &image,
                [region(
                    layer as u32,
                    level as u32,
                    (0, 0),
                    (w, h),
                    Some(from),
                )],
            )]);
            for (i, at) in (0..w * h).map(|i| (i, (i % w, i / w))) {
                ask(oracle, layer, level, at, Some(from + i * PIECE));
            }
            let cost = oracle.step(&format!("{format:?}: level {level} of layer {layer}"));
            assert!(cost.is_none_or(|cost| cost.0 == 1), "{cost:?}");
        }
    }
    gpu.bind(&[Batch::tiles(
        &image,
        [
            region(1, 0, (1, 1), (2, 1), None),
            region(0, 1, (2, 1), (1, 1), Some(0)),
        ],
    )]);
    ask(oracle, 1, 0, (1, 1), None);
    ask(oracle, 1, 0, (2, 1), None);
    ask(oracle, 0, 1, (2, 1), Some(0));
    oracle.step("two blocks unbound, one bound elsewhere");
    gpu.bind(&[Batch::image(
        &image,
        [bind(stride + tail, tail_size, &memory.0, 64 * PIECE)],
    )]);
    oracle.bind(name, stride + tail, tail_size, Some((memory.1, 64 * PIECE)));
    oracle.step("the mip tail of layer 1");
    oracle.destroy(name);
    drop(image);
    let cost = oracle.step("the image is destroyed");
    assert!(cost.is_none_or(|cost| cost.0 == 1), "{cost:?}");
}

macro_rules! programs {
    ($($name:ident: $kernel:literal, $null_is_one_op:literal;)*) => {$(
        #[test]
        #[ignore = "needs panvk: scripts/panvk.sh test"]
        fn $name() {
            on_a_virtual_mali(common::name_of!($name), $kernel, || program($null_is_one_op, true, Held::PagesAndCost));
        }
    )*};
}

programs! {
    panvk_binds_what_is_asked_for_on_1_9: "1.9", true;
    panvk_binds_what_is_asked_for_on_1_8_repeat: "1.8-repeat", true;
    panvk_binds_what_is_asked_for_on_1_5: "1.5", false;
}

/// On the kernel's own panthor: `scripts/panvk.sh test` runs it there.
#[test]
#[ignore = "needs panvk and a panthor node: scripts/panvk.sh test"]
fn panvk_binds_what_is_asked_for_on_linux_itself() {
    program(true, true, Held::PagesAndCost);
}
