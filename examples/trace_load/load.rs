//! A recording of an application that streams: each frame one call that takes tiles of a large image and pieces of a
//! large buffer away and gives memory to others, scattered over both, a few neighbours at a time.

use panvk_sparse::layout::{Extent, FORMAT_SINGLE_MIPTAIL, Offset, Region};
use panvk_sparse::units::SZ_64K;
use trace::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements,
};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

const DEVICE: u64 = 0x1000;
const QUEUE: u64 = 0x2000;
const IMAGE: u64 = 0x3000;
const BUFFER: u64 = 0x4000;
const MEMORY: u64 = 0x5000;
const SEMAPHORES: u64 = 0x6000;

/// `VK_IMAGE_ASPECT_COLOR_BIT`, `VK_FORMAT_R8G8B8A8_UNORM`, sparse binding and residency of an image.
const COLOR: u32 = 1;
const RGBA8: i32 = 37;
const SPARSE: u32 = 3;

/// Texels of a side of the image, tiles of a side of its level 0, levels.
const SIDE: u32 = 32768;
const TILE: u32 = 128;
const ACROSS: u32 = SIDE / TILE;
const LEVELS: u32 = 16;
/// Levels that are bound by tiles.
const TILED: u32 = 9;
/// Pieces of 64 KiB of the buffer, 2 GiB, and of the one memory, 1 GiB.
const PIECES: u32 = 1 << 15;
const SLOTS: u32 = 1 << 14;

/// Binds of one frame: of tiles (half of them unbind), and of pieces of the buffer.
const TILES: usize = 384;
const BUFFER_PIECES: usize = 128;
pub const BINDS: usize = TILES + BUFFER_PIECES;

/// Makes records, one frame after another.
#[derive(Debug)]
pub struct Load {
    random: u64,
    frame: u64,
}

impl Load {
    pub fn new() -> Self {
        Self {
            random: 0x9E37_79B9_7F4A_7C15,
            frame: 0,
        }
    }

    /// Xorshift: the same every time.
    fn random(&mut self, below: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as u32) % below
    }

    /// What comes before the first frame: the device, its resources and memory.
    pub fn begin(&self) -> Vec<Record> {
        let device = DeviceCreated {
            device: DEVICE,
            name: "synthetic".to_owned(),
            driver_name: "none".to_owned(),
            sparse_binding: true,
            ..DeviceCreated::default()
        };
        let tiles: u64 = (0..TILED)
            .map(|level| u64::from(ACROSS >> level).pow(2))
            .sum();
        let requirements = |size| MemoryRequirements {
            size,
            alignment: SZ_64K,
            memory_type_bits: 1,
        };
        let image = ImageCreated {
            device: DEVICE,
            image: IMAGE,
            flags: SPARSE,
            image_type: 1,
            format: RGBA8,
            extent: Extent::new(SIDE, SIDE, 1),
            mip_levels: LEVELS,
            array_layers: 1,
            samples: 1,
            tiling: 0,
            usage: 4,
            requirements: requirements((tiles + 1) * SZ_64K),
            sparse_requirements: vec![SparseMemoryRequirements {
                aspect_mask: COLOR,
                granularity: Extent::new(TILE, TILE, 1),
                flags: FORMAT_SINGLE_MIPTAIL,
                mip_tail_first_lod: TILED,
                mip_tail_size: SZ_64K,
                mip_tail_offset: 0,
                mip_tail_stride: 0,
            }],
        };
        let buffer = BufferCreated {
            device: DEVICE,
            buffer: BUFFER,
            flags: SPARSE,
            size: u64::from(PIECES) * SZ_64K,
            usage: 32,
            requirements: requirements(u64::from(PIECES) * SZ_64K),
        };
        let memory = Event::MemoryAllocated {
            device: DEVICE,
            memory: MEMORY,
            size: u64::from(SLOTS) * SZ_64K,
            memory_type: 0,
        };
        let events = [
            Event::DeviceCreated(device),
            memory,
            Event::ImageCreated(image),
            Event::BufferCreated(buffer),
        ];
        events.map(|event| Record { time: 0, event }).into()
    }

    /// The next frame: one call and its end.
    pub fn frame(&mut self) -> [Record; 2] {
        let mut image_binds = Vec::with_capacity(TILES);
        while image_binds.len() < TILES {
            let level = self.random(8).saturating_sub(4);
            let across = ACROSS >> level;
            let (x, y) = (self.random(across), self.random(across));
            let bound = image_binds.len() >= TILES / 2;
            let slot = self.random(SLOTS - 4);
            let neighbours = (1 + self.random(4)).min(across - x);
            for i in 0..neighbours {
                if image_binds.len() == TILES {
                    break;
                }
                image_binds.push(ImageBind {
                    region: Region {
                        aspect: COLOR,
                        level,
                        layer: 0,
                        offset: Offset::new(((x + i) * TILE) as i32, (y * TILE) as i32, 0),
                        extent: Extent::new(TILE, TILE, 1),
                    },
                    memory: bound.then_some(MEMORY),
                    memory_offset: if bound {
                        u64::from(slot + i) * SZ_64K
                    } else {
                        0
                    },
                });
            }
        }
        let binds = (0..BUFFER_PIECES).map(|i| {
            let bound = i >= BUFFER_PIECES / 2;
            Bind {
                resource_offset: u64::from(self.random(PIECES)) * SZ_64K,
                size: SZ_64K,
                memory: bound.then_some(MEMORY),
                memory_offset: if bound {
                    u64::from(self.random(SLOTS)) * SZ_64K
                } else {
                    0
                },
                metadata: false,
            }
        });
        let binds = vec![(ResourceId::Buffer(BUFFER), binds.collect())];
        let semaphore = |n: u64| Semaphore {
            handle: SEMAPHORES + n % 2,
            value: 0,
        };
        let info = BindInfo {
            waits: vec![semaphore(self.frame)],
            signals: vec![semaphore(self.frame + 1)],
            binds,
            image_binds: vec![(IMAGE, image_binds)],
            joins_previous: false,
        };
        let call = BindCall {
            infos: vec![info],
            fence: None,
        };
        self.frame += 1;
        let time = self.frame * 16_666_667;
        let bind = Event::BindSparse {
            device: DEVICE,
            queue: QUEUE,
            call,
            result: 0,
            duration: 0,
        };
        let present = Event::Present {
            device: DEVICE,
            queue: QUEUE,
        };
        [bind, present].map(|event| Record { time, event })
    }
}
