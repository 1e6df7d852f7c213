//! One VM of the base driver.

use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use panvk_sparse::bind::{Request, SparseRange, Target};
use panvk_sparse::drm::{Counters, Device, OpenError};
use panvk_sparse::lower::Strategy;
use panvk_sparse::units::{BoHandle, SZ_4K, Va, VmId};
use panvk_sparse::vm::{Batch, Initial, SparseVm, Totals, VmError};
use rustix::io::Errno;

use crate::op::{Kind, Op};
use crate::parts::Parts;

/// A VM that the base driver has just created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVm {
    /// The base driver's file descriptor.
    pub fd: RawFd,
    pub id: VmId,
    /// Bytes: the addresses below it are the user's.
    pub user_va_range: u64,
}

impl NewVm {
    /// The base driver's open node, by a descriptor of our own.
    ///
    /// # Errors
    /// It can't be duplicated, or is not panthor's.
    pub fn open(&self) -> Result<Device, OpenError> {
        let path = Path::new("the base driver's file");
        // SAFETY: the base driver keeps it open as long as the VM is there.
        let theirs = unsafe { BorrowedFd::borrow_raw(self.fd) };
        let ours = rustix::io::fcntl_dupfd_cloexec(theirs, 3).map_err(|errno| OpenError::Io {
            path: path.to_owned(),
            errno,
        })?;
        Device::adopt(ours, path)
    }
}

/// A VM of the base driver, and what its sparse resources map.
#[derive(Debug)]
pub struct BoardVm {
    new: NewVm,
    /// The buffer objects that stand for what is not bound: the base driver's dummy, and what the driver in front binds
    /// instead of nothing.
    dummies: Vec<BoHandle>,
    state: Mutex<State>,
    may_end_silently: AtomicBool,
    given_up: AtomicBool,
    unmaps: Tally,
    others: Tally,
}

#[derive(Debug)]
struct State {
    vm: SparseVm,
    /// Those of the latest call, kept for the buffer's sake, in the size that the largest call needed.
    requests: Vec<Request>,
    /// What the base driver has asked for sparse binds.
    asked: (u64, u64),
}

/// VM_BINDs and their operations.
#[derive(Debug, Default)]
struct Tally {
    ioctls: AtomicU64,
    ops: AtomicU64,
}

impl Tally {
    fn count(&self, ops: u32) {
        self.ioctls.fetch_add(1, Ordering::Relaxed);
        self.ops.fetch_add(ops.into(), Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.ioctls), get(&self.ops))
    }
}

/// What a VM was asked to do. Pairs are VM_BINDs and their operations.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub totals: Totals,
    /// What this crate asked of the kernel.
    pub kernel: Counters,
    /// What the base driver asked for sparse binds.
    pub asked: (u64, u64),
    /// What unmapped sparse resources, and passed.
    pub unmaps: (u64, u64),
    /// What else passed: ordinary memory.
    pub others: (u64, u64),
}

/// The VMs that are followed.
static FOLLOWED: RwLock<Vec<Arc<BoardVm>>> = RwLock::new(Vec::new());
/// How many there are, at least. At 0, nobody has the lock: a child that is forked then can go on.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether any VM is followed.
pub fn are_followed() -> bool {
    COUNT.load(Ordering::Acquire) > 0
}

fn followed() -> Vec<Arc<BoardVm>> {
    if !are_followed() {
        return Vec::new();
    }
    FOLLOWED
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The VM of that number on the base driver's file, if it is followed.
pub fn find(fd: RawFd, id: VmId) -> Option<Arc<BoardVm>> {
    if !are_followed() {
        return None;
    }
    let all = FOLLOWED.read().unwrap_or_else(PoisonError::into_inner);
    all.iter().find(|vm| vm.is(fd, id)).cloned()
}

/// A buffer object is about to be closed. Files are not told apart: several of the base driver's descriptors may be of one
/// open node. What does not concern a VM costs it an operation at most.
pub fn memory_gone(handle: BoHandle) {
    for vm in followed() {
        vm.state().vm.memory_gone(handle);
    }
}

impl BoardVm {
    /// Follows a VM. `vm` is the base driver's, [adopted](Device::adopt_vm), `dummies` what the base driver maps where
    /// nothing is bound.
    pub fn follow(new: NewVm, vm: SparseVm, dummies: Vec<BoHandle>) -> Arc<BoardVm> {
        let vm = Arc::new(BoardVm {
            new,
            dummies,
            state: Mutex::new(State {
                vm,
                requests: Vec::new(),
                asked: (0, 0),
            }),
            may_end_silently: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            unmaps: Tally::default(),
            others: Tally::default(),
        });
        COUNT.fetch_add(1, Ordering::AcqRel);
        let mut all = FOLLOWED.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&vm));
        vm
    }

    /// The VM is gone.
    pub fn leave(self: &Arc<Self>) {
        let mut all = FOLLOWED.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.retain(|vm| !Arc::ptr_eq(vm, self));
        let left = before - all.len();
        drop(all);
        COUNT.fetch_sub(left, Ordering::AcqRel);
    }

    /// Whether it is the VM of that number on the base driver's file.
    pub fn is(&self, fd: RawFd, id: VmId) -> bool {
        self.new.fd == fd && self.new.id == id
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic left the shadow as it was, or with a hole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How unbound ranges are mapped.
    pub fn strategy(&self) -> Strategy {
        self.state().vm.strategy()
    }

    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            totals: state.vm.totals(),
            kernel: state.vm.kernel_counters(),
            asked: state.asked,
            unmaps: self.unmaps.get(),
            others: self.others.get(),
        }
    }

    /// A submission may end without a signal.
    pub fn let_end_silently(&self) {
        self.may_end_silently.store(true, Ordering::Relaxed);
    }

    /// Whether a submission may have ended without a signal.
    pub fn may_end_silently(&self) -> bool {
        self.may_end_silently.load(Ordering::Relaxed)
    }

    /// The application was told that the device is lost: the base driver hears of it with its next bind.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// The base driver has asked for so many asynchronous VM_BINDs, and operations in them, that are held nowhere.
    pub fn count_asked(&self, asked: (u64, u64)) {
        self.state().count_asked(asked);
    }

    /// What is not bound is not memory, whatever buffer object stands for it. `None`: it is no map that can be carried out.
    pub fn target(&self, op: &Op) -> Option<Wanted> {
        match op.kind {
            Kind::Sparse => Some(Wanted::Null),
            Kind::Memory { bo, .. } if self.dummies.contains(&bo) => Some(Wanted::Null),
            Kind::Memory { .. } => Some(Wanted::Memory),
            _ => None,
        }
    }

    /// A sparse resource was created whose addresses `maps` has, and binds cut it at multiples of `granularity` bytes. Maps
    /// it to the dummy.
    ///
    /// # Errors
    /// The kernel's. Nothing of it stays.
    pub fn add(&self, maps: &[Op], granularity: u64) -> Result<(), VmError> {
        let mut maps: Vec<(Va, u64)> = maps.iter().map(|op| (op.va, op.len)).collect();
        maps.sort_unstable();
        let mut ranges: Vec<(Va, u64)> = Vec::new();
        for (va, len) in maps {
            match ranges.last_mut() {
                Some((first, so_far)) if first.0 + *so_far == va.0 => *so_far += len,
                _ => ranges.push((va, len)),
            }
        }
        let granularity = if granularity.is_power_of_two() {
            granularity.max(SZ_4K)
        } else {
            SZ_4K
        };
        let vm = &mut self.state().vm;
        for (i, &(va, len)) in ranges.iter().enumerate() {
            forget(vm, va, len);
            if let Err(error) =
                vm.add_range(SparseRange::new(va, len, granularity), Initial::Unbound)
            {
                for &(va, _) in &ranges[..i] {
                    vm.remove_range(va)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Carries out asynchronous operations.
    ///
    /// # Errors
    /// The kernel refused. Nothing of it has happened.
    pub fn bind(&self, parts: &Parts) -> Result<(), Errno> {
        let bound = self.state().bind(self, parts);
        bound.map_err(|error| {
            log::error!("vkQueueBindSparse: {error}");
            match error {
                // The base driver would ask again, for what is not held any more.
                VmError::Refused(failure)
                    if !matches!(failure.errno, Errno::INTR | Errno::AGAIN) =>
                {
                    failure.errno
                }
                VmError::BadRange(_) | VmError::BadRequest(_) => Errno::INVAL,
                _ => Errno::IO,
            }
        })
    }

    /// A VM_BIND with these operations passes. To be called before.
    pub fn passes(&self, ops: &[Op], is_async: bool) {
        let vm = &mut self.state().vm;
        let mut unmaps = false;
        for op in ops {
            match op.kind {
                Kind::Unmap if !is_async => unmaps |= forget(vm, op.va, op.len),
                Kind::SyncOnly => {}
                _ => vm.mark_unknown(op.va, op.len),
            }
        }
        let tally = if unmaps { &self.unmaps } else { &self.others };
        tally.count(ops.len() as u32);
    }

    /// A VM_BIND of so many operations passes, and nobody here knows what it does.
    pub fn passes_unread(&self, ops: u32) {
        self.state().vm.mark_unknown(Va(0), u64::MAX);
        self.others.count(ops);
    }
}

/// What an operation wants mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Null,
    Memory,
}

impl State {
    fn count_asked(&mut self, (ioctls, ops): (u64, u64)) {
        self.asked.0 += ioctls;
        self.asked.1 += ops;
    }

    fn bind(&mut self, of: &BoardVm, parts: &Parts) -> Result<(), VmError> {
        self.count_asked(parts.asked);
        let State { vm, requests, .. } = self;
        requests.clear();
        if let Some(part) = parts.only() {
            for op in part.ops {
                cut(vm, of, op, requests)?;
            }
            return vm.bind_for_good(&[Batch {
                waits: part.waits,
                signals: part.signals,
                requests,
                ..Batch::default()
            }]);
        }
        let mut ends = Vec::with_capacity(parts.len());
        for part in parts.iter() {
            for op in part.ops {
                cut(vm, of, op, requests)?;
            }
            ends.push(requests.len());
        }
        let mut first = 0;
        let batches: Vec<Batch<'_>> = (parts.iter().zip(&ends))
            .map(|(part, &end)| Batch {
                waits: part.waits,
                signals: part.signals,
                requests: &requests[std::mem::replace(&mut first, end)..end],
                ..Batch::default()
            })
            .collect();
        vm.bind_for_good(&batches)
    }
}

/// Turns an operation into requests, one for each range that it touches. A resource that is not resident is seen when it is
/// bound first, and piece by piece.
fn cut(
    vm: &mut SparseVm,
    of: &BoardVm,
    op: &Op,
    requests: &mut Vec<Request>,
) -> Result<(), VmError> {
    let whole = match (of.target(op), op.kind) {
        (
            Some(Wanted::Memory),
            Kind::Memory {
                bo, offset, flags, ..
            },
        ) => Target::Memory {
            bo: vm.memory(bo),
            offset,
            flags,
        },
        _ => Target::Null,
    };
    let mut at = op.va;
    while at < op.end() {
        let known = vm.ranges().from(at).next().copied();
        let end = match known.filter(|known| known.va < op.end()) {
            Some(known) if known.va <= at => Va(known.va.0 + known.len).min(op.end()),
            gap => {
                let end = gap.map_or(op.end(), |next| next.va);
                vm.add_range(SparseRange::new(at, end.0 - at.0, SZ_4K), Initial::Unknown)?;
                end
            }
        };
        requests.push(Request {
            va: at,
            len: end.0 - at.0,
            target: whole.advanced(at.0 - op.va.0),
        });
        at = end;
    }
    Ok(())
}

/// These addresses belong to no sparse resource any more. Whether they did.
fn forget(vm: &mut SparseVm, va: Va, len: u64) -> bool {
    let end = Va(va.0.saturating_add(len));
    let inside = vm.ranges().from(va).take_while(|range| range.va < end);
    let inside: Vec<Va> = inside.map(|range| range.va).collect();
    for &va in &inside {
        // It is there.
        let _ = vm.forget_range(va);
    }
    !inside.is_empty()
}
