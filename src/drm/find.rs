//! Which of the machine's render nodes is panthor's.
//!
//! A machine can have several, each of a driver of its own: a board's GPU and a plugged-in card, say. Their numbers
//! follow the order in which the drivers were loaded, so only asking a node tells whose it is.

use super::device::Device;
use super::error::OpenError;
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Where device nodes of DRM lie.
pub const DRI: &str = "/dev/dri";

/// Opens the first render node that is panthor's, in the order of their numbers, and says where it is.
///
/// # Errors
/// [`OpenError::NoPanthor`], with what is wrong with each node that there is.
pub fn find() -> Result<(PathBuf, Device), OpenError> {
    find_in(Path::new(DRI))
}

/// As [`find`], in another folder than `/dev/dri`.
///
/// # Errors
/// As for [`find`].
pub fn find_in(folder: &Path) -> Result<(PathBuf, Device), OpenError> {
    let none = |found, unreadable| OpenError::NoPanthor {
        folder: folder.to_path_buf(),
        found,
        unreadable,
    };
    let nodes = render_nodes(folder).map_err(|errno| none(Vec::new(), Some(errno)))?;
    let mut found = Vec::new();
    for path in nodes {
        match Device::open_node(&path) {
            Ok(device) => return Ok((path, device)),
            Err(error) => found.push(error),
        }
    }
    Err(none(found, None))
}

/// The render nodes in a folder, in the order of their numbers.
fn render_nodes(folder: &Path) -> Result<Vec<PathBuf>, Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(errno)? {
        let name = entry.map_err(errno)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("renderD"));
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            nodes.push((number, folder.join(name)));
        }
    }
    nodes.sort_unstable();
    Ok(nodes.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_taken_in_the_order_of_their_numbers_and_others_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "renderD1000",
            "renderD129",
            "card0",
            "renderD128",
            "renderD",
            "renderD-1",
            "by-path",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = render_nodes(folder.path())
            .unwrap()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["renderD128", "renderD129", "renderD1000"]);
    }
}
