//! What a kernel was asked to do.

use crate::lower::OpCounts;
use crate::uapi::{self, ioctl_nr};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts of one open device, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls by ioctl number (the low byte of the request), failed and repeated ones included.
    pub ioctls: BTreeMap<u8, u64>,
    /// VM_BIND calls, failed and repeated ones included.
    pub vm_bind_ioctls: u64,
    /// Operations that binds consisted of. A bind that was retried or resumed counts its operations once.
    pub vm_bind_ops: u64,
    /// Of these, maps of an application's memory.
    pub map_ops: u64,
    /// Of these, maps of the dummy.
    pub null_ops: u64,
    pub unmap_ops: u64,
    /// Of these, SYNC_ONLY operations.
    pub sync_ops: u64,
    /// Bytes that the kernel copied in for VM_BIND: the argument, the operations and their sync ops, every time.
    pub bytes_to_kernel: u64,
}

impl Counters {
    /// Calls of the ioctl whose request number is `code`, such as [`uapi::IOCTL_BO_CREATE`].
    pub fn ioctl(&self, code: u32) -> u64 {
        self.ioctls.get(&ioctl_nr(code)).copied().unwrap_or(0)
    }

    /// What was counted between `earlier` and this.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let ioctls = (self.ioctls.iter())
            .map(|(nr, count)| (*nr, count - earlier.ioctls.get(nr).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Counters {
            ioctls,
            vm_bind_ioctls: self.vm_bind_ioctls - earlier.vm_bind_ioctls,
            vm_bind_ops: self.vm_bind_ops - earlier.vm_bind_ops,
            map_ops: self.map_ops - earlier.map_ops,
            null_ops: self.null_ops - earlier.null_ops,
            unmap_ops: self.unmap_ops - earlier.unmap_ops,
            sync_ops: self.sync_ops - earlier.sync_ops,
            bytes_to_kernel: self.bytes_to_kernel - earlier.bytes_to_kernel,
        }
    }

    /// Adds what another device counted.
    pub fn add(&mut self, other: &Counters) {
        for (nr, count) in &other.ioctls {
            *self.ioctls.entry(*nr).or_default() += count;
        }
        self.vm_bind_ioctls += other.vm_bind_ioctls;
        self.vm_bind_ops += other.vm_bind_ops;
        self.map_ops += other.map_ops;
        self.null_ops += other.null_ops;
        self.unmap_ops += other.unmap_ops;
        self.sync_ops += other.sync_ops;
        self.bytes_to_kernel += other.bytes_to_kernel;
    }
}

/// What a number of an ioctl is called, such as `VM_BIND`; hexadecimal where it is not one of ours.
pub fn ioctl_name(nr: u8) -> String {
    match uapi::ioctls().find(|ioctl| ioctl_nr(ioctl.code) == nr) {
        Some(ioctl) => ioctl.name.to_string(),
        None => format!("{nr:#x}"),
    }
}

/// The counts of one open device, to be read at any time: also when the device and all its objects are closed, and
/// what closing them took is counted.
#[derive(Clone, Debug)]
pub struct Tally(pub(super) Arc<AtomicCounters>);

impl Tally {
    /// What the kernel was asked to do so far.
    pub fn counters(&self) -> Counters {
        self.0.snapshot()
    }

    /// Nanoseconds spent in calls, by ioctl number, those that failed included: in what opened the device, and in all since the
    /// first [`Device::tally`](super::Device::tally).
    pub fn nanoseconds(&self) -> BTreeMap<u8, u64> {
        self.0.nanoseconds()
    }
}

/// [`Counters`] that several threads count in. Each number is right by itself; a snapshot is not one moment for all.
#[derive(Debug)]
pub(super) struct AtomicCounters {
    ioctls: [AtomicU64; 256],
    nanoseconds: [AtomicU64; 256],
    /// Whether calls are timed. Looking at the clock twice costs a short call a few percent.
    timed: AtomicBool,
    vm_bind_ops: AtomicU64,
    map_ops: AtomicU64,
    null_ops: AtomicU64,
    unmap_ops: AtomicU64,
    sync_ops: AtomicU64,
    bytes_to_kernel: AtomicU64,
}

impl AtomicCounters {
    pub fn new() -> Self {
        AtomicCounters {
            ioctls: std::array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: std::array::from_fn(|_| AtomicU64::new(0)),
            timed: AtomicBool::new(true),
            vm_bind_ops: AtomicU64::new(0),
            map_ops: AtomicU64::new(0),
            null_ops: AtomicU64::new(0),
            unmap_ops: AtomicU64::new(0),
            sync_ops: AtomicU64::new(0),
            bytes_to_kernel: AtomicU64::new(0),
        }
    }

    /// One call, whatever becomes of it.
    pub fn count_ioctl(&self, code: u32) {
        self.ioctls[usize::from(ioctl_nr(code))].fetch_add(1, Ordering::Relaxed);
    }

    /// From now on calls are timed, or not.
    pub fn set_timed(&self, timed: bool) {
        self.timed.store(timed, Ordering::Relaxed);
    }

    /// When a call begins that is to be timed.
    pub fn begin(&self) -> Option<Instant> {
        self.timed.load(Ordering::Relaxed).then(Instant::now)
    }

    /// How long one call took, however it ended.
    pub fn count_time(&self, code: u32, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds[usize::from(ioctl_nr(code))].fetch_add(took, Ordering::Relaxed);
    }

    /// The operations of one bind, however many calls it takes.
    pub fn count_ops(&self, ops: u64, kinds: &OpCounts) {
        for (counter, count) in [
            (&self.vm_bind_ops, ops),
            (&self.map_ops, kinds.map),
            (&self.null_ops, kinds.null),
            (&self.unmap_ops, kinds.unmap),
            (&self.sync_ops, kinds.sync),
        ] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Bytes of one VM_BIND call.
    pub fn count_bytes(&self, bytes: u64) {
        self.bytes_to_kernel.fetch_add(bytes, Ordering::Relaxed);
    }

    fn nanoseconds(&self) -> BTreeMap<u8, u64> {
        (0..=u8::MAX)
            .filter(|nr| self.ioctls[usize::from(*nr)].load(Ordering::Relaxed) > 0)
            .map(|nr| {
                (
                    nr,
                    self.nanoseconds[usize::from(nr)].load(Ordering::Relaxed),
                )
            })
            .collect()
    }

    pub fn snapshot(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ioctls: BTreeMap<u8, u64> = (0..=u8::MAX)
            .map(|nr| (nr, get(&self.ioctls[usize::from(nr)])))
            .filter(|(_, count)| *count > 0)
            .collect();
        Counters {
            vm_bind_ioctls: ioctls
                .get(&ioctl_nr(uapi::IOCTL_VM_BIND))
                .copied()
                .unwrap_or(0),
            ioctls,
            vm_bind_ops: get(&self.vm_bind_ops),
            map_ops: get(&self.map_ops),
            null_ops: get(&self.null_ops),
            unmap_ops: get(&self.unmap_ops),
            sync_ops: get(&self.sync_ops),
            bytes_to_kernel: get(&self.bytes_to_kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_what_was_counted_and_the_difference_what_was_counted_since() {
        let counters = AtomicCounters::new();
        counters.count_ioctl(uapi::IOCTL_VM_BIND);
        counters.count_ioctl(uapi::IOCTL_VM_BIND);
        counters.count_ioctl(uapi::IOCTL_GEM_CLOSE);
        counters.count_ops(
            3,
            &OpCounts {
                map: 1,
                null: 2,
                ..OpCounts::default()
            },
        );
        let earlier = counters.snapshot();
        let expected = Counters {
            ioctls: [(uapi::IOCTL_VM_BIND, 2), (uapi::IOCTL_GEM_CLOSE, 1)]
                .map(|(code, count)| (ioctl_nr(code), count))
                .into(),
            vm_bind_ioctls: 2,
            vm_bind_ops: 3,
            map_ops: 1,
            null_ops: 2,
            ..Counters::default()
        };
        assert_eq!(earlier, expected);
        counters.count_ioctl(uapi::IOCTL_VM_BIND);
        counters.count_bytes(72);
        let since = counters.snapshot().since(&earlier);
        assert_eq!(
            (
                since.vm_bind_ioctls,
                since.vm_bind_ops,
                since.bytes_to_kernel
            ),
            (1, 0, 72)
        );
        assert_eq!(since.ioctl(uapi::IOCTL_VM_BIND), 1);
        assert_eq!(since.ioctl(uapi::IOCTL_GEM_CLOSE), 0);

        let mut sum = earlier.clone();
        sum.add(&since);
        assert_eq!(sum, counters.snapshot());
    }

    #[test]
    fn the_time_of_calls_adds_up_by_ioctl() {
        let tally = Tally(Arc::new(AtomicCounters::new()));
        for nanoseconds in [3, 4] {
            tally.0.count_ioctl(uapi::IOCTL_VM_BIND);
            tally
                .0
                .count_time(uapi::IOCTL_VM_BIND, Duration::from_nanos(nanoseconds));
        }
        assert_eq!(
            tally.nanoseconds(),
            BTreeMap::from([(ioctl_nr(uapi::IOCTL_VM_BIND), 7)])
        );
    }
}
