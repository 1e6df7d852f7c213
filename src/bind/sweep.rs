//! Requests that overlap, cut so that they don't: the last writer of a byte wins.

use std::collections::BinaryHeap;

use super::Request;
use crate::units::Va;

/// What is left of overlapping requests.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Sorted and disjoint; at most twice as many as there were requests.
    pub segments: Vec<Request>,
    /// The request that each segment comes from.
    pub owners: Vec<u32>,
    /// The requests that reach over the place of the sweep, and some that no longer do: the last writer on top.
    open: BinaryHeap<(u32, u64)>,
}

impl Sweep {
    /// Cuts the requests that `order` yields, by index and ascending by address. O(n log n) at worst.
    pub fn run(&mut self, requests: &[Request], order: impl Iterator<Item = usize>) {
        self.segments.clear();
        self.owners.clear();
        self.open.clear();
        let mut at = 0;
        for index in order {
            let request = requests[index];
            self.emit_until(requests, at, request.va.0);
            at = request.va.0;
            self.open
                .push((index as u32, at.saturating_add(request.len)));
        }
        self.emit_until(requests, at, u64::MAX);
    }

    /// Everything from `at` to `until`, by the last writer of each byte among the open requests.
    fn emit_until(&mut self, requests: &[Request], mut at: u64, until: u64) {
        while at < until {
            let Some(&(owner, end)) = self.open.peek() else {
                return;
            };
            if end <= at {
                self.open.pop();
                continue;
            }
            let to = end.min(until);
            self.push(requests, owner, at, to);
            at = to;
        }
    }

    fn push(&mut self, requests: &[Request], owner: u32, from: u64, to: u64) {
        let same_owner = self.owners.last() == Some(&owner);
        let last = self.segments.last_mut().filter(|_| same_owner);
        if let Some(last) = last.filter(|last| last.va.0 + last.len == from) {
            last.len += to - from;
            return;
        }
        let request = requests[owner as usize];
        let target = request.target.advanced(from - request.va.0);
        self.segments.push(Request {
            va: Va(from),
            len: to - from,
            target,
        });
        self.owners.push(owner);
    }
}
