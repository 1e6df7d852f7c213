//! Writes the layer's manifest beside the library, as `VkLayer_panvk_sparse_trace.json` in the profile's folder.

#[path = "../../vulkan/manifest_build.rs"]
mod manifest_build;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The loader unloads a layer with the instance. What runs at the end of the process, and after a fork, must not
    // lose its code.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    manifest_build::write(
        "VkLayer_panvk_sparse_trace.json",
        "./libVkLayer_panvk_sparse_trace.so",
    )
}
