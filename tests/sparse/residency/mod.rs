//! Partially resident images: each tile has the memory that it was bound to, and no other has it.

mod model;
mod regions;
mod scattered;
mod sharing;

pub use model::random_sequences;
pub use regions::*;
pub use scattered::*;
pub use sharing::*;

use ash::vk;
use common::Memory;
use common::objects::ImageShape;
use common::pattern::{assert_pattern, words};

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;

fn flat(format: vk::Format, width: u32, height: u32) -> ImageShape {
    ImageShape {
        format,
        ..ImageShape::flat(width, height)
    }
}

/// 3x3 tiles of RGBA8; those at the right and at the bottom are cut.
fn nine_tiles() -> ImageShape {
    flat(RGBA8, 300, 260)
}

/// Nobody has bound this tile of `memory`: it holds what [`mark`] wrote.
#[track_caller]
fn assert_marked(memory: &Memory<'_>, tile_bytes: u64, place: u64) {
    let held = memory.read(place * tile_bytes, tile_bytes);
    let first = (place * tile_bytes / 4) as u32;
    assert_pattern(&format!("tile {place} of the memory"), &held, MARK, first);
}

const MARK: u32 = 0x4D41_524B;

fn mark(memory: &Memory<'_>) {
    memory.write(0, &words(MARK, memory.size / 4));
}
