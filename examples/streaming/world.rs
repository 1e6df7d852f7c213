//! What is streamed, without Vulkan: a camera over a virtual texture, the tiles that it needs, and the pool of memory
//! that they live in.
//!
//! The camera flies an ellipse and rises and sinks as it goes. Each frame needs a window of tiles around it at the level
//! in view, and the same part of the texture, with a margin, at every coarser level: what is shown until finer tiles
//! are there. Tiles live in the slots of a pool of fixed size; the one that was needed least recently goes first.

use std::collections::{BTreeSet, HashMap};

/// Tiles across and down that the camera sees at the level in view.
pub const WINDOW: [u32; 2] = [24, 16];
/// Slots of the pool, one tile each.
pub const POOL: u32 = 1024;

/// A virtual texture: square, with a mip chain.
#[derive(Clone, Copy, Debug)]
pub struct Texture {
    /// Texels of a side of level 0.
    pub side: u32,
    /// Texels of a tile, across and down.
    pub tile: [u32; 2],
    /// The levels that are bound by tiles; those beyond are in the mip tail, which is always resident.
    pub levels: u32,
}

impl Texture {
    /// Texels of a side of a level.
    pub fn level_side(&self, level: u32) -> u32 {
        (self.side >> level).max(1)
    }

    /// Tiles across and down a level.
    pub fn tiles(&self, level: u32) -> [u32; 2] {
        self.tile.map(|tile| self.level_side(level).div_ceil(tile))
    }

    /// All levels, those of the tail too.
    pub fn mip_levels(&self) -> u32 {
        self.side.ilog2() + 1
    }
}

/// A tile, by its place in its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    pub level: u32,
    pub y: u32,
    pub x: u32,
}

/// Where the camera is: parts of the texture's side, and the level that it looks at.
#[derive(Clone, Copy, Debug)]
struct Camera {
    x: f64,
    y: f64,
    level: u32,
}

impl Camera {
    /// Once around the ellipse and twice up and down in `frames` frames.
    fn at(frame: u32, frames: u32) -> Self {
        let angle = std::f64::consts::TAU * f64::from(frame) / f64::from(frames.max(1));
        let height = 1.2 - 1.2 * (2.0 * angle).cos();
        Self {
            x: 0.5 + 0.32 * angle.cos(),
            y: 0.5 + 0.24 * angle.sin(),
            level: height as u32,
        }
    }
}

/// One frame: what `vkQueueBindSparse` has to do, and what is resident after it.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The level in view.
    pub level: u32,
    /// New tiles, each with its slot.
    pub binds: Vec<(Tile, u32)>,
    /// Tiles that lost their slot.
    pub unbinds: Vec<Tile>,
    /// Resident tiles of each level.
    pub resident: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    slot: u32,
    /// The frame that needed it last.
    used: u32,
}

/// The tiles that are resident, and the slots that are free.
#[derive(Debug)]
pub struct World {
    pub texture: Texture,
    frames: u32,
    next: u32,
    resident: HashMap<Tile, Resident>,
    /// By the frame that needed them last: the first is the next to go.
    by_use: BTreeSet<(u32, Tile)>,
    free: Vec<u32>,
}

impl World {
    pub fn new(texture: Texture, frames: u32) -> Self {
        Self {
            texture,
            frames,
            next: 0,
            resident: HashMap::new(),
            by_use: BTreeSet::new(),
            free: (0..POOL).rev().collect(),
        }
    }

    /// The tiles that `frame` needs, each once, row by row, the coarsest level first.
    fn needed(&self, frame: u32) -> (u32, Vec<Tile>) {
        let texture = &self.texture;
        let camera = Camera::at(frame, self.frames);
        let view = camera.level.min(texture.levels.saturating_sub(1));
        let mut tiles = Vec::new();
        for level in (view..texture.levels).rev() {
            let coarser = level - view;
            let margin = 2 * u32::from(coarser > 0);
            let grid = texture.tiles(level);
            let range = |axis: usize, centre: f64| {
                let window = ((WINDOW[axis] >> coarser).max(1) + margin).min(grid[axis]);
                let middle = centre * f64::from(grid[axis]) - f64::from(window) / 2.0;
                let first = middle.clamp(0.0, f64::from(grid[axis] - window)) as u32;
                first..first + window
            };
            let (columns, rows) = (range(0, camera.x), range(1, camera.y));
            for y in rows {
                tiles.extend(columns.clone().map(|x| Tile { level, y, x }));
            }
        }
        (view, tiles)
    }

    /// The next frame.
    ///
    /// # Panics
    /// A frame needs more tiles than the pool has: [`WINDOW`] and [`POOL`] do not fit.
    pub fn frame(&mut self) -> Frame {
        let now = self.next;
        self.next += 1;
        let (level, needed) = self.needed(now);
        let mut missing = Vec::new();
        for tile in needed {
            match self.resident.get_mut(&tile) {
                Some(known) => {
                    self.by_use.remove(&(known.used, tile));
                    known.used = now;
                    self.by_use.insert((now, tile));
                }
                None => missing.push(tile),
            }
        }
        let mut frame = Frame {
            level,
            ..Frame::default()
        };
        for tile in missing {
            let slot = self.free.pop().unwrap_or_else(|| {
                let (used, old) = self.by_use.pop_first().expect("the pool has slots");
                assert!(used < now, "the tiles of one frame fit into the pool");
                frame.unbinds.push(old);
                self.resident.remove(&old).expect("resident").slot
            });
            self.resident.insert(tile, Resident { slot, used: now });
            self.by_use.insert((now, tile));
            frame.binds.push((tile, slot));
        }
        frame.unbinds.sort();
        frame.resident = vec![0; self.texture.levels as usize];
        for tile in self.resident.keys() {
            frame.resident[tile.level as usize] += 1;
        }
        frame
    }

    /// Every resident tile, in order.
    pub fn resident(&self) -> Vec<Tile> {
        let mut tiles: Vec<_> = self.resident.keys().copied().collect();
        tiles.sort();
        tiles
    }
}
