//! The driver in front of a panvk: the one in small (`tests/small_panvk`), on virtual nodes.

pub mod kit;
mod untouched;

use std::ffi::{c_int, c_ulong, c_void};
use std::os::fd::AsRawFd;

use ash::vk;
use panvk_sparse::uapi::{IOCTL_VM_CREATE, VmCreate};

use common::name_of;
use kit::{App, Gpu, Library, NODES, PIECE, SMALL, Syncs, bo, run, scattered, va};

const KERNELS: [&str; 3] = ["1.9", "1.8-repeat", "1.5"];

#[test]
fn scattered_pieces_of_a_call_are_one_ioctl() {
    let body = || {
        let (app, _library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        // What is so already asks for nothing but the fence.
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        // SAFETY: nobody uses it.
        unsafe { gpu.device.destroy_buffer(buffer, None) };
        gpu.destroy();
    };
    let Some(ran) = run(
        name_of!(scattered_pieces_of_a_call_are_one_ioctl),
        "1.9",
        "dummy",
        body,
    ) else {
        return;
    };
    let stats = &ran.stats[0];
    assert_eq!(stats["mode"], "board", "{stats}");
    let counts = [
        "vm_bind_ioctls",
        "vm_bind_ops",
        "map_ops",
        "null_ops",
        "unmap_ops",
        "sync_ops",
    ];
    let counts = counts.map(|name| stats[name].as_u64().expect("a number"));
    // Creation, the pieces, the fence alone, destruction.
    assert_eq!(counts, [4, 103, 100, 1, 1, 1], "{stats}");
    assert_eq!(
        (&stats["driver_ioctls"], &stats["driver_ops"]),
        (&14.into(), &200.into()),
        "{stats}"
    );
    assert_eq!(
        (&stats["queue_bind_sparse_calls"], &stats["binds"]),
        (&2.into(), &200.into())
    );
    // Memory was mapped; the device was destroyed with it.
    assert_eq!(stats["other_ioctls"], 1, "{stats}");
    assert_eq!(
        ran.dump["nodes"][0]["refused"],
        ran.dump["nodes"][0]["ioctls"]["VM_BIND"]["refused"]
    );
}

#[test]
fn everything_is_mapped_where_the_application_bound_it() {
    for (test, small) in [
        ("sparse", ""),
        ("dummy", "dummy"),
        ("stray", "stray"),
        ("ioctl", "ioctl"),
    ] {
        for kernel in KERNELS {
            // Its own way of mapping nothing has the kernel 1.9 alone.
            if kernel != "1.9" && matches!(test, "sparse" | "ioctl") {
                continue;
            }
            let body = || {
                let (app, library) = App::new();
                let gpu = Gpu::new(&app, 0);
                let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
                let plain = gpu.buffer(8 * PIECE, false);
                gpu.bind_and_wait(0, buffer, memory, &scattered(100));
                let unbound: Vec<_> = (40..90).map(|i| (2 * i * PIECE, None)).collect();
                gpu.bind_and_wait(0, buffer, memory, &unbound);
                gpu.bind_and_wait(1, plain, memory, &[(0, Some(0)), (4 * PIECE, Some(PIECE))]);
                gpu.bind_and_wait(0, plain, memory, &[(PIECE, Some(PIECE)), (2 * PIECE, None)]);
                println!("VA {}\nPLAIN {}\nBO {}", va(buffer), va(plain), bo(memory));
                std::mem::forget((app, library, gpu));
            };
            let name = name_of!(everything_is_mapped_where_the_application_bound_it);
            let Some(ran) = run(name, kernel, small, body) else {
                return;
            };
            let (buffer, plain, bo) = (ran.told("VA"), ran.told("PLAIN"), ran.told("BO"));
            assert_eq!(ran.stderr.matches("untouched").count(), 0, "{}", ran.stderr);
            for i in 0..200 {
                let is_bound = i % 2 == 0 && !(80..180).contains(&i);
                let mapping = ran.mapping(buffer + i * PIECE);
                let (at, offset) = mapping
                    .unwrap_or_else(|| panic!("{test} on {kernel}: piece {i} is not mapped"));
                assert_eq!(at, is_bound.then_some(bo), "{test} on {kernel}: piece {i}");
                if is_bound {
                    assert_eq!(
                        offset,
                        (99 - i / 2) * PIECE,
                        "{test} on {kernel}: piece {i}"
                    );
                }
            }
            let pieces: Vec<_> = (0..8).map(|i| ran.mapping(plain + i * PIECE)).collect();
            let memory = |offset| Some((Some(bo), offset));
            assert_eq!(
                (pieces[0], pieces[1], pieces[4]),
                (memory(0), memory(PIECE), memory(PIECE)),
                "{test} on {kernel}"
            );
            assert_eq!(
                (pieces[2].map(|at| at.0), pieces[3]),
                (Some(None), None),
                "{test} on {kernel}"
            );
        }
    }
}

#[test]
fn a_refusal_of_the_kernel_is_device_loss_in_the_same_call_and_moves_nothing() {
    // The last of the ioctls that a bind of the base driver became: it signals, or nobody can tell that it is the last.
    for case in ["dummy,100 with a fence", "dummy,96", "dummy,97"] {
        // It knows its case by what the small panvk is told.
        let body = || {
            let case = std::env::var("SMALL_PANVK").expect("a case");
            let has_fence = case.ends_with("fence");
            let digits = case.chars().filter(char::is_ascii_digit);
            let pieces: u64 = digits.collect::<String>().parse().expect("a number");
            let (app, library) = App::new();
            let gpu = Gpu::new(&app, 0);
            let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
            let fence = if has_fence {
                gpu.fence()
            } else {
                vk::Fence::null()
            };
            let syncs = Syncs {
                fence,
                ..Syncs::default()
            };
            let refused = gpu.bind(0, buffer, memory, &scattered(pieces), syncs);
            assert_eq!(
                refused,
                Err(vk::Result::ERROR_DEVICE_LOST),
                "{pieces} pieces"
            );
            if has_fence {
                assert_eq!(gpu.wait(fence), Err(vk::Result::ERROR_DEVICE_LOST));
            }
            // Now and ever after.
            let again = gpu.bind(0, buffer, memory, &scattered(1), Syncs::default());
            assert_eq!(again, Err(vk::Result::ERROR_DEVICE_LOST), "{pieces} pieces");
            println!("VA {}", va(buffer));
            std::mem::forget((app, library, gpu));
        };
        let name =
            name_of!(a_refusal_of_the_kernel_is_device_loss_in_the_same_call_and_moves_nothing);
        // Memory of 6.25 MiB, then the hundredth operation of the file is one of the pieces.
        let Some(ran) = run(name, "1.9,fault=op:100:prepare:ENOMEM", case, body) else {
            return;
        };
        assert!(ran.stderr.contains("ENOMEM"), "{case}: {}", ran.stderr);
        for i in 0..200 {
            assert_eq!(
                ran.mapping(ran.told("VA") + i * PIECE).map(|at| at.0),
                Some(None),
                "{case}: piece {i}"
            );
        }
    }
}

#[test]
fn binds_that_the_base_driver_submits_later_are_one_ioctl_too() {
    let body = || {
        let (app, _library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        let (timeline, fence) = (gpu.timeline(), gpu.fence());
        let late = Syncs {
            wait: Some((timeline, 7)),
            signal: Some((timeline, 8)),
            fence,
        };
        gpu.bind(0, buffer, memory, &scattered(100), late)
            .expect("it is taken");
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(timeline)
            .value(7);
        // SAFETY: a semaphore of the device.
        unsafe { gpu.device.signal_semaphore(&info) }.expect("it is signalled");
        gpu.wait(fence).expect("it is done");
        gpu.destroy();
    };
    let Some(ran) = run(
        name_of!(binds_that_the_base_driver_submits_later_are_one_ioctl_too),
        "1.9",
        "",
        body,
    ) else {
        return;
    };
    let stats = &ran.stats[0];
    assert_eq!(
        (&stats["driver_ioctls"], &stats["map_ops"]),
        (&7.into(), &100.into()),
        "{stats}"
    );
    // The creation of the buffer, and the timeline's wait and signal do not go into one.
    assert_eq!(stats["vm_bind_ioctls"], 3, "{stats}");
}

#[test]
fn a_late_bind_without_a_signal_is_not_held() {
    let body = || {
        let (app, library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        let timeline = gpu.timeline();
        let late = Syncs {
            wait: Some((timeline, 7)),
            ..Syncs::default()
        };
        // A multiple of what an ioctl of the base driver has room for: nothing shows where it ends.
        gpu.bind(0, buffer, memory, &scattered(96), late)
            .expect("it is taken");
        let info = vk::SemaphoreSignalInfo::default()
            .semaphore(timeline)
            .value(7);
        // SAFETY: a semaphore of the device, and the device.
        unsafe {
            gpu.device.signal_semaphore(&info).expect("it is signalled");
            gpu.device.device_wait_idle().expect("it is done");
        }
        println!("VA {}\nBO {}", va(buffer), bo(memory));
        std::mem::forget((app, library, gpu));
    };
    let Some(ran) = run(
        name_of!(a_late_bind_without_a_signal_is_not_held),
        "1.9",
        "",
        body,
    ) else {
        return;
    };
    for (offset, memory) in scattered(96) {
        let expected = memory.map(|memory| (Some(ran.told("BO")), memory));
        assert_eq!(ran.mapping(ran.told("VA") + offset), expected);
    }
}

#[test]
fn memory_with_the_handle_of_freed_memory_is_bound_anew() {
    let body = || {
        let (app, _library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, first) = (gpu.buffer(4 * PIECE, true), gpu.memory(PIECE));
        gpu.bind_and_wait(0, buffer, first, &[(0, Some(0))]);
        let handle = bo(first);
        // SAFETY: nobody uses it.
        unsafe { gpu.device.free_memory(first, None) };
        let second = gpu.memory(PIECE);
        assert_eq!(
            bo(second),
            handle,
            "the kernel gives the lowest handle that is free"
        );
        gpu.bind_and_wait(0, buffer, second, &[(0, Some(0))]);
        gpu.destroy();
    };
    let Some(ran) = run(
        name_of!(memory_with_the_handle_of_freed_memory_is_bound_anew),
        "1.9",
        "",
        body,
    ) else {
        return;
    };
    assert_eq!(ran.stats[0]["map_ops"], 2, "{}", ran.stats[0]);
}

#[test]
fn several_instances_devices_and_threads_do_not_mix() {
    let body = || {
        let (first, _library) = App::new();
        let (second, _same) = App::new();
        std::thread::scope(|scope| {
            for i in 0..6 {
                let app = if i % 2 == 0 { &first } else { &second };
                scope.spawn(move || {
                    let gpu = Gpu::new(app, i % 3 % 2);
                    std::thread::scope(|scope| {
                        for queue in [0, 1] {
                            let gpu = &gpu;
                            scope.spawn(move || {
                                for _ in 0..20 {
                                    let (buffer, memory) =
                                        (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
                                    gpu.bind_and_wait(queue, buffer, memory, &scattered(100));
                                    // SAFETY: nobody uses them.
                                    unsafe {
                                        gpu.device.destroy_buffer(buffer, None);
                                        gpu.device.free_memory(memory, None);
                                    }
                                }
                            });
                        }
                    });
                    gpu.destroy();
                });
            }
        });
        first.destroy();
        second.destroy();
    };
    let Some(ran) = run(
        name_of!(several_instances_devices_and_threads_do_not_mix),
        "1.9;1.5",
        "dummy",
        body,
    ) else {
        return;
    };
    assert_eq!(ran.stats.len(), 6);
    for stats in &ran.stats {
        // Of each buffer: creation, its pieces, destruction.
        assert_eq!(
            (&stats["vm_bind_ioctls"], &stats["map_ops"]),
            (&120.into(), &4000.into()),
            "{stats}"
        );
        assert_eq!(
            (&stats["driver_ioctls"], &stats["driver_ops"]),
            (&280.into(), &4000.into()),
            "{stats}"
        );
    }
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    for node in ran.dump["nodes"].as_array().expect("nodes") {
        let ioctls = &node["ioctls"];
        assert_eq!(
            ioctls["VM_CREATE"]["calls"], ioctls["VM_DESTROY"]["calls"],
            "{ioctls}"
        );
        assert_eq!(
            ioctls["BO_CREATE"]["calls"], ioctls["GEM_CLOSE"]["calls"],
            "{ioctls}"
        );
    }
}

#[test]
fn a_forked_child_neither_hangs_nor_counts() {
    let body = || {
        let (app, _library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        let busy = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            // This thread has locks when the process is forked.
            scope.spawn(|| {
                while busy.load(std::sync::atomic::Ordering::Relaxed) {
                    gpu.bind_and_wait(1, buffer, memory, &[(PIECE, Some(0)), (3 * PIECE, None)]);
                }
            });
            for _ in 0..50 {
                // SAFETY: the child only binds, and ends.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let bound = gpu.bind(0, buffer, memory, &scattered(100), Syncs::default());
                    // SAFETY: the child ends at once.
                    unsafe { libc::_exit(c_int::from(bound.is_err())) };
                }
                let mut status = 0;
                // SAFETY: a child of this process.
                assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
                assert_eq!(status, 0);
            }
            busy.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        gpu.destroy();
    };
    let Some(ran) = run(
        name_of!(a_forked_child_neither_hangs_nor_counts),
        "1.9",
        "",
        body,
    ) else {
        return;
    };
    // One piece of the other thread is bound already, at another place.
    assert_eq!(ran.stats[0]["map_ops"], 101, "{}", ran.stats[0]);
}

#[test]
fn another_user_of_libdrm_and_the_base_driver_after_dlclose_are_not_disturbed() {
    let body = || {
        let (app, library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        // Another library's function is libdrm's own.
        let libdrm = Library::open("libdrm.so.2");
        let own = libdrm.symbol(c"drmIoctl");
        assert!(!own.is_null());
        // SAFETY: libdrm gives that name this type.
        let ioctl = unsafe {
            std::mem::transmute::<
                *mut c_void,
                unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int,
            >(own)
        };
        let path = std::env::var(NODES).expect("the node's path");
        let node = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .expect("the node");
        let mut vm = VmCreate::default();
        // SAFETY: the argument is of the request.
        assert_eq!(
            unsafe {
                ioctl(
                    node.as_raw_fd(),
                    IOCTL_VM_CREATE.into(),
                    (&raw mut vm).cast(),
                )
            },
            0
        );
        gpu.destroy();
        app.destroy();
        library.close();

        let (app, _library) = App::of(&std::env::var(SMALL).expect("its path"));
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        gpu.destroy();
        app.destroy();

        // And the driver again.
        let (app, _library) = App::new();
        let gpu = Gpu::new(&app, 0);
        let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
        gpu.bind_and_wait(0, buffer, memory, &scattered(100));
        gpu.destroy();
    };
    let name = name_of!(another_user_of_libdrm_and_the_base_driver_after_dlclose_are_not_disturbed);
    let Some(ran) = run(name, "1.9", "", body) else {
        return;
    };
    assert_eq!(ran.stats.len(), 2);
    for stats in &ran.stats {
        assert_eq!(
            (&stats["vm_bind_ioctls"], &stats["driver_ioctls"]),
            (&2.into(), &7.into()),
            "{stats}"
        );
    }
}
