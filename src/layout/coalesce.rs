//! From what changed in an image's range of addresses to few binds.

use super::grid::TileBox;
use super::place::{Part, Subresource};
use super::{Place, PlaceError, TileMap};

/// A range of an image's addresses and what it is mapped to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryChange {
    /// Bytes from the first address of the image.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// The memory, by an id, and the byte of it that the first byte is mapped to; `None`: unbound.
    pub memory: Option<(u64, u64)>,
}

/// One bind: of a `VkSparseImageMemoryBind`, or of an opaque `VkSparseMemoryBind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceBind {
    pub place: Place,
    /// The memory, by an id, and where in it the place starts in bytes; `None`: unbound. The tiles of a box take it
    /// row by row, slice by slice.
    pub memory: Option<(u64, u64)>,
}

/// A box that may grow.
#[derive(Clone, Copy, Debug)]
struct Item {
    at: u64,
    tiles: TileBox,
    memory: Option<(u64, u64)>,
}

fn advanced(memory: Option<(u64, u64)>, bytes: u64) -> Option<(u64, u64)> {
    memory.map(|(id, offset)| (id, offset.saturating_add(bytes)))
}

impl TileMap {
    /// The binds that have the effect of `changes`, which are ascending and disjoint. In the order of addresses.
    ///
    /// Rows of tiles that are alike, one below the other, are one box where their memory is that of a box, or where
    /// they are unbound; and so are boxes that are alike, slice behind slice. So there are never more
    /// binds of tiles than rows in which tiles change.
    ///
    /// # Errors
    /// As of [`TileMap::places`], of any of the changes.
    pub fn binds(&self, changes: &[MemoryChange]) -> Result<Vec<PlaceBind>, PlaceError> {
        let mut gathered = Gathered {
            map: self,
            of: None,
            items: Vec::new(),
            binds: Vec::new(),
        };
        let mut changes = changes.iter().copied();
        let mut next = changes.next();
        while let Some(mut change) = next {
            next = changes.next();
            // What continues is one run, and a run is fewer boxes than its parts are.
            while let Some(more) = next.filter(|more| {
                change.at.checked_add(change.len) == Some(more.at)
                    && advanced(change.memory, change.len) == more.memory
            }) {
                change.len += more.len;
                next = changes.next();
            }
            self.walk(change.at, change.len, &mut |part| {
                gathered.take(part, &change);
            })?;
        }
        gathered.finish_level();
        Ok(gathered.binds)
    }
}

/// Binds so far, and the boxes of the level that is being gone through.
struct Gathered<'a> {
    map: &'a TileMap,
    of: Option<Subresource>,
    items: Vec<Item>,
    binds: Vec<PlaceBind>,
}

impl Gathered<'_> {
    fn take(&mut self, part: Part, change: &MemoryChange) {
        match part {
            Part::Tiles {
                at,
                subresource,
                tiles,
            } => {
                if self.of != Some(subresource) {
                    self.finish_level();
                    self.of = Some(subresource);
                }
                let memory = advanced(change.memory, at - change.at);
                self.items.push(Item { at, tiles, memory });
            }
            Part::Opaque {
                at,
                offset,
                size,
                metadata,
            } => {
                self.finish_level();
                let memory = advanced(change.memory, at - change.at);
                self.take_opaque(at, offset, size, metadata, memory);
            }
        }
    }

    /// Joins it with the bind before, where that is of mip tails too. A bind of metadata stays inside the metadata
    /// of one layer (`VkSparseMemoryBind`).
    fn take_opaque(
        &mut self,
        at: u64,
        offset: u64,
        size: u64,
        metadata: bool,
        memory: Option<(u64, u64)>,
    ) {
        if let Some(PlaceBind {
            place:
                Place::Opaque {
                    offset: before,
                    size: bytes,
                    metadata: false,
                    ..
                },
            memory: start,
        }) = self.binds.last_mut()
        {
            let continues = *before + *bytes == offset && advanced(*start, *bytes) == memory;
            if continues && !metadata {
                *bytes += size;
                return;
            }
        }
        let place = Place::Opaque {
            at,
            offset,
            size,
            metadata,
        };
        self.binds.push(PlaceBind { place, memory });
    }

    fn finish_level(&mut self) {
        let Some(subresource) = self.of.take() else {
            return;
        };
        let (items, tile_bytes) = (&mut self.items, self.map.tile_bytes);
        for axis in [1, 2] {
            if items.len() > 1 && items.iter().any(|item| item.tiles.from[axis] > 0) {
                join_along(axis, items, tile_bytes);
            }
        }
        items.sort_unstable_by_key(|item| item.at);
        self.binds.extend(items.drain(..).map(|item| PlaceBind {
            place: self.map.place(Part::Tiles {
                at: item.at,
                subresource,
                tiles: item.tiles,
            }),
            memory: item.memory,
        }));
    }
}

/// Joins boxes that touch along an axis, are alike across it, and have the memory of one box.
///
/// First along y, when no box has more than one slice but those that span it: so the memory of what is joined is
/// in the order of a box. Then along z.
fn join_along(axis: usize, items: &mut Vec<Item>, tile_bytes: u64) {
    let across = |tiles: &TileBox| {
        let (mut from, mut to) = (tiles.from, tiles.to);
        (from[axis], to[axis]) = (0, 0);
        (from, to)
    };
    items.sort_unstable_by_key(|item| (across(&item.tiles), item.tiles.from[axis]));
    items.dedup_by(|next, last| {
        let joins = last.tiles.to[axis] == next.tiles.from[axis]
            && across(&last.tiles) == across(&next.tiles)
            && advanced(last.memory, last.tiles.count() * tile_bytes) == next.memory;
        if joins {
            last.tiles.to[axis] = next.tiles.to[axis];
        }
        joins
    });
}
