//! Images with sparse binding, bound opaquely as a whole.

use ash::vk;
use common::gpu::bind;
use common::objects::{Image, ImageShape};
use common::pattern::{assert_pattern, words};
use common::{Batch, Gpu, Memory, Random};

fn memory<'g>(image: &Image<'g>, size: u64) -> Memory<'g> {
    let bits = image.requirements.memory_type_bits;
    Memory::new(
        image.gpu,
        size,
        image
            .gpu
            .memory_type(bits, vk::MemoryPropertyFlags::empty()),
    )
}

/// Contents go in and come out, and they live in `memories` and nowhere else: what these held then, put back, is the
/// image of then.
fn check(image: &Image<'_>, memories: &[&Memory<'_>], seed: u32) {
    image.write(!seed);
    image.write(seed);
    assert_pattern("the image", &image.read(), seed, 0);
    let held: Vec<_> = memories.iter().map(|m| m.read(0, m.size)).collect();
    image.write(!seed);
    assert_pattern("the image, written again", &image.read(), !seed, 0);
    for (memory, words) in memories.iter().zip(&held) {
        memory.write(0, words);
    }
    assert_pattern("the image of the memory", &image.read(), seed, 0);
}

/// (resource offset, length) of each block of the image.
fn blocks(image: &Image<'_>) -> Vec<(u64, u64)> {
    let (size, g) = (image.requirements.size, image.requirements.alignment);
    (0..size.div_ceil(g))
        .map(|i| (i * g, g.min(size - i * g)))
        .collect()
}

pub fn bound_as_a_whole(gpu: &Gpu) {
    let image = Image::sparse(gpu, &ImageShape::flat(512, 512));
    let memory = memory(&image, image.requirements.size);
    gpu.bind(&[Batch::image(&image, [bind(0, memory.size, &memory, 0)])]);
    check(&image, &[&memory], 1);
}

pub fn bound_in_pieces_in_any_order(gpu: &Gpu) {
    let image = Image::sparse(
        gpu,
        &ImageShape {
            levels: 10,
            ..ImageShape::flat(512, 512)
        },
    );
    let a = memory(&image, image.requirements.size);
    let b = memory(&image, image.requirements.size);
    let mut random = Random::new(7);
    let mut pieces = blocks(&image);
    random.shuffle(&mut pieces);
    let binds: Vec<_> = pieces
        .iter()
        .map(|&(at, len)| bind(at, len, if random.one_in(2) { &a } else { &b }, at))
        .collect();
    // Half in one call, half in another.
    let half = binds.len() / 2;
    gpu.bind(&[Batch::image(&image, &binds[..half])]);
    gpu.bind(&[Batch::image(&image, &binds[half..])]);
    check(&image, &[&a, &b], 2);
}

pub fn pieces_hold_what_the_plan_says(gpu: &Gpu) {
    // The same content in two images of one shape: one holds its blocks in order, the other reversed.
    let shape = ImageShape::flat(1024, 512);
    let (straight, turned) = (Image::sparse(gpu, &shape), Image::sparse(gpu, &shape));
    let size = straight.requirements.size;
    let (a, b) = (memory(&straight, size), memory(&turned, size));
    let all = blocks(&turned);
    let whole = all.iter().all(|&(_, len)| len == all[0].1);
    assert!(
        whole && all.len() > 8,
        "a shape of many whole blocks: {all:?}"
    );
    let reversed: Vec<_> = all
        .iter()
        .zip(all.iter().rev())
        .map(|(&(at, len), &(place, _))| bind(at, len, &b, place))
        .collect();
    gpu.bind(&[
        Batch::image(&straight, [bind(0, size, &a, 0)]),
        Batch::image(&turned, reversed),
    ]);
    check(&straight, &[&a], 3);
    check(&turned, &[&b], 3);
    let (in_a, in_b) = (a.read(0, size), b.read(0, size));
    for (&(at, len), &(place, _)) in all.iter().zip(all.iter().rev()) {
        let range = |from: u64| (from / 4) as usize..((from + len) / 4) as usize;
        assert!(
            in_a[range(at)] == in_b[range(place)],
            "block at {at:#x} lies at {place:#x} of the memory"
        );
    }
}

pub fn levels_layers_and_volumes(gpu: &Gpu) {
    let flat = ImageShape::flat(256, 256);
    let shapes = [
        ImageShape {
            levels: 9,
            layers: 3,
            ..flat
        },
        ImageShape {
            kind: vk::ImageType::TYPE_3D,
            extent: [64, 64, 32],
            levels: 7,
            ..flat
        },
        ImageShape {
            extent: [300, 77, 1],
            levels: 4,
            layers: 2,
            ..flat
        },
        ImageShape {
            extent: [1, 1, 1],
            ..flat
        },
    ];
    for (seed, shape) in shapes.iter().enumerate() {
        assert!(
            shape.supported(gpu, vk::ImageCreateFlags::SPARSE_BINDING),
            "{shape:?} can be sparse"
        );
        let image = Image::sparse(gpu, shape);
        let memory = memory(&image, image.requirements.size);
        let binds: Vec<_> = blocks(&image)
            .into_iter()
            .rev()
            .map(|(at, len)| bind(at, len, &memory, at))
            .collect();
        gpu.bind(&[Batch::image(&image, binds)]);
        check(&image, &[&memory], 4 + seed as u32);
    }
}

pub fn linear_tiling(gpu: &Gpu) {
    let shape = ImageShape {
        tiling: vk::ImageTiling::LINEAR,
        ..ImageShape::flat(640, 400)
    };
    if !shape.supported(gpu, vk::ImageCreateFlags::SPARSE_BINDING) {
        println!("the driver has no linear sparse images");
        return;
    }
    let image = Image::sparse(gpu, &shape);
    let memory = memory(&image, image.requirements.size);
    gpu.bind(&[Batch::image(
        &image,
        blocks(&image)
            .into_iter()
            .rev()
            .map(|(at, len)| bind(at, len, &memory, at))
            .collect::<Vec<_>>(),
    )]);
    check(&image, &[&memory], 9);
}

pub fn a_rebind_switches_contents(gpu: &Gpu) {
    let image = Image::sparse(gpu, &ImageShape::flat(512, 512));
    let size = image.requirements.size;
    let (a, b) = (memory(&image, size), memory(&image, size));
    for (memory, seed) in [(&a, 10), (&b, 11)] {
        gpu.bind(&[Batch::image(&image, [bind(0, size, memory, 0)])]);
        check(&image, &[memory], seed);
    }
    for (memory, seed) in [(&a, 10), (&b, 11), (&a, 10)] {
        gpu.bind(&[Batch::image(&image, [bind(0, size, memory, 0)])]);
        assert_pattern("the image of this memory", &image.read(), seed, 0);
    }
}

pub fn image_and_buffer_in_one_batch(gpu: &Gpu) {
    let image = Image::sparse(gpu, &ImageShape::flat(256, 256));
    let buffer = gpu.sparse_buffer(1 << 20);
    let (in_image, in_buffer) = (
        memory(&image, image.requirements.size),
        gpu.memory(&buffer, 1 << 20),
    );
    gpu.bind(
        &[Batch::image(&image, [bind(0, in_image.size, &in_image, 0)])
            .and_buffer(&buffer, [bind(0, 1 << 20, &in_buffer, 0)])],
    );
    buffer.copy_write(0, &words(12, (1 << 20) / 4));
    check(&image, &[&in_image], 13);
    assert_pattern("the buffer", &buffer.shader_read(0, 1 << 20), 12, 0);
}
