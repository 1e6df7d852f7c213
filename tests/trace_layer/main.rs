//! `VK_LAYER_PANVK_sparse_trace` through the real loader: what it records, what it leaves alone, and that no
//! application suffers from it.

mod endings;
mod events;
mod kit;
mod neighbours;
mod replay;
mod settings;
mod threads;
