//! Writes the ICD's manifest beside the library, as `panvk_sparse_icd.json` in the profile's folder.

#[path = "../vulkan/manifest_build.rs"]
mod manifest_build;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manifest_build::write("panvk_sparse_icd.json", "./libvulkan_panvk_sparse.so")
}
