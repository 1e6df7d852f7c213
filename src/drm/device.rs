//! An open panthor device.

use super::bo::Bo;
use super::counters::{AtomicCounters, Counters, Tally};
use super::error::{IoctlError, OpenError};
use super::find::find;
use super::in_process::InProcess;
use super::node::Node;
use super::retry::Retry;
use super::spec::KernelSpec;
use super::syncobj::Syncobj;
use super::transport::{Buffer, Transport};
use super::uapi::{self, Plain};
use super::vm::Vm;
use crate::units::{SZ_2M, SZ_4K, VmId};
use crate::vpanthor;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

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
    /// The next BO's serial; `u32::MAX` stays unused.
    next_serial: AtomicU32,
}

impl Device {
    /// Opens the device that `spec` names; a virtual kernel is made for it.
    ///
    /// # Errors
    /// The node cannot be opened, or is not panthor's: see [`OpenError`].
    pub fn open(spec: &KernelSpec) -> Result<Device, OpenError> {
        match spec {
            KernelSpec::Vpanthor(flavour) => {
                let kernel = vpanthor::Kernel::new(*flavour);
                Device::open_vpanthor(kernel.open(vpanthor::OpenOptions::default()))
            }
            KernelSpec::Node(path) => Device::open_node(path),
            KernelSpec::Auto => find().map(|(_, device)| device),
        }
    }

    /// Takes an open file of a virtual kernel.
    ///
    /// # Errors
    /// The kernel does not say its version, which only fault injection makes happen.
    pub fn open_vpanthor(file: vpanthor::File) -> Result<Device, OpenError> {
        Device::identify(Box::new(InProcess::new(file)), Path::new("vpanthor"))
    }

    pub(super) fn open_node(path: &Path) -> Result<Device, OpenError> {
        Device::identify(Box::new(Node::open(path)?), path)
    }

    fn identify(transport: Box<dyn Transport>, path: &Path) -> Result<Device, OpenError> {
        let path = || PathBuf::from(path);
        let mut inner = Inner {
            transport,
            name: String::new(),
            version: (0, 0),
            counters: Tally(Arc::new(AtomicCounters::new())),
            next_serial: AtomicU32::new(1),
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

    /// The counts, to be read also when the device is closed.
    pub fn tally(&self) -> Tally {
        self.inner.counters.clone()
    }

    /// The virtual kernel's side of the file, where it is one.
    pub fn vpanthor(&self) -> Option<&vpanthor::File> {
        self.inner.transport.vpanthor()
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

    /// A number that no other BO of this device gets; None when there is none left.
    pub(super) fn next_serial(&self) -> Option<u32> {
        let next = |serial: u32| serial.checked_add(1);
        self.inner
            .next_serial
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
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
        let begin = Instant::now();
        let result =
            self.transport
                .ioctl(request, Buffer::write(std::slice::from_mut(arg)), buffers);
        counters.count_time(request, begin.elapsed());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drm::uapi::ioctl_nr;

    /// A DRM driver that only knows its name and version.
    #[derive(Debug)]
    struct Named(&'static str, i32, Option<Errno>);

    impl Transport for Named {
        fn ioctl(
            &self,
            request: u32,
            arg: Buffer<'_>,
            buffers: &[Buffer<'_>],
        ) -> Result<u32, Errno> {
            use crate::vpanthor::UserMemory;
            assert_eq!(ioctl_nr(request), 0);
            if let Some(errno) = self.2 {
                return Err(errno);
            }
            let addr = arg.addr();
            let memory = super::super::transport::CallMemory { arg: &arg, buffers };
            let mut version = uapi::Version::default();
            memory.read(addr, version.as_bytes_mut())?;
            let len = self.0.len().min(version.name_len as usize);
            memory.write(version.name, &self.0.as_bytes()[..len])?;
            version.version_major = self.1;
            version.name_len = self.0.len() as u64;
            memory.write(addr, version.as_bytes())?;
            Ok(0)
        }
    }

    fn identify(named: Named) -> Result<Device, String> {
        Device::identify(Box::new(named), Path::new("/dev/dri/renderD128"))
            .map_err(|error| error.to_string())
    }

    /// A kernel's side of the count: what reaches it, with the faults that are armed on it.
    #[derive(Debug)]
    struct Counted(
        InProcess,
        Arc<std::sync::Mutex<std::collections::BTreeMap<u8, u64>>>,
    );

    impl Transport for Counted {
        fn ioctl(
            &self,
            request: u32,
            arg: Buffer<'_>,
            buffers: &[Buffer<'_>],
        ) -> Result<u32, Errno> {
            *self.1.lock().unwrap().entry(ioctl_nr(request)).or_default() += 1;
            self.0.ioctl(request, arg, buffers)
        }

        fn vpanthor(&self) -> Option<&vpanthor::File> {
            self.0.vpanthor()
        }
    }

    #[test]
    fn what_is_counted_is_what_reaches_the_kernel_to_the_last_close() {
        for flavour in vpanthor::Flavour::ALL {
            let file = vpanthor::Kernel::new(flavour).open(vpanthor::OpenOptions::default());
            // A call that is made again, one that fails, and a bind that goes on where it was broken off.
            for (request, nth, errno) in [
                (uapi::IOCTL_BO_CREATE, 1, Errno::INTR),
                (uapi::IOCTL_VM_CREATE, 3, Errno::AGAIN),
                (uapi::IOCTL_SYNCOBJ_CREATE, 1, Errno::NOMEM),
                (uapi::IOCTL_VM_BIND, 2, Errno::INTR),
            ] {
                file.inject(vpanthor::Fault::Ioctl {
                    number: ioctl_nr(request),
                    nth,
                    errno,
                });
            }
            let reached = Arc::default();
            let transport = Counted(InProcess::new(file), Arc::clone(&reached));
            let device = Device::identify(Box::new(transport), Path::new("vpanthor")).unwrap();
            let tally = device.tally();
            let null = super::super::probe(&device)
                .unwrap()
                .null_map(&device, None)
                .unwrap();
            assert!(device.create_syncobj(false).is_err());
            let vm = device.create_vm(0).unwrap();
            drop(device);
            let open = tally.counters();
            drop((vm, null));
            let counted = tally.counters().ioctls;
            assert_eq!(counted, *reached.lock().unwrap(), "{flavour}");
            assert!(
                counted.values().sum::<u64>() > open.ioctls.values().sum(),
                "closing counts"
            );
            let times = tally.nanoseconds();
            assert!(
                times.keys().eq(counted.keys()),
                "{flavour}: {times:?} for {counted:?}"
            );
        }
    }

    #[test]
    fn a_device_that_goes_away_fails_every_call_with_a_word_about_it() {
        let file =
            vpanthor::Kernel::new(vpanthor::Flavour::V1_9).open(vpanthor::OpenOptions::default());
        let device = Device::open_vpanthor(file).unwrap();
        let gone = |request, name: &str, fails: &dyn Fn() -> String| {
            device.vpanthor().unwrap().inject(vpanthor::Fault::Ioctl {
                number: ioctl_nr(request),
                nth: 1,
                errno: Errno::NODEV,
            });
            let message = fails();
            assert!(
                message.contains(&format!("ioctl {name}: ENODEV")),
                "{message}"
            );
            assert!(
                message.ends_with("the device behind the node has gone"),
                "{message}"
            );
        };
        gone(uapi::IOCTL_VM_CREATE, "VM_CREATE", &|| {
            device.create_vm(0).unwrap_err().to_string()
        });
        gone(uapi::IOCTL_BO_CREATE, "BO_CREATE", &|| {
            device.create_bo(SZ_4K, 0, None).unwrap_err().to_string()
        });
        for request in [
            uapi::IOCTL_DEV_QUERY,
            uapi::IOCTL_VM_CREATE,
            uapi::IOCTL_VM_BIND,
            uapi::IOCTL_VM_GET_STATE,
        ] {
            let name = super::super::ioctl_name(ioctl_nr(request));
            gone(request, &name, &|| {
                super::super::probe(&device).unwrap_err().to_string()
            });
        }
    }

    #[test]
    fn a_node_that_knows_none_of_panthors_ioctls_is_told_from_one_that_refuses_an_operation() {
        let file =
            vpanthor::Kernel::new(vpanthor::Flavour::V1_9).open(vpanthor::OpenOptions::default());
        let device = Device::open_vpanthor(file).unwrap();
        device.vpanthor().unwrap().inject(vpanthor::Fault::Ioctl {
            number: ioctl_nr(uapi::IOCTL_DEV_QUERY),
            nth: 1,
            errno: Errno::NOTTY,
        });
        let message = super::super::probe(&device).unwrap_err().to_string();
        assert!(
            message
                .starts_with("cannot probe the kernel: ask for MMU_INFO: ioctl DEV_QUERY: ENOTTY"),
            "{message}"
        );
        assert!(
            message.ends_with("the driver of the node does not know this ioctl"),
            "{message}"
        );
    }

    #[test]
    fn another_driver_is_refused_by_name() {
        assert!(identify(Named("panthor", 1, None)).is_ok());
        assert_eq!(
            identify(Named("panfrost", 1, None)).unwrap_err(),
            "/dev/dri/renderD128: the driver is panfrost, expected panthor"
        );
        let long = "a-driver-with-a-name-that-is-longer-than-the-buffer-which-takes-it-in-is";
        assert!(
            identify(Named(long, 1, None))
                .unwrap_err()
                .contains("a-driver-with-a-name")
        );
    }

    #[test]
    fn another_major_version_is_refused() {
        assert_eq!(
            identify(Named("panthor", 2, None)).unwrap_err(),
            "/dev/dri/renderD128: panthor uAPI 2.0, expected 1.x"
        );
        assert_eq!(
            identify(Named("panthor", 0, None)).unwrap_err(),
            "/dev/dri/renderD128: panthor uAPI 0.0, expected 1.x: the kernel is older than the first release"
        );
    }

    #[test]
    fn a_device_that_went_away_or_is_none_says_so() {
        assert_eq!(
            identify(Named("", 1, Some(Errno::NODEV))).unwrap_err(),
            "/dev/dri/renderD128: no device behind this node (ENODEV)"
        );
        assert_eq!(
            identify(Named("", 1, Some(Errno::NOTTY))).unwrap_err(),
            "/dev/dri/renderD128: not a DRM render node"
        );
    }
}
