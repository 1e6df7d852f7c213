//! What a mip tail is made of.

use ash::vk;
use panvk_sparse::units::SZ_64K;

/// The opaque offset of a tail: not 0, and none of lavapipe's.
const OFFSET: u64 = 37 * SZ_64K;

/// What `PANVK_SPARSE_TEST_TAIL` says.
#[derive(Clone, Copy)]
pub struct Settings {
    level: u32,
    single: bool,
    aligned: bool,
}

impl Settings {
    /// `None` where it says nothing that is understood.
    pub fn read() -> Option<Self> {
        let text = std::env::var("PANVK_SPARSE_TEST_TAIL").ok()?;
        let words: Vec<&str> = text.split(':').collect();
        let (level, kind, aligned) = match words[..] {
            [level, kind] => (level, kind, false),
            [level, kind, "aligned"] => (level, kind, true),
            _ => return None,
        };
        Some(Self {
            level: level.parse().ok()?,
            single: match kind {
                "single" => true,
                "layer" => false,
                _ => return None,
            },
            aligned,
        })
    }

    pub fn flags(self) -> vk::SparseImageFormatFlags {
        let mut flags = vk::SparseImageFormatFlags::empty();
        if self.single {
            flags |= vk::SparseImageFormatFlags::SINGLE_MIPTAIL;
        }
        if self.aligned {
            flags |= vk::SparseImageFormatFlags::ALIGNED_MIP_SIZE;
        }
        flags
    }
}

/// The tails of one image.
pub struct Tail {
    flags: vk::SparseImageFormatFlags,
    pub first_level: u32,
    /// The tiles of one tail, and of those of the other layers where each has its own.
    tails: Vec<Vec<Tile>>,
    aspect: vk::ImageAspectFlags,
}

/// A tile of lavapipe's.
#[derive(Clone, Copy)]
struct Tile {
    layer: u32,
    level: u32,
    offset: vk::Offset3D,
    extent: vk::Extent3D,
}

impl Tail {
    /// `None` for an image with no level in a tail.
    pub fn new(
        settings: Settings,
        info: &vk::ImageCreateInfo<'_>,
        needs: &vk::SparseImageMemoryRequirements,
    ) -> Option<Self> {
        let block = needs.format_properties.image_granularity;
        let extent = |level: u32| {
            let at = |length: u32| (length >> level).max(1);
            let e = info.extent;
            [at(e.width), at(e.height), at(e.depth)]
        };
        let block = [block.width, block.height, block.depth];
        let whole = |level: &u32| (0..3).all(|i| extent(*level)[i] % block[i] == 0);
        let cut = (0..info.mip_levels).find(|level| !whole(level));
        let mut first_level = settings.level;
        if settings.aligned {
            first_level = first_level.min(cut.unwrap_or(info.mip_levels));
        }
        if first_level >= info.mip_levels {
            return None;
        }
        let tiles = |layer: u32| {
            let mut tiles = Vec::new();
            for level in first_level..info.mip_levels {
                let e = extent(level);
                let starts = |i: usize| (0..e[i]).step_by(block[i] as usize);
                for z in starts(2) {
                    for y in starts(1) {
                        for x in starts(0) {
                            let size = |i: usize, at: u32| block[i].min(e[i] - at);
                            tiles.push(Tile {
                                layer,
                                level,
                                offset: vk::Offset3D {
                                    x: x as i32,
                                    y: y as i32,
                                    z: z as i32,
                                },
                                extent: vk::Extent3D {
                                    width: size(0, x),
                                    height: size(1, y),
                                    depth: size(2, z),
                                },
                            });
                        }
                    }
                }
            }
            tiles
        };
        let layers = 0..info.array_layers;
        Some(Self {
            flags: settings.flags(),
            first_level,
            tails: if settings.single {
                vec![layers.flat_map(tiles).collect()]
            } else {
                layers.map(tiles).collect()
            },
            aspect: needs.format_properties.aspect_mask,
        })
    }

    fn size(&self) -> u64 {
        self.tails[0].len() as u64 * SZ_64K
    }

    /// Two tiles lie between a tail and the next.
    fn stride(&self) -> u64 {
        self.size() + 2 * SZ_64K
    }

    pub fn say(&self, needs: &mut vk::SparseImageMemoryRequirements) {
        needs.format_properties.flags = self.flags;
        needs.image_mip_tail_first_lod = self.first_level;
        needs.image_mip_tail_size = self.size();
        needs.image_mip_tail_offset = OFFSET;
        // Of no meaning where there is one tail, so that nobody may use it.
        needs.image_mip_tail_stride = if self.tails.len() == 1 {
            0xBAD << 16
        } else {
            self.stride()
        };
    }

    /// The binds of tiles that an opaque bind is; `None` where it is not all in one tail, tile by tile.
    pub fn binds(&self, bind: &vk::SparseMemoryBind) -> Option<Vec<vk::SparseImageMemoryBind>> {
        let from = bind.resource_offset.checked_sub(OFFSET)?;
        let (tail, at) = (from / self.stride(), from % self.stride());
        let whole = [at, bind.size, bind.memory_offset]
            .iter()
            .all(|n| n % SZ_64K == 0);
        let tiles = self.tails.get(tail as usize)?;
        let end = at + bind.size;
        if !whole || bind.size == 0 || end > self.size() {
            return None;
        }
        let own = &tiles[(at / SZ_64K) as usize..(end / SZ_64K) as usize];
        let bind = own.iter().zip(0..).map(|(tile, i)| {
            let of_tile = vk::SparseImageMemoryBind::default()
                .subresource(vk::ImageSubresource {
                    aspect_mask: self.aspect,
                    mip_level: tile.level,
                    array_layer: tile.layer,
                })
                .offset(tile.offset)
                .extent(tile.extent);
            if bind.memory == vk::DeviceMemory::null() {
                of_tile
            } else {
                of_tile
                    .memory(bind.memory)
                    .memory_offset(bind.memory_offset + i * SZ_64K)
            }
        });
        Some(bind.collect())
    }
}
