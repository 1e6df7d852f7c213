//! The driver in front never makes anything worse: what it does not understand, and what it need not touch.

use std::ffi::CStr;
use std::path::PathBuf;
use std::process::Command;

use ash::vk;
use common::app::App;
use common::gpu::{Batch, Gpu, bind};

use super::{
    Driver, counts, driver_here, emulated, on_a_board, on_a_board_with, variable, wrong_pages,
};
use crate::panvk::oracle::Held;
use crate::panvk::recorded::null_is_one_op;
use crate::panvk::steps::program;

const PIECE: u64 = 65536;

/// The file that a function is in.
fn library_of(function: vk::PFN_vkVoidFunction) -> String {
    let function = function.expect("a function");
    // SAFETY: plain data, which the call fills.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked for.
    assert_ne!(unsafe { libc::dladdr(function as *const _, &mut info) }, 0);
    // SAFETY: the dynamic linker's own string.
    let name = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy();
    name.rsplit_once('/').expect("a path").1.to_owned()
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_all_but_what_sparse_binding_needs_are_panvks_own_functions() {
    let test = common::name_of!(board_all_but_what_sparse_binding_needs_are_panvks_own_functions);
    on_a_board(test, Driver::Ours, "1.9", &[], || {
        let app = App::new().expect("an instance");
        let gpu = Gpu::new(&app);
        let of = |name: &CStr| {
            let get = app.instance.fp_v1_0().get_device_proc_addr;
            // SAFETY: the device is alive.
            library_of(unsafe { get(gpu.device.handle(), name.as_ptr()) })
        };
        for name in [
            c"vkAllocateMemory",
            c"vkFreeMemory",
            c"vkMapMemory",
            c"vkBindBufferMemory",
            c"vkDestroyBuffer",
            c"vkDestroyImage",
            c"vkGetImageSparseMemoryRequirements",
            c"vkQueueSubmit",
            c"vkQueueSubmit2",
            c"vkQueueWaitIdle",
            c"vkDeviceWaitIdle",
            c"vkWaitForFences",
            c"vkWaitSemaphores",
            c"vkSignalSemaphore",
            c"vkCreateGraphicsPipelines",
            c"vkCreateComputePipelines",
            c"vkUpdateDescriptorSets",
            c"vkBeginCommandBuffer",
            c"vkCmdDraw",
            c"vkCmdDispatch",
            c"vkCmdPipelineBarrier",
            c"vkCmdCopyBuffer",
        ] {
            assert_eq!(of(name), "libvulkan_panfrost.so", "{name:?}");
        }
        assert_eq!(of(c"vkQueueBindSparse"), "libvulkan_panvk_sparse.so");
    });
}

/// A panvk that calls libdrm by another name, through a library of its own: nothing of it is to be seen where the driver looks.
#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_a_panvk_that_calls_the_kernel_in_another_way_is_left_alone() {
    let test = common::name_of!(board_a_panvk_that_calls_the_kernel_in_another_way_is_left_alone);
    let body = || program(null_is_one_op(), false, Held::Nothing);
    if std::env::var_os(super::CHILD).is_some() {
        on_a_board(test, Driver::Ours, "1.9", &[], body);
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let folder_of_libraries =
        PathBuf::from(variable(super::SYSTEM)).join("usr/lib/aarch64-linux-gnu");
    let panvk = folder_of_libraries.join("libvulkan_panfrost.so");
    let mut library = std::fs::read(panvk).expect("panvk");
    let name = b"\0drmIoctl\0";
    let at = library.windows(name.len()).position(|bytes| bytes == name);
    library[at.expect("the name of the function") + name.len() - 2] = b'X';
    std::fs::write(path("libvulkan_panfrost.so"), library).expect("a file");
    std::fs::write(path("panvk.json"), r#"{"file_format_version":"1.0.0","ICD":{"library_path":"./libvulkan_panfrost.so","api_version":"1.4.0"}}"#)
        .expect("a file");
    std::fs::write(
        path("other.c"),
        "int drmIoctl(int, unsigned long, void *);\n\
         int drmIoctX(int fd, unsigned long request, void *argument) { return drmIoctl(fd, request, argument); }\n",
    )
    .expect("a file");
    let compiled = Command::new("aarch64-linux-gnu-gcc")
        .args(["-shared", "-fPIC", "-o"])
        .args([
            path("libother.so"),
            path("other.c"),
            folder_of_libraries.join("libdrm.so.2"),
        ])
        .status()
        .expect("a compiler");
    assert!(compiled.success());
    let preload = format!(":{}", text(path("libother.so")));
    let (base, stats) = (text(path("panvk.json")), text(path("stats.json")));
    let run = |driver, (name, value): (&str, &str)| {
        let variables = [("PANVK_SPARSE_STATS", stats.as_str()), (name, value)];
        on_a_board_with(&preload, test, driver, "1.9", &variables, body)
            .expect("the process that starts it")
    };
    let ours = run(Driver::Ours, ("PANVK_SPARSE_BASE_ICD", &base));
    let alone = run(Driver::Alone, ("VK_DRIVER_FILES", &base));
    assert_eq!(counts(&ours.stdout), counts(&alone.stdout));
    assert_eq!(wrong_pages(&ours.stdout), wrong_pages(&alone.stdout));
    let said: Vec<_> = ours
        .stderr
        .lines()
        .filter(|line| line.contains("everything passes untouched"))
        .collect();
    assert_eq!(said.len(), 1, "{}", ours.stderr);
    let stats = std::fs::read_to_string(path("stats.json")).expect("counters");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("one line");
    assert_eq!(stats["mode"], "board");
    assert!(stats["untouched"].is_string(), "{stats}");
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn without_sparse_the_driver_says_what_can_be_done() {
    let run = |driver| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = PathBuf::from(variable(super::SYSTEM)).join("usr/bin/vulkaninfo");
        let output = emulated(
            driver,
            "1.9",
            &folder.path().join("dump.json"),
            &[],
            &program,
        )
        .output()
        .expect("qemu-aarch64 starts");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", said(&output.stderr));
        (said(&output.stdout), said(&output.stderr))
    };
    let (shown, said) = run(Driver::Ours);
    assert_eq!(said.matches("docs/panvk.md").count(), 1, "{said}");
    // It is as panvk is, but for the line that names the driver.
    let rest = |shown: &str| -> Vec<String> {
        let lines = shown.lines().filter(|line| !line.contains("driverInfo"));
        lines.map(str::to_owned).collect()
    };
    let (alone, said) = run(Driver::Alone);
    assert!(!said.contains("docs/panvk.md"));
    assert!(alone.contains("sparseBinding") && alone.contains("= false"));
    assert_eq!(rest(&shown), rest(&alone));
}

/// Nanoseconds of the processor that the process has used.
fn processor_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills the struct.
    assert_eq!(
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) },
        0
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What it takes to create a device that binds, and nothing else.
fn device_creation(app: &App) -> u64 {
    // SAFETY: the instance is alive, the structs live until their calls return, and nobody uses the device.
    unsafe {
        let families = (app.instance).get_physical_device_queue_family_properties(app.physical);
        let binds = |family: &vk::QueueFamilyProperties| {
            family.queue_flags.contains(vk::QueueFlags::SPARSE_BINDING)
        };
        let family = families.iter().position(binds).expect("a queue that binds");
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family as u32)
            .queue_priorities(&[1.0])];
        let features = vk::PhysicalDeviceFeatures::default()
            .sparse_binding(true)
            .sparse_residency_buffer(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_features(&features);
        let begin = processor_time();
        let device = app.instance.create_device(app.physical, &info, None);
        let took = processor_time() - begin;
        device.expect("a device").destroy_device(None);
        took
    }
}

/// Times are printed and not judged: an emulated processor's are not a board's.
#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_what_one_bind_of_one_piece_costs_the_processor() {
    let test = common::name_of!(board_what_one_bind_of_one_piece_costs_the_processor);
    let body = || {
        let app = App::new().expect("an instance");
        let mut created: Vec<_> = (0..9).map(|_| device_creation(&app)).collect();
        created.sort_unstable();
        println!("{:?}: a device: {} ns", driver_here(), created[0]);
        let gpu = Gpu::new(&app);
        let buffer = gpu.sparse_buffer(256 * PIECE);
        let memory = gpu.memory(&buffer, 256 * PIECE);
        let bind_all = |round: u64| {
            for i in 0..256 {
                let from = (i + round) % 256 * PIECE;
                let batch = Batch::buffer(&buffer, [bind(i * PIECE, PIECE, &memory, from)]);
                gpu.bind_async(&[batch], None).expect("a bind");
            }
        };
        bind_all(0);
        let mut rounds: Vec<_> = (1..=24)
            .map(|round| {
                let begin = processor_time();
                bind_all(round);
                (processor_time() - begin) / 256
            })
            .collect();
        rounds.sort_unstable();
        println!("{:?}: a bind: {} ns", driver_here(), rounds[0]);
        gpu.wait_idle();
    };
    for driver in [Driver::Alone, Driver::Ours] {
        let Some(left) = on_a_board(test, driver, "1.9", &[], body) else {
            return;
        };
        assert!(left.stdout.contains("a bind: "));
        assert!(left.dump.nodes[0].vm_bind.ops >= 25 * 256);
    }
}
