//! Any records, in an order of time.

use panvk_sparse::layout::{Extent, Offset, Region};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use trace::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements,
};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

/// Up to `most` records.
pub fn records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    vec((number(), event()), 0..=most).prop_map(|parts| {
        let mut times: Vec<u64> = parts.iter().map(|(time, _)| *time).collect();
        times.sort_unstable();
        let events = parts.into_iter().map(|(_, event)| event);
        times
            .into_iter()
            .zip(events)
            .map(|(time, event)| Record { time, event })
            .collect()
    })
}

/// Of any magnitude and alignment.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..u64::BITS, 0..u64::BITS).prop_map(|(n, down, up)| n >> down << up)
}

fn number_32() -> impl Strategy<Value = u32> {
    (any::<u32>(), 0..u32::BITS).prop_map(|(n, down)| n >> down)
}

/// Few enough that they come again, besides any.
fn handle() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => (0..4_u64).prop_map(|n| 0x55aa_0000_1000 + n * 0x340),
        1 => any::<u64>(),
        1 => Just(0),
    ]
}

fn resource() -> impl Strategy<Value = ResourceId> {
    prop_oneof![
        handle().prop_map(ResourceId::Buffer),
        handle().prop_map(ResourceId::Image)
    ]
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![
        2 => Just(Extent::new(128, 128, 1)),
        1 => (number_32(), number_32(), number_32())
            .prop_map(|(width, height, depth)| Extent::new(width, height, depth)),
    ]
}

fn coordinate() -> impl Strategy<Value = i32> {
    prop_oneof![3 => (-2..9).prop_map(|tile| tile * 128), 1 => any::<i32>()]
}

fn region() -> impl Strategy<Value = Region> {
    let offset =
        (coordinate(), coordinate(), coordinate()).prop_map(|(x, y, z)| Offset { x, y, z });
    let subresource = prop_oneof![
        2 => Just((1, 0, 0)),
        1 => (number_32(), number_32(), number_32()),
    ];
    (subresource, offset, extent()).prop_map(|((aspect, level, layer), offset, extent)| Region {
        aspect,
        level,
        layer,
        offset,
        extent,
    })
}

/// Multiples of 64 KiB, besides any number.
fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![3 => (0..6_u64).prop_map(|n| n << 16), 1 => number()]
}

fn bind() -> impl Strategy<Value = Bind> {
    (
        bytes(),
        bytes(),
        option::of(handle()),
        bytes(),
        any::<bool>(),
    )
        .prop_map(
            |(resource_offset, size, memory, memory_offset, metadata)| Bind {
                resource_offset,
                size,
                memory,
                memory_offset,
                metadata,
            },
        )
}

fn image_bind() -> impl Strategy<Value = ImageBind> {
    (region(), option::of(handle()), bytes()).prop_map(|(region, memory, memory_offset)| {
        ImageBind {
            region,
            memory,
            memory_offset,
        }
    })
}

fn semaphores() -> impl Strategy<Value = Vec<Semaphore>> {
    let semaphore = (handle(), number()).prop_map(|(handle, value)| Semaphore { handle, value });
    vec(semaphore, 0..3)
}

fn info() -> impl Strategy<Value = BindInfo> {
    (
        semaphores(),
        semaphores(),
        vec((resource(), vec(bind(), 0..6)), 0..3),
        vec((handle(), vec(image_bind(), 0..6)), 0..3),
        any::<bool>(),
    )
        .prop_map(
            |(waits, signals, binds, image_binds, joins_previous)| BindInfo {
                waits,
                signals,
                binds,
                image_binds,
                joins_previous,
            },
        )
}

fn requirements() -> impl Strategy<Value = MemoryRequirements> {
    (number(), number(), number_32()).prop_map(|(size, alignment, memory_type_bits)| {
        MemoryRequirements {
            size,
            alignment,
            memory_type_bits,
        }
    })
}

fn sparse_requirements() -> impl Strategy<Value = SparseMemoryRequirements> {
    (
        number_32(),
        extent(),
        number_32(),
        number_32(),
        [number(), number(), number()],
    )
        .prop_map(
            |(aspect_mask, granularity, flags, mip_tail_first_lod, [size, offset, stride])| {
                SparseMemoryRequirements {
                    aspect_mask,
                    granularity,
                    flags,
                    mip_tail_first_lod,
                    mip_tail_size: size,
                    mip_tail_offset: offset,
                    mip_tail_stride: stride,
                }
            },
        )
}

fn device_created() -> impl Strategy<Value = Event> {
    (
        handle(),
        [".{0,20}", ".{0,20}", ".{0,20}"],
        [number_32(), number_32(), number_32(), number_32()],
        any::<bool>(),
    )
        .prop_map(
            |(device, [name, driver_name, driver_info], [a, b, c, d], sparse_binding)| {
                Event::DeviceCreated(DeviceCreated {
                    device,
                    name,
                    driver_name,
                    driver_info,
                    api_version: a,
                    driver_version: b,
                    vendor_id: c,
                    device_id: d,
                    sparse_binding,
                })
            },
        )
}

fn buffer_created() -> impl Strategy<Value = Event> {
    (
        [handle(), handle()],
        [number_32(), number_32()],
        number(),
        requirements(),
    )
        .prop_map(|([device, buffer], [flags, usage], size, requirements)| {
            Event::BufferCreated(BufferCreated {
                device,
                buffer,
                flags,
                size,
                usage,
                requirements,
            })
        })
}

fn image_created() -> impl Strategy<Value = Event> {
    (
        [handle(), handle()],
        any::<[i32; 3]>(),
        any::<[u32; 5]>(),
        extent(),
        requirements(),
        vec(sparse_requirements(), 0..3),
    )
        .prop_map(
            |([device, image], signed, numbers, extent, requirements, sparse_requirements)| {
                Event::ImageCreated(ImageCreated {
                    device,
                    image,
                    flags: numbers[0],
                    image_type: signed[0],
                    format: signed[1],
                    extent,
                    mip_levels: numbers[1],
                    array_layers: numbers[2],
                    samples: numbers[3],
                    tiling: signed[2],
                    usage: numbers[4],
                    requirements,
                    sparse_requirements,
                })
            },
        )
}

fn bind_sparse() -> impl Strategy<Value = Event> {
    (
        [handle(), handle()],
        vec(info(), 0..4),
        option::of(handle()),
        any::<i32>(),
        number(),
    )
        .prop_map(
            |([device, queue], infos, fence, result, duration)| Event::BindSparse {
                device,
                queue,
                call: BindCall { infos, fence },
                result,
                duration,
            },
        )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => device_created(),
        1 => handle().prop_map(|device| Event::DeviceDestroyed { device }),
        1 => (handle(), handle(), number(), number_32()).prop_map(
            |(device, memory, size, memory_type)| Event::MemoryAllocated {
                device,
                memory,
                size,
                memory_type,
            }
        ),
        1 => (handle(), handle()).prop_map(|(device, memory)| Event::MemoryFreed { device, memory }),
        1 => buffer_created(),
        1 => image_created(),
        1 => (handle(), resource())
            .prop_map(|(device, resource)| Event::ResourceDestroyed { device, resource }),
        1 => (handle(), handle())
            .prop_map(|(device, semaphore)| Event::TimelineCreated { device, semaphore }),
        1 => (handle(), handle())
            .prop_map(|(device, semaphore)| Event::SemaphoreDestroyed { device, semaphore }),
        1 => (handle(), handle()).prop_map(|(device, fence)| Event::FenceDestroyed { device, fence }),
        6 => bind_sparse(),
        1 => (handle(), handle()).prop_map(|(device, queue)| Event::Present { device, queue }),
        1 => (handle(), handle(), number_32())
            .prop_map(|(device, queue, count)| Event::Submit { device, queue, count }),
        1 => number().prop_map(|events| Event::Lost { events }),
    ]
}
