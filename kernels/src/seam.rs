//! The seam: what differs from kernel to kernel.

use panvk_sparse::bind::{Run, Target};
use panvk_sparse::uapi::{
    Plain, SYNC_OP_HANDLE_TYPE_MASK, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SyncOp,
};
use panvk_sparse::units::BoHandle;

use crate::ioctl::Ioctl;

/// What one kernel's ioctl looks like.
pub(crate) trait Uapi {
    /// One operation, as it lies in an array. On amdgpu it is the whole ioctl.
    type Op: Plain;
    const LIMITS: Limits;

    /// # Errors
    /// What cannot be said.
    fn op(names: &Names, change: &Change) -> Result<Self::Op, &'static str>;

    /// No more operations, waits and signals than [`Uapi::LIMITS`] allow.
    fn ioctl(names: &Names, ops: &[Self::Op], waits: &[SyncOp], signals: &[SyncOp]) -> Ioctl;
}

/// What an operation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new sparse range, unbound.
    Create(Run),
    Bind(Run),
    /// A sparse range goes, and all that is mapped in it.
    Destroy(Run),
}

/// The kernel's objects that all ioctls name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// xe, asahi: the VM's id. The others have one VM for each open file.
    pub vm: u32,
    /// msm: a submitqueue with VM_BIND. xe: an exec queue for binds, or 0 for the VM's own.
    pub queue: u32,
    /// xe: the caching of memory, a number of the platform.
    pub pat_index: u16,
    /// asahi: a buffer object of at least one page, whose first page unbound ranges are mapped to.
    pub scratch: BoHandle,
}

impl Change {
    pub fn run(&self) -> &Run {
        match self {
            Change::Create(run) | Change::Bind(run) | Change::Destroy(run) => run,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Change::Destroy(_) => Kind::Unmap,
            Change::Create(_) => Kind::Null,
            Change::Bind(run) if run.target == Target::Null => Kind::Null,
            Change::Bind(_) => Kind::Map,
        }
    }
}

/// What an operation is counted as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Map,
    Null,
    Unmap,
}

/// What a kernel takes, as its header and its driver say it. Sizes and addresses in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses and lengths are multiples of this.
    pub page: u64,
    /// Where memory is mapped, addresses, lengths and offsets are multiples of this.
    pub memory_page: u64,
    /// The addresses that an application can have: from the first to before the second.
    pub addresses: (u64, u64),
    /// Operations in one ioctl.
    pub max_ops: usize,
    /// Syncobjs that one ioctl waits for.
    pub max_waits: usize,
    /// Syncobjs that one ioctl signals.
    pub max_signals: usize,
    /// Whether an ioctl can wait for a point of a timeline.
    pub timeline_waits: bool,
    /// Whether an ioctl without an operation can wait and signal.
    pub empty_ioctl: bool,
    /// Whether a sparse range is an object of the kernel, whose borders no mapping of memory may cross.
    pub regions: bool,
}

/// Whether it is a point of a timeline.
pub(crate) fn is_timeline(sync: &SyncOp) -> bool {
    sync.flags & SYNC_OP_HANDLE_TYPE_MASK == SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ
}
