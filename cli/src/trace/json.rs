//! Events as JSON.
//!
//! Handles are strings, because they may be larger than what a JSON number keeps; all else is as in the recording. Nothing is
//! gathered, so a call with a million binds takes no more memory than it has.

use std::fmt;

use panvk_sparse::layout::Extent;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use trace::{
    BufferCreated, DeviceCreated, Event, ImageCreated, MemoryRequirements, Record,
    SparseMemoryRequirements,
};
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

/// Writes an object of `"name": value` pairs.
macro_rules! object {
    ($serializer:expr, $($name:literal: $value:expr),+ $(,)?) => {{
        let mut map = $serializer.serialize_map(None)?;
        $(map.serialize_entry($name, &$value)?;)+
        map.end()
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
        Event::DeviceCreated(created) => device_created(map, created),
        Event::DeviceDestroyed { .. } => Ok(()),
        Event::MemoryAllocated {
            memory,
            size,
            memory_type,
            ..
        } => {
            map.serialize_entry("memory", &Handle(*memory))?;
            map.serialize_entry("size", size)?;
            map.serialize_entry("memory_type", memory_type)
        }
        Event::MemoryFreed { memory, .. } => map.serialize_entry("memory", &Handle(*memory)),
        Event::BufferCreated(created) => buffer_created(map, created),
        Event::ImageCreated(created) => image_created(map, created),
        Event::ResourceDestroyed { resource, .. } => {
            let (name, handle) = resource_entry(*resource);
            map.serialize_entry(name, &handle)
        }
        Event::TimelineCreated { semaphore, .. } | Event::SemaphoreDestroyed { semaphore, .. } => {
            map.serialize_entry("semaphore", &Handle(*semaphore))
        }
        Event::FenceDestroyed { fence, .. } => map.serialize_entry("fence", &Handle(*fence)),
        Event::BindSparse {
            queue,
            call,
            result,
            duration,
            ..
        } => {
            map.serialize_entry("queue", &Handle(*queue))?;
            map.serialize_entry("fence", &call.fence.map(Handle))?;
            map.serialize_entry("result", result)?;
            map.serialize_entry("duration_ns", duration)?;
            map.serialize_entry("infos", &List(&call.infos))
        }
        Event::Present { queue, .. } => map.serialize_entry("queue", &Handle(*queue)),
        Event::Submit { queue, count, .. } => {
            map.serialize_entry("queue", &Handle(*queue))?;
            map.serialize_entry("count", count)
        }
        Event::Lost { events } => map.serialize_entry("events", events),
    }
}

fn resource_entry(resource: ResourceId) -> (&'static str, Handle) {
    match resource {
        ResourceId::Buffer(buffer) => ("buffer", Handle(buffer)),
        ResourceId::Image(image) => ("image", Handle(image)),
    }
}

fn device_created<M: SerializeMap>(map: &mut M, created: &DeviceCreated) -> Result<(), M::Error> {
    map.serialize_entry("name", &created.name)?;
    map.serialize_entry("driver_name", &created.driver_name)?;
    map.serialize_entry("driver_info", &created.driver_info)?;
    map.serialize_entry("api_version", &created.api_version)?;
    map.serialize_entry("driver_version", &created.driver_version)?;
    map.serialize_entry("vendor_id", &created.vendor_id)?;
    map.serialize_entry("device_id", &created.device_id)?;
    map.serialize_entry("sparse_binding", &created.sparse_binding)
}

fn buffer_created<M: SerializeMap>(map: &mut M, created: &BufferCreated) -> Result<(), M::Error> {
    map.serialize_entry("buffer", &Handle(created.buffer))?;
    map.serialize_entry("flags", &created.flags)?;
    map.serialize_entry("size", &created.size)?;
    map.serialize_entry("usage", &created.usage)?;
    map.serialize_entry("requirements", &Json(&created.requirements))
}

fn image_created<M: SerializeMap>(map: &mut M, created: &ImageCreated) -> Result<(), M::Error> {
    map.serialize_entry("image", &Handle(created.image))?;
    map.serialize_entry("flags", &created.flags)?;
    map.serialize_entry("image_type", &created.image_type)?;
    map.serialize_entry("format", &created.format)?;
    map.serialize_entry("extent", &extent(created.extent))?;
    map.serialize_entry("mip_levels", &created.mip_levels)?;
    map.serialize_entry("array_layers", &created.array_layers)?;
    map.serialize_entry("samples", &created.samples)?;
    map.serialize_entry("tiling", &created.tiling)?;
    map.serialize_entry("usage", &created.usage)?;
    map.serialize_entry("requirements", &Json(&created.requirements))?;
    map.serialize_entry("sparse_requirements", &List(&created.sparse_requirements))
}

fn extent(extent: Extent) -> [u32; 3] {
    [extent.width, extent.height, extent.depth]
}

impl Serialize for Json<'_, MemoryRequirements> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "size": self.0.size,
            "alignment": self.0.alignment,
            "memory_type_bits": self.0.memory_type_bits,
        )
    }
}

impl Serialize for Json<'_, SparseMemoryRequirements> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "aspect_mask": self.0.aspect_mask,
            "granularity": extent(self.0.granularity),
            "flags": self.0.flags,
            "mip_tail_first_lod": self.0.mip_tail_first_lod,
            "mip_tail_size": self.0.mip_tail_size,
            "mip_tail_offset": self.0.mip_tail_offset,
            "mip_tail_stride": self.0.mip_tail_stride,
        )
    }
}

impl Serialize for Json<'_, BindInfo> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "joins_previous": self.0.joins_previous,
            "waits": List(&self.0.waits),
            "signals": List(&self.0.signals),
            "binds": List(&self.0.binds),
            "image_binds": List(&self.0.image_binds),
        )
    }
}

impl Serialize for Json<'_, Semaphore> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "semaphore": Handle(self.0.handle),
            "value": self.0.value,
        )
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

impl Serialize for Json<'_, (u64, Vec<ImageBind>)> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "image": Handle(self.0.0),
            "binds": List(&self.0.1),
        )
    }
}

impl Serialize for Json<'_, Bind> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object!(
            serializer,
            "resource_offset": self.0.resource_offset,
            "size": self.0.size,
            "memory": self.0.memory.map(Handle),
            "memory_offset": self.0.memory_offset,
            "metadata": self.0.metadata,
        )
    }
}

impl Serialize for Json<'_, ImageBind> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let region = &self.0.region;
        object!(
            serializer,
            "aspect": region.aspect,
            "level": region.level,
            "layer": region.layer,
            "offset": [region.offset.x, region.offset.y, region.offset.z],
            "extent": extent(region.extent),
            "memory": self.0.memory.map(Handle),
            "memory_offset": self.0.memory_offset,
        )
    }
}
