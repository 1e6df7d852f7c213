//! The Vulkan driver that deqp-vk is given: ours in front of the base driver, or the base driver alone.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hosted::config;
use vulkan::manifest;

use super::super::Failure;
use super::ways::Way;
use super::{Args, Error};

const MANIFEST: &str = "panvk_sparse_icd.json";

/// A manifest and the environment that goes with it.
#[derive(Clone, Debug)]
pub struct TestedDriver {
    pub manifest: PathBuf,
    variables: Vec<(&'static str, OsString)>,
}

impl TestedDriver {
    /// Our driver, with the kernel and the strategy of `way`; its counters go to `stats`.
    pub fn ours(args: &Args, way: &Way, stats: &Path) -> Result<Self, Error> {
        Ok(Self {
            manifest: named_manifest(args.icd.as_deref())?,
            variables: vec![
                (config::STATS, stats.into()),
                (config::KERNEL, way.kernel.clone()),
                (config::NULL, way.strategy.clone()),
            ],
        })
    }

    /// The base driver. The loader wants a manifest: where a library is named, one is written into `folder`.
    pub fn bare(folder: &Path) -> Result<Self, Error> {
        let named = env::var_os(config::BASE_ICD).filter(|value| !value.is_empty());
        let path = match named {
            Some(path) => PathBuf::from(path),
            None => manifest::lavapipe(|name| env::var_os(name))
                .map_err(|error| Error::Run(error.to_string()))?,
        };
        let manifest = base_manifest(&path, folder)?;
        Ok(Self {
            manifest,
            variables: Vec::new(),
        })
    }

    /// Gives `command` this driver and no other.
    pub fn set(&self, command: &mut Command) {
        // The loader's new name and its old one.
        command
            .env("VK_DRIVER_FILES", &self.manifest)
            .env("VK_ICD_FILENAMES", &self.manifest)
            .env_remove("VK_ADD_DRIVER_FILES")
            .env_remove(config::STATS)
            // What Mesa kept of one run would make the next one quicker.
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .envs(self.variables.iter().cloned());
    }
}

/// The manifest of the base driver at `path`. Where that is a library, a manifest of it is written into `folder`.
pub fn base_manifest(path: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let library = manifest::library_of(path).map_err(|error| Error::Usage(error.to_string()))?;
    let whole = path.canonicalize().unwrap_or(path.to_owned());
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return Ok(whole);
    }
    manifest_of(&library.canonicalize().unwrap_or(whole), folder)
}

/// A manifest of a driver's library, written into `folder`.
pub fn manifest_of(library: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let written = folder.join("base_icd.json");
    let json = serde_json::json!({
        "file_format_version": "1.0.1",
        "ICD": { "library_path": library, "api_version": "1.3.0" },
    });
    fs::write(&written, json.to_string())
        .map_err(|error| Error::Run(format!("{}: {error}", written.display())))?;
    Ok(written)
}

/// The manifest that the option `--icd` names, else this driver's own.
fn named_manifest(option: Option<&Path>) -> Result<PathBuf, Error> {
    let Some(path) = option else {
        return own_manifest()
            .map_err(|error| Error::Usage(format!("{error} or name a manifest with --icd")));
    };
    match path.canonicalize() {
        Ok(path) if path.is_file() => Ok(path),
        Ok(_) => Err(Error::Usage(format!(
            "--icd {}: not a file",
            path.display()
        ))),
        Err(error) => Err(Error::Usage(format!("--icd {}: {error}", path.display()))),
    }
}

/// This driver's manifest: the one beside this program, or where both are installed.
pub fn own_manifest() -> Result<PathBuf, Failure> {
    let program = env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    let share = folder.parent().unwrap_or(folder).join("share");
    let installed = share.join("vulkan/icd.d");
    let places = [
        folder.join(MANIFEST),
        share.join(MANIFEST),
        installed.join(MANIFEST),
        installed.join(format!("panvk_sparse_icd.{}.json", env::consts::ARCH)),
    ];
    places
        .iter()
        .find(|place| place.is_file())
        .and_then(|place| place.canonicalize().ok())
        .ok_or_else(|| {
            let looked = places.map(|place| place.display().to_string()).join(", ");
            format!("no {MANIFEST}: there is none of {looked}; build panvk-sparse-icd")
        })
}
