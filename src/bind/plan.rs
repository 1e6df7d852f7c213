//! Requests and shadow become runs: only what changes, in as few pieces as can be.

use super::order::Order;
use super::sweep::Sweep;
use super::{Cursor, Request, Run, Shadow};
use crate::spans::Position;
use crate::units::Va;

/// Makes plans. Holds buffers that the next plan uses again, and no state.
///
/// Given requests in the order of the application and what the VM maps now, the runs of a plan
/// 1. are disjoint and sorted by address,
/// 2. cover exactly the bytes that change,
/// 3. give each byte what the last request that names it says,
/// 4. could not be merged, any two neighbours of them,
/// 5. leave out each byte that has the wanted mapping already.
///
/// So there are as few of them as there are maximal ranges that really change.
#[derive(Debug, Default)]
pub struct Planner {
    order: Order,
    sweep: Sweep,
    contributed: Vec<bool>,
    after_named_gap: Vec<usize>,
    near: Position,
}

/// What a plan had to leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanStats {
    /// Requests that contributed no byte to any run: it was so already, or a later request wrote over them.
    pub elided: u64,
}

impl Planner {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the runs of `requests` to `runs`.
    ///
    /// Sorted, disjoint requests take one pass. Others are put in order first, and overlaps are cut, both
    /// only where needed: O(n log n) at worst. Against the shadow the plan is a merge of two sorted lists.
    ///
    /// A request that reaches beyond 2^64 is cut off there; one of no bytes is ignored.
    pub fn plan(
        &mut self,
        requests: &[Request],
        shadow: &Shadow,
        runs: &mut Vec<Run>,
    ) -> PlanStats {
        let base = runs.len();
        let count = requests.len();
        let mut tally = Unique { contributed: 0 };
        let mut plan = Plan::new(runs, &mut self.after_named_gap);
        if let [only] = requests {
            // Most calls have one request, which needs no walk.
            let end = only.va.0.checked_add(only.len);
            if only.len > 0 && end.is_some() {
                let mut cursor = shadow.cursor_from(self.near);
                let group = Run {
                    va: only.va,
                    len: only.len,
                    target: only.target,
                };
                flush(group, 0..1, &|_| *only, &mut cursor, &mut plan, &mut tally);
                self.near = cursor.place();
                return PlanStats {
                    elided: 1 - tally.contributed,
                };
            }
        }
        let sorted = requests.iter().copied();
        let mut walked = walk(sorted, |i| requests[i], shadow, &mut plan, &mut tally);
        if walked.is_err() {
            plan.clear();
            tally = Unique { contributed: 0 };
            self.order.sort(requests);
            let order = &self.order;
            let in_order = |i| requests[order.index(i)];
            let gathered = order.gather(requests);
            walked = walk(gathered, in_order, shadow, &mut plan, &mut tally);
            if walked.is_err() {
                runs.truncate(base);
                return self.plan_overlapping(requests, shadow, runs);
            }
        }
        self.near = walked.unwrap_or_default();
        PlanStats {
            elided: count as u64 - tally.contributed,
        }
    }

    /// As [`Planner::plan`], and says of each request whether it contributed a byte to a run.
    pub(crate) fn plan_marking(
        &mut self,
        requests: &[Request],
        shadow: &Shadow,
        runs: &mut Vec<Run>,
    ) -> &[bool] {
        let base = runs.len();
        let reset = |contributed: &mut Vec<bool>| {
            contributed.clear();
            contributed.resize(requests.len(), false);
        };
        reset(&mut self.contributed);
        let mut tally = Marked {
            contributed: &mut self.contributed,
            index: |member| member,
        };
        let mut plan = Plan::new(runs, &mut self.after_named_gap);
        let sorted = requests.iter().copied();
        let mut walked = walk(sorted, |i| requests[i], shadow, &mut plan, &mut tally);
        if walked.is_err() {
            plan.clear();
            self.order.sort(requests);
            let order = &self.order;
            reset(&mut self.contributed);
            let mut tally = Marked {
                contributed: &mut self.contributed,
                index: |member| order.index(member),
            };
            let in_order = |i| requests[order.index(i)];
            let gathered = order.gather(requests);
            walked = walk(gathered, in_order, shadow, &mut plan, &mut tally);
            if walked.is_err() {
                runs.truncate(base);
                self.plan_overlapping(requests, shadow, runs);
            }
        }
        self.near = walked.unwrap_or_default();
        &self.contributed
    }

    /// The runs of the latest plan that lie behind a *named gap*, by their positions in it, ascending: the requests name
    /// every byte between such a run and the one before it, and all of these bytes have the wanted mapping already.
    pub(crate) fn after_named_gap(&self) -> &[usize] {
        &self.after_named_gap
    }

    /// A place in the shadow of the latest plan: near the last of its runs, or any.
    pub(crate) fn near(&self) -> Position {
        self.near
    }

    /// With `self.order` made already.
    fn plan_overlapping(
        &mut self,
        requests: &[Request],
        shadow: &Shadow,
        runs: &mut Vec<Run>,
    ) -> PlanStats {
        let order = &self.order;
        self.sweep.run(
            requests,
            (0..order.len()).map(|position| order.index(position)),
        );
        let segments = &self.sweep.segments;
        self.contributed.clear();
        self.contributed.resize(requests.len(), false);
        let mut tally = Owned {
            owners: &self.sweep.owners,
            contributed: &mut self.contributed,
        };
        let mut plan = Plan::new(runs, &mut self.after_named_gap);
        let sorted = segments.iter().copied();
        let walked = walk(sorted, |i| segments[i], shadow, &mut plan, &mut tally);
        debug_assert!(walked.is_ok(), "a sweep leaves nothing out of order");
        PlanStats {
            elided: self
                .contributed
                .iter()
                .filter(|&&contributed| !contributed)
                .count() as u64,
        }
    }
}

/// A plan that is being made.
struct Plan<'a> {
    runs: &'a mut Vec<Run>,
    /// How many runs were there before.
    base: usize,
    /// See [`Planner::after_named_gap`].
    after_named_gap: &'a mut Vec<usize>,
}

impl<'a> Plan<'a> {
    /// Appends to `runs`.
    fn new(runs: &'a mut Vec<Run>, after_named_gap: &'a mut Vec<usize>) -> Self {
        after_named_gap.clear();
        Plan {
            base: runs.len(),
            runs,
            after_named_gap,
        }
    }

    fn clear(&mut self) {
        self.runs.truncate(self.base);
        self.after_named_gap.clear();
    }
}

/// The requests are not sorted, not disjoint, or one is empty or reaches beyond 2^64.
struct OutOfOrder;

/// Walks over the requests once, in the order of their addresses, and appends the runs. Gives a place in the shadow near the last.
///
/// Requests that continue each other are one *group*: one range with one target. The walk lets a group grow as long as the
/// next request continues it. When a request does not, the group is complete, and [`flush`] appends what of it the shadow
/// does not have yet.
///
/// The requests come from an iterator, so that sorted ones need not be copied. `request` gives the same requests by their
/// index; it is asked only for a group of which just a part changes.
fn walk(
    mut requests: impl Iterator<Item = Request>,
    request: impl Fn(usize) -> Request,
    shadow: &Shadow,
    plan: &mut Plan<'_>,
    tally: &mut impl Tally,
) -> Result<Position, OutOfOrder> {
    let mut cursor = shadow.cursor();
    // The group that grows, and the requests that it consists of. It starts empty, and an empty group is never continued.
    let mut group = Run {
        va: Va(0),
        len: 0,
        target: super::Target::Null,
    };
    let mut members = 0..0;
    loop {
        let next = requests.next();
        if let Some(next) = &next {
            // 1. This walk only works if each request lies behind the one before it, and ends below 2^64.
            next.va.0.checked_add(next.len).ok_or(OutOfOrder)?;
            let group_end = group.va.0 + group.len;
            if next.len == 0 || next.va.0 < group_end {
                return Err(OutOfOrder);
            }
            // 2. A request that continues the group is from now on its end.
            if next.va.0 == group_end
                && group.target.advanced(group.len) == next.target
                && group.len > 0
            {
                group.len += next.len;
                members.end += 1;
                continue;
            }
        }
        // 3. Any other one ends the group, and so does the end of all requests.
        flush(group, members.clone(), &request, &mut cursor, plan, tally);
        let Some(next) = next else {
            return Ok(cursor.place());
        };
        // 4. It begins the next group.
        group = Run {
            va: next.va,
            len: next.len,
            target: next.target,
        };
        members = members.end..members.end + 1;
    }
}

/// Appends what of a group is not in the shadow yet. `members` are the requests that the group is made of.
///
/// Two lists are merged: the bytes of the group, and the extents of the shadow over them. Wherever an extent already maps
/// what the group wants, a run ends before it and the next run can only begin after it.
#[inline(always)]
fn flush(
    group: Run,
    members: std::ops::Range<usize>,
    request: &impl Fn(usize) -> Request,
    cursor: &mut Cursor<'_>,
    plan: &mut Plan<'_>,
    tally: &mut impl Tally,
) {
    let end = group.end();
    let before = plan.runs.len();
    let mut push = |from: Va, to: Va| {
        if from < to {
            let target = group.target.advanced(from.0 - group.va.0);
            plan.runs.push(Run {
                va: from,
                len: to.0 - from.0,
                target,
            });
        }
    };
    // Everything from here to `at` has to change.
    let mut changes_from = group.va;
    let mut at = group.va;
    while at < end {
        let Some(extent) = cursor.seek(at) else { break };
        if extent.va >= end {
            break;
        }
        // The part of the extent that lies in the group. Between `at` and it there may be a hole, which changes.
        let from = extent.va.max(at);
        let to = extent.end().min(end);
        if extent.target.advanced(from.0 - extent.va.0)
            == group.target.advanced(from.0 - group.va.0)
        {
            push(changes_from, from);
            changes_from = to;
        }
        at = to;
    }
    // If nothing was left out, every request of the group contributes, and nobody needs to look at them one by one.
    let whole = changes_from == group.va;
    push(changes_from, end);
    if whole {
        tally.all(members);
        return;
    }
    if plan.runs.len() == before {
        return;
    }
    // The requests of the group name all that lies between its runs.
    let behind_the_first = before + 1 - plan.base..plan.runs.len() - plan.base;
    plan.after_named_gap.extend(behind_the_first);
    partly(members, request, &plan.runs[before..], tally);
}

/// Tallies the members of a group of which `changed` is all that changes.
#[cold]
fn partly(
    members: std::ops::Range<usize>,
    request: &impl Fn(usize) -> Request,
    changed: &[Run],
    tally: &mut impl Tally,
) {
    let mut changed = changed.iter().peekable();
    for i in members {
        let member = request(i);
        while changed.next_if(|run| run.end() <= member.va).is_some() {}
        match changed.peek() {
            Some(run) if run.va.0 < member.va.0 + member.len => tally.one(i),
            Some(_) => {}
            None => break,
        }
    }
}

/// Counts requests that contribute to a run.
trait Tally {
    fn all(&mut self, members: std::ops::Range<usize>);
    fn one(&mut self, member: usize);
}

/// Each member is a request of its own.
struct Unique {
    contributed: u64,
}

impl Tally for Unique {
    #[inline]
    fn all(&mut self, members: std::ops::Range<usize>) {
        self.contributed += members.len() as u64;
    }

    fn one(&mut self, _: usize) {
        self.contributed += 1;
    }
}

/// Each member is a request of its own, which `index` finds.
struct Marked<'a, F> {
    contributed: &'a mut [bool],
    index: F,
}

impl<F: Fn(usize) -> usize> Tally for Marked<'_, F> {
    fn all(&mut self, members: std::ops::Range<usize>) {
        for member in members {
            self.one(member);
        }
    }

    fn one(&mut self, member: usize) {
        self.contributed[(self.index)(member)] = true;
    }
}

/// Members are parts of requests.
struct Owned<'a> {
    owners: &'a [u32],
    contributed: &'a mut [bool],
}

impl Tally for Owned<'_> {
    fn all(&mut self, members: std::ops::Range<usize>) {
        for member in members {
            self.one(member);
        }
    }

    fn one(&mut self, member: usize) {
        self.contributed[self.owners[member] as usize] = true;
    }
}
