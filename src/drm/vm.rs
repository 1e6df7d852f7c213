//! VMs: GPU address spaces, and the ioctl that this project is about.

use super::device::Device;
use super::error::{BindFailure, IoctlError};
use super::retry::Retry;
use super::transport::Buffer;
use crate::lower::{OpArray, Ops};
use crate::uapi::{self, ObjArray, SyncOp, VmBind};
use crate::units::VmId;
use rustix::io::Errno;

/// When the operations of a bind take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// Before the call returns. No sync ops.
    Sync,
    /// After the VM's earlier asynchronous binds and the waits. All is checked first: the kernel takes all or nothing.
    Async,
}

/// What VM_GET_STATE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmState {
    Usable,
    /// An asynchronous operation failed; the VM takes no map any more.
    Unusable,
}

/// A GPU address space that destroys itself, and with it all that is mapped there, unless it was adopted.
#[derive(Debug)]
pub struct Vm {
    device: Device,
    id: VmId,
    user_va_range: u64,
    /// Whether somebody else destroys it.
    adopted: bool,
}

impl Vm {
    pub(super) fn adopt(device: &Device, id: VmId, user_va_range: u64) -> Vm {
        Vm {
            device: device.clone(),
            id,
            user_va_range,
            adopted: true,
        }
    }

    pub(super) fn create(device: &Device, user_va_range: u64) -> Result<Vm, IoctlError> {
        let mut create = uapi::VmCreate {
            user_va_range,
            ..uapi::VmCreate::default()
        };
        device.call("VM_CREATE", uapi::IOCTL_VM_CREATE, &mut create, &[])?;
        Ok(Vm {
            device: device.clone(),
            id: VmId(create.id),
            user_va_range: create.user_va_range,
            adopted: false,
        })
    }

    pub fn id(&self) -> VmId {
        self.id
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes: addresses below it can be mapped.
    pub fn user_va_range(&self) -> u64 {
        self.user_va_range
    }

    /// One VM_BIND of all of `ops`; none if there are none. Writes the addresses of the sync ops into them.
    ///
    /// EINTR and EAGAIN are retried, [a bounded number of times](super::MAX_RETRIES_EAGAIN): an asynchronous bind as a
    /// whole, a synchronous one from the operation that the kernel stopped at.
    ///
    /// # Errors
    /// ENOMEM, and EINVAL for an operation that the kernel refuses or a VM that is
    /// [unusable](VmState::Unusable). What was applied nevertheless is in the error.
    pub fn bind(&self, ops: &mut Ops, mode: BindMode) -> Result<(), BindFailure> {
        let refused = BindFailure {
            errno: Errno::INVAL,
            applied: 0,
        };
        let total = u32::try_from(ops.array.len()).map_err(|_| refused)?;
        if total == 0 {
            return Ok(());
        }
        for attach in &ops.attach {
            let syncs = ops.syncs.get(attach.syncs.clone()).ok_or(refused)?;
            let op = ops.array.op_mut(attach.op).ok_or(refused)?;
            op.syncs = ObjArray {
                stride: size_of::<SyncOp>() as u32,
                count: syncs.len() as u32,
                array: Buffer::read(syncs).addr(),
            };
        }
        let array = match &ops.array {
            OpArray::Plain(array) => Buffer::read(array),
            OpArray::Repeat(array) => Buffer::read(array),
        };
        let stride = ops.array.stride() as u32;
        let first = array.addr();
        let buffers = [array, Buffer::read(&ops.syncs)];
        let sync_bytes = size_of_val(&ops.syncs[..]) as u64;
        let counters = self.device.counting();
        counters.count_ops(total.into(), &ops.counts);

        let mut applied = 0;
        let mut retry = Retry::new();
        loop {
            let count = total - applied;
            let mut arg = VmBind {
                vm_id: self.id.0,
                flags: if mode == BindMode::Async {
                    uapi::VM_BIND_ASYNC
                } else {
                    0
                },
                ops: ObjArray {
                    stride,
                    count,
                    array: first + u64::from(applied) * u64::from(stride),
                },
            };
            let bytes =
                size_of::<VmBind>() as u64 + u64::from(count) * u64::from(stride) + sync_bytes;
            counters.count_bytes(bytes);
            let Err(errno) = self
                .device
                .call_once(uapi::IOCTL_VM_BIND, &mut arg, &buffers)
            else {
                return Ok(());
            };
            // A synchronous bind that fails at operation i says so by setting the count to i. An unchanged count
            // says that it failed before the first.
            if mode == BindMode::Sync && 0 < arg.ops.count && arg.ops.count < count {
                applied += arg.ops.count;
                retry = Retry::new();
            }
            if !retry.once_more(errno) {
                return Err(BindFailure {
                    errno,
                    applied: applied.into(),
                });
            }
        }
    }

    /// Whether the VM still takes maps.
    ///
    /// # Errors
    /// Of VM_GET_STATE.
    pub fn state(&self) -> Result<VmState, IoctlError> {
        let mut get = uapi::VmGetState {
            vm_id: self.id.0,
            state: 0,
        };
        self.device
            .call("VM_GET_STATE", uapi::IOCTL_VM_GET_STATE, &mut get, &[])?;
        match get.state {
            uapi::VM_STATE_USABLE => Ok(VmState::Usable),
            // A state that we do not know is not one to go on in.
            _ => Ok(VmState::Unusable),
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if self.adopted {
            return;
        }
        let mut destroy = uapi::VmDestroy {
            id: self.id.0,
            pad: 0,
        };
        if let Err(error) =
            self.device
                .call("VM_DESTROY", uapi::IOCTL_VM_DESTROY, &mut destroy, &[])
        {
            error.warn_unless_gone(format_args!("VM {} stays alive", self.id.0));
        }
    }
}
