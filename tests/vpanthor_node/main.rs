//! The virtual kernel as a device node, for programs that know nothing of it: `libvpanthor_preload.so`.

/// The path of the test `$name` in the module of the call, as libtest names it, behind the crate's name.
macro_rules! name_of {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}

#[path = "../drm/main.rs"]
mod drm;

mod command;
mod dump;
mod kit;

mod panvk;
mod program;
mod settings;
mod system;
mod transport;
