//! What is recorded is what the application did: every event, in its order, with its values.

use crate::kit::{BARE, ICD, LAYER, VALIDATION, layer_path_with_ours_last, recorded};
use ash::vk::{self, Handle};
use common::config::Config;
use common::gpu::{bind, unbind};
use common::objects::ImageShape;
use common::{App, Batch, Buffer, Fence, Gpu, Image, Memory, SZ_2M, SZ_64K, Semaphore};
use panvk_sparse::layout::{Extent, Offset, Region};
use trace::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, SparseMemoryRequirements,
};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore as Waited};

/// In front of a line of the application's that says what has to be recorded next.
const EXPECT: &str = "EXPECT ";

fn expect(event: &Event) {
    println!("{EXPECT}{event:?}");
}

fn requirements(needs: vk::MemoryRequirements) -> MemoryRequirements {
    MemoryRequirements {
        size: needs.size,
        alignment: needs.alignment,
        memory_type_bits: needs.memory_type_bits,
    }
}

/// `VK_ERROR_VALIDATION_FAILED_EXT`: what our ICD answers to a bind that can't be.
const REFUSED: i32 = -1_000_011_001;

/// The handles that events name over and over.
struct Script<'g> {
    gpu: &'g Gpu,
    device: u64,
    queue: u64,
}

impl Script<'_> {
    fn bind(&self, call: BindCall, result: i32) {
        expect(&Event::BindSparse {
            device: self.device,
            queue: self.queue,
            call,
            result,
            duration: 0,
        });
    }

    fn memory_type(&self, buffer: &Buffer<'_>) -> u32 {
        let any = vk::MemoryPropertyFlags::empty();
        self.gpu
            .memory_type(buffer.requirements.memory_type_bits, any)
    }

    fn allocated(&self, memory: &Memory<'_>, memory_type: u32) {
        expect(&Event::MemoryAllocated {
            device: self.device,
            memory: memory.raw.as_raw(),
            size: memory.size,
            memory_type,
        });
    }
}

fn mapped(offset: u64, size: u64, memory: &Memory<'_>, memory_offset: u64) -> Bind {
    Bind {
        resource_offset: offset,
        size,
        memory: Some(memory.raw.as_raw()),
        memory_offset,
        metadata: false,
    }
}

/// Does everything that is recorded, and says so.
fn script() {
    let app = App::new().expect("vkCreateInstance");
    let gpu = Gpu::new(&app);
    // SAFETY: the device is alive.
    let queue = unsafe { gpu.device.get_device_queue(gpu.compute_family, 0) };
    let script = Script {
        gpu: &gpu,
        device: gpu.device.handle().as_raw(),
        queue: queue.as_raw(),
    };
    expect(&Event::DeviceCreated(described(&app, script.device)));

    let buffer = gpu.sparse_buffer(SZ_2M);
    let residency = vk::BufferCreateFlags::SPARSE_BINDING
        | vk::BufferCreateFlags::SPARSE_RESIDENCY
        | vk::BufferCreateFlags::SPARSE_ALIASED;
    expect(&Event::BufferCreated(BufferCreated {
        device: script.device,
        buffer: buffer.raw.as_raw(),
        flags: residency.as_raw(),
        size: SZ_2M,
        usage: 0x23,
        requirements: requirements(buffer.requirements),
    }));
    // One that is not sparse is not of interest, its memory is.
    let plain = Buffer::new(&gpu, SZ_64K, vk::BufferCreateFlags::empty());
    let memory_type = script.memory_type(&buffer);
    let memory = Memory::new(&gpu, SZ_2M, memory_type);
    script.allocated(&memory, memory_type);
    drop(plain);

    let shape = ImageShape {
        flags: vk::ImageCreateFlags::SPARSE_RESIDENCY,
        levels: 3,
        layers: 2,
        ..ImageShape::flat(512, 256)
    };
    let tiled = Image::sparse(&gpu, &shape);
    expect(&Event::ImageCreated(image_created(
        script.device,
        &tiled,
        &shape,
    )));
    let opaque_shape = ImageShape::flat(128, 128);
    let opaque = Image::sparse(&gpu, &opaque_shape);
    expect(&Event::ImageCreated(image_created(
        script.device,
        &opaque,
        &opaque_shape,
    )));

    let timeline = gpu.timeline(0);
    expect(&Event::TimelineCreated {
        device: script.device,
        semaphore: timeline.raw.as_raw(),
    });
    let (binary, unused) = (gpu.binary(), gpu.binary());
    let fence = Fence::new(&gpu);

    let tile = vk::SparseImageMemoryBind {
        subresource: vk::ImageSubresource {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            mip_level: 1,
            array_layer: 1,
        },
        extent: vk::Extent3D {
            width: 128,
            height: 128,
            depth: 1,
        },
        memory: memory.raw,
        memory_offset: SZ_64K,
        ..Default::default()
    };
    let size = opaque.requirements.size;
    let batches = [
        Batch::buffer(
            &buffer,
            [bind(0, SZ_64K, &memory, SZ_64K), unbind(SZ_64K, 2 * SZ_64K)],
        )
        .and_image(&opaque, [bind(0, size, &memory, 0)])
        .signal(binary.point())
        .signal(timeline.at(7)),
        Batch::tiles(&tiled, [tile])
            .wait(binary.point())
            .wait(timeline.at(7)),
    ];
    gpu.bind_async(&batches, Some(&fence)).expect("a bind");
    fence.wait();
    let semaphore = |semaphore: &Semaphore<'_>, value| Waited {
        handle: semaphore.raw.as_raw(),
        value,
    };
    let first = BindInfo {
        signals: vec![semaphore(&binary, 0), semaphore(&timeline, 7)],
        binds: vec![
            (
                ResourceId::Buffer(buffer.raw.as_raw()),
                vec![
                    mapped(0, SZ_64K, &memory, SZ_64K),
                    Bind {
                        memory: None,
                        ..mapped(SZ_64K, 2 * SZ_64K, &memory, 0)
                    },
                ],
            ),
            (
                ResourceId::Image(opaque.raw.as_raw()),
                vec![mapped(0, size, &memory, 0)],
            ),
        ],
        ..BindInfo::default()
    };
    let second = BindInfo {
        waits: vec![semaphore(&binary, 0), semaphore(&timeline, 7)],
        image_binds: vec![(
            tiled.raw.as_raw(),
            vec![ImageBind {
                region: Region {
                    aspect: vk::ImageAspectFlags::COLOR.as_raw(),
                    level: 1,
                    layer: 1,
                    offset: Offset::new(0, 0, 0),
                    extent: Extent::new(128, 128, 1),
                },
                memory: Some(memory.raw.as_raw()),
                memory_offset: SZ_64K,
            }],
        )],
        joins_previous: true,
        ..BindInfo::default()
    };
    let call = BindCall {
        infos: vec![first, second],
        fence: Some(fence.raw.as_raw()),
    };
    script.bind(call, 0);

    // SAFETY: an empty submit on a queue of the device.
    unsafe {
        gpu.device
            .queue_submit(queue, &[vk::SubmitInfo::default(); 2], vk::Fence::null())
            .expect("vkQueueSubmit");
        gpu.device.queue_wait_idle(queue).expect("idle");
    }
    expect(&Event::Submit {
        device: script.device,
        queue: script.queue,
        count: 2,
    });

    gpu.bind(&[]);
    // That fence is one that `bind` has made, so its number is not known here. It can only be compared as such.
    println!("{EXPECT}a call without infos, and its fence destroyed");

    // Objects that no bind has named leave without a word.
    drop(unused);
    for semaphore in [timeline, binary] {
        expect(&Event::SemaphoreDestroyed {
            device: script.device,
            semaphore: semaphore.raw.as_raw(),
        });
    }
    expect(&Event::FenceDestroyed {
        device: script.device,
        fence: fence.raw.as_raw(),
    });
    drop(fence);
    for resource in [
        ResourceId::Image(opaque.raw.as_raw()),
        ResourceId::Image(tiled.raw.as_raw()),
        ResourceId::Buffer(buffer.raw.as_raw()),
    ] {
        expect(&Event::ResourceDestroyed {
            device: script.device,
            resource,
        });
    }
    drop((opaque, tiled, buffer));
    expect(&Event::MemoryFreed {
        device: script.device,
        memory: memory.raw.as_raw(),
    });
    drop(memory);
    expect(&Event::DeviceDestroyed {
        device: script.device,
    });
}

fn described(app: &App, device: u64) -> DeviceCreated {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    // SAFETY: handles are alive, the chain is valid.
    unsafe {
        app.instance
            .get_physical_device_properties2(app.physical, &mut properties);
    }
    let of = properties.properties;
    let text = |text: Result<&std::ffi::CStr, _>| text.map(|text| text.to_string_lossy().into());
    DeviceCreated {
        device,
        name: text(of.device_name_as_c_str()).expect("a name"),
        driver_name: text(driver.driver_name_as_c_str()).expect("a name"),
        driver_info: text(driver.driver_info_as_c_str()).expect("information"),
        api_version: of.api_version,
        driver_version: of.driver_version,
        vendor_id: of.vendor_id,
        device_id: of.device_id,
        sparse_binding: true,
    }
}

fn image_created(device: u64, image: &Image<'_>, shape: &ImageShape) -> ImageCreated {
    let sparse = if shape.flags.contains(vk::ImageCreateFlags::SPARSE_RESIDENCY) {
        // SAFETY: the image is alive.
        unsafe {
            image
                .gpu
                .device
                .get_image_sparse_memory_requirements(image.raw)
        }
    } else {
        Vec::new()
    };
    let extent = |e: vk::Extent3D| Extent::new(e.width, e.height, e.depth);
    let sparse_requirements = sparse.iter().map(|aspect| SparseMemoryRequirements {
        aspect_mask: aspect.format_properties.aspect_mask.as_raw(),
        granularity: extent(aspect.format_properties.image_granularity),
        flags: aspect.format_properties.flags.as_raw(),
        mip_tail_first_lod: aspect.image_mip_tail_first_lod,
        mip_tail_size: aspect.image_mip_tail_size,
        mip_tail_offset: aspect.image_mip_tail_offset,
        mip_tail_stride: aspect.image_mip_tail_stride,
    });
    ImageCreated {
        device,
        image: image.raw.as_raw(),
        flags: (vk::ImageCreateFlags::SPARSE_BINDING | shape.flags).as_raw(),
        image_type: shape.kind.as_raw(),
        format: shape.format.as_raw(),
        extent: extent(image.extent),
        mip_levels: shape.levels,
        array_layers: shape.layers,
        samples: 1,
        tiling: shape.tiling.as_raw(),
        usage: 0x7,
        requirements: requirements(image.requirements),
        sparse_requirements: sparse_requirements.collect(),
    }
}

/// An event as the script says it: durations differ, and are there; the fence of a call without infos is not known.
fn line(event: &Event) -> String {
    let mut event = event.clone();
    if let Event::BindSparse { call, duration, .. } = &mut event {
        assert_ne!(*duration, 0, "a call takes time");
        *duration = 0;
        if call.infos.is_empty() {
            assert!(call.fence.is_some());
            return "a call without infos, and its fence destroyed".into();
        }
    }
    format!("{event:?}")
}

/// The text with each handle replaced by when it was first seen. Every handle is larger than every other number.
fn numbered(text: &str, seen: &mut Vec<String>) -> String {
    let mut numbered = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
        if digits.parse().is_ok_and(|n: u64| n > u64::from(u32::MAX)) {
            let known = seen.iter().position(|handle| handle == digits);
            let n = known.unwrap_or_else(|| {
                seen.push(digits.to_owned());
                seen.len() - 1
            });
            numbered += &format!("#{n}{}", &word[digits.len()..]);
        } else {
            numbered += word;
        }
    }
    numbered
}

/// `layers`: from the application down.
fn the_script_is_recorded(test: &str, config: Config, extra: &[(&str, &str)], layers: &[&str]) {
    let mut extra = extra.to_vec();
    // Then the loader says on stderr in which order layers are called.
    extra.push(("VK_LOADER_DEBUG", "layer"));
    recorded(test, config, &extra, script, |recorded| {
        let stderr = &recorded.outcome.stderr;
        let (_, stack) = stderr.split_once("layer callstack").expect("layers");
        let places: Vec<_> = layers.iter().map(|layer| stack.find(layer)).collect();
        assert!(places.is_sorted() && !places.contains(&None), "{stack}");
        let expected: Vec<_> = recorded
            .outcome
            .stdout
            .lines()
            .filter_map(|line| line.split_once(EXPECT))
            .map(|(_, event)| event.to_owned())
            .collect();
        let mut found: Vec<_> = recorded.trace().events().map(line).collect();
        // A layer may give the application handles of its own: then they can only be the same from event to event.
        let wrapped = layers[0] != LAYER;
        let empty = found.iter().position(|line| line.starts_with("a call"));
        let fence = found.remove(empty.expect("a call without infos") + 1);
        assert!(fence.starts_with("FenceDestroyed"), "{fence}");
        let (mut found_handles, mut expected_handles) = (Vec::new(), Vec::new());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let (mut found, mut expected) = (found.clone(), expected.clone());
            if wrapped {
                found = numbered(&found, &mut found_handles);
                expected = numbered(&expected, &mut expected_handles);
            }
            assert_eq!(found, expected, "event {i}");
        }
        assert_eq!(found.len(), expected.len());
        let header = &recorded.trace().header;
        assert!(header.process.starts_with("trace_layer"), "{header:?}");
        assert_ne!((header.pid, header.started_unix_ns), (0, 0));
        let complaint = recorded.outcome.stderr.contains("panvk-sparse-trace:");
        assert!(!complaint, "{}", recorded.outcome.stderr);
    });
}

#[test]
fn a_script_on_the_base_driver() {
    the_script_is_recorded(
        common::name_of!(a_script_on_the_base_driver),
        BARE,
        &[],
        &[LAYER],
    );
}

#[test]
fn a_script_above_our_driver() {
    the_script_is_recorded(
        common::name_of!(a_script_above_our_driver),
        ICD,
        &[],
        &[LAYER],
    );
}

/// The application's own VK_LAYER_KHRONOS_validation comes after those of the environment, so it is below. What it says
/// fails the application.
#[test]
fn a_script_above_the_validation_layer() {
    let extra = [(common::app::VALIDATION, "1")];
    let layers = [LAYER, VALIDATION];
    the_script_is_recorded(
        common::name_of!(a_script_above_the_validation_layer),
        BARE,
        &extra,
        &layers,
    );
}

/// This loader orders layers as it finds them, whatever the order of VK_INSTANCE_LAYERS.
#[test]
fn a_script_below_the_validation_layer() {
    let (names, path) = (format!("{VALIDATION}:{LAYER}"), layer_path_with_ours_last());
    let extra = [
        (common::app::VALIDATION, "1"),
        ("VK_INSTANCE_LAYERS", names.as_str()),
        ("VK_LAYER_PATH", path.as_str()),
    ];
    let layers = [VALIDATION, LAYER];
    the_script_is_recorded(
        common::name_of!(a_script_below_the_validation_layer),
        BARE,
        &extra,
        &layers,
    );
}

/// What a driver refuses is recorded with its answer; what a backend has no words for is recorded as far as it has.
#[test]
fn refused_calls_are_recorded_with_their_result() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let buffer = gpu.sparse_buffer(SZ_2M);
        let beyond = Batch::buffer(&buffer, [unbind(0, 2 * SZ_2M)]);
        let refused = gpu.try_bind(&[beyond]);
        assert!(refused.is_err(), "beyond the buffer");
        let of_another_device = Batch {
            device_group: Some(1),
            ..Batch::buffer(&buffer, [unbind(0, SZ_64K)])
        };
        assert!(gpu.try_bind(&[of_another_device]).is_err(), "device 1");
        let mut flags = unbind(SZ_64K, SZ_64K);
        flags.flags = vk::SparseMemoryBindFlags::from_raw(2);
        let unknown = Batch::buffer(&buffer, [flags]);
        assert!(gpu.try_bind(&[unknown]).is_err(), "unknown flags");
    };
    let test = common::name_of!(refused_calls_are_recorded_with_their_result);
    recorded(test, ICD, &[], body, |recorded| {
        let calls: Vec<_> = recorded
            .trace()
            .events()
            .filter_map(|event| match event {
                Event::BindSparse { call, result, .. } => Some((call, *result)),
                _ => None,
            })
            .collect();
        assert_eq!(calls.len(), 3);
        assert!(calls.iter().all(|(_, result)| *result == REFUSED));
        let binds = |i: usize| &calls[i].0.infos[0].binds;
        assert_eq!(binds(0)[0].1[0].size, 2 * SZ_2M);
        assert_eq!(binds(1).len(), 0, "device 0 keeps what it has");
        assert_eq!(binds(2)[0].1[0].resource_offset, SZ_64K);
    });
}
