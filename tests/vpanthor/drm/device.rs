//! Opening devices, their objects, and the count of ioctls.

use super::{fail_ioctl, objects, open, open_model};
use panvk_sparse::drm::{
    Buffer, CallMemory, Device, OpenError, Syncobj, Transport, ioctl_name, probe,
};
use panvk_sparse::uapi;
use panvk_sparse::uapi::{Plain, ioctl_nr};
use panvk_sparse::units::{SZ_2M, SZ_4K};
use rustix::io::Errno;
use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vpanthor::nodes::find_in;
use vpanthor::{File, KernelSpec, Virtual};
use vpanthor::{Flavour, Objects};

fn open_node(path: &Path) -> OpenError {
    KernelSpec::Node(path.into())
        .open()
        .expect_err("this is no panthor")
}

#[test]
fn every_flavour_opens_by_name_and_says_its_version() {
    for flavour in Flavour::ALL {
        let device = format!("vpanthor:{flavour}")
            .parse::<KernelSpec>()
            .unwrap()
            .open()
            .unwrap();
        assert_eq!(device.name(), "panthor");
        assert_eq!(device.version(), flavour.version());
        assert_eq!(device.page_sizes(), Ok(SZ_4K | SZ_2M));
        assert_eq!(
            device.mmu_info().unwrap().is_some(),
            flavour.has_mmu_info(),
            "{flavour}"
        );
        assert_eq!(device.vpanthor().unwrap().kernel().flavour(), flavour);
    }
}

#[test]
fn a_file_that_is_no_drm_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("renderD128");
    std::fs::write(&file, "").unwrap();
    for path in [Path::new("/dev/null"), &file, dir.path()] {
        assert_eq!(open_node(path), OpenError::NotDrm { path: path.into() });
    }
    assert_eq!(
        open_node(Path::new("/dev/null")).to_string(),
        "/dev/null: not a DRM render node"
    );
}

#[test]
fn a_node_that_is_not_there_is_named() {
    for path in ["/dev/dri/renderD99999", "/dev/null/renderD128"] {
        assert_eq!(
            open_node(Path::new(path)),
            OpenError::NoSuchNode { path: path.into() }
        );
    }
    let message = open_node(Path::new("/dev/dri/renderD99999")).to_string();
    assert!(
        message.starts_with("/dev/dri/renderD99999: no such node"),
        "{message}"
    );
}

#[test]
fn a_node_with_nothing_behind_it_is_no_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    // What a socket says to open(2) is what a node says whose driver has gone.
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert_eq!(
        open_node(&path),
        OpenError::NoDevice {
            path,
            errno: Errno::NXIO
        }
    );
}

#[test]
fn objects_close_themselves_and_the_file_outlives_its_device_for_them() {
    for flavour in Flavour::ALL {
        let device = open_model(flavour);
        let kernel = device.vpanthor().unwrap().kernel().clone();
        let vm = device.create_vm(0).unwrap();
        let bo = device.create_bo(5000, 0, Some(vm.id())).unwrap();
        let syncobj = device.create_syncobj(true).unwrap();
        assert_eq!(bo.size(), 2 * SZ_4K, "sizes are rounded up to pages");
        assert!(vm.user_va_range() >= 1 << 32);
        assert_eq!(
            kernel.objects(),
            Objects {
                vms: 1,
                bos: 1,
                syncobjs: 1
            }
        );
        drop(device);
        drop(bo);
        drop(syncobj);
        assert_eq!(
            kernel.objects(),
            Objects {
                vms: 1,
                ..Objects::default()
            }
        );
        drop(vm);
        assert_eq!(kernel.objects(), Objects::default());
    }
}

#[test]
fn what_the_kernel_refuses_names_the_ioctl_and_the_errno() {
    let device = open_model(Flavour::V1_5);
    let error = device.create_bo(0, 0, None).unwrap_err();
    assert_eq!((error.ioctl, error.errno), ("BO_CREATE", Errno::INVAL));
    assert!(
        error.to_string().starts_with("ioctl BO_CREATE: EINVAL ("),
        "{error}"
    );
    assert_eq!(
        device
            .create_bo(SZ_4K, uapi::BO_WB_MMAP, None)
            .unwrap_err()
            .errno,
        Errno::INVAL,
        "since 1.7"
    );
    assert_eq!(device.create_vm(u64::MAX).unwrap_err().ioctl, "VM_CREATE");
    fail_ioctl(&device, uapi::IOCTL_SYNCOBJ_CREATE, 1, Errno::NOMEM);
    assert_eq!(
        device.create_syncobj(false).unwrap_err().errno,
        Errno::NOMEM
    );
    assert_eq!(objects(&device), Objects::default());
}

#[test]
fn an_interrupted_ioctl_is_made_again_and_counted_each_time() {
    let device = open_model(Flavour::V1_8Repeat);
    let before = device.counters();
    assert_eq!(before.ioctl(uapi::IOCTL_VERSION), 1);
    fail_ioctl(&device, uapi::IOCTL_BO_CREATE, 1, Errno::INTR);
    fail_ioctl(&device, uapi::IOCTL_BO_CREATE, 2, Errno::AGAIN);
    drop(device.create_bo(SZ_4K, 0, None).unwrap());
    let counted = device.counters().since(&before);
    assert_eq!(counted.ioctl(uapi::IOCTL_BO_CREATE), 3);
    assert_eq!(counted.ioctl(uapi::IOCTL_GEM_CLOSE), 1);
    assert_eq!(counted.ioctls.values().sum::<u64>(), 4);
    assert_eq!(counted.vm_bind_ioctls, 0);
}

#[test]
fn a_syncobj_is_signalled_waited_for_and_reset() {
    let device = open(Flavour::V1_9);
    let syncobj = device.create_syncobj(false).unwrap();
    assert_eq!(syncobj.wait(Some(Duration::ZERO)), Ok(false));
    assert_eq!(syncobj.wait(Some(Duration::from_millis(1))), Ok(false));
    syncobj.signal().unwrap();
    assert_eq!(syncobj.wait(None), Ok(true));
    syncobj.reset().unwrap();
    assert_eq!(syncobj.wait(Some(Duration::ZERO)), Ok(false));
    assert_eq!(device.create_syncobj(true).unwrap().wait(None), Ok(true));
}

#[test]
fn a_timeline_has_points_in_order() {
    let device = open(Flavour::V1_9);
    let timeline = device.create_syncobj(false).unwrap();
    assert_eq!(timeline.query(), Ok(0));
    timeline.signal_point(7).unwrap();
    assert_eq!(timeline.query(), Ok(7));
}

#[test]
fn an_exported_syncobj_is_the_same_one_in_another_file() {
    let device = open_model(Flavour::V1_9);
    let kernel = device.vpanthor().unwrap().kernel().clone();
    let other = vpanthor::device(kernel.open(Default::default())).unwrap();
    let syncobj = device.create_syncobj(false).unwrap();
    let imported = Syncobj::import(&other, syncobj.export().unwrap()).unwrap();
    syncobj.signal().unwrap();
    assert_eq!(imported.wait(Some(Duration::ZERO)), Ok(true));
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(
        Syncobj::import(&other, &null).unwrap_err().errno,
        Errno::INVAL
    );
}

#[test]
fn where_there_is_no_panthor_node_each_node_is_named_with_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let say = |path: &Path| find_in(path).unwrap_err().to_string();
    let missing = folder.path().join("dri");
    assert_eq!(
        say(&missing),
        format!(
            "no panthor render node: {} does not exist",
            missing.display()
        )
    );
    assert_eq!(
        say(folder.path()),
        format!(
            "no panthor render node: {} has no render node",
            folder.path().display()
        )
    );
    std::fs::write(folder.path().join("renderD129"), "").unwrap();
    std::fs::write(folder.path().join("card0"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("renderD128")).unwrap();
    assert_eq!(
        say(folder.path()),
        format!(
            "no panthor render node in {}: renderD128: no device behind this node (ENXIO); \
             renderD129: not a DRM render node",
            folder.path().display()
        )
    );
}

/// A DRM driver that only knows its name and version.
#[derive(Debug)]
struct Named(&'static str, i32, Option<Errno>);

impl Transport for Named {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        assert_eq!(ioctl_nr(request), 0);
        if let Some(errno) = self.2 {
            return Err(errno);
        }
        let addr = arg.addr();
        let memory = CallMemory { arg: &arg, buffers };
        let mut version = uapi::Version::default();
        memory.read(addr, version.as_bytes_mut())?;
        let len = self.0.len().min(version.name_len as usize);
        memory.write(version.name, &self.0.as_bytes()[..len])?;
        version.version_major = self.1;
        version.name_len = self.0.len() as u64;
        memory.write(addr, version.as_bytes())?;
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn identify(named: Named) -> Result<Device, String> {
    Device::new(Box::new(named), Path::new("/dev/dri/renderD128"))
        .map_err(|error| error.to_string())
}

/// A kernel's side of the count: what reaches it, with the faults that are armed on it.
#[derive(Debug)]
struct Counted(
    File,
    Arc<std::sync::Mutex<std::collections::BTreeMap<u8, u64>>>,
);

impl Transport for Counted {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        *self.1.lock().unwrap().entry(ioctl_nr(request)).or_default() += 1;
        let memory = CallMemory { arg: &arg, buffers };
        self.0.ioctl(request, arg.addr(), &memory)
    }

    fn as_any(&self) -> &dyn Any {
        self
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
        let transport = Counted(file, Arc::clone(&reached));
        let device = Device::new(Box::new(transport), Path::new("vpanthor")).unwrap();
        let tally = device.tally();
        let null = probe(&device).unwrap().null_map(&device, None).unwrap();
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
    let device = vpanthor::device(file).unwrap();
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
        let name = ioctl_name(ioctl_nr(request));
        gone(request, &name, &|| probe(&device).unwrap_err().to_string());
    }
}

#[test]
fn a_node_that_knows_none_of_panthors_ioctls_is_told_from_one_that_refuses_an_operation() {
    let file =
        vpanthor::Kernel::new(vpanthor::Flavour::V1_9).open(vpanthor::OpenOptions::default());
    let device = vpanthor::device(file).unwrap();
    device.vpanthor().unwrap().inject(vpanthor::Fault::Ioctl {
        number: ioctl_nr(uapi::IOCTL_DEV_QUERY),
        nth: 1,
        errno: Errno::NOTTY,
    });
    let message = probe(&device).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot probe the kernel: ask for MMU_INFO: ioctl DEV_QUERY: ENOTTY"),
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
