//! The transport to a real kernel: a render node.

use super::error::OpenError;
use super::transport::{Buffer, Transport};
use drm::node::{CreateDrmNodeError, DrmNode, NodeType};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::path::Path;

#[derive(Debug)]
pub(super) struct Node {
    fd: OwnedFd,
}

impl Node {
    /// Opens a render node. Which driver it belongs to is for the caller to ask.
    pub fn open(path: &Path) -> Result<Node, OpenError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
            let path = path.to_path_buf();
            match errno {
                Errno::NOENT | Errno::NOTDIR => OpenError::NoSuchNode { path },
                Errno::ACCESS | Errno::PERM => OpenError::PermissionDenied { path },
                Errno::NODEV | Errno::NXIO => OpenError::NoDevice { path, errno },
                Errno::ISDIR => OpenError::NotDrm { path },
                errno => OpenError::Io { path, errno },
            }
        })?;
        let node = DrmNode::from_file(&fd).map_err(|error| {
            let path = path.to_path_buf();
            match error {
                CreateDrmNodeError::NotDrmNode => OpenError::NotDrm { path },
                CreateDrmNodeError::Io(error) => OpenError::Io {
                    path,
                    errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
                },
            }
        })?;
        if node.ty() != NodeType::Render {
            return Err(OpenError::NotRenderNode {
                path: path.to_path_buf(),
                render: node.dev_path_with_type(NodeType::Render),
            });
        }
        Ok(Node { fd })
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
