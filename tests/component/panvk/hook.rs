//! `mesa/panvk/hook.py` and trees that it does not know. A tree that it knows is what `scripts/panvk.sh build` gives it.

use std::fs;
use std::path::Path;
use std::process::Command;

use common::cargo::ROOT;

/// What the script says to a tree, which it has to refuse and to leave alone.
fn refusal(tree: &Path, build: &str) -> String {
    let output = Command::new(Path::new(ROOT).join("mesa/panvk/hook.py"))
        .arg(tree)
        .arg("libpanvk_sparse_c.a")
        .output()
        .expect("python3");
    assert_eq!(output.status.code(), Some(1));
    let meson = tree.join("src/panfrost/vulkan/meson.build");
    assert_eq!(fs::read_to_string(meson).unwrap_or_default(), build);
    assert!(
        !tree
            .join("src/panfrost/vulkan/csf/panvk_vX_sparse.c")
            .exists()
    );
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn a_tree_that_is_not_known_is_refused_with_what_was_looked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tree = folder.path();
    assert!(refusal(tree, "").contains("VERSION: No such file or directory"));

    fs::write(tree.join("VERSION"), "26.1.6\n").expect("a file");
    let said = refusal(tree, "");
    assert!(
        said.contains("looked for a version 25.0.x in the file VERSION, found '26.1.6'"),
        "{said}"
    );

    fs::write(tree.join("VERSION"), "25.0.7\n").expect("a file");
    let vulkan = tree.join("src/panfrost/vulkan");
    fs::create_dir_all(vulkan.join("csf")).expect("a folder");
    fs::write(vulkan.join("panvk_vX_device.c"), "").expect("a file");
    let said = refusal(tree, "");
    assert!(
        said.contains("looked for 'panvk_per_arch(create_device)(' in"),
        "{said}"
    );

    // All that is looked for in sources, but not the places in the build file.
    let all = "panvk_per_arch(create_device)( panvk_per_arch(destroy_device)( panvk_physical_device_init( \
        panvk_physical_device_finish( panvk_GetPhysicalDeviceQueueFamilyProperties2( \
        panvk_GetPhysicalDeviceImageFormatProperties2( panvk_GetPhysicalDeviceSparseImageFormatProperties( \
        panvk_GetPhysicalDeviceSparseImageFormatProperties2( PANVK_VA_RESERVE_BOTTOM 0x2000000ull 1ull << 32); \
        driver_submit = panvk_queue_submit; panvk_CreateBuffer( panvk_CreateImage( panvk_FreeMemory(";
    for file in [
        "panvk_vX_device.c",
        "panvk_physical_device.c",
        "csf/panvk_vX_queue.c",
        "panvk_buffer.c",
        "panvk_image.c",
        "panvk_device_memory.c",
    ] {
        fs::write(vulkan.join(file), all).expect("a file");
    }
    let build = "csf_files = [\n]\ncsf_files = [\n]\n";
    fs::write(vulkan.join("meson.build"), build).expect("a file");
    let said = refusal(tree, build);
    assert!(
        said.contains("looked for one place in") && said.ends_with("found 2\n"),
        "{said}"
    );
}
