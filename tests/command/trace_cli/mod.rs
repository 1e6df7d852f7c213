//! `panvk-sparse trace`: recordings that the library writes, through the built binary.

mod kit;
mod look;
mod merge;
