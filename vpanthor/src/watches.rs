//! Eventfds that are told when a point of a syncobj is reached.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::fence::FenceSet;
use super::shared::lock;
use super::syncobj::Syncobj;

/// One SYNCOBJ_EVENTFD.
#[derive(Debug)]
pub(super) struct Watch {
    pub syncobj: Arc<Syncobj>,
    pub point: u64,
    /// Tell when there is a fence for the point, not when it is signalled.
    pub available: bool,
    pub eventfd: OwnedFd,
    /// What the syncobj held when there first was something.
    pub fences: Option<FenceSet>,
}

impl Watch {
    /// Whether the eventfd has been told, for good.
    fn is_over(&mut self) -> bool {
        if self.fences.is_none() {
            self.fences = self.syncobj.find_fence(self.point).ok();
        }
        let met = |fences: &FenceSet| self.available || fences.is_signalled();
        if !self.fences.as_ref().is_some_and(met) {
            return false;
        }
        // A full counter says already that something happened.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        true
    }
}

/// All of one kernel.
#[derive(Debug, Default)]
pub(super) struct Watches {
    list: Mutex<Vec<Watch>>,
    /// So that nobody pays for the lock where there are none.
    count: AtomicUsize,
}

impl Watches {
    pub fn add(&self, watch: Watch) {
        let mut list = lock(&self.list);
        list.push(watch);
        self.count.store(list.len(), Ordering::Release);
    }

    /// Tells the eventfds whose points are reached, once each.
    pub fn announce(&self) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut list = lock(&self.list);
        list.retain_mut(|watch| !watch.is_over());
        self.count.store(list.len(), Ordering::Release);
    }
}
