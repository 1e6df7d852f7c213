//! What the build scripts of the ICD and of the layer share: they write a manifest beside the library.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// Writes `name` into the profile's folder, from the template `<name>.in` of the package, with the path of its library.
pub fn write(name: &str, library: &str) -> Result<(), Box<dyn Error>> {
    let template = format!("{name}.in");
    println!("cargo::rerun-if-changed={template}");
    println!("cargo::rerun-if-changed=build.rs");

    // OUT_DIR is <target>/<profile>/build/<package>-<hash>/out; the library is put into <target>/<profile>.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let profile = out
        .ancestors()
        .nth(3)
        .ok_or("OUT_DIR is not inside a target folder")?;
    let text = fs::read_to_string(template)?.replace("@library_path@", library);
    let path = profile.join(name);
    if !fs::read_to_string(&path).is_ok_and(|old| old == text) {
        fs::write(path, text)?;
    }
    Ok(())
}
