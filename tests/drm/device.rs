//! Opening devices, their objects, and the count of ioctls.

use super::{fail_ioctl, objects, open, open_model};
use panvk_sparse::drm::{Device, KernelSpec, OpenError, Syncobj, find_in, uapi};
use panvk_sparse::units::{SZ_2M, SZ_4K};
use panvk_sparse::vpanthor::{Flavour, Objects};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;

fn open_node(path: &Path) -> OpenError {
    Device::open(&KernelSpec::Node(path.into())).expect_err("this is no panthor")
}

#[test]
fn every_flavour_opens_by_name_and_says_its_version() {
    for flavour in Flavour::ALL {
        let device = Device::open(&format!("vpanthor:{flavour}").parse().unwrap()).unwrap();
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
fn a_handle_that_is_used_again_has_another_serial() {
    let device = open(Flavour::V1_9);
    let first = device.create_bo(SZ_4K, 0, None).unwrap().reference();
    let second = device.create_bo(SZ_4K, 0, None).unwrap().reference();
    assert_eq!(
        first.handle, second.handle,
        "the kernel hands out a closed handle again"
    );
    assert_ne!(first, second);
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
    assert_eq!(timeline.wait_point(5, None), Ok(true));
    assert_eq!(timeline.wait_point(8, Some(Duration::ZERO)), Ok(false));
}

#[test]
fn an_exported_syncobj_is_the_same_one_in_another_file() {
    let device = open_model(Flavour::V1_9);
    let kernel = device.vpanthor().unwrap().kernel().clone();
    let other = Device::open_vpanthor(kernel.open(Default::default())).unwrap();
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
            "{}: no panthor render node: there is no such folder; expected panthor",
            missing.display()
        )
    );
    assert!(say(folder.path()).ends_with(": there are no render nodes; expected panthor"));
    std::fs::write(folder.path().join("renderD129"), "").unwrap();
    std::fs::write(folder.path().join("card0"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("renderD128")).unwrap();
    assert_eq!(
        say(folder.path()),
        format!(
            "{}: no panthor render node: renderD128: no device behind this node (ENXIO); \
             renderD129: not a DRM render node; expected panthor",
            folder.path().display()
        )
    );
}
