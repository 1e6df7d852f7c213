//! What can go wrong between us and a kernel.

use rustix::io::Errno;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{error, fmt};

/// The C name of an errno, as in errno(3): what kernel people look for.
pub fn errno_name(errno: Errno) -> Cow<'static, str> {
    Cow::Borrowed(match errno {
        Errno::TOOBIG => "E2BIG",
        Errno::ACCESS => "EACCES",
        Errno::AGAIN => "EAGAIN",
        Errno::BADF => "EBADF",
        Errno::BUSY => "EBUSY",
        Errno::CANCELED => "ECANCELED",
        Errno::EXIST => "EEXIST",
        Errno::FAULT => "EFAULT",
        Errno::INTR => "EINTR",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::MFILE => "EMFILE",
        Errno::NODEV => "ENODEV",
        Errno::NOENT => "ENOENT",
        Errno::NOMEM => "ENOMEM",
        Errno::NOSPC => "ENOSPC",
        Errno::NOSYS => "ENOSYS",
        Errno::NOTTY => "ENOTTY",
        Errno::NXIO => "ENXIO",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::PERM => "EPERM",
        Errno::TIME => "ETIME",
        Errno::TIMEDOUT => "ETIMEDOUT",
        other => return Cow::Owned(format!("errno {}", other.raw_os_error())),
    })
}

/// An ioctl that failed for good: EINTR and EAGAIN have been retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoctlError {
    /// Such as `VM_CREATE`.
    pub ioctl: &'static str,
    pub errno: Errno,
}

impl IoctlError {
    /// For a close that failed: says so, unless all went with the device.
    pub(super) fn warn_unless_gone(&self, what: fmt::Arguments<'_>) {
        if self.errno != Errno::NODEV {
            log::warn!("{what}: {self}");
        }
    }
}

impl fmt::Display for IoctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ioctl {}: {}", self.ioctl, Explained(self.errno))
    }
}

/// An errno with its name, its meaning, and what it means of a DRM node where that is more.
struct Explained(Errno);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", errno_name(self.0), self.0)?;
        f.write_str(match self.0 {
            Errno::NODEV => "; the device behind the node has gone",
            Errno::NOTTY => "; the driver of the node does not know this ioctl",
            _ => "",
        })
    }
}

impl error::Error for IoctlError {}

/// A VM_BIND that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindFailure {
    pub errno: Errno,
    /// Operations, from the first, that are in effect all the same. Always 0 for an asynchronous bind.
    pub applied: u64,
}

impl fmt::Display for BindFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ioctl VM_BIND: {}", Explained(self.errno))?;
        match self.applied {
            0 => Ok(()),
            applied => write!(
                f,
                " at operation {applied}, the ones before it are in effect"
            ),
        }
    }
}

impl error::Error for BindFailure {}

/// Why a device could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    NoSuchNode {
        path: PathBuf,
    },
    PermissionDenied {
        path: PathBuf,
    },
    /// The node is there, the device behind it is not.
    NoDevice {
        path: PathBuf,
        errno: Errno,
    },
    NotDrm {
        path: PathBuf,
    },
    /// A primary node, and the render node of the same device if it has one.
    NotRenderNode {
        path: PathBuf,
        render: Option<PathBuf>,
    },
    OtherDriver {
        path: PathBuf,
        driver: String,
    },
    /// panthor, but with an incompatible uAPI.
    Version {
        path: PathBuf,
        major: u32,
        minor: u32,
    },
    Io {
        path: PathBuf,
        errno: Errno,
    },
    /// It is DRM, but does not say what driver it is.
    Ioctl {
        path: PathBuf,
        error: IoctlError,
    },
    /// No render node in the folder is panthor's.
    NoPanthor {
        folder: PathBuf,
        /// What is wrong with each node there is.
        found: Vec<OpenError>,
        /// Why the folder could not be looked through.
        unreadable: Option<Errno>,
    },
}

impl OpenError {
    /// The node, or the folder of nodes.
    pub fn path(&self) -> &Path {
        match self {
            OpenError::NoSuchNode { path }
            | OpenError::PermissionDenied { path }
            | OpenError::NoDevice { path, .. }
            | OpenError::NotDrm { path }
            | OpenError::NotRenderNode { path, .. }
            | OpenError::OtherDriver { path, .. }
            | OpenError::Version { path, .. }
            | OpenError::Io { path, .. }
            | OpenError::Ioctl { path, .. }
            | OpenError::NoPanthor { folder: path, .. } => path,
        }
    }

    /// What is wrong, in a few words that do not name the node.
    fn reason(&self) -> Cow<'static, str> {
        Cow::Owned(match self {
            OpenError::NoSuchNode { .. } => return Cow::Borrowed("no such node"),
            OpenError::PermissionDenied { .. } => return Cow::Borrowed("permission denied"),
            OpenError::NotDrm { .. } => return Cow::Borrowed("not a DRM render node"),
            OpenError::NotRenderNode { .. } => return Cow::Borrowed("not a render node"),
            OpenError::NoPanthor { .. } => return Cow::Borrowed("no panthor render node"),
            OpenError::NoDevice { errno, .. } => {
                format!("no device behind this node ({})", errno_name(*errno))
            }
            OpenError::OtherDriver { driver, .. } => format!("the driver is {driver}"),
            OpenError::Version { major, minor, .. } => format!("panthor uAPI {major}.{minor}"),
            OpenError::Io { errno, .. } => Explained(*errno).to_string(),
            OpenError::Ioctl { error, .. } => error.to_string(),
        })
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let OpenError::NoPanthor {
            folder,
            found,
            unreadable,
        } = self
        {
            let folder = folder.display();
            f.write_str("no panthor render node")?;
            match unreadable {
                Some(Errno::NOENT) => write!(f, ": {folder} does not exist")?,
                Some(errno) => write!(f, ": {folder}: {}", Explained(*errno))?,
                None if found.is_empty() => write!(f, ": {folder} has no render node")?,
                None => write!(f, " in {folder}")?,
            }
            for (i, error) in found.iter().enumerate() {
                let name = error.path().file_name().unwrap_or_default();
                let separator = if i == 0 { ": " } else { "; " };
                let name = Path::new(name).display();
                write!(f, "{separator}{name}: {}", error.reason())?;
            }
            return Ok(());
        }
        write!(f, "{}: {}", self.path().display(), self.reason())?;
        match self {
            OpenError::NoSuchNode { .. } => f.write_str("; `ls /dev/dri` shows the ones there are"),
            OpenError::PermissionDenied { .. } => {
                f.write_str("; users of the GPU are usually in the group `render`")
            }
            OpenError::NotRenderNode { render, .. } => match render {
                Some(render) => write!(f, "; that of the same device is {}", render.display()),
                None => f.write_str(", and its device has none"),
            },
            OpenError::OtherDriver { .. } => f.write_str(", expected panthor"),
            OpenError::Version { major: 0, .. } => {
                f.write_str(", expected 1.x: the kernel is older than the first release")
            }
            OpenError::Version { .. } => f.write_str(", expected 1.x"),
            OpenError::NoDevice { .. }
            | OpenError::NoPanthor { .. }
            | OpenError::NotDrm { .. }
            | OpenError::Io { .. }
            | OpenError::Ioctl { .. } => Ok(()),
        }
    }
}

impl error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_node_is_panthors_each_is_named_with_what_it_is() {
        let path = |name: &str| Path::new("/dev/dri").join(name);
        let none = |found, unreadable| {
            OpenError::NoPanthor {
                folder: "/dev/dri".into(),
                found,
                unreadable,
            }
            .to_string()
        };
        let others = vec![
            OpenError::OtherDriver {
                path: path("renderD128"),
                driver: "i915".into(),
            },
            OpenError::PermissionDenied {
                path: path("renderD129"),
            },
        ];
        assert_eq!(
            none(others, None),
            "no panthor render node in /dev/dri: renderD128: the driver is i915; renderD129: permission denied"
        );
        assert_eq!(
            none(Vec::new(), Some(Errno::NOENT)),
            "no panthor render node: /dev/dri does not exist"
        );
        assert_eq!(
            none(Vec::new(), None),
            "no panthor render node: /dev/dri has no render node"
        );
    }

    #[test]
    fn a_device_that_went_away_and_a_driver_that_knows_no_panthor_are_said_in_words() {
        let say = |errno| {
            IoctlError {
                ioctl: "VM_CREATE",
                errno,
            }
            .to_string()
        };
        assert!(say(Errno::NODEV).starts_with("ioctl VM_CREATE: ENODEV ("));
        assert!(say(Errno::NODEV).ends_with("; the device behind the node has gone"));
        assert!(say(Errno::NOTTY).ends_with("; the driver of the node does not know this ioctl"));
        assert!(say(Errno::NOMEM).ends_with(')'));
    }
}
