//! The transport to a virtual kernel in this process.

use std::any::Any;
use std::path::Path;

use panvk_sparse::drm::{Buffer, CallMemory, Device, OpenError, Transport};
use rustix::io::Errno;

use crate::tee::Tee;
use crate::{File, UserMemory};

/// An open file of a virtual kernel, as [`Device`] calls it.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub file: File,
}

/// A device whose kernel is the virtual one that `file` is open on.
///
/// # Errors
/// The kernel does not say its version, which only fault injection makes happen.
pub fn device(file: File) -> Result<Device, OpenError> {
    Device::new(Box::new(InProcess { file }), Path::new("vpanthor"))
}

/// What is behind a [`Device`], if that is a virtual kernel.
pub trait Virtual {
    /// The open file of the virtual kernel; that of the model, if a node stands beside it. `None` for a real kernel.
    fn vpanthor(&self) -> Option<&File>;

    /// The node beside the model, if there is one.
    fn tee(&self) -> Option<&Tee>;
}

impl Virtual for Device {
    fn vpanthor(&self) -> Option<&File> {
        let transport = self.transport().as_any();
        match transport.downcast_ref::<InProcess>() {
            Some(in_process) => Some(&in_process.file),
            None => self.tee().map(Tee::model),
        }
    }

    fn tee(&self) -> Option<&Tee> {
        self.transport().as_any().downcast_ref()
    }
}

impl UserMemory for CallMemory<'_> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        CallMemory::read(self, addr, buf)
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        CallMemory::write(self, addr, buf)
    }
}

impl Transport for InProcess {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        let memory = CallMemory { arg: &arg, buffers };
        self.file.ioctl(request, arg.addr(), &memory)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
