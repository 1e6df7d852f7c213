//! Which binds of several queues come after which others.
//!
//! The base driver carries out the batches of one queue one after another. Between queues only semaphores make an order, and
//! a batch may wait for what is submitted after it. So the order of the calls is not the order of their effects, and what
//! was bound last is only known of a bind that provably comes after all others of its resource. Nothing else is taken for
//! known: a bind is *unordered* unless
//!
//! - all that its queue waits for has happened, or has been submitted, so that nothing submitted later can come before it, and
//! - it comes, by its queue or by semaphores, after each earlier bind of the same resource.
//!
//! Waits of the application's own submissions, and waits on the host, are not seen here. That makes some binds unordered
//! which are not, and never the other way round.

use std::collections::{BTreeMap, HashMap, HashSet};

use vulkan::calls::{BindCall, BindInfo, ResourceId, Semaphore};
use vulkan::handles::HandleHashMap;

use crate::resolve::Resolved;

/// For each queue, how many of its batches have happened.
#[derive(Clone, Debug, Default)]
struct Clock(BTreeMap<u64, u64>);

impl Clock {
    fn join(&mut self, other: &Clock) {
        for (&queue, &batches) in &other.0 {
            let known = self.0.entry(queue).or_default();
            *known = batches.max(*known);
        }
    }

    fn covers(&self, queue: u64, batch: u64) -> bool {
        self.0.get(&queue).is_some_and(|&batches| batches >= batch)
    }
}

/// One queue: what its next batch comes after.
#[derive(Clone, Debug, Default)]
struct Line {
    after: Clock,
    /// Waits of timelines for what may yet have to be submitted: of each timeline the one for the largest value.
    open: Vec<Semaphore>,
}

/// A value that a bind signals a timeline to.
#[derive(Clone, Debug)]
struct Signal {
    value: u64,
    after: Clock,
    /// Whether nothing that is yet to be submitted can keep it from happening.
    certain: bool,
}

/// So many signals of a timeline are remembered.
const SIGNALS: usize = 64;

/// What is known of the order of binds on one device.
#[derive(Debug, Default)]
pub struct Order {
    lines: HandleHashMap<Line>,
    /// Of each queue, how many batches there were, refused ones among them.
    batches: HandleHashMap<u64>,
    /// By value.
    timelines: HandleHashMap<Vec<Signal>>,
    binaries: HandleHashMap<Clock>,
    /// The binds of each resource that no later bind is known to come after.
    bound: HashMap<ResourceId, Clock>,
}

/// What a call adds to the order once the base driver has taken it.
#[derive(Debug)]
pub struct Placed {
    queue: u64,
    line: Line,
    signals: Vec<(Semaphore, Signal)>,
    /// Resources whose binds before it all come before this call.
    last: Vec<ResourceId>,
}

impl Order {
    pub fn add_timeline(&mut self, semaphore: u64) {
        self.timelines.insert(semaphore, Vec::new());
    }

    /// A semaphore is destroyed, so all that waited for it has happened.
    pub fn remove_semaphore(&mut self, semaphore: u64) {
        self.timelines.remove(&semaphore);
        self.binaries.remove(&semaphore);
        for line in self.lines.values_mut() {
            line.open.retain(|wait| wait.handle != semaphore);
        }
    }

    pub fn remove_resource(&mut self, id: ResourceId) {
        self.bound.remove(&id);
    }

    /// The timelines whose values tell what a call on `queue` comes after: those that it waits for, and those that the queue
    /// waits for since earlier calls. The application may be destroying one of the latter.
    pub fn timelines_of(&self, queue: u64, call: &BindCall) -> HashSet<u64> {
        let open = self
            .lines
            .get(&queue)
            .into_iter()
            .flat_map(|line| &line.open);
        let waits = call.infos.iter().flat_map(|info| &info.waits);
        let handles = waits.chain(open).map(|wait| wait.handle);
        handles
            .filter(|handle| self.timelines.contains_key(handle))
            .collect()
    }

    /// Finds out which batches of the call are unordered, and notes it in them. `values` are those of
    /// [`Order::timelines_of`], read after it.
    pub fn place(
        &mut self,
        queue: u64,
        call: &BindCall,
        resolved: &mut Resolved,
        values: &HandleHashMap<u64>,
    ) -> Placed {
        let mut line = self.lines.get(&queue).cloned().unwrap_or_default();
        let (mut signals, mut last) = (Vec::new(), Vec::new());
        for wait in std::mem::take(&mut line.open) {
            self.wait(&mut line, wait, values);
        }
        for batch in &mut resolved.batches {
            let infos: &[BindInfo] = call.infos.get(batch.first..=batch.last).unwrap_or(&[]);
            for &wait in infos.iter().flat_map(|info| &info.waits) {
                self.wait(&mut line, wait, values);
            }
            let number = self.batches.entry(queue).or_default();
            *number += 1;
            line.after.0.insert(queue, *number);
            let certain = line.open.is_empty();
            for id in infos.iter().flat_map(BindInfo::resources) {
                let bound = self.bound.entry(id).or_default();
                let mut others = bound.0.iter();
                if certain && others.all(|(&queue, &batch)| line.after.covers(queue, batch)) {
                    last.push(id);
                } else {
                    batch.unordered = true;
                }
                bound.0.insert(queue, *number);
            }
            let signal = |&semaphore: &Semaphore| {
                let signal = Signal {
                    value: semaphore.value,
                    after: line.after.clone(),
                    certain,
                };
                (semaphore, signal)
            };
            signals.extend(infos.iter().flat_map(|info| &info.signals).map(signal));
        }
        Placed {
            queue,
            line,
            signals,
            last,
        }
    }

    /// The base driver has taken the call. Only now may others rely on its signals: one that is refused never signals.
    pub fn taken(&mut self, placed: Placed) {
        for (semaphore, signal) in placed.signals {
            match self.timelines.get_mut(&semaphore.handle) {
                None => drop(self.binaries.insert(semaphore.handle, signal.after)),
                Some(signals) => {
                    let at = signals.partition_point(|known| known.value < signal.value);
                    signals.insert(at, signal);
                    if signals.len() > SIGNALS {
                        // Who waits for a later value waits for this one, too.
                        let first = signals.remove(0);
                        signals[0].after.join(&first.after);
                    }
                }
            }
        }
        for id in placed.last {
            if let Some(bound) = self.bound.get_mut(&id) {
                let queue = placed.queue;
                let is_later = |&other: &u64, &mut batch: &mut u64| {
                    other == queue || !placed.line.after.covers(other, batch)
                };
                bound.0.retain(is_later);
            }
        }
        self.lines.insert(placed.queue, placed.line);
    }

    /// The line waits for this semaphore from here on.
    fn wait(&mut self, line: &mut Line, wait: Semaphore, values: &HandleHashMap<u64>) {
        let Some(signals) = self.timelines.get(&wait.handle) else {
            // All that a binary semaphore waits for has been submitted (VUID-vkQueueBindSparse-pWaitSemaphores-03245).
            if let Some(after) = self.binaries.get(&wait.handle) {
                line.after.join(after);
            }
            return;
        };
        // A timeline only grows: at this value, all signals up to it have happened.
        for signal in signals.iter().take_while(|one| one.value <= wait.value) {
            line.after.join(&signal.after);
        }
        let reached = values
            .get(&wait.handle)
            .is_some_and(|&value| value >= wait.value);
        let comes = |signal: &Signal| signal.certain && signal.value >= wait.value;
        if !reached && !signals.iter().any(comes) {
            match line.open.iter_mut().find(|one| one.handle == wait.handle) {
                Some(one) => one.value = wait.value.max(one.value),
                None => line.open.push(wait),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::ResolvedBatch;

    #[test]
    fn a_queue_that_waits_for_one_timeline_over_and_over_remembers_the_largest_value() {
        const T: u64 = 5;
        let mut order = Order::default();
        order.add_timeline(T);
        let mut place = |value, reached| {
            let mut call = BindCall::default();
            call.infos.push(BindInfo {
                waits: vec![Semaphore { handle: T, value }],
                ..BindInfo::default()
            });
            let mut resolved = Resolved::default();
            resolved.batches.push(ResolvedBatch::default());
            let values = [(T, reached)].into_iter().collect();
            let placed = order.place(1, &call, &mut resolved, &values);
            let open: Vec<u64> = placed.line.open.iter().map(|wait| wait.value).collect();
            order.taken(placed);
            open
        };
        assert_eq!(place(3, 0), [3]);
        assert_eq!(place(9, 2), [9]);
        assert_eq!(place(4, 3), [9]);
        assert_eq!(place(4, 8), [9]);
        assert!(place(4, 9).is_empty());
    }
}
