//! The map against an array with one entry a tile, and the figures of images that are known.

mod facts;
mod model;
mod properties;
mod sizes;
