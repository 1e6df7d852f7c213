//! Opaque binds of partially resident images: all of an image is one range of bytes, in the order of the board.
//!
//! What a driver's opaque offsets mean beside the mip tails is its own affair: these claims are of our driver alone.

use ash::vk;
use common::child::Outcome;
use common::config::Config;
use common::gpu::{bind, unbind};
use common::objects::{Image, ImageShape, Memory};
use common::pattern::assert_pattern;
use common::texels::shader_loads;
use common::tiles::Tiled;
use common::work::Work;
use common::{App, Batch, Gpu, SZ_64K, pattern};

fn under(test: &str, body: fn(&Gpu), check: impl FnOnce(&Outcome)) {
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    common::child::run(test, config, &[], body, check);
}

/// Two layers of nine levels. (lavapipe gives every level tiles of its own: there is no mip tail.)
const SHAPE: ImageShape = ImageShape {
    kind: vk::ImageType::TYPE_2D,
    format: vk::Format::R32_UINT,
    flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
    tiling: vk::ImageTiling::OPTIMAL,
    extent: [400, 300, 1],
    layers: 2,
    levels: 9,
};

fn create_info(shape: &ImageShape) -> vk::ImageCreateInfo<'static> {
    let [width, height, depth] = shape.extent;
    vk::ImageCreateInfo::default()
        .flags(vk::ImageCreateFlags::SPARSE_BINDING | shape.flags)
        .image_type(shape.kind)
        .format(shape.format)
        .extent(vk::Extent3D {
            width,
            height,
            depth,
        })
        .mip_levels(shape.levels)
        .array_layers(shape.layers)
        .samples(vk::SampleCountFlags::TYPE_1)
        .tiling(shape.tiling)
        .usage(
            vk::ImageUsageFlags::TRANSFER_SRC
                | vk::ImageUsageFlags::TRANSFER_DST
                | vk::ImageUsageFlags::SAMPLED,
        )
}

fn sparse_needs(image: &Image<'_>) -> vk::SparseImageMemoryRequirements {
    // SAFETY: the image is alive.
    let needs = unsafe {
        image
            .gpu
            .device
            .get_image_sparse_memory_requirements(image.raw)
    };
    let [needs] = needs[..] else {
        panic!("one aspect: {needs:?}");
    };
    needs
}

fn memory<'g>(image: &Image<'g>) -> Memory<'g> {
    let gpu = image.gpu;
    let kind = gpu.memory_type(
        image.requirements.memory_type_bits,
        vk::MemoryPropertyFlags::empty(),
    );
    Memory::new(gpu, image.requirements.size, kind)
}

/// Every level by its region, in the order of the board: layer by layer, level by level; memory goes on from one to the next.
fn by_regions(image: &Image<'_>, memory: &Memory<'_>) -> Vec<vk::SparseImageMemoryBind> {
    let needs = sparse_needs(image);
    let tile = needs.format_properties.image_granularity;
    assert!(
        needs.image_mip_tail_first_lod >= image.levels,
        "there is no tail: {needs:?}"
    );
    let mut at = 0;
    let mut binds = Vec::new();
    for layer in 0..image.layers {
        for level in 0..image.levels {
            let extent = image.level_extent(level);
            binds.push(
                vk::SparseImageMemoryBind::default()
                    .subresource(vk::ImageSubresource {
                        aspect_mask: vk::ImageAspectFlags::COLOR,
                        mip_level: level,
                        array_layer: layer,
                    })
                    .extent(extent)
                    .memory(memory.raw)
                    .memory_offset(at),
            );
            let columns = extent.width.div_ceil(tile.width);
            let tiles = columns * extent.height.div_ceil(tile.height);
            at += u64::from(tiles) * image.requirements.alignment;
        }
    }
    assert_eq!(at, image.requirements.size, "the tiles are all there is");
    binds
}

/// The words of each layer of each level, of those that [`Image::regions`] orders.
fn by_layer(image: &Image<'_>, words: &[u32]) -> Vec<Vec<u32>> {
    let mut layers = vec![Vec::new(); image.layers as usize];
    for region in image.regions().0 {
        let start = (region.buffer_offset / 4) as usize;
        let texels = (region.image_extent.width * region.image_extent.height) as usize;
        for (layer, of) in layers.iter_mut().enumerate() {
            of.extend(&words[start + layer * texels..start + (layer + 1) * texels]);
        }
    }
    layers
}

#[test]
fn one_opaque_bind_of_all_is_one_op_and_binds_every_level_and_layer() {
    under(
        common::name_of!(one_opaque_bind_of_all_is_one_op_and_binds_every_level_and_layer),
        |gpu| {
            let image = Image::sparse(gpu, &SHAPE);
            let memory = memory(&image);
            let all = image.requirements.size;
            gpu.bind(&[Batch::image(&image, [bind(0, all, &memory, 0)])]);
            image.write(5);
            assert_pattern("all bound at once", &image.read(), 5, 0);
            // The same memory by regions: nothing has to change, and nothing does.
            gpu.bind(&[Batch::tiles(&image, by_regions(&image, &memory))]);
            assert_pattern("bound again by regions", &image.read(), 5, 0);
            // Another image, by regions: it reads what the first one has written.
            let other = Image::sparse(gpu, &SHAPE);
            gpu.bind(&[Batch::tiles(&other, by_regions(&other, &memory))]);
            Work::record(gpu, |r| r.image_start(&other)).run();
            assert_pattern("in another image", &other.read(), 5, 0);
        },
        |outcome| {
            let stats = &outcome.stats[0];
            // One for the image. The other one's levels are neighbours in memory and in addresses: one again.
            assert_eq!(stats.map_ops, 2, "{stats:?}");
            assert_eq!(stats.binds_elided, 18, "{stats:?}");
        },
    );
}

#[test]
fn shaders_load_what_an_opaque_bind_has_bound() {
    under(
        common::name_of!(shaders_load_what_an_opaque_bind_has_bound),
        |gpu| {
            let image = Tiled::untouched(gpu, &SHAPE);
            let memory = memory(&image.image);
            let all = image.image.requirements.size;
            gpu.bind(&[Batch::image(&image.image, [bind(0, all, &memory, 0)])]);
            image.image.write(8);
            let layers = by_layer(&image.image, &image.image.read());
            for (layer, want) in layers.iter().enumerate() {
                let loads = (0..image.image.levels)
                    .flat_map(|level| shader_loads(&image, layer as u32, level));
                assert_eq!(&loads.collect::<Vec<_>>(), want, "layer {layer}");
            }
            assert_ne!(layers[0], layers[1]);
        },
        |_| {},
    );
}

#[test]
fn an_opaque_bind_reaches_from_one_layer_into_the_next() {
    under(
        common::name_of!(an_opaque_bind_reaches_from_one_layer_into_the_next),
        |gpu| {
            let (whole, image) = (Image::sparse(gpu, &SHAPE), Image::sparse(gpu, &SHAPE));
            let (old, new) = (memory(&whole), memory(&image));
            let all = image.requirements.size;
            gpu.bind(&[
                Batch::image(&whole, [bind(0, all, &old, 0)]),
                Batch::image(&image, [bind(0, all, &new, 0)]),
            ]);
            whole.write(1);
            image.write(2);
            // The last level of layer 0 and the first tile of layer 1 come from the other's memory.
            let middle = all / 2;
            let (from, len) = (middle - SZ_64K, 2 * SZ_64K);
            gpu.bind(&[Batch::image(&image, [bind(from, len, &old, from)])]);
            // What is bound by regions in the same way reads the same.
            let regions = Image::sparse(gpu, &SHAPE);
            let mut binds = by_regions(&regions, &new);
            let levels = SHAPE.levels as usize;
            let mut last = binds[levels - 1];
            let mut first = binds[levels];
            let tile = sparse_needs(&regions).format_properties.image_granularity;
            first.extent = tile;
            for bind in [&mut last, &mut first] {
                bind.memory = old.raw;
            }
            binds.extend([last, first]);
            gpu.bind(&[Batch::tiles(&regions, binds)]);
            Work::record(gpu, |r| r.image_start(&regions)).run();
            let got = image.read();
            assert_eq!(got, regions.read());
            let (old, mixed) = (by_layer(&image, &whole.read()), by_layer(&image, &got));
            assert_eq!(mixed[0].last(), old[0].last(), "the last texel of layer 0");
            assert_eq!(mixed[1][0], old[1][0], "the first texel of layer 1");
            assert_ne!(mixed[0][0], old[0][0], "the first texel of layer 0");
            assert_ne!(mixed[1].last(), old[1].last(), "the last texel of layer 1");
        },
        |_| {},
    );
}

#[test]
fn an_opaque_unbind_of_a_layer_takes_that_layer_alone() {
    under(
        common::name_of!(an_opaque_unbind_of_a_layer_takes_that_layer_alone),
        |gpu| {
            let image = Image::sparse(gpu, &SHAPE);
            let memory = memory(&image);
            let all = image.requirements.size;
            gpu.bind(&[Batch::image(&image, [bind(0, all, &memory, 0)])]);
            image.write(3);
            let before = by_layer(&image, &image.read());
            gpu.bind(&[Batch::image(&image, [unbind(all / 2, all / 2)])]);
            image.write(4);
            gpu.bind(&[Batch::image(&image, [bind(0, all, &memory, 0)])]);
            let after = by_layer(&image, &image.read());
            let (_, words) = image.regions();
            let new = by_layer(&image, &pattern::words(4, words));
            assert!(
                after[0] == new[0],
                "layer 0 was bound and has what was written"
            );
            assert!(
                after[1] == before[1],
                "layer 1 was unbound and kept what it had"
            );
        },
        |outcome| {
            let stats = &outcome.stats[0];
            // The dummy for the new image, and one for what was unbound; all of the image, and what came back.
            assert_eq!((stats.null_ops, stats.map_ops), (2, 2), "{stats:?}");
        },
    );
}

#[test]
fn a_range_beyond_the_size_is_refused_with_its_numbers() {
    under(
        common::name_of!(a_range_beyond_the_size_is_refused_with_its_numbers),
        |gpu| {
            let image = Image::sparse(gpu, &SHAPE);
            let all = image.requirements.size;
            for (from, len) in [(0, all + SZ_64K), (all, SZ_64K), (SZ_64K / 2, SZ_64K)] {
                let result = gpu.try_bind(&[Batch::image(&image, [unbind(from, len)])]);
                assert_eq!(result, Err(vk::Result::ERROR_VALIDATION_FAILED_EXT));
            }
            gpu.bind(&[Batch::image(&image, [unbind(0, all)])]);
        },
        |outcome| {
            let told = "bytes of the image";
            assert_eq!(
                outcome.stderr.matches(told).count(),
                2,
                "{}",
                outcome.stderr
            );
            assert!(
                outcome.stderr.contains("expected a multiple of"),
                "{}",
                outcome.stderr
            );
        },
    );
}

/// With what binds an image of each kind: what it is asked for in six ways is one answer.
#[test]
fn all_functions_tell_the_same_of_an_image() {
    under(
        common::name_of!(all_functions_tell_the_same_of_an_image),
        |gpu| {
            let device = &gpu.device;
            let flat = ImageShape {
                flags: vk::ImageCreateFlags::empty(),
                ..SHAPE
            };
            let single = ImageShape { layers: 1, ..SHAPE };
            for shape in [SHAPE, single, flat] {
                let image = Image::sparse(gpu, &shape);
                let info = create_info(&shape);
                let new = vk::DeviceImageMemoryRequirements::default().create_info(&info);
                let of = vk::ImageMemoryRequirementsInfo2::default().image(image.raw);
                let sparse_of = vk::ImageSparseMemoryRequirementsInfo2::default().image(image.raw);
                let plain = image.requirements;
                let mut dedicated = vk::MemoryDedicatedRequirements::default();
                let mut second = vk::MemoryRequirements2::default().push_next(&mut dedicated);
                let mut third = vk::MemoryRequirements2::default();
                // SAFETY: all is alive and valid; maintenance4 is part of Vulkan 1.3.
                let lists = unsafe {
                    device.get_image_memory_requirements2(&of, &mut second);
                    device.get_device_image_memory_requirements(&new, &mut third);
                    let plain = device.get_image_sparse_memory_requirements(image.raw);
                    let count = device.get_image_sparse_memory_requirements2_len(&sparse_of);
                    assert_eq!(count, plain.len());
                    // More room than there is to say.
                    let mut second = vec![vk::SparseImageMemoryRequirements2::default(); count + 2];
                    let mut written = second.len() as u32;
                    let get = device.fp_v1_1().get_image_sparse_memory_requirements2;
                    get(
                        device.handle(),
                        &sparse_of,
                        &mut written,
                        second.as_mut_ptr(),
                    );
                    assert_eq!(written as usize, count);
                    assert_eq!(second[count].memory_requirements.image_mip_tail_size, 0);
                    second.truncate(count);
                    // And less.
                    if count > 0 {
                        let mut none = 0;
                        let mut untouched = vk::SparseImageMemoryRequirements2::default();
                        get(device.handle(), &sparse_of, &mut none, &mut untouched);
                        assert_eq!(
                            (none, untouched.memory_requirements.image_mip_tail_size),
                            (0, 0)
                        );
                    }
                    let count = device.get_device_image_sparse_memory_requirements_len(&new);
                    let mut third = vec![vk::SparseImageMemoryRequirements2::default(); count];
                    device.get_device_image_sparse_memory_requirements(&new, &mut third);
                    [
                        plain,
                        second.iter().map(|n| n.memory_requirements).collect(),
                        third.iter().map(|n| n.memory_requirements).collect(),
                    ]
                };
                let needs = [plain, second.memory_requirements, third.memory_requirements];
                let needs = needs.map(|n| (n.size, n.alignment, n.memory_type_bits));
                assert_eq!(needs, [needs[0]; 3], "{shape:?}");
                let lists = lists.map(|list| format!("{list:?}"));
                if shape.flags.is_empty() {
                    continue;
                }
                assert_eq!(lists, [(); 3].map(|()| lists[0].clone()), "{shape:?}");
            }
        },
        |_| {},
    );
}
