//! The virtual kernel as a device node, for programs that know nothing of it: `libvpanthor_preload.so`.

#![allow(
    clippy::duplicate_mod,
    reason = "each of the included tests has the kit as its own module"
)]

/// The path of the test `$name` in the module of the call, as libtest names it, behind the crate's name.
macro_rules! name_of {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}

#[path = "../drm/main.rs"]
mod drm;

// The tests of the virtual kernel's ioctls, see `transport`.
#[path = "../vpanthor_ioctl.rs"]
mod vpanthor_ioctl;
#[path = "../vpanthor_syncobj.rs"]
mod vpanthor_syncobj;
#[path = "../vpanthor_vm_bind.rs"]
mod vpanthor_vm_bind;
#[path = "../vpanthor_work.rs"]
mod vpanthor_work;

#[path = "../common/cargo.rs"]
#[allow(dead_code, reason = "this test builds one library")]
mod cargo;
#[path = "../common/preload.rs"]
#[allow(dead_code, reason = "dumps are looked at as JSON here")]
mod preload;

mod dump;
mod kit;

mod panvk;
mod program;
mod settings;
mod system;
mod transport;
