//! The trace format: what is written is what is read, and damage never passes for a record.

#[path = "../trace_kit/arbitrary.rs"]
mod arbitrary;

mod example;
mod kit;
mod properties;
mod reader;
mod writer;
