//! Drivers and configurations: which ICD the loader gets, and with what environment.

use crate::cargo::{self, target_dir};
use crate::preload;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What one process runs under.
#[derive(Debug, Clone, Copy)]
pub enum Config {
    /// The base driver alone: what is claimed of data must be true here too.
    Bare,
    /// Our ICD, with `PANVK_SPARSE_KERNEL=vpanthor:<kernel>` and `PANVK_SPARSE_NULL=<null>`.
    Icd {
        kernel: &'static str,
        null: &'static str,
    },
    /// Our ICD on a node that the preload library makes, of the flavour `vpanthor`.
    Node {
        vpanthor: &'static str,
        null: &'static str,
    },
}

impl Config {
    pub fn is_icd(&self) -> bool {
        matches!(self, Self::Icd { .. } | Self::Node { .. })
    }

    /// Makes `command` run under this configuration and nothing else of the environment.
    pub fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PANVK_SPARSE_")
                || matches!(&*text, "VK_DRIVER_FILES" | "VK_INSTANCE_LAYERS")
            {
                command.env_remove(name);
            }
        }
        match self {
            Self::Bare => {
                command.env("VK_ICD_FILENAMES", base_manifest());
            }
            Self::Icd { kernel, null } => {
                command
                    .env("VK_ICD_FILENAMES", icd_manifest())
                    .env("PANVK_SPARSE_BASE_ICD", base_manifest())
                    .env("PANVK_SPARSE_KERNEL", format!("vpanthor:{kernel}"))
                    .env("PANVK_SPARSE_NULL", null);
            }
            Self::Node { vpanthor, null } => {
                command
                    .env("VK_ICD_FILENAMES", icd_manifest())
                    .env("PANVK_SPARSE_BASE_ICD", base_manifest())
                    .env("PANVK_SPARSE_KERNEL", preload::node(0))
                    .env("PANVK_SPARSE_NULL", null)
                    .env("LD_PRELOAD", preload::library())
                    .env("VPANTHOR", vpanthor);
            }
        }
    }
}

/// The base driver's manifest: the user's `PANVK_SPARSE_BASE_ICD`, or lavapipe where distributions install it.
pub fn base_manifest() -> PathBuf {
    if let Some(path) = std::env::var_os("PANVK_SPARSE_BASE_ICD") {
        return path.into();
    }
    let folders = [
        "/usr/share/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
    ];
    let arch = std::env::consts::ARCH;
    folders
        .iter()
        .flat_map(|f| [format!("{f}/lvp_icd.json"), format!("{f}/lvp_icd.{arch}.json")])
        .map(PathBuf::from)
        .find(|p| p.exists())
        .expect("lavapipe is installed (Debian: mesa-vulkan-drivers), or PANVK_SPARSE_BASE_ICD names another driver")
}

/// Builds the ICD with this test's own profile. Returns its manifest, which the build writes beside the library.
pub fn icd_manifest() -> &'static Path {
    static MANIFEST: OnceLock<PathBuf> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-icd"]);
        cargo::written(&folder, "panvk_sparse_icd.json")
    })
}

/// As [`icd_manifest`], of an ICD whose virtual kernel can be made to fail by `PANVK_SPARSE_FAULT`.
pub fn failing_icd_manifest() -> &'static Path {
    static MANIFEST: OnceLock<PathBuf> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        let what = ["--package", "panvk-sparse-icd", "--features", "faults"];
        let folder = cargo::build_into(&target_dir().join("faults"), &what);
        cargo::written(&folder, "panvk_sparse_icd.json")
    })
}

/// Builds the base driver with mip tails (tests/tail_driver), and writes a manifest for it.
pub fn tail_driver_manifest() -> &'static Path {
    static MANIFEST: OnceLock<PathBuf> = OnceLock::new();
    MANIFEST.get_or_init(|| {
        let folder = cargo::build(&["--package", "panvk-sparse-tail-driver"]);
        let library = cargo::written(&folder, "libtail_driver.so");
        let manifest = serde_json::json!({
            "file_format_version": "1.0.0",
            "ICD": { "library_path": library, "api_version": "1.3.0" },
        });
        let path = target_dir().join("tmp/tail_driver.json");
        // Others may read it at the same time.
        let own = path.with_extension(std::process::id().to_string());
        std::fs::write(&own, manifest.to_string()).expect("target/tmp can be written to");
        std::fs::rename(&own, &path).expect("target/tmp can be written to");
        path
    })
}
