//! What the Vulkan tests share: an application written against the loader, and the configurations it runs under.
//!
//! Nothing here knows the inside of the ICD. The application loads `libvulkan.so.1`, the loader picks the driver by
//! `VK_ICD_FILENAMES`, and the same program runs over the bare base driver, where every claim about data must hold too.
//!
//! The driver reads its environment when an instance is created, so every (configuration, case) is a process of its
//! own: a test starts its own executable once more, for itself alone ([`child`]).

pub mod app;
pub mod canvas;
pub mod cargo;
pub mod child;
pub mod command;
pub mod config;
pub mod gpu;
pub mod objects;
pub mod pattern;
pub mod preload;
pub mod program;
pub mod random;
pub mod scattered;
pub mod shader;
pub mod stats;
pub mod texels;
pub mod tiles;
pub mod work;

pub use app::App;
pub use gpu::{Batch, Engine, Gpu, Point};
pub use objects::{Buffer, Fence, Image, Memory, Semaphore};
pub use pattern::pattern;
pub use random::Random;
pub use tiles::{Tile, Tiled};

pub const SZ_4K: u64 = 0x1000;
pub const SZ_64K: u64 = 0x1_0000;
pub const SZ_2M: u64 = 0x20_0000;
