//! The virtual kernel as a device node, for programs that know nothing of it: `libvpanthor_preload.so`.

mod dump;
mod kit;

mod panvk;
mod program;
mod settings;
mod system;
mod transport;
