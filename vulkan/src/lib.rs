//! What the ICD and the layers share: the base driver, handle maps, `pNext` walking, and the border itself. And what the Vulkan
//! loader finds (`inventory`), for the command.

pub mod base;
pub mod below;
pub mod binds;
pub mod call_copy;
pub mod calls;
pub mod environment;
pub mod features;
pub mod formats;
pub mod guard;
pub mod handles;
pub mod hooks;
pub mod images;
pub mod inventory;
pub mod logger;
pub mod manifest;
pub mod modifier;
pub mod pnext;
