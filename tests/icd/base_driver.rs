//! Base drivers that this machine does not have, compiled from a few lines of C.

use std::path::Path;
use std::process::Command;

use ash::vk;
use vulkan::base::Base;

unsafe extern "system" fn own(_: *mut u32) -> vk::Result {
    vk::Result::SUCCESS
}

fn driver(folder: &Path, text: &str) -> Base {
    let (source, library) = (folder.join("driver.c"), folder.join("driver.so"));
    std::fs::write(&source, text).unwrap();
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let built = Command::new(cc)
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(built.success());
    Base::load(Some(&library), own).unwrap()
}

/// From version 7 on a driver need not export the function: `vk_icdGetInstanceProcAddr` answers it.
#[test]
fn the_negotiation_of_a_driver_that_does_not_export_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let base = driver(
        folder.path(),
        r#"
        #include <string.h>
        static int negotiate(unsigned *version) { if (*version > 5) *version = 5; return 0; }
        void *vk_icdGetInstanceProcAddr(void *instance, const char *name) {
            return strcmp(name, "vk_icdNegotiateLoaderICDInterfaceVersion") ? 0 : (void *)negotiate;
        }
        "#,
    );
    assert_eq!(base.negotiate(7), Ok(5));
    assert_eq!(base.negotiate(3), Ok(3));
}

#[test]
fn a_driver_that_can_not_negotiate_speaks_version_1() {
    let folder = tempfile::tempdir().unwrap();
    let base = driver(
        folder.path(),
        "void *vk_icdGetInstanceProcAddr(void *instance, const char *name) { return 0; }",
    );
    assert_eq!(base.negotiate(7), Ok(1));
}
