//! A real, unmodified panvk on the node.
//!
//! Mesa builds it for every machine, but distributions install it for those with a Mali only. So the driver is given by its
//! path: `PANVK_SPARSE_TEST_PANVK` names its manifest (`panfrost_icd.*.json`, or `panfrost_devenv_icd.*.json` in a build
//! folder of Mesa).

use std::ffi::CStr;
use std::path::Path;
use std::process::Command;

use ash::vk;
use serde_json::Value;

use super::kit::{self, Ran, calls, machine_has_no_nodes, on_node_with};

const DRIVER: &str = "PANVK_SPARSE_TEST_PANVK";

/// The driver's manifest and what it needs besides; `None`, said on stderr, where none is given.
fn driver() -> Option<Vec<(&'static str, String)>> {
    let Ok(manifest) = std::env::var(DRIVER) else {
        eprintln!("skipped: {DRIVER} names no panvk");
        return None;
    };
    assert!(
        Path::new(&manifest).exists(),
        "{DRIVER}={manifest:?}: no such file"
    );
    Some(vec![
        ("VK_ICD_FILENAMES", manifest),
        // Versions that are not sure of themselves ask for it.
        ("PAN_I_WANT_A_BROKEN_VULKAN_DRIVER", "1".into()),
        ("NODEVICE_SELECT", "1".into()),
    ])
}

fn refused(dump: &Value) -> &Value {
    &dump["nodes"][0]["refused"]
}

#[test]
fn vulkaninfo_shows_a_mali_g610() {
    let Some(variables) = driver().filter(|_| machine_has_no_nodes()) else {
        return;
    };
    let mut command = Command::new("vulkaninfo");
    command.envs(variables);
    let ran = kit::run(&mut command, "1.9,gpu=g610").succeeded();
    assert!(ran.stdout.contains("Mali-G610"), "{}", ran.stdout);
    let dump = ran.dump();
    assert_eq!(refused(&dump), 0, "{dump:#}");
}

/// The node that the program leaves: of what it asked for nothing was refused, of what it made nothing is left.
fn nothing_is_refused_and_nothing_left(ran: &Ran) -> Value {
    let dump = ran.dump();
    assert_eq!(refused(&dump), 0, "{dump:#}");
    let node = dump["nodes"][0].clone();
    for (made, closed) in [
        ("VM_CREATE", "VM_DESTROY"),
        ("BO_CREATE", "GEM_CLOSE"),
        ("GROUP_CREATE", "GROUP_DESTROY"),
    ] {
        assert!(count(&node, made) >= 1, "{made}: {node:#}");
        assert_eq!(count(&node, made), count(&node, closed), "{made}: {node:#}");
    }
    node
}

fn count(node: &Value, ioctl: &str) -> u64 {
    calls(node)
        .into_iter()
        .find(|(name, _)| name == ioctl)
        .map_or(0, |(_, count)| count)
}

/// Ops that map something.
fn maps(node: &Value) -> u64 {
    let ops = ["map", "repeat", "sparse"];
    ops.map(|op| node["vm_bind"][op].as_u64().expect("a count of ops"))
        .iter()
        .sum()
}

/// Runs the program on a node of kernel `vpanthor`, with its sparse binds where the driver has any, and again without.
fn a_program_runs(test: &str, vpanthor: &str) {
    let Some(variables) = driver() else {
        return;
    };
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let plain: Vec<_> = variables.iter().copied().chain([(PLAIN, "1")]).collect();
    on_node_with(test, vpanthor, &variables, application, |ran| {
        let has_sparse = ran.stdout.contains(SPARSE);
        let node = nothing_is_refused_and_nothing_left(ran);
        on_node_with(test, vpanthor, &plain, application, |ran| {
            assert!(!ran.stdout.contains(SPARSE), "{}", ran.stdout);
            let plain = nothing_is_refused_and_nothing_left(ran);
            assert!(count(&plain, "GROUP_SUBMIT") >= 1, "{plain:#}");
            // One for each buffer's memory.
            assert!(maps(&plain) >= 3, "{plain:#}");
            if has_sparse {
                // The memory's own, the whole buffer while it is unbound, the bound pieces, of which no two are
                // neighbours, and something to unbind them.
                assert!(maps(&node) > maps(&plain) + 1 + 1 + PIECES, "{node:#}");
                assert!(count(&node, "VM_BIND") >= count(&plain, "VM_BIND") + 2);
            }
        });
    });
}

#[test]
fn a_program_binds_sparse_buffers_where_there_are_any() {
    a_program_runs(
        common::name_of!(a_program_binds_sparse_buffers_where_there_are_any),
        "1.9",
    );
}

#[test]
fn a_program_binds_sparse_buffers_with_the_repeat_patches() {
    a_program_runs(
        common::name_of!(a_program_binds_sparse_buffers_with_the_repeat_patches),
        "1.8-repeat",
    );
}

#[test]
fn a_program_binds_sparse_buffers_without_null_mappings_of_the_kernels_own() {
    a_program_runs(
        common::name_of!(a_program_binds_sparse_buffers_without_null_mappings_of_the_kernels_own),
        "1.5",
    );
}

/// What the program says if it has bound sparse buffers.
const SPARSE: &str = "sparse buffers: yes";

/// Set where it shall not.
const PLAIN: &str = "PANVK_SPARSE_TEST_PLAIN";

/// The program binds every second piece of 64 KiB of a sparse buffer.
const PIECES: u64 = 128;
const PIECE: u64 = 1 << 16;

/// A small Vulkan program. Nothing that it submits runs, so it looks at no result.
fn application() {
    // SAFETY: every object is made by the one before it and destroyed in the opposite order; handles and structs are
    // valid for the calls that they are given to.
    unsafe {
        let entry = ash::Entry::load().expect("the Vulkan loader");
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let info = vk::InstanceCreateInfo::default().application_info(&app);
        let instance = entry.create_instance(&info, None).expect("an instance");
        let gpus = instance.enumerate_physical_devices().expect("devices");
        let gpu = *gpus.first().expect("the node is found");
        let properties = instance.get_physical_device_properties(gpu);
        let name = CStr::from_ptr(properties.device_name.as_ptr());
        assert!(name.to_string_lossy().starts_with("Mali-G610"), "{name:?}");
        let offered = instance.get_physical_device_features(gpu);
        let has_sparse = std::env::var_os(PLAIN).is_none()
            && (offered.sparse_binding, offered.sparse_residency_buffer) == (vk::TRUE, vk::TRUE);

        let families = instance.get_physical_device_queue_family_properties(gpu);
        let kind = if has_sparse {
            vk::QueueFlags::SPARSE_BINDING
        } else {
            vk::QueueFlags::GRAPHICS
        };
        let graphics = families
            .iter()
            .position(|f| f.queue_flags.contains(vk::QueueFlags::GRAPHICS))
            .unwrap();
        let binding = families
            .iter()
            .position(|f| f.queue_flags.contains(kind))
            .unwrap();
        let mut indices = vec![graphics as u32, binding as u32];
        indices.dedup();
        let queues: Vec<_> = (indices.iter())
            .map(|index| {
                vk::DeviceQueueCreateInfo::default()
                    .queue_family_index(*index)
                    .queue_priorities(&[1.0])
            })
            .collect();
        let features = vk::PhysicalDeviceFeatures::default()
            .sparse_binding(has_sparse)
            .sparse_residency_buffer(has_sparse);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_features(&features);
        let device = instance.create_device(gpu, &info, None).expect("a device");
        let queue = device.get_device_queue(graphics as u32, 0);

        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
        let mut buffers = Vec::new();
        for size in [4096u64, 1 << 20, 16 << 20] {
            let info = vk::BufferCreateInfo::default().size(size).usage(usage);
            let buffer = device.create_buffer(&info, None).expect("a buffer");
            let memory = allocate(&device, buffer, &instance, gpu);
            device
                .bind_buffer_memory(buffer, memory, 0)
                .expect("memory");
            let bytes = device
                .map_memory(memory, 0, size, vk::MemoryMapFlags::empty())
                .expect("a map");
            let bytes = std::slice::from_raw_parts_mut(bytes.cast::<u8>(), size as usize);
            bytes.fill(7);
            assert_eq!(bytes[size as usize - 1], 7);
            device.unmap_memory(memory);
            buffers.push((buffer, memory));
        }

        let info = vk::CommandPoolCreateInfo::default().queue_family_index(graphics as u32);
        let pool = device.create_command_pool(&info, None).expect("a pool");
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(pool)
            .command_buffer_count(1);
        let commands = device
            .allocate_command_buffers(&info)
            .expect("a command buffer");
        device
            .begin_command_buffer(commands[0], &vk::CommandBufferBeginInfo::default())
            .unwrap();
        let barrier = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::HOST_WRITE)
            .dst_access_mask(vk::AccessFlags::SHADER_READ);
        device.cmd_pipeline_barrier(
            commands[0],
            vk::PipelineStageFlags::HOST,
            vk::PipelineStageFlags::ALL_COMMANDS,
            vk::DependencyFlags::empty(),
            &[barrier],
            &[],
            &[],
        );
        device.end_command_buffer(commands[0]).unwrap();
        let fence = device
            .create_fence(&vk::FenceCreateInfo::default(), None)
            .unwrap();
        let submit = vk::SubmitInfo::default().command_buffers(&commands);
        device
            .queue_submit(queue, &[submit], fence)
            .expect("a submission");
        device
            .wait_for_fences(&[fence], true, u64::MAX)
            .expect("the fence signals");

        if has_sparse {
            println!("{SPARSE}");
            let queue = device.get_device_queue(binding as u32, 0);
            device.reset_fences(&[fence]).unwrap();
            let flags =
                vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY;
            let info = vk::BufferCreateInfo::default()
                .size(2 * PIECES * PIECE)
                .usage(usage)
                .flags(flags);
            let buffer = device.create_buffer(&info, None).expect("a sparse buffer");
            let memory = allocate(&device, buffer, &instance, gpu);
            for memory in [memory, vk::DeviceMemory::null()] {
                let binds: Vec<_> = (0..PIECES)
                    .map(|i| {
                        let at = 2 * i * PIECE;
                        vk::SparseMemoryBind::default()
                            .resource_offset(at)
                            .size(PIECE)
                            .memory(memory)
                            .memory_offset(at)
                    })
                    .collect();
                let binds = [vk::SparseBufferMemoryBindInfo::default()
                    .buffer(buffer)
                    .binds(&binds)];
                let info = vk::BindSparseInfo::default().buffer_binds(&binds);
                device
                    .queue_bind_sparse(queue, &[info], fence)
                    .expect("a sparse bind");
                device
                    .wait_for_fences(&[fence], true, u64::MAX)
                    .expect("the fence signals");
                device.reset_fences(&[fence]).unwrap();
            }
            buffers.push((buffer, memory));
        }
        device.device_wait_idle().expect("idle");
        device.destroy_fence(fence, None);
        device.destroy_command_pool(pool, None);
        for (buffer, memory) in buffers {
            device.destroy_buffer(buffer, None);
            device.free_memory(memory, None);
        }
        device.destroy_device(None);
        instance.destroy_instance(None);
    }
}

/// Memory for a buffer, which the program can map.
///
/// # Safety
/// All of them are alive.
unsafe fn allocate(
    device: &ash::Device,
    buffer: vk::Buffer,
    instance: &ash::Instance,
    gpu: vk::PhysicalDevice,
) -> vk::DeviceMemory {
    // SAFETY: the caller's promise.
    unsafe {
        let needs = device.get_buffer_memory_requirements(buffer);
        let types = instance.get_physical_device_memory_properties(gpu);
        let fits = |index: &u32| {
            needs.memory_type_bits & (1 << index) != 0
                && types.memory_types[*index as usize]
                    .property_flags
                    .contains(vk::MemoryPropertyFlags::HOST_VISIBLE)
        };
        let index = (0..types.memory_type_count)
            .find(fits)
            .expect("a type of memory");
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(needs.size)
            .memory_type_index(index);
        device.allocate_memory(&info, None).expect("memory")
    }
}
