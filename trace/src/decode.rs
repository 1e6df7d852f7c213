//! Bytes become events.

use super::spare::Spare;
use super::state::{Class, Context, Handles};
use super::wire::{Cursor, Decoded, fault};
use super::{MAX_ITEMS, Record, SparseMemoryRequirements, bind, image_bind, info, memory};
use panvk_sparse::layout::{Extent, Offset, Region};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

/// Decodes the record at `cursor`, or `None` where it is of a kind that this version does not know.
///
/// `newer`: the file was written by a later minor version, whose records may go on where ours end.
/// `spare`: where the call of a bind gets its lists from.
pub fn record(
    cursor: &mut Cursor<'_>,
    state: &mut Context,
    spare: &mut Spare,
    newer: bool,
) -> Decoded<Option<Record>> {
    let start = cursor.at();
    let len = cursor.count()?;
    let end = cursor.at() + len;
    let mut decoder = Decoder {
        cursor: cursor.part(len),
        state,
        spare,
        items: MAX_ITEMS,
    };
    let kind = decoder.cursor.number()?;
    let at = decoder.cursor.at();
    let elapsed = decoder.cursor.number()?;
    let Some(time) = decoder.state.time.checked_add(elapsed) else {
        return fault(
            at,
            format!("{elapsed} ns since the record before"),
            "a time below 2^64 ns",
        );
    };
    decoder.state.time = time;
    let record = match decoder.event(kind)? {
        Some(event) => Some(Record { time, event }),
        None if newer => None,
        None => return fault(start, format!("an event of kind {kind}"), "1 to 14"),
    };
    if record.is_some() && !newer && decoder.cursor.remaining() > 0 {
        return fault(
            decoder.cursor.at(),
            format!("{} bytes more in the record", decoder.cursor.remaining()),
            "its end",
        );
    }
    cursor.skip_to(end);
    Ok(record)
}

pub struct Decoder<'a, 's> {
    cursor: Cursor<'a>,
    state: &'s mut Context,
    spare: &'s mut Spare,
    /// Infos, semaphores, resources and binds that the record may still have.
    items: u64,
}

impl Decoder<'_, '_> {
    pub fn handle(&mut self, class: Class) -> Decoded<u64> {
        let handles = self.state.handles(class);
        match self.cursor.byte()? {
            Handles::SAME => {}
            Handles::NEW => {
                let difference = self.cursor.signed()?;
                handles.last = handles.last.wrapping_add_signed(difference);
                handles.slots[Handles::slot(handles.last)] = handles.last;
            }
            slot => handles.last = handles.slots[usize::from(slot - Handles::FIRST_SLOT)],
        }
        Ok(handles.last)
    }

    pub fn extent(&mut self) -> Decoded<Extent> {
        Ok(Extent {
            width: self.cursor.number_32()?,
            height: self.cursor.number_32()?,
            depth: self.cursor.number_32()?,
        })
    }

    pub fn number(&mut self) -> Decoded<u64> {
        self.cursor.number()
    }

    pub fn number_32(&mut self) -> Decoded<u32> {
        self.cursor.number_32()
    }

    pub fn signed_32(&mut self) -> Decoded<i32> {
        self.cursor.signed_32()
    }

    pub fn bytes(&mut self) -> Decoded<u64> {
        self.cursor.scaled(0)
    }

    pub fn string(&mut self) -> Decoded<String> {
        self.cursor.string()
    }

    pub fn flag(&mut self) -> Decoded<bool> {
        self.cursor.flag()
    }

    pub fn resource(&mut self) -> Decoded<ResourceId> {
        let image = self.flag()?;
        self.resource_id(image)
    }

    fn resource_id(&mut self, image: bool) -> Decoded<ResourceId> {
        Ok(match image {
            false => ResourceId::Buffer(self.buffer()?),
            true => ResourceId::Image(self.image()?),
        })
    }

    pub fn all_sparse_requirements(&mut self) -> Decoded<Vec<SparseMemoryRequirements>> {
        let mut all = Vec::new();
        let count = self.items()?;
        self.fill(&mut all, count, Self::sparse_requirements)?;
        Ok(all)
    }

    /// A count of items, checked against what there can be.
    fn items(&mut self) -> Decoded<usize> {
        let start = self.cursor.at();
        let count = self.cursor.count()?;
        self.take(start, count)
    }

    /// As [`Self::items`], with a flag in bit 0.
    fn flagged_items(&mut self) -> Decoded<(usize, bool)> {
        let start = self.cursor.at();
        let (count, flag) = self.cursor.flagged_count()?;
        Ok((self.take(start, count)?, flag))
    }

    fn take(&mut self, start: usize, count: usize) -> Decoded<usize> {
        match self.items.checked_sub(count as u64) {
            Some(left) => {
                self.items = left;
                Ok(count)
            }
            None => fault(
                start,
                format!("{count} items"),
                format!(
                    "at most {MAX_ITEMS} in a call, of which {} are left",
                    self.items
                ),
            ),
        }
    }

    /// Reads `count` items in place of what `list` holds.
    fn fill<T>(
        &mut self,
        list: &mut Vec<T>,
        count: usize,
        mut item: impl FnMut(&mut Self) -> Decoded<T>,
    ) -> Decoded<()> {
        list.clear();
        list.reserve_exact(count);
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(())
    }

    /// As [`Self::fill`], for items that have lists, which are filled again.
    fn refill<T>(
        &mut self,
        list: &mut Vec<T>,
        count: usize,
        empty: impl FnMut() -> T,
        mut item: impl FnMut(&mut Self, &mut T) -> Decoded<()>,
    ) -> Decoded<()> {
        list.resize_with(count, empty);
        list.iter_mut().try_for_each(|old| item(self, old))
    }

    pub fn call(&mut self) -> Decoded<BindCall> {
        let (infos, fence) = self.flagged_items()?;
        let mut call = self.spare.take();
        call.fence = match fence {
            true => Some(self.handle(Class::Fence)?),
            false => None,
        };
        self.refill(&mut call.infos, infos, BindInfo::default, Self::info)?;
        Ok(call)
    }

    fn info(&mut self, of: &mut BindInfo) -> Decoded<()> {
        let start = self.cursor.at();
        let flags = self.cursor.byte()?;
        if flags & !info::ALL != 0 {
            return fault(
                start,
                format!("the flags {flags:#04x} of a VkBindSparseInfo"),
                format!("none but {:#04x}", info::ALL),
            );
        }
        of.joins_previous = flags & info::JOINS_PREVIOUS != 0;
        self.semaphores(flags & info::WAITS != 0, &mut of.waits)?;
        self.semaphores(flags & info::SIGNALS != 0, &mut of.signals)?;
        let resources = match flags & info::BINDS {
            0 => 0,
            _ => self.items()?,
        };
        let empty = || (ResourceId::Buffer(0), Vec::new());
        self.refill(&mut of.binds, resources, empty, Self::resource_binds)?;
        let images = match flags & info::IMAGE_BINDS {
            0 => 0,
            _ => self.items()?,
        };
        let empty = || (0, Vec::new());
        self.refill(&mut of.image_binds, images, empty, Self::image_binds)
    }

    fn semaphores(&mut self, any: bool, list: &mut Vec<Semaphore>) -> Decoded<()> {
        let count = if any { self.items()? } else { 0 };
        self.fill(list, count, |decoder| {
            let handle = decoder.handle(Class::Semaphore)?;
            let difference = decoder.cursor.signed()?;
            let value = &mut decoder.state.semaphore_value;
            *value = value.wrapping_add_signed(difference);
            Ok(Semaphore {
                handle,
                value: *value,
            })
        })
    }

    fn resource_binds(&mut self, (id, list): &mut (ResourceId, Vec<Bind>)) -> Decoded<()> {
        let (binds, image) = self.flagged_items()?;
        *id = self.resource_id(image)?;
        self.fill(list, binds, Self::bind)
    }

    fn image_binds(&mut self, (id, list): &mut (u64, Vec<ImageBind>)) -> Decoded<()> {
        let binds = self.items()?;
        *id = self.image()?;
        self.fill(list, binds, Self::image_bind)
    }

    /// The memory that `flags` speak of, and the offset in it that is expected.
    #[inline]
    fn memory_of(&mut self, start: usize, flags: u8, expected: u64) -> Decoded<(Option<u64>, u64)> {
        match flags & memory::MASK {
            memory::NONE => Ok((None, 0)),
            memory::SAME => Ok((Some(self.state.handles(Class::Memory).last), expected)),
            memory::OTHER => Ok((Some(self.handle(Class::Memory)?), expected)),
            _ => fault(start, format!("the flags {flags:#04x} of a bind"), "no 3"),
        }
    }

    #[inline]
    fn bind(&mut self) -> Decoded<Bind> {
        let start = self.cursor.at();
        let flags = self.cursor.byte()?;
        if flags & !bind::ALL != 0 {
            return fault(
                start,
                format!("the flags {flags:#04x} of a bind"),
                format!("none but {:#04x}", bind::ALL),
            );
        }
        let last = self.state.bind;
        let (memory, expected) = self.memory_of(start, flags, last.memory_end)?;
        let resource_offset = match flags & bind::OFFSET {
            0 => last.end,
            _ => self.cursor.scaled(last.end)?,
        };
        let size = match flags & bind::SIZE {
            0 => last.size,
            _ => self.cursor.scaled(0)?,
        };
        let memory_offset = match flags & bind::MEMORY_OFFSET {
            0 => expected,
            _ => self.cursor.scaled(expected)?,
        };
        let state = &mut self.state.bind;
        state.end = resource_offset.wrapping_add(size);
        state.size = size;
        if memory.is_some() {
            state.memory_end = memory_offset.wrapping_add(size);
        }
        Ok(Bind {
            resource_offset,
            size,
            memory,
            memory_offset,
            metadata: flags & bind::METADATA != 0,
        })
    }

    #[inline]
    fn image_bind(&mut self) -> Decoded<ImageBind> {
        let start = self.cursor.at();
        let flags = self.cursor.byte()?;
        let last = self.state.image;
        let next = last.next();
        let (memory, expected) = self.memory_of(start, flags, last.next_memory_offset())?;
        let (aspect, level, layer) = match flags & image_bind::SUBRESOURCE {
            0 => (last.region.aspect, last.region.level, last.region.layer),
            _ => (
                self.cursor.number_32()?,
                self.cursor.number_32()?,
                self.cursor.number_32()?,
            ),
        };
        let extent = match flags & image_bind::EXTENT {
            0 => last.region.extent,
            _ => self.extent()?,
        };
        let offset = Offset {
            x: match flags & image_bind::X {
                0 => next.x,
                _ => self.texels(next.x, extent.width)?,
            },
            y: match flags & image_bind::Y {
                0 => next.y,
                _ => self.texels(next.y, extent.height)?,
            },
            z: match flags & image_bind::Z {
                0 => next.z,
                _ => self.texels(next.z, extent.depth)?,
            },
        };
        let memory_offset = match flags & image_bind::MEMORY_OFFSET {
            0 => expected,
            _ => self.cursor.scaled(expected)?,
        };
        let region = Region {
            aspect,
            level,
            layer,
            offset,
            extent,
        };
        self.state.image.region = region;
        if memory.is_some() {
            self.state.image.memory_at(memory_offset);
        }
        Ok(ImageBind {
            region,
            memory,
            memory_offset,
        })
    }

    /// A texel, as the encoder says how far it is from where it is expected.
    #[inline]
    fn texels(&mut self, expected: i32, extent: u32) -> Decoded<i32> {
        let start = self.cursor.at();
        let number = self.cursor.number()?;
        let Ok(zigzag) = u32::try_from(number >> 1) else {
            return fault(start, number.to_string(), "a number of 33 bits");
        };
        let difference = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        let unit = match number & 1 {
            0 => extent as i32,
            _ => 1,
        };
        Ok(expected.wrapping_add(difference.wrapping_mul(unit)))
    }
}
