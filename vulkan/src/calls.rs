//! The arguments of `vkQueueBindSparse` as plain numbers: a Vulkan handle is the `u64` that it is.
//!
//! Whoever reads the structs of an application once can keep, record, plan and replay what they say.

use std::fmt;

use panvk_sparse::layout::Region;

/// A sparse resource, by its Vulkan handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceId {
    Buffer(u64),
    Image(u64),
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffer(handle) => write!(f, "VkBuffer {handle:#x}"),
            Self::Image(handle) => write!(f, "VkImage {handle:#x}"),
        }
    }
}

/// One `VkSparseMemoryBind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Bytes from the start of the resource.
    pub resource_offset: u64,
    /// Bytes.
    pub size: u64,
    /// A `VkDeviceMemory`; `None` unbinds.
    pub memory: Option<u64>,
    /// Bytes from the start of the memory. Without meaning where `memory` is `None`.
    pub memory_offset: u64,
    /// `VK_SPARSE_MEMORY_BIND_METADATA_BIT`: the bind is of an image's metadata, not of its texels.
    pub metadata: bool,
}

/// One `VkSparseImageMemoryBind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageBind {
    /// The texels.
    pub region: Region,
    /// A `VkDeviceMemory`; `None` unbinds.
    pub memory: Option<u64>,
    /// Bytes from the start of the memory. Without meaning where `memory` is `None`.
    pub memory_offset: u64,
}

/// A semaphore that a batch waits for or signals, with the value of a timeline (of no meaning for a binary one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semaphore {
    pub handle: u64,
    pub value: u64,
}

/// One `VkBindSparseInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindInfo {
    pub waits: Vec<Semaphore>,
    pub signals: Vec<Semaphore>,
    /// Binds by resource, in the order of the struct.
    pub binds: Vec<(ResourceId, Vec<Bind>)>,
    /// Binds of partially resident images, by `VkImage`, in the order of the struct.
    pub image_binds: Vec<(u64, Vec<ImageBind>)>,
    /// Whether nothing but a semaphore keeps this info's binds apart from those of the info before it:
    /// the same device group indices, no struct in `pNext` that is not known.
    pub joins_previous: bool,
}

impl BindInfo {
    /// The resources that it binds, as often as its struct names them.
    pub fn resources(&self) -> impl Iterator<Item = ResourceId> + '_ {
        let images = self.image_binds.iter();
        let images = images.map(|&(image, _)| ResourceId::Image(image));
        self.binds.iter().map(|&(id, _)| id).chain(images)
    }
}

/// One call of `vkQueueBindSparse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindCall {
    pub infos: Vec<BindInfo>,
    /// The `VkFence` that the call signals.
    pub fence: Option<u64>,
}
