//! An open panthor device.

use super::bo::Bo;
use super::counters::{AtomicCounters, Counters, Tally};
use super::error::{IoctlError, OpenError};
use super::file::NodeFile;
use super::retry::Retry;
use super::syncobj::Syncobj;
use super::transport::{Buffer, Transport};
use super::vm::Vm;
use crate::uapi::{self, Plain};
use crate::units::{SZ_2M, SZ_4K, VmId};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a kernel without MMU_INFO maps: 4 KiB and 2 MiB, a bit for each size.
pub(super) const DEFAULT_PAGE_SIZES: u64 = SZ_4K | SZ_2M;

/// An open file of a panthor device, real or virtual. Clones share the file; it is closed with the last of them and of
/// the objects made from it.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Box<dyn Transport>,
    name: String,
    version: (u32, u32),
    counters: Tally,
}

impl Device {
    /// Takes an open file of a device. `path` names it in messages.
    ///
    /// # Errors
    /// It is not panthor's: see [`OpenError`].
    pub fn adopt(fd: OwnedFd, path: &Path) -> Result<Device, OpenError> {
        Device::new(Box::new(NodeFile { fd }), path)
    }

    /// The device that `transport` leads to. `path` names it in messages.
    ///
    /// # Errors
    /// It is not panthor's: see [`OpenError`].
    pub fn new(transport: Box<dyn Transport>, path: &Path) -> Result<Device, OpenError> {
        let path = || PathBuf::from(path);
        let mut inner = Inner {
            transport,
            name: String::new(),
            version: (0, 0),
            counters: Tally(Arc::new(AtomicCounters::new())),
        };
        let mut name = [0u8; 64];
        let name_buffer = [Buffer::write(&mut name)];
        let mut version = uapi::Version {
            name_len: 64,
            name: name_buffer[0].addr(),
            ..uapi::Version::default()
        };
        inner
            .call("VERSION", uapi::IOCTL_VERSION, &mut version, &name_buffer)
            .map_err(|error| match error.errno {
                Errno::NOTTY => OpenError::NotDrm { path: path() },
                errno @ (Errno::NODEV | Errno::NXIO) => OpenError::NoDevice {
                    path: path(),
                    errno,
                },
                _ => OpenError::Ioctl {
                    path: path(),
                    error,
                },
            })?;
        let len = usize::try_from(version.name_len)
            .unwrap_or(usize::MAX)
            .min(name.len());
        inner.name = String::from_utf8_lossy(&name[..len]).into_owned();
        if inner.name != "panthor" {
            return Err(OpenError::OtherDriver {
                path: path(),
                driver: inner.name,
            });
        }
        let (major, minor) = (version.version_major as u32, version.version_minor as u32);
        if major != 1 {
            return Err(OpenError::Version {
                path: path(),
                major,
                minor,
            });
        }
        inner.version = (major, minor);
        inner.counters.0.set_timed(false);
        Ok(Device {
            inner: Arc::new(inner),
        })
    }

    /// The driver's name: `panthor`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Major and minor number of the uAPI. They do not tell which kernel it is: see [`probe()`](super::probe()).
    pub fn version(&self) -> (u32, u32) {
        self.inner.version
    }

    /// Whether the kernel holds the GPU back at the addresses of an operation while it changes what they map. Nothing but
    /// the version tells: see docs/kernel-locks.md.
    pub fn has_region_lock(&self) -> bool {
        self.version() >= (1, 7)
    }

    /// The sizes of pages that the MMU maps, a bit for each, as the kernel says; None if it cannot say (before 1.9).
    ///
    /// # Errors
    /// Of DEV_QUERY, except EINVAL: that is how a kernel answers a query that it does not know.
    pub fn mmu_info(&self) -> Result<Option<u64>, IoctlError> {
        let mut info = [uapi::MmuInfo::default()];
        let buffers = [Buffer::write(&mut info)];
        let mut query = uapi::DevQuery {
            r#type: uapi::DEV_QUERY_MMU_INFO,
            size: size_of::<uapi::MmuInfo>() as u32,
            pointer: buffers[0].addr(),
        };
        match self
            .inner
            .call("DEV_QUERY", uapi::IOCTL_DEV_QUERY, &mut query, &buffers)
        {
            Ok(_) => Ok(Some(info[0].page_size_bitmap)),
            Err(error) if error.errno == Errno::INVAL => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The sizes of pages that the MMU maps, a bit for each: what the kernel says, or 4 KiB and 2 MiB.
    ///
    /// # Errors
    /// As for [`mmu_info`](Self::mmu_info).
    pub fn page_sizes(&self) -> Result<u64, IoctlError> {
        Ok(self
            .mmu_info()?
            .filter(|sizes| *sizes != 0)
            .unwrap_or(DEFAULT_PAGE_SIZES))
    }

    /// A new, empty address space. With `user_va_range` 0 the kernel chooses its size.
    ///
    /// # Errors
    /// EINVAL for a range that the GPU does not have; ENOMEM.
    pub fn create_vm(&self, user_va_range: u64) -> Result<Vm, IoctlError> {
        Vm::create(self, user_va_range)
    }

    /// The VM `id` of this open file, which somebody else has made and destroys. Its user addresses are those below
    /// `user_va_range` (bytes).
    pub fn adopt_vm(&self, id: VmId, user_va_range: u64) -> Vm {
        Vm::adopt(self, id, user_va_range)
    }

    /// A new buffer object of `size` bytes (rounded up to pages), zeroed. `flags` are `BO_*`; an `exclusive` one can be
    /// mapped in that VM only.
    ///
    /// # Errors
    /// EINVAL for a size of 0 and flags that the kernel does not know; ENOMEM.
    pub fn create_bo(
        &self,
        size: u64,
        flags: u32,
        exclusive: Option<VmId>,
    ) -> Result<Bo, IoctlError> {
        Bo::create(self, size, flags, exclusive)
    }

    /// A new syncobj, with a signalled fence or none.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn create_syncobj(&self, signaled: bool) -> Result<Syncobj, IoctlError> {
        Syncobj::create(self, signaled)
    }

    /// What the kernel was asked to do since the device was opened, probing included: take the difference to an
    /// earlier snapshot with [`Counters::since`].
    pub fn counters(&self) -> Counters {
        self.inner.counters.counters()
    }

    /// The counts, to be read also when the device is closed. From now on calls are timed, too.
    pub fn tally(&self) -> Tally {
        self.counting().set_timed(true);
        self.inner.counters.clone()
    }

    /// What carries its ioctls, for whoever knows of which type it is ([`Transport::as_any`]).
    pub fn transport(&self) -> &dyn Transport {
        &*self.inner.transport
    }

    /// Calls an ioctl, again after EINTR and EAGAIN (see `retry`), counting each time.
    ///
    /// `T` is the struct of `request`; every address in it, and in what it points to, lies in one of `buffers`.
    pub(super) fn call<T: Plain>(
        &self,
        name: &'static str,
        request: u32,
        arg: &mut T,
        buffers: &[Buffer<'_>],
    ) -> Result<u32, IoctlError> {
        self.inner.call(name, request, arg, buffers)
    }

    /// As [`call`](Self::call), but once.
    pub(super) fn call_once<T: Plain>(
        &self,
        request: u32,
        arg: &mut T,
        buffers: &[Buffer<'_>],
    ) -> Result<u32, Errno> {
        self.inner.call_once(request, arg, buffers)
    }

    pub(super) fn counting(&self) -> &AtomicCounters {
        &self.inner.counters.0
    }
}

impl Inner {
    fn call_once<T: Plain>(
        &self,
        request: u32,
        arg: &mut T,
        buffers: &[Buffer<'_>],
    ) -> Result<u32, Errno> {
        debug_assert_eq!(uapi::ioctl_size(request), size_of::<T>());
        let counters = &self.counters.0;
        counters.count_ioctl(request);
        let begin = counters.begin();
        let result =
            self.transport
                .ioctl(request, Buffer::write(std::slice::from_mut(arg)), buffers);
        if let Some(begin) = begin {
            counters.count_time(request, begin.elapsed());
        }
        result
    }

    fn call<T: Plain>(
        &self,
        name: &'static str,
        request: u32,
        arg: &mut T,
        buffers: &[Buffer<'_>],
    ) -> Result<u32, IoctlError> {
        let mut retry = Retry::new();
        loop {
            // The kernel may have written to the argument before it gave up.
            let mut copy = *arg;
            match self.call_once(request, &mut copy, buffers) {
                Ok(value) => {
                    *arg = copy;
                    return Ok(value);
                }
                Err(errno) if retry.once_more(errno) => {}
                Err(errno) => return Err(IoctlError { ioctl: name, errno }),
            }
        }
    }
}
