//! The transport to a real kernel: a render node.

use super::error::OpenError;
use super::transport::{Buffer, Transport};
use drm::node::{CreateDrmNodeError, DrmNode, NodeType};
use rustix::fs::{FileType, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Node {
    fd: OwnedFd,
}

impl Node {
    /// Opens a render node. Which driver it belongs to is for the caller to ask.
    pub fn open(path: &Path) -> Result<Node, OpenError> {
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
        Ok(Node { fd })
    }
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

/// One call, for rustix, which takes care of errno.
struct Call {
    request: u32,
    arg: *mut u8,
}

// SAFETY: the argument is a struct of the size that `request` encodes, as `Transport::ioctl` asks of its caller, and
// the kernel writes to it at most.
unsafe impl Ioctl for Call {
    type Output = u32;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.request as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.arg.cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _arg: *mut c_void) -> rustix::io::Result<u32> {
        Ok(out as u32)
    }
}

impl Transport for Node {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, _buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        // SAFETY: `arg` and `_buffers` are borrowed until the call returns, as much memory as the kernel reads or
        // writes for `request` (the device's methods pair every request with its struct), and the argument's
        // pointers lead into `_buffers`. The kernel keeps none of them.
        unsafe {
            rustix::ioctl::ioctl(
                &self.fd,
                Call {
                    request,
                    arg: arg.as_ptr(),
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drm::uapi;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// No board here, but a socket takes ioctls as well: FIONREAD stores a number where the argument points to.
    #[test]
    fn an_ioctl_reaches_the_file_and_its_answer_comes_back() {
        const FIONREAD: u32 = 0x541b;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"seven b").unwrap();
        let node = Node { fd: theirs.into() };
        let mut waiting = [0i32];
        let result = node.ioctl(FIONREAD, Buffer::write(&mut waiting), &[]);
        assert_eq!((result, waiting[0]), (Ok(0), 7));
    }

    #[test]
    fn what_a_file_says_to_an_ioctl_that_it_does_not_know_is_the_errno() {
        let node = Node {
            fd: std::fs::File::open("/dev/null").unwrap().into(),
        };
        let mut version = [uapi::Version::default()];
        let result = node.ioctl(uapi::IOCTL_VERSION, Buffer::write(&mut version), &[]);
        assert_eq!(result, Err(Errno::NOTTY));
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
