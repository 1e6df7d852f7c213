//! The steps of which the number of VM_BIND calls and operations is known for panvk alone and for this project's planner: with
//! the driver in front, each costs as much as the planner says, and no more than panvk alone.

use ash::vk;
use common::app::App;
use common::gpu::{Batch, Gpu, bind, unbind};
use common::objects::{Image, ImageShape};

use super::{Driver, counts, driver_here, mesa_is, on_a_board};
use crate::panvk::oracle::{Held, Oracle};
use crate::panvk::recorded::KERNELS;

const SIZE: u64 = 100_003_840;
const PIECE: u64 = 65536;
const PIECES: u64 = SIZE.div_ceil(PIECE);
const SLOTS: u64 = SIZE.div_ceil(2 << 20);

/// VM_BIND calls and operations.
type Cost = (u64, u64);

/// A step, what it may cost if unbinding any range is one operation, and what on uAPI 1.5, where it is one for each 2 MiB.
const TABLE: [(&str, Cost, Cost); 18] = [
    ("buffer", (1, 1), (1, SLOTS)),
    ("image", (1, 1), (1, 43)),
    ("bind all", (1, 1), (1, 1)),
    ("bind all again", (1, 1), (1, 1)),
    ("unbind all", (1, 1), (1, SLOTS)),
    ("pieces in order", (1, 1), (1, 1)),
    ("pieces shuffled", (1, 1), (1, 1)),
    ("memory in reverse", (1, PIECES - 1), (1, PIECES - 1)),
    ("every second piece", (1, PIECES / 2), (1, PIECES / 2)),
    (
        "unbind every second piece of all",
        (1, PIECES / 2),
        (1, PIECES / 2),
    ),
    // uAPI 1.5 has no region lock: what lies between may be in use, and stays untouched.
    (
        "unbind every second piece of none else",
        (1, 1),
        (1, PIECES / 2),
    ),
    ("unbind in pieces", (1, 1), (1, SLOTS)),
    ("100 batches", (1, 1), (1, 1)),
    ("100 calls", (100, 100), (100, 100)),
    ("a fence only", (1, 1), (1, 1)),
    ("level 0", (1, 1), (1, 1)),
    ("level 0 in blocks", (1, 1), (1, 1)),
    ("4x4 blocks", (1, 4), (1, 4)),
];

/// A piece's place and its length, which is also its place in the memory.
fn piece(i: u64) -> (u64, u64) {
    (i * PIECE, PIECE.min(SIZE - i * PIECE))
}

fn program(held: Held) {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    let mut oracle = Oracle::new(&gpu, held);
    let buffer = gpu.sparse_buffer(100_000_000);
    assert_eq!(buffer.requirements.size, SIZE);
    oracle.create("buffer", SIZE, true);
    let memory = oracle.allocate(SIZE);
    // (offset, size, place in memory)
    let mut step = |what: &str, binds: &[(u64, u64, Option<u64>)]| {
        let mut list = Vec::new();
        for &(offset, size, from) in binds {
            list.push(match from {
                Some(from) => bind(offset, size, &memory.0, from),
                None => unbind(offset, size),
            });
            oracle.bind("buffer", offset, size, from.map(|from| (memory.1, from)));
        }
        gpu.bind(&[Batch::buffer(&buffer, list)]);
        oracle.step(what);
    };
    let bound = |i| {
        let (at, size) = piece(i);
        (at, size, Some(at))
    };
    let unbound = |i| {
        let (at, size) = piece(i);
        (at, size, None)
    };
    let (all, none) = ([(0, SIZE, Some(0))], [(0, SIZE, None)]);
    let in_order: Vec<_> = (0..PIECES).map(bound).collect();
    let second: Vec<_> = (0..PIECES).step_by(2).collect();
    let mut shuffled = in_order.clone();
    // 977 and the number of pieces have no common divisor.
    for (i, to) in (0..PIECES).zip(&mut shuffled) {
        *to = bound(i * 977 % PIECES);
    }
    let reversed: Vec<_> = (0..PIECES - 1)
        .map(|i| (i * PIECE, PIECE, Some((PIECES - 2 - i) * PIECE)))
        .collect();
    let every_second: Vec<_> = second.iter().map(|i| bound(*i)).collect();
    let unbind_second: Vec<_> = second.iter().map(|i| unbound(*i)).collect();
    step("bind all", &all);
    step("bind all again", &all);
    step("unbind all", &none);
    step("pieces in order", &in_order);
    step("(prepare)", &none);
    step("pieces shuffled", &shuffled);
    step("(prepare)", &none);
    step("memory in reverse", &reversed);
    step("(prepare)", &none);
    step("every second piece", &every_second);
    step("unbind every second piece of none else", &unbind_second);
    step("(prepare)", &all);
    step("unbind every second piece of all", &unbind_second);
    step("(prepare)", &all);
    step(
        "unbind in pieces",
        &(0..PIECES).map(unbound).collect::<Vec<_>>(),
    );

    let one = |i: u64, from: u64| {
        Batch::buffer(&buffer, [bind(i * PIECE, PIECE, &memory.0, from * PIECE)])
    };
    gpu.bind(&(0..100).map(|i| one(200 + i, i)).collect::<Vec<_>>());
    oracle.bind("buffer", 200 * PIECE, 100 * PIECE, Some((memory.1, 0)));
    oracle.step("100 batches");
    for i in 0..100 {
        gpu.bind(&[one(400 + i, i)]);
    }
    oracle.bind("buffer", 400 * PIECE, 100 * PIECE, Some((memory.1, 0)));
    oracle.step("100 calls");
    gpu.bind(&[]);
    oracle.step("a fence only");
    image(&gpu, &mut oracle, memory.0.raw, memory.1);
    oracle.destroy("buffer");
    drop(buffer);
    oracle.step("the buffer is destroyed");
    println!(
        "{} steps, {} wrong pages",
        oracle.steps(),
        oracle.wrong_pages()
    );
}

/// Blocks of 128x128 texels, one after another, in rows of 32.
fn image(gpu: &Gpu, oracle: &mut Oracle<'_>, memory: vk::DeviceMemory, number: u64) {
    let image = Image::sparse(
        gpu,
        &ImageShape {
            format: vk::Format::R8G8B8A8_UNORM,
            flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
            levels: 13,
            ..ImageShape::flat(4096, 4096)
        },
    );
    oracle.create("image", image.requirements.size, true);
    let blocks = |(x, y): (u32, u32), (width, height): (u32, u32), from: Option<u64>| {
        let region = vk::SparseImageMemoryBind::default()
            .subresource(vk::ImageSubresource {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: 0,
                array_layer: 0,
            })
            .offset(vk::Offset3D {
                x: (x * 128) as i32,
                y: (y * 128) as i32,
                z: 0,
            })
            .extent(vk::Extent3D {
                width: width * 128,
                height: height * 128,
                depth: 1,
            });
        from.map_or(region, |from| {
            region.memory(memory).memory_offset(from * PIECE)
        })
    };
    let whole = 1024 * PIECE;
    let mut step = |what: &str,
                    regions: Vec<vk::SparseImageMemoryBind>,
                    ranges: &[(u64, u64, Option<u64>)]| {
        gpu.bind(&[Batch::tiles(&image, regions)]);
        for &(at, len, from) in ranges {
            oracle.bind("image", at, len, from.map(|from| (number, from)));
        }
        oracle.step(what);
    };
    let all = blocks((0, 0), (32, 32), Some(0));
    let none = blocks((0, 0), (32, 32), None);
    step("level 0", vec![all], &[(0, whole, Some(0))]);
    step("(prepare)", vec![none], &[(0, whole, None)]);
    let each = (0..1024).map(|i| blocks((i % 32, i / 32), (1, 1), Some(u64::from(i))));
    step("level 0 in blocks", each.collect(), &[(0, whole, Some(0))]);
    let rows: Vec<_> = (0..4)
        .map(|row| {
            (
                ((14 + row) * 32 + 14) * PIECE,
                4 * PIECE,
                Some((1100 + 4 * row) * PIECE),
            )
        })
        .collect();
    step(
        "4x4 blocks",
        vec![blocks((14, 14), (4, 4), Some(1100))],
        &rows,
    );
    oracle.destroy("image");
    drop(image);
    oracle.step("the image is destroyed");
}

/// What costs more than with panvk alone because panvk 26.1.6 does not what it is asked for.
fn is_wrong_alone(step: &str) -> bool {
    mesa_is("26.1.6") && step.contains("unbind")
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_each_step_costs_what_the_planner_says_and_no_more_than_panvk_alone() {
    let test =
        common::name_of!(board_each_step_costs_what_the_planner_says_and_no_more_than_panvk_alone);
    for (kernel, null) in KERNELS {
        let run = |driver| {
            on_a_board(test, driver, kernel, &[], || {
                program(match driver_here() {
                    Driver::Alone if mesa_is("26.1.6") => Held::Nothing,
                    _ => Held::Pages,
                });
            })
        };
        let Some(alone) = run(Driver::Alone) else {
            return;
        };
        let ours = run(Driver::Ours).expect("the process that starts the others");
        let (alone, ours) = (counts(&alone.stdout), counts(&ours.stdout));
        println!("| step on {kernel} | panvk alone | with ours in front |");
        for (step, one, chunks) in TABLE {
            let ((calls, ops), (calls_alone, ops_alone)) = (ours[step], alone[step]);
            println!("| {step} | {calls_alone}/{ops_alone} | {calls}/{ops} |");
            let most = if null == "chunk" { chunks } else { one };
            assert!(
                calls <= most.0 && ops <= most.1,
                "{kernel}: {step}: {calls}/{ops}, expected {most:?}"
            );
            assert!(
                calls <= calls_alone && ops <= ops_alone || is_wrong_alone(step),
                "{kernel}: {step}: {calls}/{ops}, and {calls_alone}/{ops_alone} alone"
            );
        }
    }
}
