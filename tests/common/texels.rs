//! What a shader reads of an image, texel by texel.

use crate::common::gpu::Gpu;
use crate::common::objects::Staging;
use crate::common::shader::spirv_of;
use crate::common::tiles::Tiled;
use crate::common::work::Work;
use ash::vk;

/// Invocation (x, y) puts its texel into word y * width + x.
const SOURCE: &str = "
struct Parameters { width: u32, height: u32, level: u32, layer: u32 }
var<push_constant> p: Parameters;
@group(0) @binding(0) var<storage, read_write> destination: array<u32>;
@group(0) @binding(1) var source: texture_2d_array<u32>;

@compute @workgroup_size(8, 8)
fn load(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < p.width && id.y < p.height) {
        destination[id.y * p.width + id.x] = textureLoad(source, id.xy, p.layer, p.level).x;
    }
}
";

/// The texels of one level of one layer of a flat R32_UINT image, row by row, as a compute shader loads them.
pub fn shader_loads(image: &Tiled<'_>, layer: u32, level: u32) -> Vec<u32> {
    let gpu: &Gpu = image.image.gpu;
    let device = &gpu.device;
    let extent = image.image.level_extent(level);
    let (width, height) = (extent.width, extent.height);
    let staging = Staging::new(gpu, u64::from(width * height) * 4);
    let binding = |n, kind| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(n)
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let kinds = [
        vk::DescriptorType::STORAGE_BUFFER,
        vk::DescriptorType::SAMPLED_IMAGE,
    ];
    let bindings = [binding(0, kinds[0]), binding(1, kinds[1])];
    let sizes = kinds.map(|ty| vk::DescriptorPoolSize {
        ty,
        descriptor_count: 1,
    });
    let push = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(16)];
    let parameters: Vec<u8> = [width, height, level, layer]
        .iter()
        .flat_map(|v: &u32| v.to_ne_bytes())
        .collect();
    let code = spirv_of(SOURCE, "load");
    // SAFETY: the device and the image are alive; all other handles are made right here, and destroyed when the work
    // that uses them is done.
    unsafe {
        let view = device
            .create_image_view(
                &vk::ImageViewCreateInfo::default()
                    .image(image.image.raw)
                    .view_type(vk::ImageViewType::TYPE_2D_ARRAY)
                    .format(vk::Format::R32_UINT)
                    .subresource_range(vk::ImageSubresourceRange {
                        aspect_mask: vk::ImageAspectFlags::COLOR,
                        base_mip_level: 0,
                        level_count: image.image.levels,
                        base_array_layer: 0,
                        layer_count: image.image.layers,
                    }),
                None,
            )
            .expect("image view");
        let set_layout = device
            .create_descriptor_set_layout(
                &vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings),
                None,
            )
            .expect("descriptor set layout");
        let set_layouts = [set_layout];
        let layout = device
            .create_pipeline_layout(
                &vk::PipelineLayoutCreateInfo::default()
                    .set_layouts(&set_layouts)
                    .push_constant_ranges(&push),
                None,
            )
            .expect("pipeline layout");
        let module = device
            .create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&code), None)
            .expect("shader module");
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"load");
        let info = [vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(layout)];
        let pipeline = device
            .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
            .expect("compute pipeline")[0];
        let pool = device
            .create_descriptor_pool(
                &vk::DescriptorPoolCreateInfo::default()
                    .max_sets(1)
                    .pool_sizes(&sizes),
                None,
            )
            .expect("descriptor pool");
        let set = device
            .allocate_descriptor_sets(
                &vk::DescriptorSetAllocateInfo::default()
                    .descriptor_pool(pool)
                    .set_layouts(&set_layouts),
            )
            .expect("descriptor set")[0];
        let buffer = [vk::DescriptorBufferInfo {
            buffer: staging.buffer.raw,
            offset: 0,
            range: vk::WHOLE_SIZE,
        }];
        let texture = [vk::DescriptorImageInfo::default()
            .image_view(view)
            .image_layout(vk::ImageLayout::GENERAL)];
        let write = |n: usize| {
            vk::WriteDescriptorSet::default()
                .dst_set(set)
                .dst_binding(n as u32)
                .descriptor_type(kinds[n])
        };
        let writes = [write(0).buffer_info(&buffer), write(1).image_info(&texture)];
        device.update_descriptor_sets(&writes, &[]);
        Work::record(gpu, |r| {
            r.barriers_around(|commands| {
                let point = vk::PipelineBindPoint::COMPUTE;
                device.cmd_bind_pipeline(commands, point, pipeline);
                device.cmd_bind_descriptor_sets(commands, point, layout, 0, &[set], &[]);
                let stages = vk::ShaderStageFlags::COMPUTE;
                device.cmd_push_constants(commands, layout, stages, 0, &parameters);
                device.cmd_dispatch(commands, width.div_ceil(8), height.div_ceil(8), 1);
            })
        })
        .run();
        device.destroy_descriptor_pool(pool, None);
        device.destroy_pipeline(pipeline, None);
        device.destroy_shader_module(module, None);
        device.destroy_pipeline_layout(layout, None);
        device.destroy_descriptor_set_layout(set_layout, None);
        device.destroy_image_view(view, None);
    }
    staging.read()
}
