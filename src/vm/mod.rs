//! [`SparseVm`]: one VM, and the way of every bind into it.
//!
//! A VM is an address space of the GPU. A `SparseVm` knows which of its addresses belong to sparse resources, what they
//! map now (the *shadow*), and how the kernel maps an unbound range. It is given requests, finds out what they change, and
//! asks the kernel for just that: one VM_BIND. All who bind go this way.
//!
//! ```
//! use panvk_sparse::bind::{Request, SparseRange, Target};
//! use panvk_sparse::units::Va;
//! use panvk_sparse::vm::{Batch, Initial, SparseVm};
//! # use vpanthor::{Flavour, Kernel};
//! # let device = vpanthor::device(Kernel::new(Flavour::V1_9).open(Default::default()))?;
//! let null = panvk_sparse::drm::probe(&device)?.null_map(&device, None)?;
//! let mut vm = SparseVm::new(device.create_vm(0)?, null);
//!
//! // A sparse buffer of 100,000,000 bytes, rounded up to pages, starts unbound.
//! let buffer = SparseRange::new(Va(4 << 30), 100_003_840, 4096);
//! vm.add_range(buffer, Initial::Unbound)?;
//! assert_eq!(vm.kernel_counters().null_ops, 1);
//!
//! // 64 KiB of it get memory.
//! let bo = device.create_bo(1 << 20, 0, None)?;
//! let target = Target::memory(vm.memory(bo.handle()), 0);
//! let requests = [Request { va: buffer.va, len: 65536, target }];
//! vm.bind(&[Batch { requests: &requests, ..Batch::default() }])?;
//!
//! // The same again changes nothing, so the kernel is not asked.
//! let again = vm.bind(&[Batch { requests: &requests, ..Batch::default() }])?;
//! assert_eq!((again.elided, vm.kernel_counters().map_ops), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod carry_out;
mod error;

use carry_out::Latest;
pub use carry_out::{Batch, Bound, Changes};
pub use error::VmError;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{AddAssign, SubAssign};

use rustix::io::Errno;

use crate::bind::{Planner, Ranges, Run, Shadow, SparseRange, Target};
use crate::drm::{BindFailure, BindMode, Bo, Counters, NullBacking, Vm, VmState};
use crate::lower::{Lowering, Ops, PlannedBatch, Strategy};
use crate::units::{BoHandle, BoRef, SZ_4K, Va};

/// One VM with the state of its sparse resources.
///
/// # Invariants
/// What the shadow says of an address, the kernel maps there, or will once what was queued has run. Where that is not
/// certain, the shadow has a hole.
#[derive(Debug)]
pub struct SparseVm {
    vm: Vm,
    null: NullBacking,
    ranges: Ranges,
    shadow: Shadow,
    /// How often memory of each handle was freed. A handle that is not here: never.
    freed: HashMap<BoHandle, u32, BuildHasherDefault<HandleHasher>>,
    planner: Planner,
    lowering: Lowering,
    latest: Latest,
    /// What the kernel was asked before there was this VM: opening, probing, the dummy.
    before: Counters,
    totals: Totals,
    /// Why the VM is lost, once it is.
    lost: Option<String>,
}

/// Hashes a handle by one multiplication, as each request is looked up: the kernel chooses handles, not an adversary.
#[derive(Debug, Default)]
struct HandleHasher(u64);

impl Hasher for HandleHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, handle: u32) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(handle)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What was asked of a [`SparseVm`], over all its calls that succeeded and were not taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls of [`SparseVm::bind`] and [`SparseVm::bind_now`].
    pub calls: u64,
    /// Binds in them, see [`Batch::ends`].
    pub binds: u64,
    /// Binds that changed nothing.
    pub elided: u64,
    /// Ranges that got a new mapping.
    pub runs: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.calls += other.calls;
        self.binds += other.binds;
        self.elided += other.elided;
        self.runs += other.runs;
    }
}

impl SubAssign for Totals {
    fn sub_assign(&mut self, other: Totals) {
        self.calls -= other.calls;
        self.binds -= other.binds;
        self.elided -= other.elided;
        self.runs -= other.runs;
    }
}

/// What a new range maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial {
    /// Nothing yet: all of it gets mapped to the dummy at once.
    Unbound,
    /// The dummy already: the caller has seen to it.
    AlreadyUnbound,
    /// Nobody knows. The first bind that names a byte of it maps that byte.
    Unknown,
}

impl SparseVm {
    /// Binds into `vm`, which may be [adopted](crate::drm::Device::adopt_vm), and maps unbound ranges as `null` says.
    pub fn new(vm: Vm, null: NullBacking) -> SparseVm {
        let region_lock = vm.device().has_region_lock();
        SparseVm {
            before: vm.device().counters(),
            vm,
            null,
            ranges: Ranges::default(),
            shadow: Shadow::new(),
            freed: HashMap::default(),
            planner: Planner::new(),
            lowering: Lowering::new().with_region_lock(region_lock),
            latest: Latest::default(),
            totals: Totals::default(),
            lost: None,
        }
    }

    /// A sparse resource takes these addresses.
    ///
    /// # Errors
    /// [`VmError::BadRange`]: an address or a length that is no multiple of 4 KiB, a length of 0, a granularity that is no
    /// power of two, addresses outside the VM or of another range. Or the kernel's, where it has to map the range.
    /// Nothing of the range stays then, except for [`VmError::StillMapped`].
    pub fn add_range(&mut self, range: SparseRange, initial: Initial) -> Result<(), VmError> {
        self.alive()?;
        self.check_range(&range)?;
        let runs = [Run {
            va: range.va,
            len: range.len,
            target: Target::Null,
        }];
        self.ranges.add(range).map_err(|other| {
            VmError::BadRange(format!(
                "{} bytes at {}: they overlap the range of {} bytes at {}",
                range.len, range.va, other.len, other.va
            ))
        })?;
        if initial == Initial::Unbound {
            if let Err(failure) = self.map(&runs, BindMode::Sync) {
                let error = self.refused(failure);
                self.ranges.remove(range.va);
                if self.lost.is_none() {
                    self.unmap(&range)?;
                }
                return Err(error);
            }
        }
        if initial != Initial::Unknown {
            self.shadow.apply(&runs);
        }
        Ok(())
    }

    /// A sparse resource is destroyed, and no work uses it any more. Its addresses are left without a mapping.
    ///
    /// # Errors
    /// [`VmError::BadRange`]: no range starts at `va`. [`VmError::StillMapped`]: the kernel refused.
    pub fn remove_range(&mut self, va: Va) -> Result<(), VmError> {
        let range = self.forget_range(va)?;
        match self.lost {
            // The kernel takes nothing any more, and the whole VM goes soon.
            Some(_) => Ok(()),
            None => self.unmap(&range),
        }
    }

    /// As [`SparseVm::remove_range`], for a caller that unmaps the addresses.
    ///
    /// # Errors
    /// [`VmError::BadRange`]: no range starts at `va`.
    pub fn forget_range(&mut self, va: Va) -> Result<SparseRange, VmError> {
        let range = self
            .ranges
            .remove(va)
            .ok_or_else(|| VmError::BadRange(format!("no sparse range starts at {va}")))?;
        self.shadow.forget(va, range.len);
        Ok(range)
    }

    /// What is mapped in these bytes is not known any more: the next bind that names one of them maps it, whatever it
    /// names.
    pub fn mark_unknown(&mut self, va: Va, len: u64) {
        self.shadow.forget(va, len);
    }

    /// The memory of this handle, as requests name it: until it is freed.
    pub fn memory(&self, handle: BoHandle) -> BoRef {
        let serial = self.freed.get(&handle).copied().unwrap_or(0);
        BoRef { handle, serial }
    }

    /// The memory of this handle is freed. What is mapped to it stays so; the handle may come again for other memory.
    ///
    /// To be called before the handle is closed.
    pub fn memory_gone(&mut self, handle: BoHandle) {
        *self.freed.entry(handle).or_default() += 1;
    }

    /// What the VM maps, as far as it is known.
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// The sparse resources.
    pub fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.null.strategy()
    }

    /// The buffer object that unbound ranges are mapped to. `None`: the kernel has its own.
    pub fn dummy(&self) -> Option<&Bo> {
        self.null.dummy()
    }

    /// The VM itself.
    pub fn vm(&self) -> &Vm {
        &self.vm
    }

    /// What was asked of this VM.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What the kernel was asked through the open file of this VM since this was made.
    pub fn kernel_counters(&self) -> Counters {
        self.vm.device().counters().since(&self.before)
    }

    /// # Errors
    /// [`VmError::Lost`]: the VM can't be used any more.
    pub fn alive(&self) -> Result<(), VmError> {
        match &self.lost {
            None => Ok(()),
            Some(why) => Err(VmError::Lost(why.clone())),
        }
    }

    /// Asks the kernel whether the VM can still be used: an operation that fails when the kernel runs it leaves no other
    /// trace.
    ///
    /// # Errors
    /// [`VmError::Lost`], now and ever after.
    pub fn check_usable(&mut self) -> Result<(), VmError> {
        let why = match self.vm.state() {
            Ok(VmState::Unusable) => {
                "the VM is unusable: an operation failed when the kernel ran it".to_owned()
            }
            Err(error) if error.errno == Errno::NODEV => error.to_string(),
            _ => return self.alive(),
        };
        Err(self.lose(why))
    }

    fn lose(&mut self, why: String) -> VmError {
        VmError::Lost(self.lost.get_or_insert(why).clone())
    }

    fn check_range(&self, range: &SparseRange) -> Result<(), VmError> {
        let SparseRange {
            va,
            len,
            reserved,
            granularity,
        } = *range;
        let bad = |why: String| Err(VmError::BadRange(format!("{len} bytes at {va}: {why}")));
        if (va.0 | len | reserved) % SZ_4K != 0 || len == 0 {
            return bad("expected whole pages of 4096 bytes, at least one".into());
        }
        if !granularity.is_power_of_two() || granularity < SZ_4K {
            return bad(format!(
                "granularity {granularity}, expected a power of two from 4096"
            ));
        }
        if reserved < len {
            return bad(format!(
                "{reserved} bytes are reserved, expected at least as many"
            ));
        }
        let end = va.0.checked_add(reserved);
        let user_range = self.vm.user_va_range();
        if end.is_none_or(|end| end > user_range) {
            return bad(format!(
                "expected a range inside the VM's {user_range:#x} bytes"
            ));
        }
        Ok(())
    }

    /// Maps `runs`, whatever is mapped there.
    fn map(&mut self, runs: &[Run], mode: BindMode) -> Result<(), BindFailure> {
        let null = self.null.map();
        let mut call = self.lowering.begin(&null, &self.ranges);
        // With nothing to look at in the shadow, runs are not joined across what lies between them.
        let batch = PlannedBatch {
            runs,
            ..PlannedBatch::default()
        };
        call.batch(&batch, &Shadow::new());
        for ops in call.finish() {
            self.vm.bind(ops, mode)?;
        }
        Ok(())
    }

    /// Unmapped as a whole: cutting what panthor happens to map with a large entry can break its VM.
    fn unmap(&mut self, range: &SparseRange) -> Result<(), VmError> {
        let mut ops = Ops::unmap(range.va, range.reserved);
        let unmapped = self.vm.bind(&mut ops, BindMode::Sync);
        unmapped.map_err(|failure| match self.refused(failure) {
            VmError::Refused(failure) => VmError::StillMapped(failure),
            other => other,
        })
    }

    /// What a refusal of the kernel means.
    fn refused(&mut self, failure: BindFailure) -> VmError {
        match failure.errno {
            Errno::NODEV => self.lose(failure.to_string()),
            Errno::INVAL if matches!(self.vm.state(), Ok(VmState::Unusable)) => {
                self.lose(format!("the VM is unusable: {failure}"))
            }
            _ => VmError::Refused(failure),
        }
    }
}
