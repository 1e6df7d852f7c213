//! The same binds through the library, on the virtual kernels in the field: what each strategy asks of its kernel, frame
//! by frame. No Vulkan device is needed.

use hosted::Hosted;
use hosted::config::NullChoice;
use hosted::{BaseBatch, Stats};
use panvk_sparse::layout::{
    Aspect, Extent, FORMAT_SINGLE_MIPTAIL, Image, MipTail, Offset, Region, tile_2d,
};
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::SZ_64K;
use vpanthor::Flavour;
use vpanthor::KernelSpec;
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId};

use crate::Result;
use crate::world::{Frame, POOL, Texture, Tile};

/// `VK_IMAGE_ASPECT_COLOR_BIT`.
const COLOR: u32 = 1;
pub const IMAGE: u64 = 1;
pub const POOL_MEMORY: u64 = 1;
pub const TAIL_MEMORY: u64 = 2;

/// The kernels in the field, each with the way that it maps unbound ranges.
pub const WAYS: [(Flavour, Strategy); 4] = [
    (Flavour::V1_5, Strategy::Page),
    (Flavour::V1_5, Strategy::Chunk),
    (Flavour::V1_8Repeat, Strategy::Repeat),
    (Flavour::V1_9, Strategy::Sparse),
];

/// VM_BIND ioctls, and the operations in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    pub ioctls: u64,
    pub ops: u64,
}

impl Cost {
    fn between(before: &Stats, after: &Stats) -> Self {
        Self {
            ioctls: after.vm_bind_ioctls - before.vm_bind_ioctls,
            ops: after.vm_bind_ops - before.vm_bind_ops,
        }
    }
}

/// What one strategy cost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Counted {
    pub kernel: String,
    pub strategy: String,
    /// The image is created, and starts unbound; its mip tail is bound.
    pub creation: Cost,
    pub frames: Vec<Cost>,
}

impl Counted {
    /// All frames together.
    pub fn sum(&self) -> Cost {
        self.frames.iter().fold(Cost::default(), |sum, cost| Cost {
            ioctls: sum.ioctls + cost.ioctls,
            ops: sum.ops + cost.ops,
        })
    }
}

/// The texture as a board lays it out: RGBA8 in tiles of 64 KiB, the levels below a tile in one tail.
pub fn board(side: u32) -> Texture {
    // RGBA8 has a tile: 4 is one of the sizes that do.
    let tile = tile_2d(4).map_or([128, 128], |tile| [tile.width, tile.height]);
    Texture {
        side,
        tile,
        levels: (side / tile[0]).ilog2() + 1,
    }
}

/// What the tile map has to know of the texture.
pub fn layout(texture: &Texture) -> Image {
    Image {
        extent: Extent::new(texture.side, texture.side, 1),
        levels: texture.mip_levels(),
        layers: 1,
        tile_bytes: SZ_64K,
        aspects: vec![Aspect {
            mask: COLOR,
            granularity: Extent::new(texture.tile[0], texture.tile[1], 1),
            flags: FORMAT_SINGLE_MIPTAIL,
            subsampling: [1, 1],
            tail: MipTail {
                first_level: texture.levels,
                size: SZ_64K,
                offset: 0,
                stride: 0,
            },
        }],
    }
}

/// Feeds the binds of `frames` to one kernel.
pub fn count(
    texture: &Texture,
    frames: &[Frame],
    (flavour, strategy): (Flavour, Strategy),
) -> Result<Counted> {
    let kernel = KernelSpec::Vpanthor(flavour);
    let hosted = Hosted::new(
        &kernel,
        NullChoice::Fixed(strategy),
        "none".into(),
        "none".into(),
    )?;
    hosted.add_memory(POOL_MEMORY, u64::from(POOL) * SZ_64K)?;
    hosted.add_memory(TAIL_MEMORY, SZ_64K)?;
    let mut before = hosted.stats();
    hosted.add_image(IMAGE, &layout(texture), None)?;
    bind(
        &hosted,
        BindInfo {
            binds: vec![(ResourceId::Image(IMAGE), vec![tail_bind()])],
            ..BindInfo::default()
        },
    )?;
    let mut step = || {
        let after = hosted.stats();
        let cost = Cost::between(&before, &after);
        before = after;
        cost
    };
    let creation = step();
    let mut costs = Vec::new();
    for frame in frames {
        let binds = frame_binds(texture, frame);
        if !binds.is_empty() {
            bind(
                &hosted,
                BindInfo {
                    image_binds: vec![(IMAGE, binds)],
                    ..BindInfo::default()
                },
            )?;
        }
        costs.push(step());
    }
    Ok(Counted {
        kernel: kernel.to_string(),
        strategy: strategy.to_string(),
        creation,
        frames: costs,
    })
}

/// The bind of the mip tail.
pub fn tail_bind() -> Bind {
    Bind {
        resource_offset: 0,
        size: SZ_64K,
        memory: Some(TAIL_MEMORY),
        memory_offset: 0,
        metadata: false,
    }
}

/// The binds of a frame: what is evicted, then what is new.
pub fn frame_binds(texture: &Texture, frame: &Frame) -> Vec<ImageBind> {
    let unbinds = frame.unbinds.iter().map(|&tile| (tile, None));
    let binds = frame.binds.iter().map(|&(tile, slot)| (tile, Some(slot)));
    unbinds
        .chain(binds)
        .map(|(tile, slot)| image_bind(texture, tile, slot))
        .collect()
}

fn image_bind(texture: &Texture, tile: Tile, slot: Option<u32>) -> ImageBind {
    let [width, height] = texture.tile;
    ImageBind {
        region: Region {
            aspect: COLOR,
            level: tile.level,
            layer: 0,
            offset: Offset::new((tile.x * width) as i32, (tile.y * height) as i32, 0),
            extent: Extent::new(width, height, 1),
        },
        memory: slot.map(|_| POOL_MEMORY),
        memory_offset: u64::from(slot.unwrap_or(0)) * SZ_64K,
    }
}

fn bind(hosted: &Hosted, info: BindInfo) -> Result<()> {
    let call = BindCall {
        infos: vec![info],
        fence: None,
    };
    // There is no base driver below: it takes everything.
    let mut base = |_: &[BaseBatch]| Ok(());
    Ok(hosted.bind(&call, &mut base)?)
}
