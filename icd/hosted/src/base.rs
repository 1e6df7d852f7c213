//! What the base driver is asked to do.

use panvk_sparse::units::{SZ_2M, SZ_64K};
use vulkan::calls::{Bind, ImageBind, ResourceId};

/// Bytes of a memory that unbound ranges are bound to on the base driver: enough for any granularity that drivers have.
pub const DUMMY_BYTES: u64 = SZ_2M;

/// After how many bytes of a resource the memory of its unbound ranges comes again. As few as can be bound, so that hardly
/// a lost bind goes unnoticed: what is written to one unbound tile is what any other one reads.
pub fn dummy_period(granularity: u64) -> u64 {
    granularity.clamp(SZ_64K, DUMMY_BYTES)
}

/// What one batch asks of the base driver: the infos `first..=last` of the call as one `VkBindSparseInfo`,
/// with the first one's waits, the last one's signals, and these binds in place of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseBatch {
    pub first: usize,
    pub last: usize,
    pub binds: Vec<(ResourceId, Vec<Bind>)>,
    /// By `VkImage`.
    pub image_binds: Vec<(u64, Vec<ImageBind>)>,
}

/// Passes batches on to the queue of the base driver, or says why it refused them; then none of them was taken.
pub type BaseQueue<'a> = &'a mut dyn FnMut(&[BaseBatch]) -> Result<(), ash::vk::Result>;
