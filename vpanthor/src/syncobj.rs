//! Syncobjs: boxes for fences that user space can name (`drm_syncobj`).
//!
//! A *binary* syncobj holds one fence or none; signalling it from the CPU puts a signalled fence in, resetting takes the
//! fence out. A *timeline* is a chain of fences with rising numbers, its *points*: a point is signalled when its fence
//! and those of all points before it are. It is the same object; adding a point to a binary syncobj makes it a timeline, and
//! so does putting in what was taken out of one ([`Payload`](super::payload::Payload)).
//!
//! Work waits for fences, not for syncobjs: what a syncobj holds when the work is submitted is what counts, later resets
//! do not matter, and a syncobj without a fence cannot be waited for by work at all (a CPU wait may ask to wait until
//! there is one).

use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fence::FenceSet;
use super::payload::Payload;
use super::shared::{Alive, lock};

/// A synchronisation object, shared by the handles and file descriptors that name it.
#[derive(Debug)]
pub(super) struct Syncobj {
    /// `None`: no fence.
    payload: Mutex<Option<Payload>>,
    _alive: Alive,
}

impl Syncobj {
    pub fn new(signalled: bool, alive: Alive) -> Arc<Self> {
        Arc::new(Self {
            payload: Mutex::new(signalled.then(Payload::signalled)),
            _alive: alive,
        })
    }

    /// What has to signal until `point` is reached (0: all that the syncobj holds).
    ///
    /// # Errors
    /// `EINVAL` where there is no fence for that point.
    pub fn find(&self, point: u64) -> Result<Payload, Errno> {
        lock(&self.payload)
            .as_ref()
            .ok_or(Errno::INVAL)?
            .find(point)
    }

    /// [`find`](Self::find), as fences to wait for.
    ///
    /// # Errors
    /// As there.
    pub fn find_fence(&self, point: u64) -> Result<FenceSet, Errno> {
        self.find(point).map(|found| found.pending())
    }

    /// Takes the fence out.
    pub fn reset(&self) {
        *lock(&self.payload) = None;
    }

    /// Replaces what the syncobj holds.
    pub fn replace(&self, payload: Payload) {
        *lock(&self.payload) = Some(payload);
    }

    /// Adds a point to the timeline, or begins one on top of what the syncobj holds.
    pub fn add_point(&self, point: u64, fences: FenceSet) {
        let mut payload = lock(&self.payload);
        *payload = Some(Payload::with_point(payload.take(), point, fences));
    }

    /// Puts in what was taken from elsewhere: as a point, or (0) instead of what is there.
    pub fn put(&self, point: u64, payload: Payload) {
        match point {
            0 => self.replace(payload),
            _ => self.add_point(point, payload.pending()),
        }
    }

    /// The last point that has a fence (`submitted`) or that is signalled. 0 for what is no timeline.
    pub fn query(&self, submitted: bool) -> u64 {
        let payload = lock(&self.payload);
        payload.as_ref().map_or(0, |held| held.point(submitted))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fence::Fence;
    use super::*;

    fn timeline(points: &[u64]) -> (Syncobj, Vec<Arc<Fence>>) {
        let syncobj = Syncobj {
            payload: Mutex::default(),
            _alive: Alive::default(),
        };
        let fences = points
            .iter()
            .map(|point| {
                let fence = Arc::new(Fence::default());
                syncobj.put(*point, Payload::Fences(FenceSet::of(fence.clone())));
                fence
            })
            .collect();
        (syncobj, fences)
    }

    fn met(syncobj: &Syncobj, point: u64) -> bool {
        syncobj.find_fence(point).unwrap().is_signalled()
    }

    #[test]
    fn a_point_between_two_is_reached_with_the_next_one() {
        let (syncobj, fences) = timeline(&[10, 20]);
        assert!(!met(&syncobj, 5));
        fences[0].signal();
        assert!(met(&syncobj, 5));
        assert!(met(&syncobj, 10));
        assert!(!met(&syncobj, 11));
        fences[1].signal();
        assert!(met(&syncobj, 11));
        assert_eq!(syncobj.find_fence(21).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn a_point_waits_for_all_points_before_it() {
        let (syncobj, fences) = timeline(&[1, 2]);
        fences[1].signal();
        assert!(!met(&syncobj, 2));
        assert_eq!(syncobj.query(false), 0);
        assert_eq!(syncobj.query(true), 2);
        fences[0].signal();
        assert!(met(&syncobj, 2));
        assert_eq!(syncobj.query(false), 2);
    }

    #[test]
    fn a_point_out_of_order_keeps_the_highest_number_and_waits_for_all() {
        let (syncobj, fences) = timeline(&[7, 3]);
        fences[1].signal();
        assert!(!met(&syncobj, 3));
        assert!(!met(&syncobj, 7));
        assert_eq!(syncobj.query(true), 7);
        fences[0].signal();
        assert!(met(&syncobj, 7));
        assert_eq!(syncobj.query(false), 7);
    }

    #[test]
    fn a_binary_fence_under_a_timeline_has_to_signal_first() {
        let (syncobj, fences) = timeline(&[0, 4]);
        fences[1].signal();
        assert!(!met(&syncobj, 4));
        fences[0].signal();
        assert!(met(&syncobj, 4));
    }

    #[test]
    fn signalled_points_are_forgotten() {
        let (syncobj, fences) = timeline(&[1]);
        fences[0].signal();
        let first = syncobj.find(0).unwrap();
        let Payload::Chain(first) = first else {
            panic!("not a timeline");
        };
        syncobj.add_point(2, FenceSet::default());
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
