//! Syncobjs: containers for fences, which binds and jobs wait for and signal.
//!
//! A binary syncobj holds one fence or none. A timeline holds one for each point that was submitted, in order; it is
//! the same kind of object, only used with points.

use super::device::Device;
use super::error::IoctlError;
use super::transport::Buffer;
use crate::uapi::{self, SyncOp};
use crate::units::SyncobjHandle;
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A syncobj handle that destroys itself.
#[derive(Debug)]
pub struct Syncobj {
    device: Device,
    handle: SyncobjHandle,
}

impl Syncobj {
    pub(super) fn create(device: &Device, signaled: bool) -> Result<Syncobj, IoctlError> {
        let flags = if signaled {
            uapi::SYNCOBJ_CREATE_SIGNALED
        } else {
            0
        };
        let mut create = uapi::SyncobjCreate { handle: 0, flags };
        device.call(
            "SYNCOBJ_CREATE",
            uapi::IOCTL_SYNCOBJ_CREATE,
            &mut create,
            &[],
        )?;
        Ok(Syncobj {
            device: device.clone(),
            handle: SyncobjHandle(create.handle),
        })
    }

    /// The syncobj behind a file descriptor of [`export`](Self::export), perhaps of another file or process.
    ///
    /// # Errors
    /// EINVAL for a descriptor of something else; EBADF.
    pub fn import(device: &Device, fd: impl AsFd) -> Result<Syncobj, IoctlError> {
        let mut import = uapi::SyncobjHandle {
            fd: fd.as_fd().as_raw_fd(),
            ..uapi::SyncobjHandle::default()
        };
        device.call(
            "SYNCOBJ_FD_TO_HANDLE",
            uapi::IOCTL_SYNCOBJ_FD_TO_HANDLE,
            &mut import,
            &[],
        )?;
        Ok(Syncobj {
            device: device.clone(),
            handle: SyncobjHandle(import.handle),
        })
    }

    /// A file descriptor of this syncobj (not of the fence in it).
    ///
    /// # Errors
    /// EMFILE.
    pub fn export(&self) -> Result<OwnedFd, IoctlError> {
        let mut export = uapi::SyncobjHandle {
            handle: self.handle.0,
            ..uapi::SyncobjHandle::default()
        };
        self.device.call(
            "SYNCOBJ_HANDLE_TO_FD",
            uapi::IOCTL_SYNCOBJ_HANDLE_TO_FD,
            &mut export,
            &[],
        )?;
        if export.fd < 0 {
            return Err(IoctlError {
                ioctl: "SYNCOBJ_HANDLE_TO_FD",
                errno: Errno::BADF,
            });
        }
        // SAFETY: the kernel has just opened this descriptor for us; nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }

    pub fn handle(&self) -> SyncobjHandle {
        self.handle
    }

    /// A new fence that a bind signals.
    pub fn signal_op(&self) -> SyncOp {
        SyncOp {
            flags: uapi::SYNC_OP_SIGNAL | uapi::SYNC_OP_HANDLE_TYPE_SYNCOBJ,
            handle: self.handle.0,
            timeline_value: 0,
        }
    }

    /// Puts a signalled fence into it.
    ///
    /// # Errors
    /// Of SYNCOBJ_SIGNAL.
    pub fn signal(&self) -> Result<(), IoctlError> {
        self.array_call("SYNCOBJ_SIGNAL", uapi::IOCTL_SYNCOBJ_SIGNAL)
    }

    /// Takes the fence out of it.
    ///
    /// # Errors
    /// Of SYNCOBJ_RESET.
    pub fn reset(&self) -> Result<(), IoctlError> {
        self.array_call("SYNCOBJ_RESET", uapi::IOCTL_SYNCOBJ_RESET)
    }

    fn array_call(&self, name: &'static str, request: u32) -> Result<(), IoctlError> {
        let handles = [self.handle.0];
        let buffers = [Buffer::read(&handles)];
        let mut array = uapi::SyncobjArray {
            handles: buffers[0].addr(),
            count_handles: 1,
            pad: 0,
        };
        self.device.call(name, request, &mut array, &buffers)?;
        Ok(())
    }

    /// Signals a point of a timeline, and with it all before.
    ///
    /// # Errors
    /// Of SYNCOBJ_TIMELINE_SIGNAL.
    pub fn signal_point(&self, point: u64) -> Result<(), IoctlError> {
        let points = [point];
        let request = uapi::IOCTL_SYNCOBJ_TIMELINE_SIGNAL;
        self.point_call("SYNCOBJ_TIMELINE_SIGNAL", request, Buffer::read(&points))
    }

    /// The last point of a timeline that is signalled.
    ///
    /// # Errors
    /// Of SYNCOBJ_QUERY.
    pub fn query(&self) -> Result<u64, IoctlError> {
        let mut points = [0u64];
        let request = uapi::IOCTL_SYNCOBJ_QUERY;
        self.point_call("SYNCOBJ_QUERY", request, Buffer::write(&mut points))?;
        Ok(points[0])
    }

    fn point_call(
        &self,
        name: &'static str,
        request: u32,
        points: Buffer<'_>,
    ) -> Result<(), IoctlError> {
        let handles = [self.handle.0];
        let buffers = [Buffer::read(&handles), points];
        let mut array = uapi::SyncobjTimelineArray {
            handles: buffers[0].addr(),
            points: buffers[1].addr(),
            count_handles: 1,
            flags: 0,
        };
        self.device.call(name, request, &mut array, &buffers)?;
        Ok(())
    }

    /// Waits until there is a fence and it is signalled. False if that took longer than `timeout` (None: no limit).
    ///
    /// # Errors
    /// Of SYNCOBJ_WAIT, except for the timeout.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, IoctlError> {
        let handles = [self.handle.0];
        let buffers = [Buffer::read(&handles)];
        let mut wait = uapi::SyncobjWait {
            handles: buffers[0].addr(),
            timeout_nsec: deadline(timeout),
            count_handles: 1,
            flags: uapi::SYNCOBJ_WAIT_FLAGS_WAIT_ALL | uapi::SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
            ..uapi::SyncobjWait::default()
        };
        let request = uapi::IOCTL_SYNCOBJ_WAIT;
        match self
            .device
            .call("SYNCOBJ_WAIT", request, &mut wait, &buffers)
        {
            Ok(_) => Ok(true),
            Err(error) if error.errno == Errno::TIME => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The kernel's kind of timeout: a moment of CLOCK_MONOTONIC in nanoseconds.
fn deadline(timeout: Option<Duration>) -> i64 {
    let Some(timeout) = timeout else {
        return i64::MAX;
    };
    if timeout.is_zero() {
        return 0;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    let deadline = now.saturating_add(i128::try_from(timeout.as_nanos()).unwrap_or(i128::MAX));
    i64::try_from(deadline).unwrap_or(i64::MAX)
}

impl Drop for Syncobj {
    fn drop(&mut self) {
        let mut destroy = uapi::SyncobjDestroy {
            handle: self.handle.0,
            pad: 0,
        };
        if let Err(error) = self.device.call(
            "SYNCOBJ_DESTROY",
            uapi::IOCTL_SYNCOBJ_DESTROY,
            &mut destroy,
            &[],
        ) {
            error.warn_unless_gone(format_args!("syncobj {} stays open", self.handle.0));
        }
    }
}
