//! What the driver says of itself and of resources, and what it does where the kernel refuses.

use std::process::Command;

use ash::vk;
use common::app::App;
use common::gpu::{Batch, Gpu, bind};
use common::objects::{Image, ImageShape};

use super::oracle::{Held, Oracle, bind_calls};
use super::{DRIVER, on_a_virtual_mali, on_a_virtual_mali_with};

const PIECE: u64 = 65536;

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_shows_sparse_binding_to_vulkaninfo() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new("vulkaninfo");
    let driver = std::env::var(DRIVER).expect("scripts/panvk.sh test names the driver");
    command
        .env("VK_ICD_FILENAMES", &driver)
        .env("VK_DRIVER_FILES", &driver);
    common::preload::apply(
        &mut command,
        "1.9,gpu=g610",
        &folder.path().join("dump.json"),
    );
    let output = command.output().expect("vulkaninfo");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let has = |name: &str, value: &str| {
        let lines = said.lines().filter_map(|line| line.split_once('='));
        let mut values = lines
            .filter(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim());
        assert_eq!(values.next(), Some(value), "{name}");
    };
    has("deviceName", "Mali-G610");
    has("sparseBinding", "true");
    has("sparseResidencyBuffer", "true");
    has("sparseResidencyImage2D", "true");
    has("sparseResidencyImage3D", "false");
    has("sparseResidencyAliased", "true");
    has("sparseAddressSpaceSize", "0xfe000000");
    has("residencyStandard2DBlockShape", "true");
    has(
        "queueFlags",
        "QUEUE_GRAPHICS | QUEUE_COMPUTE | QUEUE_TRANSFER | QUEUE_SPARSE_BINDING",
    );
}

/// All formats of Vulkan 1.0.
fn formats() -> impl Iterator<Item = vk::Format> {
    (1..=184).map(vk::Format::from_raw)
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_makes_each_image_that_it_says_can_be_resident_and_no_other() {
    on_a_virtual_mali(
        common::name_of!(panvk_makes_each_image_that_it_says_can_be_resident_and_no_other),
        "1.9",
        images,
    );
}

fn images() {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    app.take_complaints();
    let usage = vk::ImageUsageFlags::SAMPLED | vk::ImageUsageFlags::TRANSFER_DST;
    let flags = vk::ImageCreateFlags::SPARSE_BINDING | vk::ImageCreateFlags::SPARSE_RESIDENCY;
    let (mut resident, mut blocks) = (0, std::collections::BTreeSet::new());
    for format in formats() {
        for (kind, tiling) in [
            (vk::ImageType::TYPE_2D, vk::ImageTiling::OPTIMAL),
            (vk::ImageType::TYPE_2D, vk::ImageTiling::LINEAR),
            (vk::ImageType::TYPE_1D, vk::ImageTiling::OPTIMAL),
            (vk::ImageType::TYPE_3D, vk::ImageTiling::OPTIMAL),
        ] {
            let one = vk::SampleCountFlags::TYPE_1;
            // SAFETY: the physical device is of this instance.
            let (sparse, plain, offered) = unsafe {
                let (instance, physical) = (&app.instance, app.physical);
                (
                    instance.get_physical_device_sparse_image_format_properties(
                        physical, format, kind, one, usage, tiling,
                    ),
                    instance.get_physical_device_image_format_properties(
                        physical,
                        format,
                        kind,
                        tiling,
                        usage,
                        vk::ImageCreateFlags::empty(),
                    ),
                    instance.get_physical_device_image_format_properties(
                        physical, format, kind, tiling, usage, flags,
                    ),
                )
            };
            let is_flat = kind == vk::ImageType::TYPE_2D && tiling == vk::ImageTiling::OPTIMAL;
            assert_eq!(
                sparse.len(),
                usize::from(offered.is_ok()),
                "{format:?} {kind:?} {tiling:?}"
            );
            assert!(
                offered.is_err() || is_flat,
                "{format:?} {kind:?} {tiling:?}"
            );
            let Ok(offered) = offered else { continue };
            assert_eq!(offered.sample_counts, one);
            assert!(offered.max_mip_levels <= plain.expect("it exists").max_mip_levels);
            resident += 1;
            let block = sparse[0].image_granularity;
            blocks.insert((block.width, block.height));
            let info = vk::ImageCreateInfo::default()
                .flags(flags)
                .image_type(kind)
                .format(format)
                .extent(vk::Extent3D {
                    width: 300,
                    height: 300,
                    depth: 1,
                })
                .mip_levels(3)
                .array_layers(2)
                .samples(one)
                .tiling(tiling)
                .usage(usage);
            // SAFETY: the device is alive; the image is destroyed after its last use.
            unsafe {
                let image = gpu.device.create_image(&info, None).expect("an image");
                let needs = gpu.device.get_image_memory_requirements(image);
                assert_eq!((needs.alignment, needs.size % PIECE), (PIECE, 0));
                let of = gpu.device.get_image_sparse_memory_requirements(image);
                assert_eq!(of[0].format_properties.image_granularity, block);
                // The same, asked for without an image.
                let asked = vk::DeviceImageMemoryRequirements::default().create_info(&info);
                let mut without = vk::MemoryRequirements2::default();
                gpu.device
                    .get_device_image_memory_requirements(&asked, &mut without);
                assert_eq!(without.memory_requirements.size, needs.size);
                assert_eq!(without.memory_requirements.alignment, needs.alignment);
                let count = gpu
                    .device
                    .get_device_image_sparse_memory_requirements_len(&asked);
                let mut list = vec![vk::SparseImageMemoryRequirements2::default(); count];
                gpu.device
                    .get_device_image_sparse_memory_requirements(&asked, &mut list);
                assert_eq!(list.len(), 1);
                let (with, without) = (of[0], list[0].memory_requirements);
                assert_eq!(
                    without.image_mip_tail_first_lod,
                    with.image_mip_tail_first_lod
                );
                assert_eq!(without.image_mip_tail_offset, with.image_mip_tail_offset);
                assert_eq!(without.image_mip_tail_size, with.image_mip_tail_size);
                gpu.device.destroy_image(image, None);
            }
        }
    }
    let standard = [(64, 64), (128, 64), (128, 128), (256, 128), (256, 256)];
    assert_eq!(Vec::from_iter(blocks), standard);
    assert!(resident > 50, "{resident} formats");
    // The layer of Debian 12 compares aspects of formats that it does not know.
    app.take_complaints();
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_says_the_same_of_a_buffer_with_and_without_the_buffer() {
    on_a_virtual_mali(
        common::name_of!(panvk_says_the_same_of_a_buffer_with_and_without_the_buffer),
        "1.9",
        || {
            let app = App::new().expect("an instance");
            let gpu = Gpu::new(&app);
            app.take_complaints();
            for size in [1, 4096, 4097, 1 << 20, 1 << 30] {
                let flags =
                    vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY;
                let info = vk::BufferCreateInfo::default()
                    .size(size)
                    .flags(flags)
                    .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
                let asked = vk::DeviceBufferMemoryRequirements::default().create_info(&info);
                let mut without = vk::MemoryRequirements2::default();
                // SAFETY: the device is alive, the structs live until the call returns.
                unsafe {
                    gpu.device
                        .get_device_buffer_memory_requirements(&asked, &mut without)
                };
                let with = gpu.sparse_buffer(size).requirements;
                assert_eq!(with.size, size.next_multiple_of(4096));
                assert_eq!(with.alignment, 4096);
                assert_eq!(without.memory_requirements.size, with.size);
                assert_eq!(without.memory_requirements.alignment, with.alignment);
            }
        },
    );
}

/// A buffer of this size is created, and a piece of it bound. Prints how many VM_BINDs there were before each.
fn create_and_bind() {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    app.take_complaints();
    let mut oracle = Oracle::new(&gpu, Held::PagesAndCost);
    let memory = oracle.allocate(PIECE);
    let (size, flags) = (
        64 * PIECE,
        vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY,
    );
    println!("before creation: {}", bind_calls());
    let info = vk::BufferCreateInfo::default()
        .size(size)
        .flags(flags)
        .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
    // SAFETY: the device is alive.
    let first = unsafe { gpu.device.create_buffer(&info, None) };
    if let Ok(buffer) = first {
        // SAFETY: nothing uses it.
        unsafe { gpu.device.destroy_buffer(buffer, None) };
    }
    if let Err(error) = first {
        println!("creation: {error:?}");
        oracle.forgive();
        oracle.step("nothing is mapped after a failed creation");
    }
    let buffer = gpu.sparse_buffer(size);
    oracle.create("buffer", size, true);
    println!("address: {:#x}", oracle.address("buffer"));
    println!("before binding: {}", bind_calls());
    let batch = [Batch::buffer(&buffer, [bind(PIECE, PIECE, &memory.0, 0)])];
    if let Err(error) = gpu.try_bind(&batch) {
        println!("binding: {error:?}");
        // The layer takes the fence of a refused bind for one in use.
        app.take_complaints();
        oracle.forgive();
        oracle.step("a bind that is refused changes nothing");
        gpu.bind(&batch);
    }
    oracle.bind("buffer", PIECE, PIECE, Some((memory.1, 0)));
    oracle.step("a bind");
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_survives_a_kernel_without_memory() {
    let test = common::name_of!(panvk_survives_a_kernel_without_memory);
    let run =
        |faults: &str| on_a_virtual_mali_with(test, &format!("1.9{faults}"), &[], create_and_bind);
    let Some(plain) = run("") else { return };
    let value = |said: &str, key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{key:?} in {said}"))
            .trim()
            .to_owned()
    };
    let address = value(&plain, "address:");
    for (before, what) in [
        ("before creation:", "creation:"),
        ("before binding:", "binding:"),
    ] {
        let calls: u64 = value(&plain, before).parse().expect("a number");
        let said = run(&format!(",fault=VM_BIND:{}:ENOMEM", calls + 1)).expect("the parent");
        assert_eq!(value(&said, what), "ERROR_OUT_OF_DEVICE_MEMORY", "{said}");
        assert_eq!(value(&said, "address:"), address, "no address is lost");
    }
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_probes_once_and_not_at_all_without_the_feature() {
    let test = common::name_of!(panvk_probes_once_and_not_at_all_without_the_feature);
    on_a_virtual_mali(test, "1.5", || {
        let app = App::new().expect("an instance");
        let create = |sparse: bool| {
            let features = vk::PhysicalDeviceFeatures::default().sparse_binding(sparse);
            let queue = vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0]);
            let queues = [queue];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features);
            let before = super::oracle::all_calls();
            // SAFETY: the instance is alive, the device is destroyed before it.
            unsafe {
                let device = app
                    .instance
                    .create_device(app.physical, &info, None)
                    .expect("a device");
                let calls = super::oracle::all_calls() - before;
                device.destroy_device(None);
                calls
            }
        };
        let without = create(false);
        let first = create(true);
        assert!(first > without + 20, "{without} {first}");
        assert_eq!(create(false), without);
        // The version, the dummy, and a syncobj to wait for binds.
        assert_eq!(create(true), without + 3);
        assert_eq!(create(true), without + 3);
    });
}

#[test]
#[ignore = "needs panvk: scripts/panvk.sh test"]
fn panvk_gives_all_addresses_that_it_says() {
    let test = common::name_of!(panvk_gives_all_addresses_that_it_says);
    on_a_virtual_mali(test, "1.9", || {
        let app = App::new().expect("an instance");
        let gpu = Gpu::new(&app);
        app.take_complaints();
        let (size, mut buffers) = (256u64 << 20, Vec::new());
        let info = vk::BufferCreateInfo::default()
            .size(size)
            .flags(vk::BufferCreateFlags::SPARSE_BINDING)
            .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        // SAFETY: the device is alive.
        let error = loop {
            match unsafe { gpu.device.create_buffer(&info, None) } {
                Ok(buffer) => buffers.push(buffer),
                Err(error) => break error,
            }
        };
        assert_eq!(error, vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        // What the driver itself has taken is less than two of them.
        let given = buffers.len() as u64 * size;
        assert!(
            given + 2 * size > app.limits().sparse_address_space_size,
            "{given}"
        );
        for buffer in buffers {
            // SAFETY: nothing uses it.
            unsafe { gpu.device.destroy_buffer(buffer, None) };
        }
        Image::sparse(&gpu, &ImageShape::flat(64, 64));
    });
}
