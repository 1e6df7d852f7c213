//! Events as JSON.
//!
//! Handles are strings, because they may be larger than what a JSON number keeps; all else is as in the recording. Nothing is
//! gathered, so a call with a million binds takes no more memory than it has.

use std::fmt;

use panvk_sparse::layout::Extent;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use trace::{Event, MemoryRequirements, Record, SparseMemoryRequirements};
use vulkan::calls::{Bind, BindInfo, ImageBind, ResourceId, Semaphore};

/// A Vulkan handle, as `0x1f90`.
#[derive(Clone, Copy)]
pub struct Handle(pub u64);

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value by its JSON form here.
struct Json<'a, T>(&'a T);

/// A list of them.
struct List<'a, T>(&'a [T]);

impl<'a, T> Serialize for List<'a, T>
where
    Json<'a, T>: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Json))
    }
}

/// Adds entries to a map: fields of a struct by their names, or what is given for a name.
macro_rules! entries {
    (@ $of:ident $name:ident) => { &$of.$name };
    (@ $of:ident $name:ident $value:expr) => { &$value };
    ($map:ident, $of:ident, $($name:ident $(: $value:expr)?),+ $(,)?) => {{
        $($map.serialize_entry(stringify!($name), entries!(@ $of $name $($value)?))?;)+
    }};
}

/// A record, as one object.
pub struct Line<'a>(pub &'a Record);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time_ns", &self.0.time)?;
        map.serialize_entry("event", name(&self.0.event))?;
        if let Some(device) = self.0.event.device() {
            map.serialize_entry("device", &Handle(device))?;
        }
        fields(&mut map, &self.0.event)?;
        map.end()
    }
}

/// An event's name, in JSON and for people.
pub fn name(event: &Event) -> &'static str {
    match event {
        Event::DeviceCreated(_) => "device_created",
        Event::DeviceDestroyed { .. } => "device_destroyed",
        Event::MemoryAllocated { .. } => "memory_allocated",
        Event::MemoryFreed { .. } => "memory_freed",
        Event::BufferCreated(_) => "buffer_created",
        Event::ImageCreated(_) => "image_created",
        Event::ResourceDestroyed { .. } => "resource_destroyed",
        Event::TimelineCreated { .. } => "timeline_created",
        Event::SemaphoreDestroyed { .. } => "semaphore_destroyed",
        Event::FenceDestroyed { .. } => "fence_destroyed",
        Event::BindSparse { .. } => "bind_sparse",
        Event::Present { .. } => "present",
        Event::Submit { .. } => "submit",
        Event::Lost { .. } => "lost",
    }
}

fn fields<M: SerializeMap>(map: &mut M, event: &Event) -> Result<(), M::Error> {
    match event {
        Event::DeviceCreated(of) => entries!(
            map,
            of,
            name,
            driver_name,
            driver_info,
            api_version,
            driver_version,
            vendor_id,
            device_id,
            sparse_binding,
        ),
        Event::DeviceDestroyed { .. } => {}
        Event::MemoryAllocated {
            memory,
            size,
            memory_type,
            ..
        } => {
            entries!(map, event, memory: Handle(*memory), size: size, memory_type: memory_type)
        }
        Event::MemoryFreed { memory, .. } => entries!(map, event, memory: Handle(*memory)),
        Event::BufferCreated(of) => entries!(
            map, of, buffer: Handle(of.buffer), flags, size, usage,
            requirements: Json(&of.requirements),
        ),
        Event::ImageCreated(of) => entries!(
            map, of, image: Handle(of.image), flags, image_type, format, extent: extent(of.extent),
            mip_levels, array_layers, samples, tiling, usage, requirements: Json(&of.requirements),
            sparse_requirements: List(&of.sparse_requirements),
        ),
        Event::ResourceDestroyed { resource, .. } => {
            let (name, handle) = resource_entry(*resource);
            map.serialize_entry(name, &handle)?;
        }
        Event::TimelineCreated { semaphore, .. } | Event::SemaphoreDestroyed { semaphore, .. } => {
            entries!(map, event, semaphore: Handle(*semaphore))
        }
        Event::FenceDestroyed { fence, .. } => entries!(map, event, fence: Handle(*fence)),
        Event::BindSparse {
            queue,
            call,
            result,
            duration,
            ..
        } => entries!(
            map, event, queue: Handle(*queue), fence: call.fence.map(Handle), result: result,
            duration_ns: duration, infos: List(&call.infos),
        ),
        Event::Present { queue, .. } => entries!(map, event, queue: Handle(*queue)),
        Event::Submit { queue, count, .. } => {
            entries!(map, event, queue: Handle(*queue), count: count)
        }
        Event::Lost { events } => entries!(map, event, events: events),
    }
    Ok(())
}

fn resource_entry(resource: ResourceId) -> (&'static str, Handle) {
    match resource {
        ResourceId::Buffer(buffer) => ("buffer", Handle(buffer)),
        ResourceId::Image(image) => ("image", Handle(image)),
    }
}

fn extent(extent: Extent) -> [u32; 3] {
    [extent.width, extent.height, extent.depth]
}

/// Serializes structs as objects with these entries.
macro_rules! objects {
    ($($ty:ty: $of:ident { $($entries:tt)+ })+) => { $(
        impl Serialize for Json<'_, $ty> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $of = self.0;
                let mut map = serializer.serialize_map(None)?;
                entries!(map, $of, $($entries)+);
                map.end()
            }
        }
    )+ };
}

objects! {
    MemoryRequirements: of { size, alignment, memory_type_bits }
    SparseMemoryRequirements: of {
        aspect_mask, granularity: extent(of.granularity), flags, mip_tail_first_lod,
        mip_tail_size, mip_tail_offset, mip_tail_stride,
    }
    BindInfo: of {
        joins_previous, waits: List(&of.waits), signals: List(&of.signals),
        binds: List(&of.binds), image_binds: List(&of.image_binds),
    }
    Semaphore: of { semaphore: Handle(of.handle), value }
    (u64, Vec<ImageBind>): of { image: Handle(of.0), binds: List(&of.1) }
    Bind: of {
        resource_offset, size, memory: of.memory.map(Handle), memory_offset, metadata,
    }
    ImageBind: of {
        aspect: of.region.aspect, level: of.region.level, layer: of.region.layer,
        offset: [of.region.offset.x, of.region.offset.y, of.region.offset.z],
        extent: extent(of.region.extent), memory: of.memory.map(Handle), memory_offset,
    }
}

impl Serialize for Json<'_, (ResourceId, Vec<Bind>)> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (resource, binds) = self.0;
        let (name, handle) = resource_entry(*resource);
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(name, &handle)?;
        map.serialize_entry("binds", &List(binds))?;
        map.end()
    }
}
