//! Writes the layer's manifest beside the library, as `VkLayer_panvk_sparse_trace.json` in the profile's folder.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    const TEMPLATE: &str = "VkLayer_panvk_sparse_trace.json.in";
    println!("cargo::rerun-if-changed={TEMPLATE}");
    println!("cargo::rerun-if-changed=build.rs");
    // The loader unloads a layer with the instance. What runs at the end of the process, and after a fork, must not
    // lose its code.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");

    // OUT_DIR is <target>/<profile>/build/<package>-<hash>/out; the library is put into <target>/<profile>.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let profile = out
        .ancestors()
        .nth(3)
        .ok_or("OUT_DIR is not inside a target folder")?;
    let text = fs::read_to_string(TEMPLATE)?
        .replace("@library_path@", "./libVkLayer_panvk_sparse_trace.so");
    write_if_changed(&profile.join("VkLayer_panvk_sparse_trace.json"), &text)?;
    Ok(())
}

fn write_if_changed(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(path, text)
}
