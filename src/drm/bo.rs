//! Buffer objects: memory that the kernel owns and a VM can map.

use super::device::Device;
use super::error::IoctlError;
use crate::uapi;
use crate::units::{BoHandle, VmId};

/// A GEM handle that closes itself. The memory lives on as long as a VM maps it.
#[derive(Debug)]
pub struct Bo {
    device: Device,
    handle: BoHandle,
    size: u64,
}

impl Bo {
    pub(super) fn create(
        device: &Device,
        size: u64,
        flags: u32,
        exclusive: Option<VmId>,
    ) -> Result<Bo, IoctlError> {
        let mut create = uapi::BoCreate {
            size,
            flags,
            exclusive_vm_id: exclusive.map_or(0, |vm| vm.0),
            ..uapi::BoCreate::default()
        };
        device.call("BO_CREATE", uapi::IOCTL_BO_CREATE, &mut create, &[])?;
        Ok(Bo {
            device: device.clone(),
            handle: BoHandle(create.handle),
            size: create.size,
        })
    }

    pub fn handle(&self) -> BoHandle {
        self.handle
    }

    /// Bytes, whole pages.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Bo {
    fn drop(&mut self) {
        let mut close = uapi::GemClose {
            handle: self.handle().0,
            pad: 0,
        };
        if let Err(error) = self
            .device
            .call("GEM_CLOSE", uapi::IOCTL_GEM_CLOSE, &mut close, &[])
        {
            error.warn_unless_gone(format_args!("BO {} stays open", self.handle().0));
        }
    }
}
