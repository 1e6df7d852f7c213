//! Who owns memory and addresses: the trait that the ICD talks to, and its implementations.
//!
//! The ICD knows Vulkan structs and the base driver's functions; a backend knows address ranges, buffer
//! objects and the kernel. Between them stand plain numbers: a Vulkan handle is the `u64` that it is.

#![forbid(unsafe_code)]

mod error;
pub mod hosted;
pub mod stats;

pub use error::BackendError;
pub use stats::Stats;

use std::fmt;

use crate::layout::{Image, Region};
use crate::units::{SZ_2M, SZ_64K};

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

/// Bytes of a memory that unbound ranges are bound to on the base driver: enough for any granularity that drivers have.
pub const DUMMY_BYTES: u64 = SZ_2M;

/// After how many bytes of a resource the memory of its unbound ranges comes again. As few as can be bound, so that hardly
/// a lost bind goes unnoticed: what is written to one unbound tile is what any other one reads.
pub fn dummy_period(granularity: u64) -> u64 {
    granularity.clamp(SZ_64K, DUMMY_BYTES)
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

/// One call of `vkQueueBindSparse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindCall {
    pub infos: Vec<BindInfo>,
    /// The `VkFence` that the call signals.
    pub fence: Option<u64>,
}

/// What one batch asks of the base driver: the infos `first..=last` of the call as one `VkBindSparseInfo`,
/// with the first one's waits, the last one's signals, and these binds in place of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBatch {
    pub first: usize,
    pub last: usize,
    pub binds: Vec<(ResourceId, Vec<Bind>)>,
    /// By `VkImage`.
    pub image_binds: Vec<(u64, Vec<ImageBind>)>,
}

/// Passes batches on to the queue of the base driver, or says why it refused them; then none of them was taken.
pub type BaseQueue<'a> = &'a mut dyn FnMut(&[BaseBatch]) -> Result<(), ash::vk::Result>;

/// What a VkDevice has in a backend. All methods may be called from any thread.
pub trait Backend: Send + Sync {
    /// A `VkDeviceMemory` of `size` bytes was allocated.
    ///
    /// # Errors
    /// The kernel has no buffer object for it.
    fn add_memory(&self, memory: u64, size: u64) -> Result<(), BackendError>;

    /// A `VkDeviceMemory` is freed. Where it is bound it stays bound until something else is.
    fn remove_memory(&self, memory: u64);

    /// A sparse resource was created. It takes `size` bytes of address space, can be bound in pieces of
    /// `granularity` bytes (both of `VkMemoryRequirements`), and starts unbound.
    ///
    /// `dummy`: a `VkDeviceMemory` of [`DUMMY_BYTES`] that the base driver shall have unbound ranges of it bound to;
    /// `None` for nothing. That happens with the next [`Backend::start`] or [`Backend::bind`].
    ///
    /// # Errors
    /// No address space or no memory for page tables: then nothing of it stays.
    fn add_resource(
        &self,
        id: ResourceId,
        size: u64,
        granularity: u64,
        dummy: Option<u64>,
    ) -> Result<(), BackendError>;

    /// A partially resident `VkImage` was created: one that is bound tile by tile, and starts unbound.
    ///
    /// # Errors
    /// As of [`Backend::add_resource`]; also where `layout` contradicts itself.
    fn add_image(&self, image: u64, layout: &Image, dummy: Option<u64>)
    -> Result<(), BackendError>;

    /// A sparse resource is destroyed; its binds go with it.
    fn remove_resource(&self, id: ResourceId);

    /// A semaphore was created. Those that are not known are taken for binary ones.
    fn add_timeline(&self, semaphore: u64);

    /// A semaphore is destroyed.
    fn remove_semaphore(&self, semaphore: u64);

    /// A fence is destroyed.
    fn remove_fence(&self, fence: u64);

    /// Has the base driver bind the unbound ranges of new resources to their dummies: one batch, which stands for an
    /// info that is the caller's own. Calls it only where there are new resources with a dummy.
    ///
    /// # Errors
    /// The base driver's, or the VM is lost. New resources stay new then.
    fn start(&self, base: BaseQueue<'_>) -> Result<(), BackendError>;

    /// Carries out one `vkQueueBindSparse`.
    ///
    /// # Errors
    /// [`BackendError::Invalid`] where a bind of the call can't be carried out: nothing of the call has
    /// happened then. The other errors are the kernel's or the base driver's.
    fn bind(&self, call: &BindCall, base: BaseQueue<'_>) -> Result<(), BackendError>;

    /// The counters, from the creation of the device up to now.
    fn stats(&self) -> Stats;
}
