//! Pictures: SVG that looks the same on a light and on a dark page.

mod bars;
mod heat;
mod lines;
mod shared;
mod style;
mod ticks;

pub use bars::{Bar, Panel, write};
pub use heat::{Heat, HeatBand};
pub use lines::{Line, Lines, Values};
pub use style::{beside, save};
pub use ticks::{count_tick, nanoseconds_tick};
