//! The render nodes of this machine: opening one, and finding the one that is panthor's.
//!
//! A machine can have several, each of a driver of its own: a board's GPU and a plugged-in card, say. Their numbers
//! follow the order in which the drivers were loaded, so only asking a node tells whose it is.

use drm::node::{CreateDrmNodeError, DrmNode, NodeType};
use panvk_sparse::drm::{Device, OpenError};
use rustix::fs::{FileType, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Opens a render node of panthor.
///
/// # Errors
/// The node cannot be opened, or is not panthor's: see [`OpenError`].
pub fn open(path: &Path) -> Result<Device, OpenError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| open_error(path.to_path_buf(), errno))?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| OpenError::Io {
        path: path.to_path_buf(),
        errno,
    })?;
    match DrmNode::from_stat(stat) {
        Ok(node) if node.ty() == NodeType::Render => {}
        Ok(node) => {
            return Err(OpenError::NotRenderNode {
                path: path.to_path_buf(),
                render: node.dev_path_with_type(NodeType::Render),
            });
        }
        Err(CreateDrmNodeError::NotDrmNode) if is_render_node(&stat) => {}
        Err(CreateDrmNodeError::NotDrmNode) => {
            return Err(OpenError::NotDrm {
                path: path.to_path_buf(),
            });
        }
        Err(CreateDrmNodeError::Io(error)) => {
            return Err(OpenError::Io {
                path: path.to_path_buf(),
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            });
        }
    }
    Device::adopt(fd, path)
}

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
        match open(&path) {
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

/// Whether the numbers of a device are those of a render node. They have to do where sysfs, which drm-rs asks, is not
/// mounted, as in some containers.
fn is_render_node(stat: &Stat) -> bool {
    /// "226 char Direct Rendering Infrastructure (DRI)" of the kernel's devices.txt.
    const DRM_MAJOR: u32 = 226;
    /// As libdrm tells nodes apart: 64 primary ones, 64 control ones, then render nodes.
    const RENDER_MINORS: std::ops::Range<u32> = 128..192;
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && major(stat.st_rdev) == DRM_MAJOR
        && RENDER_MINORS.contains(&minor(stat.st_rdev))
}

/// What it means that a node cannot be opened.
fn open_error(path: PathBuf, errno: Errno) -> OpenError {
    match errno {
        Errno::NOENT | Errno::NOTDIR => OpenError::NoSuchNode { path },
        Errno::ACCESS | Errno::PERM => OpenError::PermissionDenied { path },
        Errno::NODEV | Errno::NXIO => OpenError::NoDevice { path, errno },
        Errno::ISDIR => OpenError::NotDrm { path },
        errno => OpenError::Io { path, errno },
    }
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

    #[test]
    fn each_reason_not_to_open_a_node_says_what_to_do() {
        let say = |errno| open_error("/dev/dri/renderD128".into(), errno).to_string();
        assert_eq!(
            say(Errno::ACCESS),
            "/dev/dri/renderD128: permission denied; users of the GPU are usually in the group `render`"
        );
        assert_eq!(
            say(Errno::NODEV),
            "/dev/dri/renderD128: no device behind this node (ENODEV)"
        );
        assert_eq!(
            say(Errno::NOENT),
            "/dev/dri/renderD128: no such node; `ls /dev/dri` shows the ones there are"
        );
        assert!(say(Errno::MFILE).starts_with("/dev/dri/renderD128: EMFILE ("));
    }
}
