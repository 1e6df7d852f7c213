//! The shape of a sparse block: what the driver says of it in each place is one thing, and a bind of one block backs exactly
//! these texels.

use ash::vk;
use common::objects::ImageShape;
use common::pattern::{assert_words, words};
use common::{Gpu, Memory, SZ_64K, Tile, Tiled};

/// A format for each size of a texel, with the standard shapes of a block of one sample: flat, and of a volume.
const FORMATS: [(vk::Format, [u32; 3], [u32; 3]); 5] = [
    (vk::Format::R8_UINT, [256, 256, 1], [64, 32, 32]),
    (vk::Format::R16_UINT, [256, 128, 1], [32, 32, 32]),
    (vk::Format::R32_UINT, [128, 128, 1], [32, 32, 16]),
    (vk::Format::R32G32_UINT, [128, 64, 1], [32, 16, 16]),
    (vk::Format::R32G32B32A32_UINT, [64, 64, 1], [16, 16, 16]),
];

const USAGE: vk::ImageUsageFlags = vk::ImageUsageFlags::from_raw(
    vk::ImageUsageFlags::TRANSFER_SRC.as_raw()
        | vk::ImageUsageFlags::TRANSFER_DST.as_raw()
        | vk::ImageUsageFlags::SAMPLED.as_raw(),
);

fn shape_of(e: vk::Extent3D) -> [u32; 3] {
    [e.width, e.height, e.depth]
}

/// What the physical device says of blocks, for one aspect; `None` where there are none.
fn said(
    gpu: &Gpu,
    format: vk::Format,
    kind: vk::ImageType,
    samples: vk::SampleCountFlags,
) -> Option<vk::SparseImageFormatProperties> {
    let app = &gpu.app;
    // SAFETY: handles are alive.
    let all = unsafe {
        app.instance
            .get_physical_device_sparse_image_format_properties(
                app.physical,
                format,
                kind,
                samples,
                USAGE,
                vk::ImageTiling::OPTIMAL,
            )
    };
    assert!(all.len() <= 1, "{format:?} has one aspect: {all:?}");
    all.first().copied()
}

fn standard(gpu: &Gpu) -> vk::PhysicalDeviceSparseProperties {
    // SAFETY: handles are alive.
    let properties = unsafe {
        gpu.app
            .instance
            .get_physical_device_properties(gpu.app.physical)
    };
    properties.sparse_properties
}

/// The images that a device has of these.
fn images(gpu: &Gpu) -> Vec<(ImageShape, [u32; 3])> {
    let has = gpu.app.features();
    let mut images = Vec::new();
    for (format, flat, volume) in FORMATS {
        for (kind, has, block) in [
            (vk::ImageType::TYPE_2D, has.sparse_residency_image2_d, flat),
            (
                vk::ImageType::TYPE_3D,
                has.sparse_residency_image3_d,
                volume,
            ),
        ] {
            if has == vk::TRUE {
                let shape = ImageShape {
                    kind,
                    format,
                    ..ImageShape::flat(1, 1)
                };
                images.push((shape, block));
            }
        }
    }
    images
}

pub fn all_places_say_one_shape(gpu: &Gpu) {
    let standard = standard(gpu);
    for (shape, block) in images(gpu) {
        let (format, kind) = (shape.format, shape.kind);
        let one = said(gpu, format, kind, vk::SampleCountFlags::TYPE_1);
        let one = one.unwrap_or_else(|| panic!("{format:?} {kind:?} has blocks"));
        let volume = kind == vk::ImageType::TYPE_3D;
        let is_standard = if volume {
            standard.residency_standard3_d_block_shape
        } else {
            standard.residency_standard2_d_block_shape
        };
        let granularity = shape_of(one.image_granularity);
        if is_standard == vk::TRUE {
            assert_eq!(granularity, block, "{format:?} {kind:?}: standard");
        }
        let texels: u32 = granularity.iter().product();
        assert_eq!(u64::from(texels) * shape.texel(), SZ_64K, "{format:?}");
        // An image says the same of itself.
        let [x, y, z] = granularity;
        let own = ImageShape {
            extent: [3 * x, 3 * y, if volume { 3 * z } else { 1 }],
            ..shape
        };
        let image = Tiled::untouched(gpu, &own);
        assert_eq!(image.shape, granularity, "{format:?} {kind:?}: of an image");
        assert_eq!(image.bytes, SZ_64K);
        // SAFETY: the image is alive.
        let needs = unsafe {
            gpu.device
                .get_image_sparse_memory_requirements(image.image.raw)
        };
        assert_eq!(needs[0].format_properties.flags, one.flags);
        assert_eq!(needs[0].format_properties.aspect_mask, one.aspect_mask);
        // More samples: fewer texels, of the standard shape.
        if volume || standard.residency_standard2_d_multisample_block_shape == vk::FALSE {
            continue;
        }
        for (samples, divide) in [
            (vk::SampleCountFlags::TYPE_2, [2, 1]),
            (vk::SampleCountFlags::TYPE_4, [2, 2]),
            (vk::SampleCountFlags::TYPE_8, [4, 2]),
            (vk::SampleCountFlags::TYPE_16, [4, 4]),
        ] {
            if let Some(many) = said(gpu, format, kind, samples) {
                let want = [block[0] / divide[0], block[1] / divide[1], 1];
                let got = shape_of(many.image_granularity);
                assert_eq!(got, want, "{format:?} {samples:?}");
            }
        }
    }
}

const MARK: u32 = 0x0B10_C0DE;

/// Tiles 0 and 2 of the memory, which nobody has, hold what they held.
#[track_caller]
fn assert_others_untouched(memory: &Memory<'_>, bytes: u64, what: &str) {
    let all = words(MARK, memory.size / 4);
    let n = (bytes / 4) as usize;
    for place in [0, 2] {
        let held = memory.read(place as u64 * bytes, bytes);
        assert_words(what, 0, &held, &all[place * n..(place + 1) * n]);
    }
}

/// One block in the middle has memory.
pub fn one_block_is_exactly_its_texels(gpu: &Gpu) {
    // Set where unbound tiles are one dummy: then what is written to one can be read in another image.
    let alias = std::env::var("PANVK_SPARSE_DUMMY").is_ok_and(|d| d == "alias");
    for (shape, _) in images(gpu) {
        let kind = shape.kind;
        let one = said(gpu, shape.format, kind, vk::SampleCountFlags::TYPE_1).expect("blocks");
        let [x, y, z] = shape_of(one.image_granularity);
        let volume = kind == vk::ImageType::TYPE_3D;
        let shape = ImageShape {
            // Three of them, and in the flat ones a part of a fourth.
            extent: if volume {
                [3 * x, 3 * y, 3 * z]
            } else {
                [3 * x + 5, 3 * y + 7, 1]
            },
            ..shape
        };
        let what = format!("{:?} {kind:?}", shape.format);
        let (image, other) = (Tiled::new(gpu, &shape), Tiled::new(gpu, &shape));
        let middle = Tile {
            layer: 0,
            level: 0,
            at: [1, 1, u32::from(volume)],
        };
        let first = Tile {
            at: [0, 0, 0],
            ..middle
        };
        let memory = image.memory(3);
        memory.write(0, &words(MARK, memory.size / 4));
        image.call([image.bind(middle, &memory, 1)]);
        // Another image shows the same memory, in another place.
        other.call([other.bind(first, &memory, 1)]);
        for seed in [1, 2] {
            let contents = image.pattern(seed);
            image.upload(&contents);
            let got = image.download();
            image.assert_tile(&what, &got, middle, &contents, middle);
            // All texels of the block, and last of all none of its neighbours: each has other contents.
            other.assert_tile(&what, &other.download(), first, &contents, middle);
            assert_others_untouched(&memory, image.bytes, &what);
        }
        // The other writes all of its texels: of this image, the middle alone changes to what the first block got.
        let contents = other.pattern(3);
        other.upload(&contents);
        let got = image.download();
        image.assert_tile(&what, &got, middle, &contents, first);
        assert_others_untouched(&memory, image.bytes, &what);
        if alias {
            // All unbound blocks are one, whatever was written to it last.
            let whole = |t: &Tile| t.at.iter().all(|&at| at < 3);
            let unbound = |t: &Tile| *t != middle && *t != first && whole(t);
            let after_first = Tile {
                at: [1, 0, 0],
                ..middle
            };
            for tile in image.tiles().into_iter().filter(unbound) {
                image.assert_tile(&what, &got, tile, &got, after_first);
            }
        }
        // Unbound, its memory keeps what it has.
        let held = memory.read(0, memory.size);
        image.call([image.unbind(middle)]);
        image.upload(&image.pattern(4));
        assert_words(&what, 0, &memory.read(0, memory.size), &held);
    }
}
