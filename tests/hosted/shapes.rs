//! Resources of sizes that few base drivers report.

use panvk_sparse::layout::{Aspect, Extent, Image, MipTail, tile_2d};
use panvk_sparse::units::SZ_64K;
use vulkan::calls::ResourceId;

use crate::base::*;

const BUFFER: ResourceId = ResourceId::Buffer(1);
const MEMORY: u64 = 9;

#[test]
fn a_buffer_of_any_size_is_bound_and_unbound_as_its_bytes_say() {
    for (flavour, strategy) in configurations() {
        for (size, granularity) in [
            (3 * SZ_64K + 1000, SZ_64K),
            (5_000_000, SZ_64K),
            (10_000, PAGE),
            (7, SZ_64K),
        ] {
            let hosted = hosted(flavour, strategy);
            // The memory is as long as the buffer, to the byte.
            hosted.add_memory(MEMORY, size).unwrap();
            let added = hosted.add_resource(BUFFER, size, granularity, None);
            added.unwrap();
            let mut base = FakeBase::default();
            for memory in [Some(MEMORY), None] {
                let all = bind(0, size, memory, 0);
                base.bind(&hosted, &call(BUFFER, &[all])).unwrap();
                assert_eq!(base.last_binds(), [(BUFFER, all)], "{flavour} {strategy}");
            }
            let last = size - size % granularity;
            let rest = bind(last, size - last, Some(MEMORY), last);
            base.bind(&hosted, &call(BUFFER, &[rest])).unwrap();
            assert_eq!(base.last_binds(), [(BUFFER, rest)], "{flavour} {strategy}");
            for (at, len) in [(0, size + 1), (last, size - last + 1)] {
                let beyond = call(BUFFER, &[bind(at, len, Some(MEMORY), at)]);
                let error = base.bind(&hosted, &beyond).unwrap_err();
                assert_eq!(error.result(), ash::vk::Result::ERROR_VALIDATION_FAILED_EXT);
            }
            if last > 0 {
                let part = call(BUFFER, &[bind(0, size - last, Some(MEMORY), 0)]);
                let bound = base.bind(&hosted, &part);
                assert_eq!(bound.is_ok(), (size - last) % granularity == 0);
            }
            hosted.remove_resource(BUFFER);
        }
    }
}

/// RGBA8 with two layers, each with a mip tail of its own.
fn with_tails(size: u64) -> Image {
    let tail = MipTail {
        first_level: 1,
        size,
        offset: 1 << 32,
        stride: 1 << 20,
    };
    Image {
        extent: Extent::new(256, 128, 1),
        levels: 9,
        layers: 2,
        tile_bytes: SZ_64K,
        aspects: vec![Aspect {
            mask: 1,
            granularity: tile_2d(4).unwrap(),
            flags: 0,
            subsampling: [1, 1],
            tail,
        }],
    }
}

#[test]
fn a_mip_tail_that_ends_inside_a_tile_is_bound_and_unbound_on_every_kernel() {
    for (flavour, strategy) in configurations() {
        for size in [SZ_64K + PAGE, PAGE, 3 * SZ_64K - PAGE] {
            let (hosted, mut base) = (hosted(flavour, strategy), FakeBase::default());
            hosted.add_memory(MEMORY, 1 << 20).unwrap();
            let image = with_tails(size).by_address().unwrap();
            hosted.add_image(2, &image, None).unwrap();
            let tail = image.aspects[0].tail;
            for layer in [1, 0] {
                for memory in [Some(MEMORY), None, Some(MEMORY)] {
                    let bind = bind(tail.offset + layer * tail.stride, size, memory, 0);
                    base.bind(&hosted, &call(ResourceId::Image(2), &[bind]))
                        .unwrap_or_else(|error| panic!("{flavour} {strategy} {size}: {error}"));
                    assert_eq!(base.last_binds(), [(ResourceId::Image(2), bind)]);
                }
            }
            hosted.remove_resource(ResourceId::Image(2));
        }
    }
}
