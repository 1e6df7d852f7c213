//! The hosted backend without Vulkan: calls in, what the base driver is asked to do out, and the virtual kernel between.

mod base;
mod batches;
mod faults;
mod model;
mod node;
mod order;
mod shapes;
