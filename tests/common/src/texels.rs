//! What a shader reads of an image, texel by texel.

use crate::gpu::Gpu;
use crate::objects::Staging;
use crate::program::{Bound, Program};
use crate::tiles::Tiled;
use crate::work::Work;
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
    let kinds = [
        vk::DescriptorType::STORAGE_BUFFER,
        vk::DescriptorType::SAMPLED_IMAGE,
    ];
    let program = Program::new(gpu, SOURCE, "load", &kinds, 1);
    let info = vk::ImageViewCreateInfo::default()
        .image(image.image.raw)
        .view_type(vk::ImageViewType::TYPE_2D_ARRAY)
        .format(vk::Format::R32_UINT)
        .subresource_range(vk::ImageSubresourceRange {
            aspect_mask: vk::ImageAspectFlags::COLOR,
            base_mip_level: 0,
            level_count: image.image.levels,
            base_array_layer: 0,
            layer_count: image.image.layers,
        });
    // SAFETY: the image is alive; the view is destroyed when the work that uses it is done.
    let view = unsafe { device.create_image_view(&info, None) }.expect("image view");
    let set = program.set(&[
        Bound::Buffer(&staging.buffer, 0, vk::WHOLE_SIZE),
        Bound::View(view),
    ]);
    Work::record(gpu, |r| {
        r.barriers_around(|commands| {
            let groups = [width.div_ceil(8), height.div_ceil(8), 1];
            program.dispatch(commands, set, [width, height, level, layer], groups);
        })
    })
    .run();
    // SAFETY: as above.
    unsafe { device.destroy_image_view(view, None) };
    staging.read()
}
