//! Links libdrm as Mesa's panvk does, and calls the library as Mesa does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libvulkan_panfrost.so");
    println!("cargo::rustc-cdylib-link-arg=-l:libdrm.so.2");
}
