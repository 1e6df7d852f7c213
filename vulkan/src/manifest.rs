//! ICD manifests: the JSON files by which the Vulkan loader finds a driver's library.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why the base driver can't be used. The message names the file and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseError(pub String);

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BaseError {}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "ICD")]
    icd: Icd,
}

#[derive(Deserialize)]
struct Icd {
    library_path: PathBuf,
}

/// The library that `path` stands for: itself, or the `library_path` of the manifest that it is.
///
/// As in the loader, a `library_path` without a slash is left to the dynamic linker, a relative one with a
/// slash is relative to the manifest.
///
/// # Errors
/// The file can't be read, or is no ICD manifest.
pub fn library_of(path: &Path) -> Result<PathBuf, BaseError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return match path.metadata() {
            Err(error) => Err(BaseError(format!(
                "base driver {}: {error}",
                path.display()
            ))),
            Ok(meta) if !meta.is_file() => Err(BaseError(format!(
                "base driver {}: not a file; expected an ICD manifest (.json) or a driver's library (.so)",
                path.display()
            ))),
            // Without a slash the dynamic linker would look for it elsewhere.
            Ok(_) if path.parent() == Some(Path::new("")) => Ok(Path::new(".").join(path)),
            Ok(_) => Ok(path.to_owned()),
        };
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        BaseError(format!(
            "base driver's manifest {}: {error}",
            path.display()
        ))
    })?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| {
        BaseError(format!(
            "base driver's manifest {}: {error}; expected an ICD manifest with \"ICD\": {{\"library_path\": …}}",
            path.display()
        ))
    })?;
    let library = manifest.icd.library_path;
    let has_folder = library
        .parent()
        .is_some_and(|parent| !parent.as_os_str().is_empty());
    Ok(match path.parent() {
        Some(folder) if library.is_relative() && has_folder => folder.join(library),
        _ => library,
    })
}

/// Lavapipe's manifest in the folders where the loader looks.
///
/// # Errors
/// There is none; the message lists the folders.
pub fn lavapipe(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf, BaseError> {
    let folders = folders(var);
    in_folders(&folders, "lvp").ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        BaseError(format!(
            "no base driver: lvp_icd.json (Mesa's lavapipe) is in none of {}; install mesa-vulkan-drivers or name \
             another driver's manifest in {}",
            looked.join(", "),
            crate::environment::BASE_ICD
        ))
    })
}

/// The manifest of a driver of Mesa.
fn in_folders(folders: &[PathBuf], driver: &str) -> Option<PathBuf> {
    let names = [
        format!("{driver}_icd.json"),
        format!("{driver}_icd.{}.json", std::env::consts::ARCH),
    ];
    let paths = folders
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    paths.into_iter().find(|path| path.is_file())
}

/// The folders where the loader looks for manifests.
pub fn folders(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Vec<PathBuf> {
    // A path that is not absolute counts as not there, as the XDG Base Directory Specification says: the working
    // directory is nobody's choice of a driver.
    let absolute = |path: &PathBuf| path.is_absolute();
    let split = |name: &str, default: &str| -> Vec<PathBuf> {
        let value = var(name)
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| default.into());
        std::env::split_paths(&value).filter(absolute).collect()
    };
    let home = |name: &str, default: &str| {
        let in_home = || var("HOME").map(|home| Path::new(&home).join(default));
        var(name)
            .map(PathBuf::from)
            .filter(absolute)
            .or_else(|| in_home().filter(absolute))
    };
    home("XDG_CONFIG_HOME", ".config")
        .into_iter()
        .chain(split("XDG_CONFIG_DIRS", "/etc/xdg"))
        .chain(["/etc".into()])
        .chain(home("XDG_DATA_HOME", ".local/share"))
        .chain(split("XDG_DATA_DIRS", "/usr/local/share:/usr/share"))
        .map(|folder| folder.join("vulkan/icd.d"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Result<PathBuf, BaseError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        std::fs::write(&path, text).unwrap();
        library_of(&path).map(|library| {
            library
                .strip_prefix(folder.path())
                .unwrap_or(&library)
                .to_owned()
        })
    }

    #[test]
    fn library_paths_are_resolved_as_the_loader_does() {
        let of = |library: &str| {
            manifest(&format!(r#"{{"ICD":{{"library_path":"{library}"}}}}"#)).unwrap()
        };
        assert_eq!(of("libvulkan_lvp.so"), Path::new("libvulkan_lvp.so"));
        assert_eq!(of("./libx.so"), Path::new("libx.so"));
        assert_eq!(of("sub/libx.so"), Path::new("sub/libx.so"));
        assert_eq!(of("/usr/lib/libx.so"), Path::new("/usr/lib/libx.so"));
    }

    #[test]
    fn a_library_in_the_working_directory_is_not_looked_for_elsewhere() {
        assert_eq!(
            library_of(Path::new("Cargo.toml")).unwrap(),
            Path::new("./Cargo.toml")
        );
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"layer":{}}"#,
            r#"{"ICD":{"api_version":"1.3"}}"#,
        ] {
            let message = manifest(text).unwrap_err().0;
            assert!(
                message.contains("x.json") && message.contains("library_path"),
                "{message}"
            );
        }
        assert!(
            library_of(Path::new("/nowhere/lvp.json"))
                .unwrap_err()
                .0
                .contains("/nowhere/lvp.json")
        );
        assert!(
            library_of(Path::new("/nowhere/lvp.so"))
                .unwrap_err()
                .0
                .contains("/nowhere/lvp.so")
        );
        assert!(
            library_of(Path::new("/tmp"))
                .unwrap_err()
                .0
                .contains("not a file")
        );
    }

    #[test]
    fn a_machine_without_lavapipe_is_told_where_it_was_looked_for() {
        let message = lavapipe(|name| (name == "XDG_DATA_DIRS").then(|| "/a:/b".into()))
            .unwrap_err()
            .0;
        assert!(
            message.contains("/a/vulkan/icd.d, /b/vulkan/icd.d"),
            "{message}"
        );
    }

    #[test]
    fn nothing_is_looked_for_in_the_working_directory() {
        for (variable, value) in [
            ("XDG_DATA_HOME", ""),
            ("XDG_DATA_HOME", "here"),
            ("XDG_DATA_DIRS", "/a::here"),
            ("HOME", "here"),
        ] {
            let message = lavapipe(|name| match name {
                _ if name == variable => Some(value.into()),
                "XDG_DATA_DIRS" => Some("/a".into()),
                _ => None,
            })
            .unwrap_err()
            .0;
            for folder in message
                .split([',', ' '])
                .filter(|word| word.contains("icd.d"))
            {
                assert!(folder.starts_with('/'), "{variable}={value}: {message}");
            }
        }
    }
}
