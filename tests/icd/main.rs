//! The driver through the real loader: what it says of itself, what its settings do, how it fails, how many operations it
//! takes.

mod abuse;
mod alias;
mod alias_starts;
mod aspects;
mod base_driver;
mod board;
mod environment;
mod faults;
mod kernel_faults;
mod node_driver;
mod op_counts;
mod opaque_images;
mod profile;
mod queries;
mod raised_rights;
mod stall;
mod tails;
mod timelines;
mod two_queues;
mod vulkaninfo;
