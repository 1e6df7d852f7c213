//! What a syncobj or a sync file holds: fences, or a timeline, which is a chain of them (`dma_fence_chain`).
//!
//! A *link* of a chain has a number, its point, and is reached when its fences and those of all links before it are
//! signalled. A chain is named by its last link and shared by all who hold that: adding a point makes a new last link and
//! leaves the others as they are. So what is taken out of a timeline, by whatever point, stays a timeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::fence::FenceSet;
use super::shared::lock;

/// Fences, or a chain of them.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Fences(FenceSet),
    Chain(Arc<Link>),
}

/// One point of a timeline.
#[derive(Debug)]
pub(super) struct Link {
    /// What has to be reached before this. Taken out once it has been.
    previous: Mutex<Option<Payload>>,
    fences: FenceSet,
    /// Points that were added in ascending order have one context; another one begins a new context.
    context: u64,
    point: u64,
    /// The point before it in the same context, 0 for the first.
    previous_point: u64,
}

/// The next [`Link::context`].
static NEXT_CONTEXT: AtomicU64 = AtomicU64::new(1);

impl Payload {
    /// Nothing to wait for, as the kernel's stub fence.
    pub fn signalled() -> Self {
        Payload::Fences(FenceSet::default())
    }

    /// A chain that ends with a new point, on top of what was held before (`dma_fence_chain_init`).
    pub fn with_point(before: Option<Payload>, point: u64, fences: FenceSet) -> Self {
        let (context, point, previous_point) = match &before {
            Some(Payload::Chain(last)) if point > last.point => (last.context, point, last.point),
            Some(Payload::Chain(last)) => (new_context(), last.point, 0),
            Some(Payload::Fences(_)) | None => (new_context(), point, 0),
        };
        let link = Arc::new(Link {
            previous: Mutex::new(before),
            fences,
            context,
            point,
            previous_point,
        });
        // Forgets what is reached by now.
        link.links().for_each(drop);
        Payload::Chain(link)
    }

    fn fences(&self) -> &FenceSet {
        match self {
            Payload::Fences(fences) => fences,
            Payload::Chain(link) => &link.fences,
        }
    }

    /// All that is not signalled yet.
    pub fn pending(&self) -> FenceSet {
        let mut pending = FenceSet::default();
        match self {
            Payload::Fences(fences) => pending.extend(fences),
            Payload::Chain(link) => link.links().for_each(|one| pending.extend(one.fences())),
        }
        pending
    }

    pub fn is_signalled(&self) -> bool {
        match self {
            Payload::Fences(fences) => fences.is_signalled(),
            Payload::Chain(link) => link.is_reached(),
        }
    }

    /// What has to signal until `point` is reached; 0 means all of it (`dma_fence_chain_find_seqno`).
    ///
    /// # Errors
    /// `EINVAL` where there is no fence for that point.
    pub fn find(&self, point: u64) -> Result<Payload, Errno> {
        match self {
            _ if point == 0 => Ok(self.clone()),
            Payload::Chain(last) if point <= last.point => {
                let stands_for_it = |one: &Payload| match one {
                    Payload::Chain(link) => {
                        link.context != last.context || link.previous_point < point
                    }
                    Payload::Fences(_) => true,
                };
                let found = last.links().find(stands_for_it);
                Ok(found.unwrap_or_else(Payload::signalled))
            }
            Payload::Chain(_) | Payload::Fences(_) => Err(Errno::INVAL),
        }
    }

    /// The last point that has a fence (`submitted`) or that is signalled. 0 for what is no timeline.
    pub fn point(&self, submitted: bool) -> u64 {
        let Payload::Chain(last) = self else { return 0 };
        if submitted {
            return last.point;
        }
        let in_context = last.links().map_while(|one| match one {
            Payload::Chain(link) if link.context == last.context => Some(link),
            Payload::Chain(_) | Payload::Fences(_) => None,
        });
        // The last link is one of them.
        in_context.last().map_or(0, |first| {
            if first.is_reached() {
                first.point
            } else {
                first.previous_point
            }
        })
    }
}

fn new_context() -> u64 {
    NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed)
}

impl Link {
    /// This link and what comes before it, backwards. What comes before it and is signalled is forgotten and left out.
    fn links(self: &Arc<Self>) -> impl Iterator<Item = Payload> + use<> {
        std::iter::successors(Some(Payload::Chain(self.clone())), |one| match one {
            Payload::Chain(link) => link.previous_pending(),
            Payload::Fences(_) => None,
        })
    }

    /// The nearest of those before it whose own fences are not signalled (`dma_fence_chain_walk`).
    fn previous_pending(&self) -> Option<Payload> {
        let mut previous = lock(&self.previous).clone();
        while let Some(one) = previous.take_if(|one| one.fences().is_signalled()) {
            if let Payload::Chain(link) = &one {
                previous = lock(&link.previous).clone();
            }
        }
        // A second walker at the same time has found the same, or more of it signalled.
        let forgotten = std::mem::replace(&mut *lock(&self.previous), previous.clone());
        drop(forgotten);
        previous
    }

    fn is_reached(self: &Arc<Self>) -> bool {
        self.links().all(|one| one.fences().is_signalled())
    }
}

/// A long chain is taken apart link by link, as its last holder lets go: not each from within the drop of the next.
impl Drop for Link {
    fn drop(&mut self) {
        let mut next = lock(&self.previous).take();
        while let Some(Payload::Chain(link)) = next {
            next = Arc::into_inner(link).and_then(|link| lock(&link.previous).take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fence::Fence;
    use super::*;

    fn pending() -> (Arc<Fence>, FenceSet) {
        let fence = Arc::new(Fence::default());
        (fence.clone(), FenceSet::of(fence))
    }

    /// A chain of these points with a fence each.
    fn chain(points: &[u64]) -> (Payload, Vec<Arc<Fence>>) {
        let mut all = Vec::new();
        let mut payload = None;
        for point in points {
            let (fence, set) = pending();
            all.push(fence);
            payload = Some(Payload::with_point(payload, *point, set));
        }
        (payload.unwrap(), all)
    }

    fn links(payload: &Payload) -> usize {
        match payload {
            Payload::Chain(link) => link.links().count(),
            Payload::Fences(_) => 0,
        }
    }

    #[test]
    fn what_is_found_by_a_point_is_a_timeline_up_to_there() {
        let (payload, fences) = chain(&[2, 5, 9]);
        let found = payload.find(4).unwrap();
        assert_eq!((found.point(true), found.point(false)), (5, 0));
        fences[0].signal();
        assert_eq!((found.point(false), found.is_signalled()), (2, false));
        fences[1].signal();
        assert_eq!((found.point(false), found.is_signalled()), (5, true));
        // Nothing is left of these points, so no timeline either.
        assert_eq!(payload.find(5).unwrap().point(true), 0);
    }

    #[test]
    fn a_signalled_link_in_the_middle_is_forgotten() {
        let (payload, fences) = chain(&[1, 2, 3]);
        fences[1].signal();
        assert_eq!(links(&payload), 2);
        assert_eq!(payload.find(2).unwrap().point(true), 1);
        assert_eq!(payload.point(false), 0);
    }

    #[test]
    fn a_point_out_of_order_hides_how_far_the_points_before_it_are() {
        let (payload, fences) = chain(&[2, 5, 3]);
        fences[0].signal();
        assert_eq!((payload.point(true), payload.point(false)), (5, 0));
        fences[1].signal();
        fences[2].signal();
        assert_eq!(payload.point(false), 5);
    }

    #[test]
    fn a_long_chain_is_dropped_without_a_deep_stack() {
        let (mut payload, _fence) = chain(&[1]);
        for point in 2..2_000 {
            payload = Payload::with_point(Some(payload), point, pending().1);
        }
        let build = move || drop(payload);
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(build)
            .unwrap()
            .join()
            .unwrap();
    }
}
