//! A small picture that a graphics pipeline draws points into: what vertex fetch, index fetch and indirect draws read shows
//! as numbers.

use crate::gpu::Gpu;
use crate::objects::{Memory, Staging};
use crate::shader::spirv_for;
use crate::work::Work;
use ash::vk;

/// Vertex i is one pixel, the i-th of the picture row by row.
const SOURCE: &str = "
struct Parameters { width: u32, height: u32, draw: u32, pad: u32 }
var<push_constant> p: Parameters;
struct Point {
    @builtin(position) position: vec4<f32>,
    @location(0) @interpolate(flat) value: u32,
}

fn point(i: u32, value: u32) -> Point {
    let pixel = vec2<f32>(f32(i % p.width), f32(i / p.width)) + 0.5;
    let size = vec2<f32>(f32(p.width), f32(p.height));
    return Point(vec4<f32>(pixel / size * 2.0 - 1.0, 0.0, 1.0), value);
}

@vertex
fn shown(@builtin(vertex_index) i: u32, @location(0) value: u32) -> Point { return point(i, value); }

@vertex
fn numbered(@builtin(vertex_index) i: u32) -> Point { return point(i, p.draw); }

@fragment
fn paint(in: Point) -> @location(0) u32 { return in.value; }
";

/// What a pixel is that nothing is drawn on.
pub const CLEAR: u32 = 0xC1EA_C1EA;

/// What a point's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The vertex's own word, of the vertex buffer.
    Attribute,
    /// The number of the draw ([`Canvas::number`]).
    Draw,
}

pub struct Canvas<'g> {
    gpu: &'g Gpu,
    size: [u32; 2],
    image: vk::Image,
    view: vk::ImageView,
    pass: vk::RenderPass,
    framebuffer: vk::Framebuffer,
    layout: vk::PipelineLayout,
    pipeline: vk::Pipeline,
    _memory: Memory<'g>,
}

impl<'g> Canvas<'g> {
    /// A picture of so many pixels, for a device that draws ([`Gpu::draws`]).
    pub fn new(gpu: &'g Gpu, width: u32, height: u32, value: Value) -> Self {
        assert!(gpu.draws, "a queue that draws");
        let device = &gpu.device;
        let format = vk::Format::R32_UINT;
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(format)
            .extent(vk::Extent3D {
                width,
                height,
                depth: 1,
            })
            .mip_levels(1)
            .array_layers(1)
            .samples(vk::SampleCountFlags::TYPE_1)
            .usage(vk::ImageUsageFlags::COLOR_ATTACHMENT | vk::ImageUsageFlags::TRANSFER_SRC);
        let attachments = [vk::AttachmentDescription::default()
            .format(format)
            .samples(vk::SampleCountFlags::TYPE_1)
            .load_op(vk::AttachmentLoadOp::CLEAR)
            .store_op(vk::AttachmentStoreOp::STORE)
            .initial_layout(vk::ImageLayout::UNDEFINED)
            .final_layout(vk::ImageLayout::TRANSFER_SRC_OPTIMAL)];
        let colors = [vk::AttachmentReference {
            attachment: 0,
            layout: vk::ImageLayout::COLOR_ATTACHMENT_OPTIMAL,
        }];
        let subpasses = [vk::SubpassDescription::default().color_attachments(&colors)];
        let push = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::VERTEX)
            .size(16)];
        // SAFETY: the device is alive; all other handles are made right here.
        unsafe {
            let image = device.create_image(&info, None).expect("vkCreateImage");
            let needs = device.get_image_memory_requirements(image);
            let kind = gpu.memory_type(needs.memory_type_bits, vk::MemoryPropertyFlags::empty());
            let memory = Memory::new(gpu, needs.size, kind);
            device
                .bind_image_memory(image, memory.raw, 0)
                .expect("vkBindImageMemory");
            let view = device
                .create_image_view(
                    &vk::ImageViewCreateInfo::default()
                        .image(image)
                        .view_type(vk::ImageViewType::TYPE_2D)
                        .format(format)
                        .subresource_range(vk::ImageSubresourceRange {
                            aspect_mask: vk::ImageAspectFlags::COLOR,
                            base_mip_level: 0,
                            level_count: 1,
                            base_array_layer: 0,
                            layer_count: 1,
                        }),
                    None,
                )
                .expect("image view");
            let pass = device
                .create_render_pass(
                    &vk::RenderPassCreateInfo::default()
                        .attachments(&attachments)
                        .subpasses(&subpasses),
                    None,
                )
                .expect("render pass");
            let views = [view];
            let framebuffer = device
                .create_framebuffer(
                    &vk::FramebufferCreateInfo::default()
                        .render_pass(pass)
                        .attachments(&views)
                        .width(width)
                        .height(height)
                        .layers(1),
                    None,
                )
                .expect("framebuffer");
            let layout = device
                .create_pipeline_layout(
                    &vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&push),
                    None,
                )
                .expect("pipeline layout");
            let pipeline = pipeline(device, pass, layout, [width, height], value);
            Self {
                gpu,
                size: [width, height],
                image,
                view,
                pass,
                framebuffer,
                layout,
                pipeline,
                _memory: memory,
            }
        }
    }

    /// Clears the picture and draws; `f` records binds of buffers and draws. Gives the pixels, row by row.
    pub fn draw(&self, f: impl FnOnce(vk::CommandBuffer)) -> Vec<u32> {
        let device = &self.gpu.device;
        let [width, height] = self.size;
        let staging = Staging::new(self.gpu, u64::from(width * height) * 4);
        let clear = [vk::ClearValue {
            color: vk::ClearColorValue { uint32: [CLEAR; 4] },
        }];
        let begin = vk::RenderPassBeginInfo::default()
            .render_pass(self.pass)
            .framebuffer(self.framebuffer)
            .render_area(vk::Rect2D {
                offset: vk::Offset2D::default(),
                extent: vk::Extent2D { width, height },
            })
            .clear_values(&clear);
        let region = [vk::BufferImageCopy::default()
            .image_subresource(vk::ImageSubresourceLayers {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                mip_level: 0,
                base_array_layer: 0,
                layer_count: 1,
            })
            .image_extent(vk::Extent3D {
                width,
                height,
                depth: 1,
            })];
        Work::record(self.gpu, |r| {
            // SAFETY: the command buffer is in the recording state, and what is named is alive.
            r.barriers_around(|commands| unsafe {
                device.cmd_begin_render_pass(commands, &begin, vk::SubpassContents::INLINE);
                let point = vk::PipelineBindPoint::GRAPHICS;
                device.cmd_bind_pipeline(commands, point, self.pipeline);
                self.number(commands, 0);
                f(commands);
                device.cmd_end_render_pass(commands);
            });
            // SAFETY: as above; the render pass leaves the picture in this layout.
            r.barriers_around(|commands| unsafe {
                let layout = vk::ImageLayout::TRANSFER_SRC_OPTIMAL;
                let to = staging.buffer.raw;
                device.cmd_copy_image_to_buffer(commands, self.image, layout, to, &region);
            });
        })
        .run();
        staging.read()
    }

    /// Records the number of the draws that follow.
    pub fn number(&self, commands: vk::CommandBuffer, draw: u32) {
        let [width, height] = self.size;
        let words = [width, height, draw, 0];
        let bytes: Vec<u8> = words.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let stages = vk::ShaderStageFlags::VERTEX;
        // SAFETY: the command buffer is in the recording state, the layout is alive.
        unsafe {
            self.gpu
                .device
                .cmd_push_constants(commands, self.layout, stages, 0, &bytes);
        }
    }
}

/// Points of one pixel.
///
/// # Safety
/// The handles are the device's.
unsafe fn pipeline(
    device: &ash::Device,
    pass: vk::RenderPass,
    layout: vk::PipelineLayout,
    [width, height]: [u32; 2],
    value: Value,
) -> vk::Pipeline {
    let (vertex, name) = match value {
        Value::Attribute => ("shown", c"shown"),
        Value::Draw => ("numbered", c"numbered"),
    };
    let codes = [
        spirv_for(SOURCE, vertex, naga::ShaderStage::Vertex),
        spirv_for(SOURCE, "paint", naga::ShaderStage::Fragment),
    ];
    let bindings = [vk::VertexInputBindingDescription {
        binding: 0,
        stride: 4,
        input_rate: vk::VertexInputRate::VERTEX,
    }];
    let attributes = [vk::VertexInputAttributeDescription {
        location: 0,
        binding: 0,
        format: vk::Format::R32_UINT,
        offset: 0,
    }];
    let mut input = vk::PipelineVertexInputStateCreateInfo::default();
    if value == Value::Attribute {
        input = input
            .vertex_binding_descriptions(&bindings)
            .vertex_attribute_descriptions(&attributes);
    }
    let assembly = vk::PipelineInputAssemblyStateCreateInfo::default()
        .topology(vk::PrimitiveTopology::POINT_LIST);
    let viewports = [vk::Viewport {
        x: 0.0,
        y: 0.0,
        width: width as f32,
        height: height as f32,
        min_depth: 0.0,
        max_depth: 1.0,
    }];
    let scissors = [vk::Rect2D {
        offset: vk::Offset2D::default(),
        extent: vk::Extent2D { width, height },
    }];
    let viewport = vk::PipelineViewportStateCreateInfo::default()
        .viewports(&viewports)
        .scissors(&scissors);
    let raster = vk::PipelineRasterizationStateCreateInfo::default().line_width(1.0);
    let samples = vk::PipelineMultisampleStateCreateInfo::default()
        .rasterization_samples(vk::SampleCountFlags::TYPE_1);
    let blends = [vk::PipelineColorBlendAttachmentState::default()
        .color_write_mask(vk::ColorComponentFlags::RGBA)];
    let blend = vk::PipelineColorBlendStateCreateInfo::default().attachments(&blends);
    // SAFETY: the device is alive; the modules are made and destroyed right here.
    unsafe {
        let modules = codes.map(|code| {
            device
                .create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&code), None)
                .expect("shader module")
        });
        let stage = |n: usize, stage, name| {
            vk::PipelineShaderStageCreateInfo::default()
                .stage(stage)
                .module(modules[n])
                .name(name)
        };
        let stages = [
            stage(0, vk::ShaderStageFlags::VERTEX, name),
            stage(1, vk::ShaderStageFlags::FRAGMENT, c"paint"),
        ];
        let info = [vk::GraphicsPipelineCreateInfo::default()
            .stages(&stages)
            .vertex_input_state(&input)
            .input_assembly_state(&assembly)
            .viewport_state(&viewport)
            .rasterization_state(&raster)
            .multisample_state(&samples)
            .color_blend_state(&blend)
            .layout(layout)
            .render_pass(pass)];
        let made = device
            .create_graphics_pipelines(vk::PipelineCache::null(), &info, None)
            .expect("graphics pipeline");
        for module in modules {
            device.destroy_shader_module(module, None);
        }
        made[0]
    }
}

impl Drop for Canvas<'_> {
    fn drop(&mut self) {
        let device = &self.gpu.device;
        // SAFETY: every draw is waited for.
        unsafe {
            device.destroy_pipeline(self.pipeline, None);
            device.destroy_pipeline_layout(self.layout, None);
            device.destroy_framebuffer(self.framebuffer, None);
            device.destroy_render_pass(self.pass, None);
            device.destroy_image_view(self.view, None);
            device.destroy_image(self.image, None);
        }
    }
}
