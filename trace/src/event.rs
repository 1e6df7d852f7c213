//! What is recorded. A Vulkan handle is the `u64` that it is; drivers use the number of a destroyed object again, so
//! an event speaks of the latest object of that number in its device.

use panvk_sparse::layout::Extent;
use vulkan::calls::{BindCall, ResourceId};

/// One event, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since the recording began (`CLOCK_MONOTONIC`). Never less than that of the record before.
    pub time: u64,
    pub event: Event,
}

/// Something that the application did, or that the recording has to say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A VkDevice was created. All that follows names it by `device`.
    DeviceCreated(DeviceCreated),
    DeviceDestroyed {
        device: u64,
    },
    /// A `VkDeviceMemory` was allocated.
    MemoryAllocated {
        device: u64,
        memory: u64,
        /// Bytes.
        size: u64,
        memory_type: u32,
    },
    MemoryFreed {
        device: u64,
        memory: u64,
    },
    /// A `VkBuffer` with `VK_BUFFER_CREATE_SPARSE_BINDING_BIT` was created.
    BufferCreated(BufferCreated),
    /// A `VkImage` with `VK_IMAGE_CREATE_SPARSE_BINDING_BIT` was created.
    ImageCreated(ImageCreated),
    /// A sparse buffer or image was destroyed.
    ResourceDestroyed {
        device: u64,
        resource: ResourceId,
    },
    /// A timeline semaphore was created. Those that nothing is said of are binary.
    TimelineCreated {
        device: u64,
        semaphore: u64,
    },
    /// A semaphore was destroyed: a timeline, or one that a bind named.
    SemaphoreDestroyed {
        device: u64,
        semaphore: u64,
    },
    /// A fence that a bind named was destroyed.
    FenceDestroyed {
        device: u64,
        fence: u64,
    },
    /// `vkQueueBindSparse`, as a backend understands it.
    BindSparse {
        device: u64,
        queue: u64,
        call: BindCall,
        /// What the driver answered: a `VkResult`.
        result: i32,
        /// Nanoseconds that the driver below took.
        duration: u64,
    },
    /// `vkQueuePresentKHR`: the end of a frame.
    Present {
        device: u64,
        queue: u64,
    },
    /// `vkQueueSubmit` or `vkQueueSubmit2`.
    Submit {
        device: u64,
        queue: u64,
        /// `VkSubmitInfo` structs.
        count: u32,
    },
    /// Events are missing here: the recorder had no room for them.
    Lost {
        events: u64,
    },
}

/// Where an event names its device: for shared and for exclusive access alike.
macro_rules! device_of {
    ($event:expr) => {
        match $event {
            Event::DeviceCreated(DeviceCreated { device, .. })
            | Event::DeviceDestroyed { device }
            | Event::MemoryAllocated { device, .. }
            | Event::MemoryFreed { device, .. }
            | Event::BufferCreated(BufferCreated { device, .. })
            | Event::ImageCreated(ImageCreated { device, .. })
            | Event::ResourceDestroyed { device, .. }
            | Event::TimelineCreated { device, .. }
            | Event::SemaphoreDestroyed { device, .. }
            | Event::FenceDestroyed { device, .. }
            | Event::BindSparse { device, .. }
            | Event::Present { device, .. }
            | Event::Submit { device, .. } => Some(device),
            Event::Lost { .. } => None,
        }
    };
}

impl Event {
    /// The VkDevice that it is of; `None` for [`Event::Lost`].
    pub fn device(&self) -> Option<u64> {
        device_of!(self).copied()
    }

    /// As [`Event::device`], to be changed.
    pub fn device_mut(&mut self) -> Option<&mut u64> {
        device_of!(self)
    }
}

/// The VkDevice, and the driver below the recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceCreated {
    pub device: u64,
    /// `VkPhysicalDeviceProperties::deviceName`.
    pub name: String,
    /// `VkPhysicalDeviceDriverProperties::driverName` and `driverInfo`; empty where the driver has none.
    pub driver_name: String,
    pub driver_info: String,
    /// As Vulkan packs them.
    pub api_version: u32,
    pub driver_version: u32,
    pub vendor_id: u32,
    pub device_id: u32,
    /// Whether the application asked for the feature `sparseBinding`.
    pub sparse_binding: bool,
}

/// `VkMemoryRequirements`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryRequirements {
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub alignment: u64,
    pub memory_type_bits: u32,
}

/// `VkSparseImageMemoryRequirements`, field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseMemoryRequirements {
    pub aspect_mask: u32,
    pub granularity: Extent,
    pub flags: u32,
    pub mip_tail_first_lod: u32,
    pub mip_tail_size: u64,
    pub mip_tail_offset: u64,
    pub mip_tail_stride: u64,
}

/// A sparse buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferCreated {
    pub device: u64,
    pub buffer: u64,
    /// `VkBufferCreateInfo`.
    pub flags: u32,
    pub size: u64,
    pub usage: u32,
    pub requirements: MemoryRequirements,
}

/// A sparse image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCreated {
    pub device: u64,
    pub image: u64,
    /// `VkImageCreateInfo`.
    pub flags: u32,
    pub image_type: i32,
    pub format: i32,
    pub extent: Extent,
    pub mip_levels: u32,
    pub array_layers: u32,
    pub samples: u32,
    pub tiling: i32,
    pub usage: u32,
    pub requirements: MemoryRequirements,
    /// Empty where the image was created without `VK_IMAGE_CREATE_SPARSE_RESIDENCY_BIT`.
    pub sparse_requirements: Vec<SparseMemoryRequirements>,
}
