//! Syncobjs: boxes for fences that user space can name (`drm_syncobj`).
//!
//! A *binary* syncobj holds one fence or none; signalling it from the CPU puts a signalled fence in, resetting takes the
//! fence out. A *timeline* is a chain of fences with rising numbers, its *points*: a point is signalled when its fence
//! and those of all points before it are. It is the same object; adding a point to a binary syncobj makes it a timeline.
//!
//! Work waits for fences, not for syncobjs: what a syncobj holds when the work is submitted is what counts, later resets
//! do not matter, and a syncobj without a fence cannot be waited for by work at all (a CPU wait may ask to wait until
//! there is one).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fence::FenceSet;
use super::shared::{Alive, lock};

/// A synchronisation object, shared by the handles and file descriptors that name it.
#[derive(Debug)]
pub(super) struct Syncobj {
    payload: Mutex<Payload>,
    _alive: Alive,
}

#[derive(Debug, Default)]
enum Payload {
    /// No fence.
    #[default]
    Empty,
    Binary(FenceSet),
    Timeline(Timeline),
}

/// A chain of fences (`dma_fence_chain`).
///
/// # Invariants
/// Never empty; `seqno` never falls from node to node.
#[derive(Debug)]
struct Timeline {
    nodes: VecDeque<Node>,
}

#[derive(Debug)]
struct Node {
    /// The points that this node's fence stands for are those above `after`, up to `seqno`.
    after: u64,
    seqno: u64,
    fences: FenceSet,
}

impl Timeline {
    fn seqno(&self) -> u64 {
        self.nodes.back().map_or(0, |node| node.seqno)
    }

    /// Adds a point. One that does not lie above the last begins a new chain: it stands for all points up to the highest
    /// so far, while the fences before it still have to signal first.
    fn add(&mut self, point: u64, fences: FenceSet) {
        let last = self.seqno();
        self.nodes.push_back(Node {
            after: if point > last { last } else { 0 },
            seqno: point.max(last),
            fences,
        });
        self.collect_garbage();
    }

    /// Forgets signalled nodes in front, as walking the kernel's chain does.
    fn collect_garbage(&mut self) {
        while self.nodes.len() > 1 && self.nodes[0].fences.is_signalled() {
            self.nodes.pop_front();
        }
    }

    /// The fences to wait for until `point` is reached; none where it has been (`dma_fence_chain_find_seqno`).
    fn find(&self, point: u64) -> Result<FenceSet, Errno> {
        let mut end = self.nodes.len();
        if point != 0 {
            if point > self.seqno() {
                return Err(Errno::INVAL);
            }
            end = self
                .nodes
                .iter()
                .rposition(|node| node.after < point)
                .map_or(0, |i| i + 1);
        }
        let mut fences = FenceSet::default();
        for node in self.nodes.iter().take(end) {
            fences.extend(&node.fences);
        }
        Ok(fences)
    }

    /// The last point that is signalled.
    fn reached(&mut self) -> u64 {
        self.collect_garbage();
        match self.nodes.front() {
            // After the collection only a last node can be signalled in front.
            Some(front) if front.fences.is_signalled() => front.seqno,
            Some(front) => front.after,
            None => 0,
        }
    }
}

impl Syncobj {
    pub fn new(signalled: bool, alive: Alive) -> Arc<Self> {
        let payload = if signalled {
            Payload::Binary(FenceSet::default())
        } else {
            Payload::Empty
        };
        Arc::new(Self {
            payload: Mutex::new(payload),
            _alive: alive,
        })
    }

    /// What has to signal until `point` is reached (0: all that the syncobj holds).
    ///
    /// # Errors
    /// `EINVAL` where there is no fence for that point.
    pub fn find_fence(&self, point: u64) -> Result<FenceSet, Errno> {
        match &*lock(&self.payload) {
            Payload::Empty => Err(Errno::INVAL),
            Payload::Binary(fences) if point == 0 => Ok(fences.clone()),
            Payload::Binary(_) => Err(Errno::INVAL),
            Payload::Timeline(timeline) => timeline.find(point),
        }
    }

    /// Takes the fence out.
    pub fn reset(&self) {
        *lock(&self.payload) = Payload::Empty;
    }

    /// Replaces what the syncobj holds.
    pub fn replace(&self, fences: FenceSet) {
        *lock(&self.payload) = Payload::Binary(fences);
    }

    /// Adds a point to the timeline, or begins one on top of what the syncobj holds.
    pub fn add_point(&self, point: u64, fences: FenceSet) {
        let mut payload = lock(&self.payload);
        match &mut *payload {
            Payload::Timeline(timeline) => timeline.add(point, fences),
            Payload::Empty | Payload::Binary(_) => {
                let mut all = match std::mem::take(&mut *payload) {
                    Payload::Binary(before) => before,
                    Payload::Empty | Payload::Timeline(_) => FenceSet::default(),
                };
                all.extend(&fences);
                *payload = Payload::Timeline(Timeline {
                    nodes: VecDeque::from([Node {
                        after: 0,
                        seqno: point,
                        fences: all,
                    }]),
                });
            }
        }
    }

    /// Puts fences in: as a point, or (0) instead of what is there.
    pub fn put(&self, point: u64, fences: FenceSet) {
        match point {
            0 => self.replace(fences),
            _ => self.add_point(point, fences),
        }
    }

    /// The last point that has a fence (`submitted`) or that is signalled. 0 for what is no timeline.
    pub fn query(&self, submitted: bool) -> u64 {
        match &mut *lock(&self.payload) {
            Payload::Timeline(timeline) if submitted => timeline.seqno(),
            Payload::Timeline(timeline) => timeline.reached(),
            Payload::Empty | Payload::Binary(_) => 0,
        }
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
                syncobj.put(*point, FenceSet::of(fence.clone()));
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
        for point in 2..1000 {
            syncobj.add_point(point, FenceSet::default());
        }
        let Payload::Timeline(timeline) = &*lock(&syncobj.payload) else {
            panic!("not a timeline");
        };
        assert!(timeline.nodes.len() <= 2);
    }
}
