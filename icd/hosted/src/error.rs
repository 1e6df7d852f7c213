//! What can go wrong, by what an application can do about it.

use std::fmt;

use ash::vk;
use panvk_sparse::drm::IoctlError;
use panvk_sparse::vm::VmError;
use rustix::io::Errno;
use vulkan::binds::InvalidCall;

/// Each has a `VkResult`, and a message for the log that names the thing and the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostedError {
    /// The kernel that was named can't be had.
    NoKernel(String),
    /// The kernel does not map unbound ranges in the way that was asked for.
    NoStrategy(String),
    /// The application asked for what Vulkan forbids.
    Invalid(String),
    /// The kernel has no memory, no address space or no handle left.
    OutOfDeviceMemory(String),
    /// The kernel refused an operation that it should have taken.
    Refused(String),
    /// The VM is unusable, now and ever after.
    DeviceLost(String),
    /// The base driver refused.
    Base(vk::Result),
}

impl HostedError {
    /// What a Vulkan function returns for it.
    pub fn result(&self) -> vk::Result {
        match self {
            Self::NoKernel(_) | Self::NoStrategy(_) => vk::Result::ERROR_INITIALIZATION_FAILED,
            Self::Invalid(_) => vk::Result::ERROR_VALIDATION_FAILED_EXT,
            Self::OutOfDeviceMemory(_) => vk::Result::ERROR_OUT_OF_DEVICE_MEMORY,
            Self::Refused(_) => vk::Result::ERROR_UNKNOWN,
            Self::DeviceLost(_) => vk::Result::ERROR_DEVICE_LOST,
            Self::Base(result) => *result,
        }
    }
}

impl HostedError {
    /// What an error of the VM means; `what` says what was asked of it.
    pub(crate) fn of_vm(what: &str, error: VmError) -> Self {
        let message = format!("{what}: {error}");
        match error {
            VmError::BadRange(_) | VmError::BadRequest(_) => Self::Refused(message),
            VmError::Refused(failure) | VmError::StillMapped(failure) => match failure.errno {
                Errno::NOMEM | Errno::NOSPC => Self::OutOfDeviceMemory(message),
                _ => Self::Refused(message),
            },
            VmError::Lost(why) => Self::DeviceLost(why),
        }
    }
}

/// The kernel refused to make an object; `what` says what was asked of it.
pub(crate) fn unmade(what: &str, error: IoctlError) -> HostedError {
    let message = format!("{what}: {error}");
    match error.errno {
        Errno::NODEV => HostedError::DeviceLost(message),
        _ => HostedError::OutOfDeviceMemory(message),
    }
}

/// There is no room; `what` says for what.
pub(crate) fn out_of_memory(what: &str, error: impl fmt::Display) -> HostedError {
    HostedError::OutOfDeviceMemory(format!("{what}: {error}"))
}

impl From<VmError> for HostedError {
    fn from(error: VmError) -> Self {
        Self::of_vm("VM_BIND", error)
    }
}

impl From<InvalidCall> for HostedError {
    fn from(call: InvalidCall) -> Self {
        Self::Invalid(call.0)
    }
}

impl fmt::Display for HostedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKernel(message)
            | Self::NoStrategy(message)
            | Self::Invalid(message)
            | Self::OutOfDeviceMemory(message)
            | Self::Refused(message)
            | Self::DeviceLost(message) => f.write_str(message),
            Self::Base(result) => write!(f, "the base driver answered {result:?}"),
        }
    }
}

impl std::error::Error for HostedError {}
