//! The trace format: what is written is what is read, and damage never passes for a record.

mod example;
mod kit;
mod properties;
mod reader;
mod writer;
