//! Events become bytes.

use super::state::{Class, Context, Handles};
use super::wire::{put, put_scaled, put_signed, put_string};
use super::{Event, SparseMemoryRequirements, bind, image_bind, info, memory};
use panvk_sparse::layout::Extent;
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

/// Appends kind, time and contents of an event.
pub fn record(out: &mut Vec<u8>, state: &mut Context, time: u64, event: &Event) {
    let mut encoder = Encoder { out, state };
    encoder.number(&event.kind());
    encoder.number(&(time - encoder.state.time));
    encoder.state.time = time;
    encoder.event(event);
}

/// Infos, semaphores, resources and binds of a call.
pub fn items(call: &BindCall) -> u64 {
    let info = |info: &BindInfo| {
        let binds: usize = info.binds.iter().map(|(_, binds)| 1 + binds.len()).sum();
        let image_binds: usize = info
            .image_binds
            .iter()
            .map(|(_, binds)| 1 + binds.len())
            .sum();
        (1 + info.waits.len() + info.signals.len() + binds + image_binds) as u64
    };
    call.infos.iter().map(info).sum()
}

fn class_of(resource: ResourceId) -> (Class, u64) {
    match resource {
        ResourceId::Buffer(buffer) => (Class::Buffer, buffer),
        ResourceId::Image(image) => (Class::Image, image),
    }
}

pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    state: &'a mut Context,
}

impl Encoder<'_> {
    fn count(&mut self, len: usize) {
        put(self.out, len as u64);
    }

    pub fn handle(&mut self, class: Class, handle: u64) {
        let handles = self.state.handles(class);
        let last = std::mem::replace(&mut handles.last, handle);
        if handle == last {
            self.out.push(Handles::SAME);
            return;
        }
        let slot = Handles::slot(handle);
        if handles.slots[slot] == handle {
            self.out.push(Handles::FIRST_SLOT + slot as u8);
            return;
        }
        handles.slots[slot] = handle;
        self.out.push(Handles::NEW);
        put_signed(self.out, handle.wrapping_sub(last) as i64);
    }

    pub fn number(&mut self, value: &u64) {
        put(self.out, *value);
    }

    pub fn number_32(&mut self, value: &u32) {
        put(self.out, (*value).into());
    }

    pub fn signed_32(&mut self, value: &i32) {
        put_signed(self.out, (*value).into());
    }

    pub fn bytes(&mut self, value: &u64) {
        put_scaled(self.out, *value, 0);
    }

    pub fn string(&mut self, text: &str) {
        put_string(self.out, text);
    }

    pub fn flag(&mut self, flag: &bool) {
        self.out.push((*flag).into());
    }

    pub fn extent(&mut self, extent: &Extent) {
        for part in [extent.width, extent.height, extent.depth] {
            self.number_32(&part);
        }
    }

    pub fn resource(&mut self, resource: &ResourceId) {
        let (class, handle) = class_of(*resource);
        self.flag(&(class == Class::Image));
        self.handle(class, handle);
    }

    pub fn all_sparse_requirements(&mut self, all: &[SparseMemoryRequirements]) {
        self.count(all.len());
        for requirements in all {
            self.sparse_requirements(requirements);
        }
    }

    pub fn call(&mut self, call: &BindCall) {
        let infos = call.infos.len() as u64;
        self.number(&(infos << 1 | u64::from(call.fence.is_some())));
        if let Some(fence) = call.fence {
            self.handle(Class::Fence, fence);
        }
        for info in &call.infos {
            self.info(info);
        }
    }

    fn info(&mut self, of: &BindInfo) {
        let flag = |set: bool, bit| if set { bit } else { 0 };
        self.out.push(
            flag(of.joins_previous, info::JOINS_PREVIOUS)
                | flag(!of.waits.is_empty(), info::WAITS)
                | flag(!of.signals.is_empty(), info::SIGNALS)
                | flag(!of.binds.is_empty(), info::BINDS)
                | flag(!of.image_binds.is_empty(), info::IMAGE_BINDS),
        );
        for semaphores in [&of.waits, &of.signals] {
            if !semaphores.is_empty() {
                self.semaphores(semaphores);
            }
        }
        if !of.binds.is_empty() {
            self.count(of.binds.len());
            for (resource, binds) in &of.binds {
                let (class, handle) = class_of(*resource);
                self.count(binds.len() << 1 | usize::from(class == Class::Image));
                self.handle(class, handle);
                self.out.reserve(binds.len());
                for bind in binds {
                    self.bind(bind);
                }
            }
        }
        if !of.image_binds.is_empty() {
            self.count(of.image_binds.len());
            for (image, binds) in &of.image_binds {
                self.count(binds.len());
                self.handle(Class::Image, *image);
                self.out.reserve(binds.len());
                for bind in binds {
                    self.image_bind(bind);
                }
            }
        }
    }

    fn semaphores(&mut self, semaphores: &[Semaphore]) {
        self.count(semaphores.len());
        for semaphore in semaphores {
            self.handle(Class::Semaphore, semaphore.handle);
            let last = std::mem::replace(&mut self.state.semaphore_value, semaphore.value);
            put_signed(self.out, semaphore.value.wrapping_sub(last) as i64);
        }
    }

    /// The bits for the memory, and the offset in it that is expected.
    #[inline]
    fn memory_flags(&mut self, memory: Option<u64>, expected: u64) -> (u8, u64) {
        match memory {
            None => (memory::NONE, 0),
            Some(handle) if handle == self.state.handles(Class::Memory).last => {
                (memory::SAME, expected)
            }
            Some(_) => (memory::OTHER, expected),
        }
    }

    #[inline]
    fn bind(&mut self, of: &Bind) {
        let last = self.state.bind;
        let (mut flags, memory_offset) = self.memory_flags(of.memory, last.memory_end);
        if of.resource_offset != last.end {
            flags |= bind::OFFSET;
        }
        if of.size != last.size {
            flags |= bind::SIZE;
        }
        if of.memory_offset != memory_offset {
            flags |= bind::MEMORY_OFFSET;
        }
        if of.metadata {
            flags |= bind::METADATA;
        }
        self.out.push(flags);
        self.other_memory(flags, of.memory);
        if flags & bind::OFFSET != 0 {
            put_scaled(self.out, of.resource_offset, last.end);
        }
        if flags & bind::SIZE != 0 {
            put_scaled(self.out, of.size, 0);
        }
        if flags & bind::MEMORY_OFFSET != 0 {
            put_scaled(self.out, of.memory_offset, memory_offset);
        }
        let state = &mut self.state.bind;
        state.end = of.resource_offset.wrapping_add(of.size);
        state.size = of.size;
        if of.memory.is_some() {
            state.memory_end = of.memory_offset.wrapping_add(of.size);
        }
    }

    #[inline]
    fn image_bind(&mut self, of: &ImageBind) {
        let ImageBind {
            region,
            memory,
            memory_offset,
        } = *of;
        let last = self.state.image;
        let next = last.next();
        let (mut flags, expected) = self.memory_flags(memory, last.next_memory_offset());
        let here = (region.aspect, region.level, region.layer);
        if here != (last.region.aspect, last.region.level, last.region.layer) {
            flags |= image_bind::SUBRESOURCE;
        }
        if region.offset.x != next.x {
            flags |= image_bind::X;
        }
        if region.offset.y != next.y {
            flags |= image_bind::Y;
        }
        if region.offset.z != next.z {
            flags |= image_bind::Z;
        }
        if region.extent != last.region.extent {
            flags |= image_bind::EXTENT;
        }
        if memory_offset != expected {
            flags |= image_bind::MEMORY_OFFSET;
        }
        self.out.push(flags);
        self.other_memory(flags, memory);
        if flags & image_bind::SUBRESOURCE != 0 {
            for number in [region.aspect, region.level, region.layer] {
                self.number_32(&number);
            }
        }
        if flags & image_bind::EXTENT != 0 {
            self.extent(&region.extent);
        }
        if flags & image_bind::X != 0 {
            self.texels(region.offset.x, next.x, region.extent.width);
        }
        if flags & image_bind::Y != 0 {
            self.texels(region.offset.y, next.y, region.extent.height);
        }
        if flags & image_bind::Z != 0 {
            self.texels(region.offset.z, next.z, region.extent.depth);
        }
        if flags & image_bind::MEMORY_OFFSET != 0 {
            put_scaled(self.out, memory_offset, expected);
        }
        self.state.image.region = region;
        if memory.is_some() {
            self.state.image.memory_at(memory_offset);
        }
    }

    #[inline]
    fn other_memory(&mut self, flags: u8, memory: Option<u64>) {
        if let (memory::OTHER, Some(memory)) = (flags & memory::MASK, memory) {
            self.handle(Class::Memory, memory);
        }
    }

    /// How far a texel is from where it is expected: in extents (bit 0 clear) or, where that is not whole, in texels.
    fn texels(&mut self, value: i32, expected: i32, extent: u32) {
        let difference = value.wrapping_sub(expected);
        let (number, unit) = match i32::try_from(extent) {
            Ok(extent) if extent > 0 && difference % extent == 0 => (difference / extent, 0),
            _ => (difference, 1),
        };
        self.number(&(super::wire::zigzag(number.into()) << 1 | unit));
    }
}
