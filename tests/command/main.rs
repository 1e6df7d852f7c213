//! The command `panvk-sparse`: what it prints, how it ends.

mod cli;
mod cts;
mod docs;
mod doctor;
mod examples;
mod node_command;
mod report;
mod streaming;
mod trace_cli;
