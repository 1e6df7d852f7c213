//! A compute shader of a test's own, with the descriptors that it takes.

use crate::gpu::Gpu;
use crate::objects::Buffer;
use crate::shader;
use ash::vk;

/// What a descriptor names.
pub enum Bound<'a> {
    /// The buffer, from a byte on, so many bytes.
    Buffer(&'a Buffer<'a>, u64, u64),
    /// An image in GENERAL.
    View(vk::ImageView),
}

/// A pipeline with one set of descriptors, binding by binding, and four words of push constants.
pub struct Program<'g> {
    gpu: &'g Gpu,
    kinds: Vec<vk::DescriptorType>,
    set_layout: vk::DescriptorSetLayout,
    layout: vk::PipelineLayout,
    pipeline: vk::Pipeline,
    pool: vk::DescriptorPool,
}

impl<'g> Program<'g> {
    /// The entry point `entry` of a WGSL source whose group 0 has these bindings. There is room for `sets` sets.
    pub fn new(
        gpu: &'g Gpu,
        source: &str,
        entry: &str,
        kinds: &[vk::DescriptorType],
        sets: u32,
    ) -> Self {
        let device = &gpu.device;
        let sizes: Vec<_> = kinds
            .iter()
            .map(|&ty| vk::DescriptorPoolSize {
                ty,
                descriptor_count: sets,
            })
            .collect();
        let (set_layout, layout) = shader::layouts(device, kinds);
        let pool = vk::DescriptorPoolCreateInfo::default()
            .max_sets(sets)
            .pool_sizes(&sizes);
        // SAFETY: the device is alive.
        let pool = unsafe { device.create_descriptor_pool(&pool, None) }.expect("descriptor pool");
        Self {
            gpu,
            kinds: kinds.to_vec(),
            set_layout,
            layout,
            pipeline: shader::pipeline(device, layout, source, entry),
            pool,
        }
    }

    /// A set with these, binding by binding. It lives as long as the program.
    pub fn set(&self, bound: &[Bound<'_>]) -> vk::DescriptorSet {
        assert_eq!(bound.len(), self.kinds.len(), "every binding is bound");
        let device = &self.gpu.device;
        let layouts = [self.set_layout];
        let info = vk::DescriptorSetAllocateInfo::default()
            .descriptor_pool(self.pool)
            .set_layouts(&layouts);
        // SAFETY: the pool and the layout are alive.
        let set = unsafe { device.allocate_descriptor_sets(&info) }.expect("descriptor set")[0];
        for ((what, &kind), n) in bound.iter().zip(&self.kinds).zip(0..) {
            let (buffer, view);
            let write = vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(n)
                .descriptor_type(kind);
            let write = match *what {
                Bound::Buffer(of, offset, range) => {
                    buffer = [vk::DescriptorBufferInfo {
                        buffer: of.raw,
                        offset,
                        range,
                    }];
                    write.buffer_info(&buffer)
                }
                Bound::View(of) => {
                    view = [vk::DescriptorImageInfo::default()
                        .image_view(of)
                        .image_layout(vk::ImageLayout::GENERAL)];
                    write.image_info(&view)
                }
            };
            // SAFETY: a new set, which no work uses yet.
            unsafe { device.update_descriptor_sets(&[write], &[]) };
        }
        set
    }

    /// Records all that a dispatch needs but the dispatch.
    pub fn use_in(
        &self,
        commands: vk::CommandBuffer,
        set: vk::DescriptorSet,
        parameters: [u32; 4],
    ) {
        let device = &self.gpu.device;
        let bytes: Vec<u8> = parameters.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let point = vk::PipelineBindPoint::COMPUTE;
        let stages = vk::ShaderStageFlags::COMPUTE;
        // SAFETY: the command buffer is in the recording state, and what is named is alive.
        unsafe {
            device.cmd_bind_pipeline(commands, point, self.pipeline);
            device.cmd_bind_descriptor_sets(commands, point, self.layout, 0, &[set], &[]);
            device.cmd_push_constants(commands, self.layout, stages, 0, &bytes);
        }
    }

    /// Records a dispatch of so many workgroups.
    pub fn dispatch(
        &self,
        commands: vk::CommandBuffer,
        set: vk::DescriptorSet,
        parameters: [u32; 4],
        groups: [u32; 3],
    ) {
        self.use_in(commands, set, parameters);
        // SAFETY: as in `use_in`.
        unsafe {
            self.gpu
                .device
                .cmd_dispatch(commands, groups[0], groups[1], groups[2]);
        }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        let device = &self.gpu.device;
        // SAFETY: the test has waited for all work that uses it.
        unsafe {
            device.destroy_descriptor_pool(self.pool, None);
            device.destroy_pipeline(self.pipeline, None);
            device.destroy_pipeline_layout(self.layout, None);
            device.destroy_descriptor_set_layout(self.set_layout, None);
        }
    }
}
