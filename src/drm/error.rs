//! What can go wrong between us and a kernel.

use rustix::io::Errno;
use std::borrow::Cow;
use std::path::PathBuf;
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

impl fmt::Display for IoctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ioctl {}: {} ({})",
            self.ioctl,
            errno_name(self.errno),
            self.errno
        )
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
        write!(
            f,
            "ioctl VM_BIND: {} ({})",
            errno_name(self.errno),
            self.errno
        )?;
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
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NoSuchNode { path } => {
                write!(
                    f,
                    "{}: no such node; `ls /dev/dri` shows the ones there are",
                    path.display()
                )
            }
            OpenError::PermissionDenied { path } => {
                write!(
                    f,
                    "{}: permission denied; users of the GPU are usually in the group `render`",
                    path.display()
                )
            }
            OpenError::NoDevice { path, errno } => {
                write!(
                    f,
                    "{}: no device behind this node ({})",
                    path.display(),
                    errno_name(*errno)
                )
            }
            OpenError::NotDrm { path } => write!(f, "{}: not a DRM render node", path.display()),
            OpenError::NotRenderNode { path, render } => {
                write!(f, "{}: not a render node", path.display())?;
                match render {
                    Some(render) => write!(f, "; that of the same device is {}", render.display()),
                    None => write!(f, ", and its device has none"),
                }
            }
            OpenError::OtherDriver { path, driver } => {
                write!(
                    f,
                    "{}: the driver is {driver:?}, expected \"panthor\"",
                    path.display()
                )
            }
            OpenError::Version { path, major, minor } => {
                write!(
                    f,
                    "{}: panthor uAPI {major}.{minor}, expected 1.x",
                    path.display()
                )
            }
            OpenError::Io { path, errno } => {
                write!(f, "{}: {} ({errno})", path.display(), errno_name(*errno))
            }
            OpenError::Ioctl { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl error::Error for OpenError {}
