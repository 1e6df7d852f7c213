//! The compute shaders of the tests, written in WGSL and compiled when a device is made.

use ash::vk;

/// Both work on words (u32); invocation i handles word i. The second dimension carries what the first can't hold.
const SOURCE: &str = "
struct Parameters { words: u32, seed: u32, first: u32, pad: u32 }
var<push_constant> p: Parameters;
@group(0) @binding(0) var<storage, read_write> destination: array<u32>;
@group(0) @binding(1) var<storage, read> source: array<u32>;

fn index(id: vec3<u32>, groups: vec3<u32>) -> u32 { return id.x + id.y * groups.x * 64u; }

@compute @workgroup_size(64)
fn fill(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = index(id, groups);
    if (i < p.words) {
        let n = p.first + i;
        destination[i] = (n * 0x9E3779B1u) ^ (p.seed * 0x85EBCA6Bu) ^ (n >> 7u);
    }
}

@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = index(id, groups);
    if (i < p.words) { destination[i] = source[i]; }
}
";

/// Words that one workgroup handles.
pub const GROUP: u32 = 64;

pub struct Shaders {
    pub set_layout: vk::DescriptorSetLayout,
    pub layout: vk::PipelineLayout,
    pub fill: vk::Pipeline,
    pub copy: vk::Pipeline,
}

/// A compute shader of a WGSL source.
pub fn spirv_of(source: &str, entry: &str) -> Vec<u32> {
    spirv_for(source, entry, naga::ShaderStage::Compute)
}

/// A shader of a WGSL source, with Vulkan's coordinates; a vertex shader's points are of one pixel.
pub fn spirv_for(source: &str, entry: &str, shader_stage: naga::ShaderStage) -> Vec<u32> {
    let module = naga::front::wgsl::parse_str(source).expect("the shaders parse");
    let info = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    )
    .validate(&module)
    .expect("the shaders are valid");
    let options = naga::back::spv::Options {
        lang_version: (1, 3),
        flags: naga::back::spv::WriterFlags::FORCE_POINT_SIZE,
        ..Default::default()
    };
    let pipeline = naga::back::spv::PipelineOptions {
        shader_stage,
        entry_point: entry.into(),
    };
    naga::back::spv::write_vec(&module, &info, &options, Some(&pipeline))
        .expect("the shaders compile")
}

/// The layouts of a compute pipeline with one set of these descriptors, binding by binding, and four words of push
/// constants.
pub fn layouts(
    device: &ash::Device,
    kinds: &[vk::DescriptorType],
) -> (vk::DescriptorSetLayout, vk::PipelineLayout) {
    let binding = |(&kind, n)| {
        vk::DescriptorSetLayoutBinding::default()
            .binding(n)
            .descriptor_type(kind)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
    };
    let bindings: Vec<_> = kinds.iter().zip(0..).map(binding).collect();
    let push = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(16)];
    // SAFETY: the device is alive; the set's layout is made right here.
    unsafe {
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
        (set_layout, layout)
    }
}

/// The pipeline of the entry point `entry` of a WGSL source.
pub fn pipeline(
    device: &ash::Device,
    layout: vk::PipelineLayout,
    source: &str,
    entry: &str,
) -> vk::Pipeline {
    let code = spirv_of(source, entry);
    let name = std::ffi::CString::new(entry).expect("a name without NUL");
    // SAFETY: the device and the layout are alive; the module is made right here.
    unsafe {
        let module = device
            .create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&code), None)
            .expect("shader module");
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&name);
        let info = [vk::ComputePipelineCreateInfo::default()
            .stage(stage)
            .layout(layout)];
        let made = device
            .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
            .expect("compute pipeline");
        device.destroy_shader_module(module, None);
        made[0]
    }
}

impl Shaders {
    pub fn new(device: &ash::Device) -> Self {
        let (set_layout, layout) = layouts(device, &[vk::DescriptorType::STORAGE_BUFFER; 2]);
        Self {
            set_layout,
            layout,
            fill: pipeline(device, layout, SOURCE, "fill"),
            copy: pipeline(device, layout, SOURCE, "copy"),
        }
    }

    /// # Safety
    /// The device is the one they were made on, and no work uses them any more.
    pub unsafe fn destroy(&self, device: &ash::Device) {
        // SAFETY: as the caller promises.
        unsafe {
            device.destroy_pipeline(self.fill, None);
            device.destroy_pipeline(self.copy, None);
            device.destroy_pipeline_layout(self.layout, None);
            device.destroy_descriptor_set_layout(self.set_layout, None);
        }
    }
}
