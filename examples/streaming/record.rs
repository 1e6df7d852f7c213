//! The flight as a recording, as the layer makes one of an application: for `panvk-sparse replay`, with no Vulkan device.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use panvk_sparse::layout::Image;
use panvk_sparse::units::SZ_64K;
use trace::{
    DeviceCreated, Event, Header, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements, Writer,
};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId};

use crate::Result;
use crate::count::{IMAGE, POOL_MEMORY, TAIL_MEMORY, frame_binds, layout, tail_bind};
use crate::world::{Frame, POOL, Texture};

const DEVICE: u64 = 1;
const QUEUE: u64 = 2;
/// `VK_IMAGE_CREATE_SPARSE_BINDING_BIT | VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT`, `VK_IMAGE_TYPE_2D`,
/// `VK_FORMAT_R8G8B8A8_UNORM`.
const SPARSE: u32 = 3;
const TYPE_2D: i32 = 1;
const RGBA8: i32 = 37;
const FRAME_NS: u64 = 16_666_667;

/// Writes the flight to `path`. Its first frame creates the image and binds the mip tail; those of the flight follow.
pub fn write(path: &Path, texture: &Texture, frames: impl Iterator<Item = Frame>) -> Result<()> {
    let file =
        File::create(path).map_err(|error| format!("writing {}: {error}", path.display()))?;
    let header = Header::new("streaming", std::process::id());
    let mut writer = Writer::new(BufWriter::new(file), &header)?;
    let mut time = 0;
    let tail = vec![(ResourceId::Image(IMAGE), vec![tail_bind()])];
    for event in begin(texture)
        .into_iter()
        .chain([bind(tail, Vec::new()), present()])
    {
        writer.record(&Record { time, event })?;
    }
    for frame in frames {
        time += FRAME_NS;
        let mut put = |event| writer.record(&Record { time, event });
        let binds = frame_binds(texture, &frame);
        if !binds.is_empty() {
            put(bind(Vec::new(), vec![(IMAGE, binds)]))?;
        }
        put(present())?;
    }
    writer.finish()?.into_inner()?.sync_all()?;
    Ok(())
}

fn begin(texture: &Texture) -> Vec<Event> {
    let memory = |memory, size| Event::MemoryAllocated {
        device: DEVICE,
        memory,
        size,
        memory_type: 0,
    };
    let device = DeviceCreated {
        device: DEVICE,
        name: "none".to_owned(),
        driver_name: "none".to_owned(),
        sparse_binding: true,
        ..DeviceCreated::default()
    };
    vec![
        Event::DeviceCreated(device),
        memory(POOL_MEMORY, u64::from(POOL) * SZ_64K),
        memory(TAIL_MEMORY, SZ_64K),
        Event::ImageCreated(image(texture, &layout(texture))),
    ]
}

fn image(texture: &Texture, layout: &Image) -> ImageCreated {
    let tiles = |level| texture.tiles(level).map(u64::from).iter().product::<u64>();
    let tiles: u64 = (0..texture.levels).map(tiles).sum();
    let aspects = layout
        .aspects
        .iter()
        .map(|aspect| SparseMemoryRequirements {
            aspect_mask: aspect.mask,
            granularity: aspect.granularity,
            flags: aspect.flags,
            mip_tail_first_lod: aspect.tail.first_level,
            mip_tail_size: aspect.tail.size,
            mip_tail_offset: aspect.tail.offset,
            mip_tail_stride: aspect.tail.stride,
        });
    ImageCreated {
        device: DEVICE,
        image: IMAGE,
        flags: SPARSE,
        image_type: TYPE_2D,
        format: RGBA8,
        extent: layout.extent,
        mip_levels: layout.levels,
        array_layers: layout.layers,
        samples: 1,
        tiling: 0,
        usage: 0,
        requirements: MemoryRequirements {
            size: (tiles + 1) * SZ_64K,
            alignment: layout.tile_bytes,
            memory_type_bits: 1,
        },
        sparse_requirements: aspects.collect(),
    }
}

fn bind(binds: Vec<(ResourceId, Vec<Bind>)>, image_binds: Vec<(u64, Vec<ImageBind>)>) -> Event {
    let info = BindInfo {
        binds,
        image_binds,
        ..BindInfo::default()
    };
    Event::BindSparse {
        device: DEVICE,
        queue: QUEUE,
        call: BindCall {
            infos: vec![info],
            fence: None,
        },
        result: 0,
        duration: 0,
    }
}

fn present() -> Event {
    Event::Present {
        device: DEVICE,
        queue: QUEUE,
    }
}
