//! The transport to a virtual kernel in this process.

use super::transport::{Buffer, CallMemory, Transport};
use crate::vpanthor;
use rustix::io::Errno;

#[derive(Debug)]
pub(super) struct InProcess {
    file: vpanthor::File,
}

impl InProcess {
    pub fn new(file: vpanthor::File) -> Self {
        InProcess { file }
    }
}

impl Transport for InProcess {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        self.file
            .ioctl(request, arg.addr(), &CallMemory { arg: &arg, buffers })
    }

    fn vpanthor(&self) -> Option<&vpanthor::File> {
        Some(&self.file)
    }
}
