//! What events are made of, field by field in the order of the file: from here come both the encoder and the decoder.
//!
//! Behind each field is its form: the method of [`Encoder`] and [`Decoder`] that writes or reads it.

use super::decode::Decoder;
use super::encode::Encoder;
use super::state::Class;
use super::wire::Decoded;
use super::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, SparseMemoryRequirements,
};

macro_rules! structs {
    ($($ty:ident by $method:ident { $($field:ident: $form:ident),+ $(,)? })+) => {
        impl Encoder<'_> {
            $(pub fn $method(&mut self, of: &$ty) {
                $(self.$form(&of.$field);)+
            })+
        }

        impl Decoder<'_, '_> {
            $(pub fn $method(&mut self) -> Decoded<$ty> {
                Ok($ty { $($field: self.$form()?),+ })
            })+
        }
    };
}

structs! {
    DeviceCreated by device_created {
        device: device, name: string, driver_name: string, driver_info: string, api_version: number_32,
        driver_version: number_32, vendor_id: number_32, device_id: number_32, sparse_binding: flag,
    }
    MemoryRequirements by requirements { size: bytes, alignment: bytes, memory_type_bits: number_32 }
    BufferCreated by buffer_created {
        device: device, buffer: buffer, flags: number_32, size: bytes, usage: number_32,
        requirements: requirements,
    }
    ImageCreated by image_created {
        device: device, image: image, flags: number_32, image_type: signed_32, format: signed_32,
        extent: extent, mip_levels: number_32, array_layers: number_32, samples: number_32,
        tiling: signed_32, usage: number_32, requirements: requirements,
        sparse_requirements: all_sparse_requirements,
    }
    SparseMemoryRequirements by sparse_requirements {
        aspect_mask: number_32, granularity: extent, flags: number_32, mip_tail_first_lod: number_32,
        mip_tail_size: bytes, mip_tail_offset: bytes, mip_tail_stride: bytes,
    }
}

macro_rules! events {
    ($($kind:literal: $name:ident { $($field:tt: $form:ident),+ })+) => {
        impl Event {
            /// What stands for it in the file.
            pub(crate) fn kind(&self) -> u64 {
                match self {
                    $(Event::$name { .. } => $kind,)+
                }
            }
        }

        impl Encoder<'_> {
            pub fn event(&mut self, event: &Event) {
                match event {
                    $(Event::$name { $($field: $form),+ } => { $(self.$form($form);)+ })+
                }
            }
        }

        impl Decoder<'_, '_> {
            /// `None`: a kind that this version does not know.
            pub fn event(&mut self, kind: u64) -> Decoded<Option<Event>> {
                Ok(Some(match kind {
                    $($kind => Event::$name { $($field: self.$form()?),+ },)+
                    _ => return Ok(None),
                }))
            }
        }
    };
}

events! {
    1: DeviceCreated { 0: device_created }
    2: DeviceDestroyed { device: device }
    3: MemoryAllocated { device: device, memory: memory, size: bytes, memory_type: number_32 }
    4: MemoryFreed { device: device, memory: memory }
    5: BufferCreated { 0: buffer_created }
    6: ImageCreated { 0: image_created }
    7: ResourceDestroyed { device: device, resource: resource }
    8: TimelineCreated { device: device, semaphore: semaphore }
    9: SemaphoreDestroyed { device: device, semaphore: semaphore }
    10: FenceDestroyed { device: device, fence: fence }
    11: BindSparse { device: device, queue: queue, result: signed_32, duration: number, call: call }
    12: Present { device: device, queue: queue }
    13: Submit { device: device, queue: queue, count: number_32 }
    14: Lost { events: number }
}

/// The forms that are handles of a class.
macro_rules! handles {
    ($($method:ident $class:ident),+) => {
        impl Encoder<'_> {
            $(pub fn $method(&mut self, handle: &u64) {
                self.handle(Class::$class, *handle);
            })+
        }

        impl Decoder<'_, '_> {
            $(pub fn $method(&mut self) -> Decoded<u64> {
                self.handle(Class::$class)
            })+
        }
    };
}

handles! {
    device Device, queue Queue, memory Memory, buffer Buffer, image Image, semaphore Semaphore, fence Fence
}
