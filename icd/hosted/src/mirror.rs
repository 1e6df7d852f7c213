//! From what changed in the page tables to binds on the base driver.
//!
//! vpanthor says which addresses map something else than before. The mirror turns that around, step by step: addresses
//! become offsets in the resource that lies there, buffer objects become the `VkDeviceMemory` that they stand for, and ranges
//! of a partially resident image become the tiles that lie in them. What comes out is what the base driver has to bind.

use super::addresses::{Addresses, mapped_bytes};
use super::memories::Memories;
use crate::{BaseBatch, Space, dummy_period};
use panvk_sparse::bind::Run;
use panvk_sparse::layout::{self, PlaceBind, TileMap};
use panvk_sparse::units::Va;
use vpanthor::{Change, Location};
use vulkan::calls::{Bind, ImageBind, ResourceId};

/// Turns changes of addresses back into binds of resources. What is mapped to the dummy, or not at all, is not
/// bound on the base driver.
pub struct Mirror<'a> {
    addresses: &'a Addresses,
    memories: &'a Memories,
    /// The latest resource and memory, which neighbouring changes share as a rule.
    resource: Option<CurrentResource<'a>>,
    memory: Option<(u64, Option<u64>)>,
    /// What changed in the latest resource.
    changes: Vec<layout::MemoryChange>,
}

#[derive(Clone, Copy)]
struct CurrentResource<'a> {
    id: ResourceId,
    /// The first address and the one behind the last.
    from: u64,
    to: u64,
    /// Bytes that can be bound: its last page may be there in part.
    size: u64,
    tiles: Option<&'a TileMap>,
    /// What unbound ranges are bound to, and after how many bytes it comes again.
    dummy: Option<(u64, u64)>,
}

impl<'a> Mirror<'a> {
    pub fn of(space: &'a Space) -> Self {
        Self {
            addresses: &space.addresses,
            memories: &space.memories,
            resource: None,
            memory: None,
            changes: Vec::new(),
        }
    }

    /// New resources start bound to their dummies.
    pub fn start(&mut self, fresh: &[ResourceId], to: &mut BaseBatch) {
        for resource in fresh.iter().filter_map(|&id| self.addresses.get(id)) {
            let all = Change {
                op: 0,
                va: resource.va.0,
                len: mapped_bytes(resource),
                old: None,
                new: Some(Location::Null),
            };
            self.reflect(&all, to);
            self.finish(to);
        }
    }

    /// Takes note of a change. Those of one batch come in the order of addresses.
    pub fn reflect(&mut self, change: &Change, to: &mut BaseBatch) {
        let (mut va, end) = (change.va, change.va + change.len);
        while va < end {
            // 1. Which resource lies here? If it is another one than before, the changes of the one before become binds
            // now. Addresses of no resource are not the base driver's matter.
            let Some(resource) = self.resource_at(va, to) else {
                return;
            };
            let here = end.min(resource.to);
            // 2. Which memory is it, and from which byte on? (A change can go on over the end of a resource.)
            let memory = match change.new {
                None | Some(Location::Null) => None,
                Some(Location::Memory { bo, offset }) => self
                    .memory(bo)
                    .map(|memory| (memory, offset + (va - change.va))),
            };
            let more = layout::MemoryChange {
                at: va - resource.from,
                len: here - va,
                memory,
            };
            // 3. Note it, as a part of the change before if it continues that one: fewer binds are quicker.
            match self.changes.last_mut() {
                Some(last) if continues(last, &more) => last.len += more.len,
                _ => self.changes.push(more),
            }
            va = here;
        }
    }

    /// Ends a batch: what is noted becomes binds.
    pub fn finish(&mut self, to: &mut BaseBatch) {
        let Some(resource) = self.resource.take() else {
            return;
        };
        if let Some(dummy) = resource.dummy {
            self.changes = std::mem::take(&mut self.changes)
                .into_iter()
                .flat_map(|change| to_dummy(change, dummy))
                .collect();
        }
        let bind = |change: layout::MemoryChange| Bind {
            resource_offset: change.at,
            size: change.len.min(resource.size - change.at),
            memory: change.memory.map(|(memory, _)| memory),
            memory_offset: change.memory.map_or(0, |(_, offset)| offset),
            metadata: false,
        };
        let Some(tiles) = resource.tiles else {
            let binds = self.changes.drain(..).map(bind);
            to.binds.push((resource.id, binds.collect()));
            return;
        };
        match tiles.binds(&self.changes) {
            Ok(binds) => to.add_places(resource.id, &binds),
            // Every mapping of the image is made of whole tiles.
            Err(error) => log::error!("{}: page tables show no tiles: {error}", resource.id),
        }
        self.changes.clear();
    }

    fn resource_at(&mut self, va: u64, to: &mut BaseBatch) -> Option<CurrentResource<'a>> {
        if let Some(latest) = self
            .resource
            .filter(|latest| (latest.from..latest.to).contains(&va))
        {
            return Some(latest);
        }
        self.finish(to);
        let (id, resource) = self.addresses.at(Va(va))?;
        self.resource = Some(CurrentResource {
            id,
            from: resource.va.0,
            to: resource.va.0 + mapped_bytes(resource),
            size: resource.size,
            tiles: self.addresses.tiles(id),
            dummy: self
                .addresses
                .dummy(id)
                .map(|dummy| (dummy, dummy_period(resource.granularity))),
        });
        self.resource
    }

    fn memory(&mut self, bo: u64) -> Option<u64> {
        match self.memory {
            Some((known, memory)) if known == bo => memory,
            _ => self.memory.insert((bo, self.memories.of_bo(bo))).1,
        }
    }
}

/// Whether the base driver has another binding after a change.
pub fn is_shown(change: &Change) -> bool {
    // On the base driver, what is mapped to the dummy and what is not mapped are the same: not bound.
    let unbound = |place: Option<Location>| matches!(place, None | Some(Location::Null));
    change.old != change.new && !(unbound(change.old) && unbound(change.new))
}

/// The parts of a change that lie in `runs`, which ascend.
pub fn parts<'a>(change: &'a Change, runs: &'a [Run]) -> impl Iterator<Item = Change> + 'a {
    let end = change.va + change.len;
    let first = runs.partition_point(|run| run.end().0 <= change.va);
    let inside = runs[first..].iter().take_while(move |run| run.va.0 < end);
    inside.map(move |run| {
        let va = run.va.0.max(change.va);
        Change {
            va,
            len: run.end().0.min(end) - va,
            new: change.new.map(|place| place.after(va - change.va)),
            ..*change
        }
    })
}

impl BaseBatch {
    fn add_places(&mut self, id: ResourceId, places: &[PlaceBind]) {
        let (mut opaque, mut tiles) = (Vec::new(), Vec::new());
        for bind in places {
            let memory = bind.memory.map(|(memory, _)| memory);
            let memory_offset = bind.memory.map_or(0, |(_, offset)| offset);
            match bind.place {
                layout::Place::Tiles { region, .. } => tiles.push(ImageBind {
                    region,
                    memory,
                    memory_offset,
                }),
                layout::Place::Opaque {
                    offset,
                    size,
                    metadata,
                    ..
                } => opaque.push(Bind {
                    resource_offset: offset,
                    size,
                    memory,
                    memory_offset,
                    metadata,
                }),
            }
        }
        if !opaque.is_empty() {
            self.binds.push((id, opaque));
        }
        if let ResourceId::Image(image) = id {
            if !tiles.is_empty() {
                self.image_binds.push((image, tiles));
            }
        }
    }
}

/// A range that is unbound is bound to the dummy, over and over: to the byte of it that the offset in the resource
/// has, modulo the period.
fn to_dummy(
    change: layout::MemoryChange,
    (dummy, period): (u64, u64),
) -> Vec<layout::MemoryChange> {
    if change.memory.is_some() {
        return vec![change];
    }
    let end = change.at + change.len;
    let first = change.at - change.at % period;
    (first..end)
        .step_by(period as usize)
        .map(|piece| {
            let at = piece.max(change.at);
            layout::MemoryChange {
                at,
                len: end.min(piece + period) - at,
                memory: Some((dummy, at % period)),
            }
        })
        .collect()
}

fn continues(previous: &layout::MemoryChange, next: &layout::MemoryChange) -> bool {
    previous.at + previous.len == next.at
        && match (previous.memory, next.memory) {
            (None, None) => true,
            (Some((one, offset)), Some((other, next))) => {
                one == other && offset + previous.len == next
            }
            _ => false,
        }
}
