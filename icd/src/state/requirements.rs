//! What an application is told of the memory of a partially resident image: this driver's own numbers, which it binds by.
//!
//! The range of addresses of an image is laid out by its tile map, and its opaque offsets are those addresses: the size is
//! the map's, and so is where the mip tails lie. What the base driver calls its tails stays between it and
//! `vkQueueBindSparse`.

use ash::vk;
use panvk_sparse::layout::{self, Image, ImageError, MemoryChange, Place, PlaceError, TileMap};
use vulkan::below::list;
use vulkan::calls::Bind;
use vulkan::images;

use super::Device;

/// A partially resident image.
#[derive(Debug)]
pub struct Requirements {
    /// `VkMemoryRequirements::size`.
    pub size: u64,
    aspects: Vec<vk::SparseImageMemoryRequirements>,
    /// By the base driver's opaque offsets.
    base: TileMap,
}

impl Requirements {
    /// What the base driver says of `image`; and what the application is told, with the layout that goes with it.
    ///
    /// # Errors
    /// What the base driver says contradicts itself.
    ///
    /// # Safety
    /// `image` is a partially resident image of the device, created by `info`.
    pub unsafe fn of(
        device: &Device,
        image: vk::Image,
        info: &vk::ImageCreateInfo<'_>,
    ) -> Result<(Self, Image), ImageError> {
        let table = &device.table;
        let get = table.get_image_sparse_memory_requirements;
        let mut needs = vk::MemoryRequirements::default();
        // SAFETY: the caller's promise.
        unsafe { (table.get_image_memory_requirements)(device.handle, image, &mut needs) };
        // SAFETY: the caller's promise; `list` is null or has room for `count` structs.
        let aspects = list(|count, list| unsafe { get(device.handle, image, count, list) });
        Self::new(info, needs.alignment, aspects)
    }

    /// As [`of`](Self::of), from the base driver's answers: `VkMemoryRequirements::alignment`, and the
    /// `VkSparseImageMemoryRequirements`.
    fn new(
        info: &vk::ImageCreateInfo<'_>,
        alignment: u64,
        mut aspects: Vec<vk::SparseImageMemoryRequirements>,
    ) -> Result<(Self, Image), ImageError> {
        let layout = images::layout_of(info, alignment, &aspects);
        let base = TileMap::new(&layout)?;
        let layout = layout.by_address()?;
        for (told, aspect) in aspects.iter_mut().zip(&layout.aspects) {
            let layout::Extent {
                width,
                height,
                depth,
            } = aspect.granularity;
            told.format_properties.aspect_mask = vk::ImageAspectFlags::from_raw(aspect.mask);
            told.format_properties.image_granularity = vk::Extent3D {
                width,
                height,
                depth,
            };
            told.image_mip_tail_offset = aspect.tail.offset;
            told.image_mip_tail_stride = aspect.tail.stride;
        }
        let requirements = Self {
            size: base.size(),
            aspects,
            base,
        };
        Ok((requirements, layout))
    }

    /// Binds of tails, from addresses to what the base driver calls them.
    ///
    /// # Errors
    /// A bind reaches beyond the image. (None of the backend's does.)
    pub fn for_base(&self, binds: &[Bind]) -> Result<Vec<Bind>, PlaceError> {
        let changes: Vec<MemoryChange> = binds
            .iter()
            .map(|bind| MemoryChange {
                at: bind.resource_offset,
                len: bind.size,
                memory: bind.memory.map(|memory| (memory, bind.memory_offset)),
            })
            .collect();
        let binds = self.base.binds(&changes)?;
        let bind = |bind: layout::PlaceBind| match bind.place {
            Place::Opaque {
                offset,
                size,
                metadata,
                ..
            } => Some(Bind {
                resource_offset: offset,
                size,
                memory: bind.memory.map(|(memory, _)| memory),
                memory_offset: bind.memory.map_or(0, |(_, offset)| offset),
                metadata,
            }),
            // The backend binds tiles by their regions.
            Place::Tiles { .. } => None,
        };
        Ok(binds.into_iter().filter_map(bind).collect())
    }

    /// The answer to a function that gives a list: how many there are, or as many as there is room for.
    ///
    /// # Safety
    /// `count` can be read and written; `list` is null or has room for `count` elements.
    pub unsafe fn list<T>(
        &self,
        count: *mut u32,
        list: *mut T,
        field: impl Fn(&mut T) -> &mut vk::SparseImageMemoryRequirements,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if list.is_null() {
                *count = self.aspects.len() as u32;
                return;
            }
            let room = std::slice::from_raw_parts_mut(list, *count as usize);
            let written = room.iter_mut().zip(&self.aspects);
            *count = written.map(|(to, aspect)| *field(to) = *aspect).count() as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: u64 = 0x1_0000;

    /// RGBA8 of 256 by 128 texels: two tiles in each of two layers; then the tails, which the base driver has between them;
    /// and metadata for both layers, whose offsets are its own.
    fn image() -> Requirements {
        let info = vk::ImageCreateInfo::default()
            .image_type(vk::ImageType::TYPE_2D)
            .format(vk::Format::R8G8B8A8_UNORM)
            .extent(vk::Extent3D {
                width: 256,
                height: 128,
                depth: 1,
            })
            .mip_levels(9)
            .array_layers(2);
        let color = vk::SparseImageMemoryRequirements {
            format_properties: vk::SparseImageFormatProperties {
                aspect_mask: vk::ImageAspectFlags::COLOR,
                image_granularity: vk::Extent3D {
                    width: 128,
                    height: 128,
                    depth: 1,
                },
                flags: vk::SparseImageFormatFlags::empty(),
            },
            image_mip_tail_first_lod: 1,
            image_mip_tail_size: TILE,
            image_mip_tail_offset: 2 * TILE,
            image_mip_tail_stride: 3 * TILE,
        };
        let mut metadata = color;
        metadata.format_properties = vk::SparseImageFormatProperties {
            aspect_mask: vk::ImageAspectFlags::METADATA,
            flags: vk::SparseImageFormatFlags::SINGLE_MIPTAIL,
            ..Default::default()
        };
        metadata.image_mip_tail_offset = 0;
        Requirements::new(&info, TILE, vec![color, metadata])
            .unwrap()
            .0
    }

    #[test]
    fn what_is_told_is_where_the_map_has_it() {
        let image = image();
        assert_eq!(image.size, 7 * TILE);
        let tails = image.aspects.iter();
        let told: Vec<_> = tails
            .map(|told| {
                (
                    told.image_mip_tail_offset / TILE,
                    told.image_mip_tail_stride,
                )
            })
            .collect();
        assert_eq!(told, [(4, TILE), (6, 0)]);
    }

    #[test]
    fn a_list_is_as_long_as_it_is_or_as_there_is_room() {
        let image = image();
        for (room, written) in [(0, 0), (1, 1), (2, 2), (5, 2)] {
            let mut list = vec![vk::SparseImageMemoryRequirements::default(); room];
            let mut count = room as u32;
            // SAFETY: there is room for as many as `count` says.
            unsafe { image.list(&mut count, list.as_mut_ptr(), |element| element) };
            assert_eq!(count, written);
            let filled = list.iter().filter(|told| told.image_mip_tail_size > 0);
            assert_eq!(filled.count(), written as usize);
        }
        let mut count = 77;
        let none: *mut vk::SparseImageMemoryRequirements = std::ptr::null_mut();
        // SAFETY: no array asks for the count.
        unsafe { image.list(&mut count, none, |element| element) };
        assert_eq!(count, 2);
    }

    #[test]
    fn the_base_driver_gets_each_tail_by_its_own_name() {
        let bind = |at, size, memory_offset, metadata| Bind {
            resource_offset: at,
            size,
            memory: Some(9),
            memory_offset,
            metadata,
        };
        // Both tails and the metadata, in one bind and in a bind each.
        let expected = vec![
            bind(2 * TILE, TILE, TILE, false),
            bind(5 * TILE, TILE, 2 * TILE, false),
            bind(0, TILE, 3 * TILE, true),
        ];
        let whole = [bind(4 * TILE, 3 * TILE, TILE, false)];
        assert_eq!(image().for_base(&whole), Ok(expected.clone()));
        let each = [
            bind(4 * TILE, TILE, TILE, false),
            bind(5 * TILE, TILE, 2 * TILE, false),
            bind(6 * TILE, TILE, 3 * TILE, true),
        ];
        assert_eq!(image().for_base(&each), Ok(expected));
        let unbind = Bind {
            memory: None,
            ..bind(5 * TILE, TILE, 0, false)
        };
        let base = Bind {
            resource_offset: 5 * TILE,
            ..unbind
        };
        assert_eq!(image().for_base(&[unbind]), Ok(vec![base]));
    }
}
