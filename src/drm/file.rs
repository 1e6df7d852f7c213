//! The transport to a real kernel: an open file of its device.

use super::transport::{Buffer, Transport};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};
use std::any::Any;
use std::ffi::c_void;
use std::os::fd::OwnedFd;

/// An open file of the device. Dropping it closes it.
#[derive(Debug)]
pub(super) struct NodeFile {
    pub fd: OwnedFd,
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

impl Transport for NodeFile {
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

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// No board here, but a socket takes ioctls as well: FIONREAD stores a number where the argument points to.
    #[test]
    fn an_ioctl_reaches_the_file_and_its_answer_comes_back() {
        const FIONREAD: u32 = 0x541b;
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(b"seven b").unwrap();
        let file = NodeFile { fd: theirs.into() };
        let mut waiting = [0i32];
        let result = file.ioctl(FIONREAD, Buffer::write(&mut waiting), &[]);
        assert_eq!((result, waiting[0]), (Ok(0), 7));
    }

    #[test]
    fn what_a_file_says_to_an_ioctl_that_it_does_not_know_is_the_errno() {
        let file = NodeFile {
            fd: std::fs::File::open("/dev/null").unwrap().into(),
        };
        let mut version = [uapi::Version::default()];
        let result = file.ioctl(uapi::IOCTL_VERSION, Buffer::write(&mut version), &[]);
        assert_eq!(result, Err(Errno::NOTTY));
    }
}
