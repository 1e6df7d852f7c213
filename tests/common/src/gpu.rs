//! The device, its queues, and binding.

use crate::app::App;
use crate::objects::{Buffer, Fence, Image, Memory, Semaphore};
use crate::shader::Shaders;
use ash::vk;
use std::sync::{Arc, Mutex};

pub struct Gpu {
    pub app: Arc<App>,
    pub device: ash::Device,
    /// The queue that computes and copies, and the queue that binds: the same one where the driver has one for both.
    compute: Arc<Mutex<vk::Queue>>,
    sparse: Arc<Mutex<vk::Queue>>,
    /// The queue that copies and does nothing else, where the driver has one; the computing queue where it has none.
    transfer: Arc<Mutex<vk::Queue>>,
    pub compute_family: u32,
    pub transfer_family: u32,
    pub sparse_family: u32,
    /// Whether the computing queue draws, too.
    pub draws: bool,
    /// The queue families in use, for resources that more than one of them touches.
    pub families: Vec<u32>,
    pub shaders: Shaders,
    pub memory_properties: vk::PhysicalDeviceMemoryProperties,
}

/// Which queue some work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Computes, copies, and draws where [`Gpu::draws`].
    Compute,
    /// Copies: a queue of its own where there is one.
    Transfer,
}

/// A semaphore in a wait or signal list; `value` for timeline semaphores, 0 for binary ones.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub semaphore: vk::Semaphore,
    pub value: u64,
}

/// One `VkBindSparseInfo`, owned.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub waits: Vec<Point>,
    pub signals: Vec<Point>,
    pub buffers: Vec<(vk::Buffer, Vec<vk::SparseMemoryBind>)>,
    /// Opaque binds.
    pub images: Vec<(vk::Image, Vec<vk::SparseMemoryBind>)>,
    /// Binds of regions of partially resident images.
    pub tiles: Vec<(vk::Image, Vec<vk::SparseImageMemoryBind>)>,
    /// Puts a `VkDeviceGroupBindSparseInfo` (this device for both) in the pNext chain.
    pub device_group: Option<u32>,
}

impl Batch {
    pub fn buffer(buffer: &Buffer<'_>, binds: impl Into<Vec<vk::SparseMemoryBind>>) -> Self {
        Self::default().and_buffer(buffer, binds)
    }

    pub fn image(image: &Image<'_>, binds: impl Into<Vec<vk::SparseMemoryBind>>) -> Self {
        Self {
            images: vec![(image.raw, binds.into())],
            ..Self::default()
        }
    }

    pub fn and_buffer(
        mut self,
        buffer: &Buffer<'_>,
        binds: impl Into<Vec<vk::SparseMemoryBind>>,
    ) -> Self {
        self.buffers.push((buffer.raw, binds.into()));
        self
    }

    pub fn and_image(
        mut self,
        image: &Image<'_>,
        binds: impl Into<Vec<vk::SparseMemoryBind>>,
    ) -> Self {
        self.images.push((image.raw, binds.into()));
        self
    }

    pub fn tiles(image: &Image<'_>, binds: impl Into<Vec<vk::SparseImageMemoryBind>>) -> Self {
        Self::default().and_tiles(image, binds)
    }

    pub fn and_tiles(
        mut self,
        image: &Image<'_>,
        binds: impl Into<Vec<vk::SparseImageMemoryBind>>,
    ) -> Self {
        self.tiles.push((image.raw, binds.into()));
        self
    }

    pub fn wait(mut self, point: Point) -> Self {
        self.waits.push(point);
        self
    }

    pub fn signal(mut self, point: Point) -> Self {
        self.signals.push(point);
        self
    }
}

/// `size` bytes of the resource at `offset` get `memory` from `memory_offset` on. All in bytes.
pub fn bind(
    offset: u64,
    size: u64,
    memory: &Memory<'_>,
    memory_offset: u64,
) -> vk::SparseMemoryBind {
    bind_raw(offset, size, memory.raw, memory_offset)
}

pub fn bind_raw(
    offset: u64,
    size: u64,
    memory: vk::DeviceMemory,
    memory_offset: u64,
) -> vk::SparseMemoryBind {
    vk::SparseMemoryBind::default()
        .resource_offset(offset)
        .size(size)
        .memory(memory)
        .memory_offset(memory_offset)
}

/// `size` bytes of the resource at `offset` get no memory.
pub fn unbind(offset: u64, size: u64) -> vk::SparseMemoryBind {
    vk::SparseMemoryBind::default()
        .resource_offset(offset)
        .size(size)
}

impl Gpu {
    pub fn new(app: &Arc<App>) -> Self {
        Self::with_group(app, &[])
    }

    /// As [`Gpu::new`], of a device group: these physical devices, where there are any.
    pub fn with_group(app: &Arc<App>, group: &[vk::PhysicalDevice]) -> Self {
        let instance = &app.instance;
        // SAFETY: all handles come from `app`, which this struct keeps alive; structs live until their call returns.
        unsafe {
            let all = instance.get_physical_device_queue_family_properties(app.physical);
            let with = |wanted: vk::QueueFlags, not: vk::QueueFlags| {
                let fits = |f: vk::QueueFlags| f.contains(wanted) && !f.intersects(not);
                let at = all.iter().position(|f| fits(f.queue_flags));
                at.map(|family| family as u32)
            };
            use vk::QueueFlags as Can;
            let (draw, compute, bind) = (Can::GRAPHICS, Can::COMPUTE, Can::SPARSE_BINDING);
            let both = with(draw | compute | bind, Can::empty())
                .or_else(|| with(compute | bind, Can::empty()));
            let compute_family = both
                .or_else(|| with(draw | compute, Can::empty()))
                .or_else(|| with(compute, Can::empty()))
                .expect("a compute queue");
            let sparse_family = both
                .or_else(|| with(bind, Can::empty()))
                .expect("a sparse queue");
            let transfer_family = with(Can::TRANSFER, draw | compute).unwrap_or(compute_family);
            let mut families = vec![compute_family, sparse_family, transfer_family];
            families.sort_unstable();
            families.dedup();

            let priorities = [1.0];
            let queues: Vec<_> = families
                .iter()
                .map(|&f| {
                    vk::DeviceQueueCreateInfo::default()
                        .queue_family_index(f)
                        .queue_priorities(&priorities)
                })
                .collect();
            let has = app.features();
            let features = vk::PhysicalDeviceFeatures {
                sparse_binding: vk::TRUE,
                sparse_residency_buffer: has.sparse_residency_buffer,
                sparse_residency_image2_d: has.sparse_residency_image2_d,
                sparse_residency_image3_d: has.sparse_residency_image3_d,
                sparse_residency_aliased: has.sparse_residency_aliased,
                multi_draw_indirect: has.multi_draw_indirect,
                ..Default::default()
            };
            let mut features12 =
                vk::PhysicalDeviceVulkan12Features::default().timeline_semaphore(true);
            let mut features13 =
                vk::PhysicalDeviceVulkan13Features::default().synchronization2(true);
            let version = instance
                .get_physical_device_properties(app.physical)
                .api_version;
            let mut of_group = vk::DeviceGroupDeviceCreateInfo::default().physical_devices(group);
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_features(&features)
                .push_next(&mut features12);
            if version >= vk::API_VERSION_1_3 {
                info = info.push_next(&mut features13);
            }
            if !group.is_empty() {
                info = info.push_next(&mut of_group);
            }
            let device = instance
                .create_device(app.physical, &info, None)
                .expect("vkCreateDevice");
            let queue = |family| Arc::new(Mutex::new(device.get_device_queue(family, 0)));
            let compute = queue(compute_family);
            let or_compute = |family| {
                if family == compute_family {
                    compute.clone()
                } else {
                    queue(family)
                }
            };
            let sparse = or_compute(sparse_family);
            let transfer = if transfer_family == sparse_family {
                sparse.clone()
            } else {
                or_compute(transfer_family)
            };
            let shaders = Shaders::new(&device);
            let memory_properties = instance.get_physical_device_memory_properties(app.physical);
            Self {
                app: app.clone(),
                draws: all[compute_family as usize].queue_flags.contains(draw),
                device,
                compute,
                sparse,
                transfer,
                compute_family,
                transfer_family,
                sparse_family,
                families,
                shaders,
                memory_properties,
            }
        }
    }

    /// The family of the queue.
    pub fn family(&self, engine: Engine) -> u32 {
        match engine {
            Engine::Compute => self.compute_family,
            Engine::Transfer => self.transfer_family,
        }
    }

    /// `vkQueueBindSparse` with these batches, and nothing waited for.
    ///
    /// The caller keeps everything that the batches name alive until the bind has run.
    pub fn bind_async(
        &self,
        batches: &[Batch],
        fence: Option<&Fence<'_>>,
    ) -> Result<(), vk::Result> {
        struct Parts<'a> {
            waits: Vec<vk::Semaphore>,
            wait_values: Vec<u64>,
            signals: Vec<vk::Semaphore>,
            signal_values: Vec<u64>,
            buffers: Vec<vk::SparseBufferMemoryBindInfo<'a>>,
            images: Vec<vk::SparseImageOpaqueMemoryBindInfo<'a>>,
            tiles: Vec<vk::SparseImageMemoryBindInfo<'a>>,
        }
        // The layer of Debian 12 reads as many opaque image binds as there are buffers, whatever their own count says
        // (Vulkan-ValidationLayers, pull request 5851): give it empty ones to read, beyond the count.
        let padding = |b: &Batch| {
            if self.app.validates() {
                b.buffers.len()
            } else {
                0
            }
        };
        let parts: Vec<Parts<'_>> = batches
            .iter()
            .map(|b| Parts {
                waits: b.waits.iter().map(|p| p.semaphore).collect(),
                wait_values: b.waits.iter().map(|p| p.value).collect(),
                signals: b.signals.iter().map(|p| p.semaphore).collect(),
                signal_values: b.signals.iter().map(|p| p.value).collect(),
                buffers: b
                    .buffers
                    .iter()
                    .map(|(r, binds)| {
                        vk::SparseBufferMemoryBindInfo::default()
                            .buffer(*r)
                            .binds(binds)
                    })
                    .collect(),
                images: b
                    .images
                    .iter()
                    .map(|(r, binds)| {
                        vk::SparseImageOpaqueMemoryBindInfo::default()
                            .image(*r)
                            .binds(binds)
                    })
                    .chain(std::iter::repeat_n(Default::default(), padding(b)))
                    .collect(),
                tiles: b
                    .tiles
                    .iter()
                    .map(|(r, binds)| {
                        vk::SparseImageMemoryBindInfo::default()
                            .image(*r)
                            .binds(binds)
                    })
                    .collect(),
            })
            .collect();
        let mut timelines: Vec<_> = parts
            .iter()
            .map(|p| {
                vk::TimelineSemaphoreSubmitInfo::default()
                    .wait_semaphore_values(&p.wait_values)
                    .signal_semaphore_values(&p.signal_values)
            })
            .collect();
        let mut groups: Vec<_> = batches
            .iter()
            .map(|b| {
                let device = b.device_group.unwrap_or_default();
                vk::DeviceGroupBindSparseInfo::default()
                    .resource_device_index(device)
                    .memory_device_index(device)
            })
            .collect();
        let infos: Vec<_> = parts
            .iter()
            .zip(batches)
            .zip(timelines.iter_mut().zip(&mut groups))
            .map(|((p, batch), (timeline, group))| {
                let mut info = vk::BindSparseInfo::default()
                    .wait_semaphores(&p.waits)
                    .signal_semaphores(&p.signals)
                    .buffer_binds(&p.buffers)
                    .image_opaque_binds(&p.images[..batch.images.len()])
                    .image_binds(&p.tiles);
                if !(p.waits.is_empty() && p.signals.is_empty()) {
                    info = info.push_next(timeline);
                }
                if batch.device_group.is_some() {
                    info.push_next(group)
                } else {
                    info
                }
            })
            .collect();
        let queue = self.sparse.lock().expect("queue");
        // SAFETY: the handles are alive, the structs live until the call returns, the queue is locked.
        unsafe {
            self.device.queue_bind_sparse(
                *queue,
                &infos,
                fence.map_or(vk::Fence::null(), |f| f.raw),
            )
        }
    }

    /// Binds and waits until it is done.
    pub fn try_bind(&self, batches: &[Batch]) -> Result<(), vk::Result> {
        let fence = Fence::new(self);
        self.bind_async(batches, Some(&fence))?;
        fence.wait();
        Ok(())
    }

    /// Binds and waits until it is done; a refusal fails the test.
    #[track_caller]
    pub fn bind(&self, batches: &[Batch]) {
        if let Err(error) = self.try_bind(batches) {
            panic!("vkQueueBindSparse: {error}");
        }
    }

    /// # Safety
    /// The command buffer is recorded and not in use; what it names stays alive until the fence is signalled.
    pub unsafe fn submit(
        &self,
        engine: Engine,
        commands: vk::CommandBuffer,
        waits: &[Point],
        signals: &[Point],
        fence: vk::Fence,
    ) {
        let wait: Vec<_> = waits.iter().map(|p| p.semaphore).collect();
        let wait_values: Vec<_> = waits.iter().map(|p| p.value).collect();
        let signal: Vec<_> = signals.iter().map(|p| p.semaphore).collect();
        let signal_values: Vec<_> = signals.iter().map(|p| p.value).collect();
        let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; wait.len()];
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let commands = [commands];
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .wait_semaphores(&wait)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&signal)
            .push_next(&mut timeline);
        let queue = match engine {
            Engine::Compute => &self.compute,
            Engine::Transfer => &self.transfer,
        };
        let queue = queue.lock().expect("queue");
        // SAFETY: as the caller promises; the queue is locked.
        unsafe { self.device.queue_submit(*queue, &[info], fence) }.expect("vkQueueSubmit");
    }

    pub fn wait_idle(&self) {
        let others = [&self.sparse, &self.transfer];
        let mut queues: Vec<&Arc<Mutex<vk::Queue>>> = vec![&self.compute];
        for queue in others {
            if !queues.iter().any(|known| Arc::ptr_eq(known, queue)) {
                queues.push(queue);
            }
        }
        let _queues: Vec<_> = queues.iter().map(|queue| queue.lock()).collect();
        // SAFETY: the device is alive and its queues are locked.
        unsafe { self.device.device_wait_idle() }.expect("vkDeviceWaitIdle");
    }

    /// The first memory type among `bits` that has `flags`.
    pub fn memory_type(&self, bits: u32, flags: vk::MemoryPropertyFlags) -> u32 {
        let types = &self.memory_properties.memory_types_as_slice();
        (0..types.len() as u32)
            .find(|&i| bits & (1 << i) != 0 && types[i as usize].property_flags.contains(flags))
            .unwrap_or_else(|| panic!("no memory type with {flags:?} among {bits:#x}"))
    }

    /// A sparse buffer with everything that the tests need: residency and aliasing where the driver has them.
    pub fn sparse_buffer(&self, size: u64) -> Buffer<'_> {
        Buffer::new(self, size, self.sparse_buffer_flags())
    }

    fn sparse_buffer_flags(&self) -> vk::BufferCreateFlags {
        let has = self.app.features();
        let mut flags = vk::BufferCreateFlags::SPARSE_BINDING;
        if has.sparse_residency_buffer == vk::TRUE {
            flags |= vk::BufferCreateFlags::SPARSE_RESIDENCY;
        }
        if has.sparse_residency_aliased == vk::TRUE {
            flags |= vk::BufferCreateFlags::SPARSE_ALIASED;
        }
        flags
    }

    /// As [`Gpu::sparse_buffer`], to be used in these ways, too.
    pub fn sparse_buffer_for(&self, size: u64, usage: vk::BufferUsageFlags) -> Buffer<'_> {
        Buffer::with_usage(self, size, self.sparse_buffer_flags(), usage)
    }

    /// A sparse buffer that must be bound as a whole before it is used.
    pub fn sparse_binding_buffer(&self, size: u64) -> Buffer<'_> {
        Buffer::new(self, size, vk::BufferCreateFlags::SPARSE_BINDING)
    }

    /// Memory for binding to a resource like `buffer`.
    pub fn memory(&self, buffer: &Buffer<'_>, size: u64) -> Memory<'_> {
        Memory::new(
            self,
            size,
            self.memory_type(
                buffer.requirements.memory_type_bits,
                vk::MemoryPropertyFlags::empty(),
            ),
        )
    }

    pub fn binary(&self) -> Semaphore<'_> {
        Semaphore::new(self, None)
    }

    pub fn timeline(&self, value: u64) -> Semaphore<'_> {
        Semaphore::new(self, Some(value))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: everything made on the device borrows `self`, so it is gone; nothing runs after the wait.
        unsafe {
            let _ = self.device.device_wait_idle();
            self.shaders.destroy(&self.device);
            self.device.destroy_device(None);
        }
    }
}
