//! A program that uses a sparse buffer as an application would, and says whether the data was right.
//!
//! It works on any Vulkan driver with sparse binding: it creates a sparse buffer of 100,000,000 bytes, binds memory to
//! it, rebinds and unbinds parts, and lets compute shaders write and read through it. Every step prints what was
//! checked; the last line is the verdict, and the exit status is 0 only if all was right.
//!
//! ```text
//! VK_ICD_FILENAMES=$PWD/target/release/panvk_sparse_icd.json cargo run --release --example sparse_buffer
//! ```

use ash::vk;
use std::error::Error;
use std::io::Write as _;
use std::ops::Range;
use std::process::ExitCode;

const HELP: &str = "Usage: sparse_buffer [--bytes N] [--json]

Creates a sparse buffer, binds, rebinds and unbinds memory, lets compute shaders write and read it, and tells whether
the data was right. The driver is the one that the Vulkan loader finds (VK_ICD_FILENAMES chooses).

  --bytes N   size of the buffer, at least 4194304 (default 100000000)
  --json      one JSON object on standard output: driver, bytes, checks, passed
  --help      this text

Exit status: 0 all was right, 1 something was wrong, 2 the arguments were not understood.";

/// Invocation i writes or copies word i.
const SHADERS: &str = "
struct Parameters { words: u32, seed: u32 }
var<push_constant> p: Parameters;
@group(0) @binding(0) var<storage, read_write> destination: array<u32>;
@group(0) @binding(1) var<storage, read> source: array<u32>;

fn index(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.x + id.y * groups.x * 64u; }

@compute @workgroup_size(64)
fn write(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = index(id, groups);
    if (i < p.words) { destination[i] = (i * 0x9E3779B1u) ^ (p.seed * 0x85EBCA6Bu); }
}

@compute @workgroup_size(64)
fn read(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = index(id, groups);
    if (i < p.words) { destination[i] = source[i]; }
}
";

fn expected(seed: u32, word: u64) -> u32 {
    (word as u32).wrapping_mul(0x9E37_79B1) ^ seed.wrapping_mul(0x85EB_CA6B)
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What was wrong, if something was.
type Found = std::result::Result<(), String>;

/// The device and the little that is needed to run one shader at a time. Freed by [`Gpu::destroy`].
struct Gpu {
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    queue: vk::Queue,
    /// Binds: the same queue where it can, else one of a family that does.
    bind_queue: vk::Queue,
    memory_types: vk::PhysicalDeviceMemoryProperties,
    driver: String,
    pool: vk::CommandPool,
    descriptors: vk::DescriptorPool,
    set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    write: vk::Pipeline,
    read: vk::Pipeline,
    fence: vk::Fence,
}

impl Gpu {
    fn new() -> Result<Self> {
        // SAFETY: libvulkan is a well-behaved library; below, each handle is used while its parent is alive, and each
        // struct outlives the call that it is given to.
        unsafe {
            let entry = ash::Entry::load()?;
            let application = vk::ApplicationInfo::default()
                .application_name(c"sparse_buffer")
                .api_version(vk::API_VERSION_1_2);
            let instance = entry.create_instance(
                &vk::InstanceCreateInfo::default().application_info(&application),
                None,
            )?;
            let (physical, family, bind_family) = instance
                .enumerate_physical_devices()?
                .into_iter()
                .find_map(|p| {
                    let features = instance.get_physical_device_features(p);
                    let families = instance.get_physical_device_queue_family_properties(p);
                    let first = |wanted: vk::QueueFlags| {
                        let index = families
                            .iter()
                            .position(|f| f.queue_flags.contains(wanted))?;
                        u32::try_from(index).ok()
                    };
                    let (compute, binding) =
                        (vk::QueueFlags::COMPUTE, vk::QueueFlags::SPARSE_BINDING);
                    // Many drivers bind in every family, others in one that does nothing else.
                    let (family, bind_family) = match first(compute | binding) {
                        Some(both) => (both, both),
                        None => (first(compute)?, first(binding)?),
                    };
                    (features.sparse_binding == vk::TRUE
                        && features.sparse_residency_buffer == vk::TRUE)
                        .then_some((p, family, bind_family))
                })
                .ok_or(
                    "no device has sparse residency buffers, a queue that computes and one that binds",
                )?;

            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = properties
                .properties
                .device_name_as_c_str()?
                .to_string_lossy()
                .into_owned();
            let driver = format!(
                "{name}: {}",
                driver.driver_info_as_c_str()?.to_string_lossy()
            );

            let priorities = [1.0];
            let mut families = vec![family, bind_family];
            families.dedup();
            let queues: Vec<_> = families
                .iter()
                .map(|&family| {
                    vk::DeviceQueueCreateInfo::default()
                        .queue_family_index(family)
                        .queue_priorities(&priorities)
                })
                .collect();
            let features = vk::PhysicalDeviceFeatures {
                sparse_binding: vk::TRUE,
                sparse_residency_buffer: vk::TRUE,
                ..Default::default()
            };
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features);
            let device = instance.create_device(physical, &info, None)?;

            let pool = device.create_command_pool(
                &vk::CommandPoolCreateInfo::default().queue_family_index(family),
                None,
            )?;
            let sizes = [vk::DescriptorPoolSize {
                ty: vk::DescriptorType::STORAGE_BUFFER,
                descriptor_count: 2,
            }];
            let descriptors = device.create_descriptor_pool(
                &vk::DescriptorPoolCreateInfo::default()
                    .max_sets(1)
                    .pool_sizes(&sizes),
                None,
            )?;
            let bindings = [0, 1].map(|n| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(n)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            });
            let set_layout = device.create_descriptor_set_layout(
                &vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings),
                None,
            )?;
            let layouts = [set_layout];
            let push = [vk::PushConstantRange::default()
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
                .size(8)];
            let layout = device.create_pipeline_layout(
                &vk::PipelineLayoutCreateInfo::default()
                    .set_layouts(&layouts)
                    .push_constant_ranges(&push),
                None,
            )?;
            let write = pipeline(&device, layout, "write")?;
            let read = pipeline(&device, layout, "read")?;
            let fence = device.create_fence(&vk::FenceCreateInfo::default(), None)?;
            Ok(Self {
                queue: device.get_device_queue(family, 0),
                bind_queue: device.get_device_queue(bind_family, 0),
                memory_types: instance.get_physical_device_memory_properties(physical),
                _entry: entry,
                instance,
                device,
                driver,
                pool,
                descriptors,
                set_layout,
                layout,
                write,
                read,
                fence,
            })
        }
    }

    fn buffer(
        &self,
        bytes: u64,
        flags: vk::BufferCreateFlags,
    ) -> Result<(vk::Buffer, vk::MemoryRequirements)> {
        let info = vk::BufferCreateInfo::default()
            .size(bytes)
            .flags(flags)
            .usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        // SAFETY: the device is alive.
        unsafe {
            let buffer = self.device.create_buffer(&info, None)?;
            Ok((buffer, self.device.get_buffer_memory_requirements(buffer)))
        }
    }

    fn memory(
        &self,
        bytes: u64,
        bits: u32,
        flags: vk::MemoryPropertyFlags,
    ) -> Result<vk::DeviceMemory> {
        let types = self.memory_types.memory_types_as_slice();
        let index = (0..types.len())
            .find(|&i| bits & (1 << i) != 0 && types[i].property_flags.contains(flags))
            .ok_or_else(|| format!("no memory type with {flags:?}"))?;
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(bytes)
            .memory_type_index(index as u32);
        // SAFETY: the device is alive.
        Ok(unsafe { self.device.allocate_memory(&info, None) }?)
    }

    fn wait(&self) -> Result<()> {
        // SAFETY: the fence belongs to the submission before.
        unsafe {
            self.device
                .wait_for_fences(&[self.fence], true, 60_000_000_000)?;
            Ok(self.device.reset_fences(&[self.fence])?)
        }
    }

    /// Binds, and waits until it is done.
    fn bind(&self, buffer: vk::Buffer, binds: &[vk::SparseMemoryBind]) -> Result<()> {
        let buffers = [vk::SparseBufferMemoryBindInfo::default()
            .buffer(buffer)
            .binds(binds)];
        let infos = [vk::BindSparseInfo::default().buffer_binds(&buffers)];
        // SAFETY: buffer and memory are alive, nothing else uses the queue.
        unsafe {
            self.device
                .queue_bind_sparse(self.bind_queue, &infos, self.fence)
        }?;
        self.wait()
    }

    /// Runs one shader over `bytes` bytes of each buffer, from the offsets on, and waits for it.
    fn run(
        &self,
        pipeline: vk::Pipeline,
        destination: (vk::Buffer, u64),
        source: (vk::Buffer, u64),
        bytes: u64,
        seed: u32,
    ) -> Result<()> {
        let words = u32::try_from(bytes / 4)?;
        let groups = words.div_ceil(64);
        let (x, y) = (groups.min(0x8000), groups.div_ceil(0x8000));
        let push: Vec<u8> = [words, seed].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let layouts = [self.set_layout];
        // SAFETY: all handles are alive; the pools are reset only after the work before is done.
        unsafe {
            let device = &self.device;
            device
                .reset_descriptor_pool(self.descriptors, vk::DescriptorPoolResetFlags::empty())?;
            device.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty())?;
            let set = device.allocate_descriptor_sets(
                &vk::DescriptorSetAllocateInfo::default()
                    .descriptor_pool(self.descriptors)
                    .set_layouts(&layouts),
            )?[0];
            let info = [destination, source].map(|(buffer, offset)| {
                [vk::DescriptorBufferInfo {
                    buffer,
                    offset,
                    range: bytes,
                }]
            });
            let writes = [0, 1].map(|n| {
                vk::WriteDescriptorSet::default()
                    .dst_set(set)
                    .dst_binding(n)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .buffer_info(&info[n as usize])
            });
            device.update_descriptor_sets(&writes, &[]);
            let commands = device.allocate_command_buffers(
                &vk::CommandBufferAllocateInfo::default()
                    .command_pool(self.pool)
                    .command_buffer_count(1),
            )?;
            let c = commands[0];
            device.begin_command_buffer(c, &vk::CommandBufferBeginInfo::default())?;
            device.cmd_bind_pipeline(c, vk::PipelineBindPoint::COMPUTE, pipeline);
            device.cmd_bind_descriptor_sets(
                c,
                vk::PipelineBindPoint::COMPUTE,
                self.layout,
                0,
                &[set],
                &[],
            );
            device.cmd_push_constants(c, self.layout, vk::ShaderStageFlags::COMPUTE, 0, &push);
            device.cmd_dispatch(c, x, y, 1);
            let seen = [vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::SHADER_WRITE)
                .dst_access_mask(
                    vk::AccessFlags::SHADER_READ
                        | vk::AccessFlags::SHADER_WRITE
                        | vk::AccessFlags::HOST_READ,
                )];
            device.cmd_pipeline_barrier(
                c,
                vk::PipelineStageFlags::COMPUTE_SHADER,
                vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::HOST,
                vk::DependencyFlags::empty(),
                &seen,
                &[],
                &[],
            );
            device.end_command_buffer(c)?;
            device.queue_submit(
                self.queue,
                &[vk::SubmitInfo::default().command_buffers(&commands)],
                self.fence,
            )?;
            self.wait()?;
            device.free_command_buffers(self.pool, &commands);
        }
        Ok(())
    }

    /// Destroys everything that [`Gpu::new`] made.
    fn destroy(self) {
        // SAFETY: nothing runs any more, and what was made with the device is gone.
        unsafe {
            let device = &self.device;
            device.destroy_fence(self.fence, None);
            device.destroy_pipeline(self.write, None);
            device.destroy_pipeline(self.read, None);
            device.destroy_pipeline_layout(self.layout, None);
            device.destroy_descriptor_set_layout(self.set_layout, None);
            device.destroy_descriptor_pool(self.descriptors, None);
            device.destroy_command_pool(self.pool, None);
            device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

fn pipeline(device: &ash::Device, layout: vk::PipelineLayout, entry: &str) -> Result<vk::Pipeline> {
    let module = naga::front::wgsl::parse_str(SHADERS)?;
    let info = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    )
    .validate(&module)?;
    let options = naga::back::spv::Options {
        lang_version: (1, 3),
        ..Default::default()
    };
    let chosen = naga::back::spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: entry.into(),
    };
    let code = naga::back::spv::write_vec(&module, &info, &options, Some(&chosen))?;
    let name = std::ffi::CString::new(entry)?;
    // SAFETY: the device and the layout are alive; the structs outlive the calls.
    unsafe {
        let module = device
            .create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&code), None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&name);
        let infos = [vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(layout)];
        let made = device.create_compute_pipelines(vk::PipelineCache::null(), &infos, None);
        device.destroy_shader_module(module, None);
        Ok(made.map_err(|(_, error)| error)?[0])
    }
}

/// The sparse buffer, two memories to bind, ordinary buffers in the same memories, and a window through which the host sees
/// what shaders read.
struct Scene<'g> {
    gpu: &'g Gpu,
    sparse: vk::Buffer,
    /// As asked for, and as the driver rounds it up; both in bytes.
    bytes: u64,
    bound_size: u64,
    /// The distance of the steps below: a multiple of the bind granularity, at least 64 KiB.
    unit: u64,
    first: vk::DeviceMemory,
    second: vk::DeviceMemory,
    /// Show where in a memory something lies.
    in_first: vk::Buffer,
    in_second: vk::Buffer,
    window: vk::Buffer,
    window_memory: vk::DeviceMemory,
}

impl<'g> Scene<'g> {
    fn new(gpu: &'g Gpu, bytes: u64) -> Result<Self> {
        let flags = vk::BufferCreateFlags::SPARSE_BINDING | vk::BufferCreateFlags::SPARSE_RESIDENCY;
        let (sparse, needs) = gpu.buffer(bytes, flags)?;
        let any = vk::MemoryPropertyFlags::empty();
        let (window, window_needs) = gpu.buffer(bytes, vk::BufferCreateFlags::empty())?;
        let host = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let window_memory = gpu.memory(window_needs.size, window_needs.memory_type_bits, host)?;
        let (in_first, plain) = gpu.buffer(bytes, vk::BufferCreateFlags::empty())?;
        let (in_second, _) = gpu.buffer(bytes, vk::BufferCreateFlags::empty())?;
        let (size, bits) = (
            needs.size.max(plain.size),
            needs.memory_type_bits & plain.memory_type_bits,
        );
        let (first, second) = (gpu.memory(size, bits, any)?, gpu.memory(size, bits, any)?);
        for (buffer, memory) in [
            (window, window_memory),
            (in_first, first),
            (in_second, second),
        ] {
            // SAFETY: all were made right here.
            unsafe { gpu.device.bind_buffer_memory(buffer, memory, 0) }?;
        }
        Ok(Self {
            gpu,
            sparse,
            bytes,
            bound_size: needs.size,
            unit: needs.alignment.max(0x1_0000),
            first,
            second,
            in_first,
            in_second,
            window,
            window_memory,
        })
    }

    fn bind(&self, offset: u64, size: u64, memory: vk::DeviceMemory) -> Result<()> {
        let bind = vk::SparseMemoryBind::default()
            .resource_offset(offset)
            .size(size)
            .memory(memory)
            .memory_offset(if memory == vk::DeviceMemory::null() {
                0
            } else {
                offset
            });
        self.gpu.bind(self.sparse, &[bind])
    }

    /// The first pieces of a range, at most 64, each with the offset of the piece that it changes places with.
    fn turned(&self, range: &Range<u64>) -> Vec<(u64, u64)> {
        let pieces = ((range.end - range.start) / self.unit).min(64);
        let at = |piece| range.start + piece * self.unit;
        (0..pieces)
            .map(|piece| (at(piece), at(pieces - 1 - piece)))
            .collect()
    }

    /// Binds the pieces one by one to the second memory, each where it changes places with another.
    fn bind_turned(&self, pieces: &[(u64, u64)]) -> Result<()> {
        let bind = |&(at, other)| {
            vk::SparseMemoryBind::default()
                .resource_offset(at)
                .size(self.unit)
                .memory(self.second)
                .memory_offset(other)
        };
        let binds: Vec<_> = pieces.iter().map(bind).collect();
        self.gpu.bind(self.sparse, &binds)
    }

    fn write(&self, offset: u64, bytes: u64, seed: u32) -> Result<()> {
        self.gpu.run(
            self.gpu.write,
            (self.sparse, offset),
            (self.sparse, offset),
            bytes,
            seed,
        )
    }

    /// Whether a shader reads, from `offset` on, what a shader wrote with `seed` from `origin` on.
    fn holds(&self, offset: u64, bytes: u64, seed: u32, origin: u64) -> Result<Found> {
        self.buffer_holds(self.sparse, offset, bytes, seed, origin)
    }

    /// As [`Scene::holds`], in any buffer.
    fn buffer_holds(
        &self,
        buffer: vk::Buffer,
        offset: u64,
        bytes: u64,
        seed: u32,
        origin: u64,
    ) -> Result<Found> {
        self.gpu
            .run(self.gpu.read, (self.window, 0), (buffer, offset), bytes, 0)?;
        self.window_holds(offset, bytes, seed, (offset - origin) / 4)
    }

    /// Whether the window shows what a shader wrote with `seed` from its word `base` on. `offset` is where that was read.
    fn window_holds(&self, offset: u64, bytes: u64, seed: u32, base: u64) -> Result<Found> {
        // SAFETY: host-visible and coherent, the shader is done, and no other slice of it exists.
        unsafe {
            let at = self.gpu.device.map_memory(
                self.window_memory,
                0,
                vk::WHOLE_SIZE,
                vk::MemoryMapFlags::empty(),
            )?;
            let words = std::slice::from_raw_parts(at.cast::<u32>(), (bytes / 4) as usize);
            let wrong = words
                .iter()
                .zip(base..)
                .position(|(got, i)| *got != expected(seed, i))
                .map(|i| {
                    format!(
                        "byte {} is {:#010x}, expected {:#010x}",
                        offset + i as u64 * 4,
                        words[i],
                        expected(seed, base + i as u64)
                    )
                });
            self.gpu.device.unmap_memory(self.window_memory);
            Ok(wrong.map_or(Ok(()), Err))
        }
    }

    fn destroy(self) {
        // SAFETY: all work has been waited for.
        unsafe {
            let device = &self.gpu.device;
            for buffer in [self.sparse, self.in_first, self.in_second, self.window] {
                device.destroy_buffer(buffer, None);
            }
            for memory in [self.first, self.second, self.window_memory] {
                device.free_memory(memory, None);
            }
        }
    }
}

/// What was checked, and what was wrong with it.
struct Check {
    what: String,
    wrong: Option<String>,
}

fn checks(scene: &Scene<'_>, report: &mut dyn FnMut(Check)) -> Result<()> {
    let mut check = |what: &str, results: &[Found]| {
        let wrong = results.iter().find_map(|r| r.clone().err());
        report(Check {
            what: what.to_owned(),
            wrong,
        });
    };
    let (all, unit) = (scene.bytes, scene.unit);
    // A part in the middle that starts and ends away from any large page.
    let part = (all / 3 / unit * unit)..(all / 3 * 2 / unit * unit);
    let len = part.end - part.start;
    let none = vk::DeviceMemory::null();

    scene.bind(0, scene.bound_size, scene.first)?;
    scene.write(0, all, 1)?;
    check(
        "bound as a whole: what shaders write is what shaders read, and where it lies in the memory",
        &[
            scene.holds(0, all, 1, 0)?,
            scene.buffer_holds(scene.in_first, 0, all, 1, 0)?,
        ],
    );

    scene.bind(part.start, len, scene.second)?;
    scene.write(part.start, len, 2)?;
    check(
        "a part rebound to other memory: the part holds new data, all around it the old",
        &[
            scene.holds(0, part.start, 1, 0)?,
            scene.holds(part.start, len, 2, part.start)?,
            scene.holds(part.end, all - part.end, 1, 0)?,
            scene.buffer_holds(scene.in_second, part.start, len, 2, part.start)?,
        ],
    );

    scene.bind(part.start, len, scene.first)?;
    check(
        "the part bound back: the first memory still holds what it held",
        &[scene.holds(0, all, 1, 0)?],
    );

    scene.bind(part.start, len, none)?;
    scene.write(part.start, len, 3)?;
    check(
        "the part unbound and written to: nothing around it changes",
        &[
            scene.holds(0, part.start, 1, 0)?,
            scene.holds(part.end, all - part.end, 1, 0)?,
        ],
    );

    scene.bind(part.start, len, scene.first)?;
    check(
        "bound again: the writes to unbound addresses went nowhere",
        &[scene.holds(0, all, 1, 0)?],
    );

    scene.bind(0, scene.bound_size, none)?;
    scene.write(0, all, 4)?;
    scene.bind(part.start, len, scene.second)?;
    check(
        "all unbound, the part bound to the second memory",
        &[scene.holds(part.start, len, 2, part.start)?],
    );

    scene.bind(0, scene.bound_size, scene.first)?;
    check(
        "all bound again: the writes to unbound addresses went nowhere",
        &[scene.holds(0, all, 1, 0)?],
    );

    let pieces = scene.turned(&part);
    scene.bind_turned(&pieces)?;
    let turned = pieces.iter().map(|&(at, other)| {
        let window = (scene.window, 0);
        let gpu = scene.gpu;
        gpu.run(gpu.read, window, (scene.sparse, at), scene.unit, 0)?;
        scene.window_holds(at, scene.unit, 2, (other - part.start) / 4)
    });
    let turned: Result<Vec<Found>> = turned.collect();
    check(
        "pieces of the part bound in the reverse order, one by one",
        &turned?,
    );
    Ok(())
}

/// Arguments: the size of the buffer, and whether to print JSON.
fn arguments() -> std::result::Result<Option<(u64, bool)>, String> {
    const LOWEST: u64 = 4 << 20;
    let (mut bytes, mut json) = (100_000_000, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--json" => json = true,
            "--bytes" => {
                let value = arguments.next().ok_or("--bytes takes a number")?;
                bytes = value
                    .parse()
                    .ok()
                    .filter(|b| *b >= LOWEST && *b % 4 == 0)
                    .ok_or_else(|| {
                        format!("--bytes {value}: a multiple of 4, at least {LOWEST}, is expected")
                    })?;
            }
            other => return Err(format!("{other} is not an argument; --help lists them")),
        }
    }
    Ok(Some((bytes, json)))
}

/// A line on stdout. A reader that has seen enough is no failure: the verdict is also the exit status.
macro_rules! say {
    ($($what:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($what)*);
    }};
}

fn run(bytes: u64, json: bool) -> Result<bool> {
    let gpu = Gpu::new()?;
    if !json {
        say!("driver  {}", gpu.driver);
    }
    let scene = Scene::new(&gpu, bytes)?;
    if !json {
        say!(
            "buffer  {bytes} bytes, {} with the driver's rounding, bound here in steps of {}",
            scene.bound_size,
            scene.unit
        );
    }
    let mut all = Vec::new();
    checks(&scene, &mut |check| {
        if !json {
            match &check.wrong {
                None => say!("ok      {}", check.what),
                Some(wrong) => say!("WRONG   {}: {wrong}", check.what),
            }
        }
        all.push(check);
    })?;
    scene.destroy();
    let driver = gpu.driver.clone();
    gpu.destroy();
    let passed = all.iter().all(|c| c.wrong.is_none());
    if json {
        let checks: Vec<_> = all
            .iter()
            .map(|c| serde_json::json!({ "check": c.what, "passed": c.wrong.is_none(), "wrong": c.wrong }))
            .collect();
        say!(
            "{}",
            serde_json::json!({ "driver": driver, "bytes": bytes, "checks": checks, "passed": passed })
        );
    } else {
        let good = all.iter().filter(|c| c.wrong.is_none()).count();
        say!(
            "verdict {}: {good} of {} checks are right",
            if passed { "PASS" } else { "FAIL" },
            all.len()
        );
    }
    Ok(passed)
}

fn main() -> ExitCode {
    let (bytes, json) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("sparse_buffer: {message}");
            return ExitCode::from(2);
        }
    };
    match run(bytes, json) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sparse_buffer: {error}");
            ExitCode::FAILURE
        }
    }
}
