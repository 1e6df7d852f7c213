//! Commands: recorded, submitted with semaphores, waited for, freed.

use crate::gpu::{Engine, Gpu, Point};
use crate::objects::{Buffer, Fence, Image};
use crate::shader::GROUP;
use ash::vk;
use std::cell::Cell;

/// Descriptor sets that one recording can use.
const SETS: u32 = 64;

/// A recorded command buffer with all that it needs. Dropping it waits for it.
pub struct Work<'g> {
    gpu: &'g Gpu,
    engine: Engine,
    pool: vk::CommandPool,
    descriptors: vk::DescriptorPool,
    commands: vk::CommandBuffer,
    fence: Fence<'g>,
    submitted: Cell<bool>,
}

pub struct Recorder<'w> {
    gpu: &'w Gpu,
    descriptors: vk::DescriptorPool,
    commands: vk::CommandBuffer,
}

impl<'g> Work<'g> {
    pub fn record(gpu: &'g Gpu, f: impl FnOnce(&mut Recorder<'_>)) -> Self {
        Self::record_for(gpu, Engine::Compute, f)
    }

    pub fn record_for(gpu: &'g Gpu, engine: Engine, f: impl FnOnce(&mut Recorder<'_>)) -> Self {
        let device = &gpu.device;
        // SAFETY: the device is alive, all other handles are made right here.
        let (pool, descriptors, commands) = unsafe {
            let pool = device
                .create_command_pool(
                    &vk::CommandPoolCreateInfo::default().queue_family_index(gpu.family(engine)),
                    None,
                )
                .expect("command pool");
            let sizes = [vk::DescriptorPoolSize {
                ty: vk::DescriptorType::STORAGE_BUFFER,
                descriptor_count: SETS * 2,
            }];
            let descriptors = device
                .create_descriptor_pool(
                    &vk::DescriptorPoolCreateInfo::default()
                        .max_sets(SETS)
                        .pool_sizes(&sizes),
                    None,
                )
                .expect("descriptor pool");
            let commands = device
                .allocate_command_buffers(
                    &vk::CommandBufferAllocateInfo::default()
                        .command_pool(pool)
                        .command_buffer_count(1),
                )
                .expect("command buffer")[0];
            device
                .begin_command_buffer(
                    commands,
                    &vk::CommandBufferBeginInfo::default()
                        .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT),
                )
                .expect("vkBeginCommandBuffer");
            (pool, descriptors, commands)
        };
        f(&mut Recorder {
            gpu,
            descriptors,
            commands,
        });
        // SAFETY: begun above.
        unsafe { device.end_command_buffer(commands) }.expect("vkEndCommandBuffer");
        Self {
            gpu,
            engine,
            pool,
            descriptors,
            commands,
            fence: Fence::new(gpu),
            submitted: Cell::new(false),
        }
    }

    /// Submits once. What the recording names must stay alive until [`Work::wait`] or the drop.
    pub fn submit(&self, waits: &[Point], signals: &[Point]) {
        assert!(
            !self.submitted.replace(true),
            "a recording is submitted once"
        );
        // SAFETY: recorded, not yet submitted.
        unsafe {
            self.gpu
                .submit(self.engine, self.commands, waits, signals, self.fence.raw)
        };
    }

    #[track_caller]
    pub fn wait(&self) {
        self.fence.wait();
    }

    pub fn done(&self) -> bool {
        self.fence.signalled()
    }

    #[track_caller]
    pub fn run(self) {
        self.submit(&[], &[]);
        self.wait();
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if self.submitted.get() && !std::thread::panicking() {
            self.fence.wait();
        }
        // SAFETY: the work is done or was never submitted.
        unsafe {
            self.gpu
                .device
                .destroy_descriptor_pool(self.descriptors, None);
            self.gpu.device.destroy_command_pool(self.pool, None);
        }
    }
}

// SAFETY, for all blocks here: the command buffer is in the recording state, and what is named is alive.
impl Recorder<'_> {
    /// Everything before is seen by everything after.
    fn barrier(&self) {
        let all = vk::AccessFlags::MEMORY_READ
            | vk::AccessFlags::MEMORY_WRITE
            | vk::AccessFlags::HOST_READ;
        let barrier = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
            .dst_access_mask(all)];
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_pipeline_barrier(
                self.commands,
                vk::PipelineStageFlags::ALL_COMMANDS,
                vk::PipelineStageFlags::ALL_COMMANDS | vk::PipelineStageFlags::HOST,
                vk::DependencyFlags::empty(),
                &barrier,
                &[],
                &[],
            );
        }
    }

    /// Commands of the caller's own; they see all before them and are seen by all after them.
    pub fn barriers_around(&mut self, f: impl FnOnce(vk::CommandBuffer)) {
        self.barrier();
        f(self.commands);
        self.barrier();
    }

    fn dispatch(
        &self,
        pipeline: vk::Pipeline,
        destination: (&Buffer<'_>, u64),
        source: (&Buffer<'_>, u64),
        bytes: u64,
        seed: u32,
    ) {
        let device = &self.gpu.device;
        let words = u32::try_from(bytes / 4).expect("fewer than 2^32 words");
        let groups = words.div_ceil(GROUP);
        let (x, y) = if groups <= 0x8000 {
            (groups, 1)
        } else {
            (0x8000, groups.div_ceil(0x8000))
        };
        let shaders = &self.gpu.shaders;
        let layouts = [shaders.set_layout];
        let parameters: Vec<u8> = [words, seed, 0, 0]
            .iter()
            .flat_map(|v: &u32| v.to_ne_bytes())
            .collect();
        // SAFETY: see above; the pool has room for SETS sets.
        unsafe {
            let set = device
                .allocate_descriptor_sets(
                    &vk::DescriptorSetAllocateInfo::default()
                        .descriptor_pool(self.descriptors)
                        .set_layouts(&layouts),
                )
                .expect("descriptor set")[0];
            let info = |(buffer, offset): (&Buffer<'_>, u64)| {
                [vk::DescriptorBufferInfo {
                    buffer: buffer.raw,
                    offset,
                    range: bytes,
                }]
            };
            let (d, s) = (info(destination), info(source));
            let write = |binding, info| {
                vk::WriteDescriptorSet::default()
                    .dst_set(set)
                    .dst_binding(binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .buffer_info(info)
            };
            device.update_descriptor_sets(&[write(0, &d), write(1, &s)], &[]);
            device.cmd_bind_pipeline(self.commands, vk::PipelineBindPoint::COMPUTE, pipeline);
            device.cmd_bind_descriptor_sets(
                self.commands,
                vk::PipelineBindPoint::COMPUTE,
                shaders.layout,
                0,
                &[set],
                &[],
            );
            device.cmd_push_constants(
                self.commands,
                shaders.layout,
                vk::ShaderStageFlags::COMPUTE,
                0,
                &parameters,
            );
            device.cmd_dispatch(self.commands, x, y, 1);
        }
        self.barrier();
    }

    /// A shader writes the pattern `seed`, index 0 at `offset`.
    pub fn fill(&mut self, buffer: &Buffer<'_>, offset: u64, bytes: u64, seed: u32) {
        self.dispatch(
            self.gpu.shaders.fill,
            (buffer, offset),
            (buffer, offset),
            bytes,
            seed,
        );
    }

    /// A shader copies words.
    pub fn shader_copy(
        &mut self,
        from: &Buffer<'_>,
        from_at: u64,
        to: &Buffer<'_>,
        to_at: u64,
        bytes: u64,
    ) {
        self.dispatch(
            self.gpu.shaders.copy,
            (to, to_at),
            (from, from_at),
            bytes,
            0,
        );
    }

    /// A copy command.
    pub fn copy(
        &mut self,
        from: &Buffer<'_>,
        from_at: u64,
        to: &Buffer<'_>,
        to_at: u64,
        bytes: u64,
    ) {
        let region = [vk::BufferCopy {
            src_offset: from_at,
            dst_offset: to_at,
            size: bytes,
        }];
        // SAFETY: see above.
        unsafe {
            self.gpu
                .device
                .cmd_copy_buffer(self.commands, from.raw, to.raw, &region)
        };
        self.barrier();
    }

    fn transition(&self, image: &Image<'_>, old: vk::ImageLayout, new: vk::ImageLayout) {
        let all = vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE;
        let barrier = [vk::ImageMemoryBarrier::default()
            .src_access_mask(all)
            .dst_access_mask(all)
            .old_layout(old)
            .new_layout(new)
            .src_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .dst_queue_family_index(vk::QUEUE_FAMILY_IGNORED)
            .image(image.raw)
            .subresource_range(vk::ImageSubresourceRange {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                base_mip_level: 0,
                level_count: image.levels,
                base_array_layer: 0,
                layer_count: image.layers,
            })];
        let stages = vk::PipelineStageFlags::ALL_COMMANDS;
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_pipeline_barrier(
                self.commands,
                stages,
                stages,
                vk::DependencyFlags::empty(),
                &[],
                &[],
                &barrier,
            );
        }
    }

    /// A new image's contents become undefined; it is in GENERAL afterwards.
    pub fn image_start(&mut self, image: &Image<'_>) {
        self.transition(image, vk::ImageLayout::UNDEFINED, vk::ImageLayout::GENERAL);
    }

    /// Some regions from a buffer to an image in GENERAL, which it is in afterwards; what else it holds stays.
    pub fn regions_write(
        &mut self,
        from: &Buffer<'_>,
        image: &Image<'_>,
        regions: &[vk::BufferImageCopy],
    ) {
        let (rest, copy) = (
            vk::ImageLayout::GENERAL,
            vk::ImageLayout::TRANSFER_DST_OPTIMAL,
        );
        self.transition(image, rest, copy);
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_copy_buffer_to_image(
                self.commands,
                from.raw,
                image.raw,
                copy,
                regions,
            );
        }
        self.transition(image, copy, rest);
    }

    /// Some regions of an image in GENERAL, which it is in afterwards, to a buffer.
    pub fn regions_read(
        &mut self,
        image: &Image<'_>,
        to: &Buffer<'_>,
        regions: &[vk::BufferImageCopy],
    ) {
        let (rest, copy) = (
            vk::ImageLayout::GENERAL,
            vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
        );
        self.transition(image, rest, copy);
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_copy_image_to_buffer(
                self.commands,
                image.raw,
                copy,
                to.raw,
                regions,
            );
        }
        self.transition(image, copy, rest);
        self.barrier();
    }

    /// All levels and layers from a buffer; the image is in GENERAL afterwards.
    pub fn image_write(&mut self, from: &Buffer<'_>, image: &Image<'_>) {
        self.transition(
            image,
            vk::ImageLayout::UNDEFINED,
            vk::ImageLayout::TRANSFER_DST_OPTIMAL,
        );
        let (regions, _) = image.regions();
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_copy_buffer_to_image(
                self.commands,
                from.raw,
                image.raw,
                vk::ImageLayout::TRANSFER_DST_OPTIMAL,
                &regions,
            );
        }
        self.transition(
            image,
            vk::ImageLayout::TRANSFER_DST_OPTIMAL,
            vk::ImageLayout::GENERAL,
        );
    }

    /// All levels and layers of an image in GENERAL.
    pub fn image_read(&mut self, image: &Image<'_>, to: &Buffer<'_>) {
        self.transition(
            image,
            vk::ImageLayout::GENERAL,
            vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
        );
        let (regions, _) = image.regions();
        // SAFETY: see above.
        unsafe {
            self.gpu.device.cmd_copy_image_to_buffer(
                self.commands,
                image.raw,
                vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
                to.raw,
                &regions,
            );
        }
        self.transition(
            image,
            vk::ImageLayout::TRANSFER_SRC_OPTIMAL,
            vk::ImageLayout::GENERAL,
        );
        self.barrier();
    }
}
