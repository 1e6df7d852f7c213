//! What the environment and the application can ask of the layer, and what becomes of mistakes.

use crate::kit::{BARE, ENABLE, FILE, LAYER, LIMIT, Recorded, Trace, recorded};
use ash::vk;
use common::gpu::unbind;
use common::{App, Batch, Gpu, SZ_2M, SZ_64K};
use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use trace::Event;

/// Calls that the small application makes.
const CALLS: usize = 3;

fn binds_on(gpu: &Gpu, calls: usize) {
    let buffer = gpu.sparse_buffer(SZ_2M);
    for _ in 0..calls {
        gpu.bind(&[Batch::buffer(&buffer, [unbind(0, SZ_64K)])]);
    }
}

fn application() {
    let app = App::new().expect("vkCreateInstance");
    binds_on(&Gpu::new(&app), CALLS);
}

/// The recordings in the test's folder, by name.
fn recordings(recorded: &Recorded) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&recorded.folder).expect("the folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "pvst"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn switched_off_it_records_nothing_and_stays_out_of_the_way() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        binds_on(&gpu, CALLS);
        // A function of the device is the driver's own: it lies where vkCreateImageView's does, of which no layer here
        // has one.
        let get = |name: &CStr| -> usize {
            let first = c"vkGetDeviceProcAddr";
            // SAFETY: handles are alive; the name says the type.
            unsafe {
                let first = app
                    .entry
                    .get_instance_proc_addr(app.instance.handle(), first.as_ptr())
                    .expect("vkGetDeviceProcAddr");
                let first: vk::PFN_vkGetDeviceProcAddr = std::mem::transmute(first);
                first(gpu.device.handle(), name.as_ptr()).map_or(0, |f| f as usize)
            }
        };
        println!(
            "IN {} {}",
            library_of(get(c"vkQueueBindSparse")),
            library_of(get(c"vkCreateImageView"))
        );
    };
    for (enable, own) in [("0", false), ("1", true)] {
        let test = common::name_of!(switched_off_it_records_nothing_and_stays_out_of_the_way);
        recorded(test, BARE, &[(ENABLE, enable)], body, |recorded| {
            let stdout = &recorded.outcome.stdout;
            let (_, libraries) = stdout.split_once("IN ").expect("the libraries");
            let libraries: Vec<_> = libraries.lines().next().unwrap_or("").split(' ').collect();
            assert!(!libraries[1].contains("VkLayer"), "{libraries:?}");
            assert_eq!(libraries[0] != libraries[1], own, "{libraries:?}");
            assert_eq!(recordings(recorded).len(), usize::from(own));
            assert!(!recorded.outcome.stderr.contains("panvk-sparse-trace:"));
        });
    }
}

/// The file that the code at `address` is of.
fn library_of(address: usize) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines()
        .find(|line| {
            let range = line.split(' ').next().unwrap_or("");
            let (from, to) = range.split_once('-').expect("a range");
            let number = |text| usize::from_str_radix(text, 16).expect("an address");
            (number(from)..number(to)).contains(&address)
        })
        .and_then(|line| line.rsplit(' ').next())
        .expect("a mapping")
        .to_owned()
}

#[test]
fn a_mistake_is_named_and_the_application_goes_on() {
    for (name, value, parts) in [
        (ENABLE, "yes", ["PANVK_SPARSE_TRACE=\"yes\"", "0 or 1"]),
        (LIMIT, "lots", ["PANVK_SPARSE_TRACE_LIMIT=\"lots\"", "1GiB"]),
        (FILE, "{folder}/no/such.pvst", ["/no/such.pvst", "No such"]),
        (FILE, "{folder}", ["Is a directory", "nothing is recorded"]),
    ] {
        let test = common::name_of!(a_mistake_is_named_and_the_application_goes_on);
        recorded(test, BARE, &[(name, value)], application, |recorded| {
            let stderr = &recorded.outcome.stderr;
            for part in parts {
                assert!(stderr.contains(part), "{part}: {stderr}");
            }
            assert_eq!(stderr.matches("panvk-sparse-trace:").count(), 1, "{stderr}");
            assert!(recordings(recorded).is_empty());
        });
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_application() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        for _ in 0..3 {
            binds_on(&gpu, 1);
            // Beyond the time after which what waits is written.
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    };
    let test = common::name_of!(a_full_disk_ends_the_recording_and_not_the_application);
    recorded(test, BARE, &[(FILE, "/dev/full")], body, |recorded| {
        let stderr = &recorded.outcome.stderr;
        assert!(stderr.contains("/dev/full: No space left"), "{stderr}");
        assert_eq!(stderr.matches("panvk-sparse-trace:").count(), 1, "{stderr}");
    });
}

/// EFBIG, which is no limit of the layer's, for a block that a record fills.
#[test]
fn a_file_that_the_system_lets_grow_no_more_is_said_once() {
    let body = || {
        let most = libc::rlimit {
            rlim_cur: 4096,
            rlim_max: 4096,
        };
        // SAFETY: a struct that can be read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &most) }, 0);
        one_call(100_000);
    };
    let test = common::name_of!(a_file_that_the_system_lets_grow_no_more_is_said_once);
    recorded(test, BARE, &[], body, |recorded| {
        let stderr = &recorded.outcome.stderr;
        assert!(stderr.contains("trace.pvst: File too large"), "{stderr}");
        assert_eq!(stderr.matches("panvk-sparse-trace:").count(), 1, "{stderr}");
    });
}

#[test]
fn at_the_limit_recording_stops_and_the_file_is_whole() {
    const LIMIT_BYTES: u64 = 4096;
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        binds_on(&Gpu::new(&app), 500);
    };
    let test = common::name_of!(at_the_limit_recording_stops_and_the_file_is_whole);
    recorded(test, BARE, &[(LIMIT, "4KiB")], body, |recorded| {
        let binds = recorded.trace().binds();
        assert!((20..500).contains(&binds), "{binds}");
        let size = std::fs::metadata(recorded.folder.join("trace.pvst"))
            .expect("the file")
            .len();
        // There was no room for another record and the end.
        assert!((LIMIT_BYTES - 256..=LIMIT_BYTES).contains(&size), "{size}");
        let stderr = &recorded.outcome.stderr;
        let said = "trace.pvst: the limit of 4096 bytes is reached: with one more record the file would need 4";
        assert!(stderr.contains(said), "{stderr}");
    });
    // Far from the limit nothing is said.
    recorded(test, BARE, &[(LIMIT, "1MiB")], body, |recorded| {
        assert_eq!(recorded.trace().binds(), 500);
        assert!(!recorded.outcome.stderr.contains("limit"));
    });
}

/// An application that binds so often, in one call.
fn one_call(binds: usize) {
    let app = App::new().expect("vkCreateInstance");
    let gpu = Gpu::new(&app);
    let buffer = gpu.sparse_buffer(common::SZ_2M);
    let binds = vec![common::gpu::unbind(0, common::SZ_64K); binds];
    gpu.bind(&[common::Batch::buffer(&buffer, binds)]);
}

#[test]
fn a_call_that_is_larger_than_the_limit_is_not_recorded() {
    let body = || one_call(20_000);
    let test = common::name_of!(a_call_that_is_larger_than_the_limit_is_not_recorded);
    recorded(test, BARE, &[(LIMIT, "2KiB")], body, |recorded| {
        assert_eq!(recorded.trace().binds(), 0);
        let file = std::fs::metadata(recorded.folder.join("trace.pvst"));
        let size = file.expect("the file").len();
        assert!(size <= 2048, "{size}");
        let stderr = &recorded.outcome.stderr;
        assert!(stderr.contains("the limit of 2048 bytes"), "{stderr}");
    });
}

/// A pipe in a folder of its own.
fn pipe() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let name = pipe.to_string_lossy().into_owned();
    (folder, name)
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_no_application() {
    let test = common::name_of!(a_pipe_that_nobody_reads_holds_up_no_application);
    let (_folder, name) = pipe();
    recorded(test, BARE, &[(FILE, &name)], application, |recorded| {
        let stderr = &recorded.outcome.stderr;
        assert!(stderr.contains("nothing is recorded"), "{stderr}");
        assert!(stderr.contains("/pipe: "), "{stderr}");
    });
}

#[test]
fn a_pipe_that_somebody_reads_carries_the_recording() {
    let test = common::name_of!(a_pipe_that_somebody_reads_carries_the_recording);
    let (_folder, name) = pipe();
    let read = name.clone();
    // The application has a pipe and a reader of its own.
    let reader = std::thread::spawn(move || Trace::read(read.as_ref()));
    recorded(test, BARE, &[(FILE, &name)], application, |recorded| {
        assert_eq!(recorded.outcome.stderr, "");
    });
    if !crate::kit::is_child() {
        let trace = reader.join().expect("the reader");
        assert!(trace.ended_cleanly && trace.binds() > 0);
    }
}

/// A loader of before 1.3.272 takes no extension that it has not heard of, unless it is told to.
const KNOWS_OLD_EXTENSIONS_ONLY: (&str, &str) = ("VK_LOADER_DISABLE_INST_EXT_FILTER", "1");

/// An instance whose settings for the layer are given by VK_EXT_layer_settings.
fn with_settings(settings: &[vk::LayerSettingEXT<'_>]) {
    // SAFETY: the loader is a well-behaved library.
    let entry = unsafe { ash::Entry::load() }.expect("libvulkan.so.1 is installed");
    let layer = c"VK_LAYER_PANVK_sparse_trace";
    // SAFETY: asking for what there is.
    let extensions = unsafe { entry.enumerate_instance_extension_properties(Some(layer)) };
    let names: Vec<_> = extensions
        .expect("extensions")
        .iter()
        .map(|e| e.extension_name_as_c_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names, [vk::EXT_LAYER_SETTINGS_NAME.to_owned()]);
    let mut chained = vk::LayerSettingsCreateInfoEXT::default().settings(settings);
    let names = [vk::EXT_LAYER_SETTINGS_NAME.as_ptr()];
    let layers = [layer.as_ptr()];
    let info = vk::InstanceCreateInfo::default()
        .enabled_layer_names(&layers)
        .enabled_extension_names(&names)
        .push_next(&mut chained);
    // SAFETY: structs that live until their call returns, handles that are alive.
    unsafe {
        let instance = entry.create_instance(&info, None).expect("an instance");
        let physical = instance.enumerate_physical_devices().expect("devices")[0];
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
        let device = instance
            .create_device(physical, &info, None)
            .expect("vkCreateDevice");
        device.destroy_device(None);
        instance.destroy_instance(None);
    }
}

fn setting<'a>(
    name: &'a CStr,
    ty: vk::LayerSettingTypeEXT,
    value: *const c_void,
) -> vk::LayerSettingEXT<'a> {
    let mut setting = vk::LayerSettingEXT::default()
        .layer_name(c"VK_LAYER_PANVK_sparse_trace")
        .setting_name(name)
        .ty(ty);
    setting.value_count = 1;
    setting.p_values = value;
    setting
}

#[test]
fn the_application_can_set_it_up_by_layer_settings() {
    let test = common::name_of!(the_application_can_set_it_up_by_layer_settings);
    // The environment would come first.
    let extra = [
        (FILE, ""),
        ("PANVK_SPARSE_TEST_FOLDER", "{folder}"),
        ("VK_INSTANCE_LAYERS", ""),
        KNOWS_OLD_EXTENSIONS_ONLY,
    ];
    let body = || {
        let folder = std::env::var("PANVK_SPARSE_TEST_FOLDER").expect("the folder");
        let file = std::ffi::CString::new(format!("{folder}/trace.pvst")).expect("no NUL");
        let (file, limit, on) = (file.as_ptr(), 1_u64 << 20, vk::TRUE);
        let other = setting(c"file", vk::LayerSettingTypeEXT::STRING, std::ptr::null())
            .layer_name(c"VK_LAYER_another");
        with_settings(&[
            other,
            setting(
                c"file",
                vk::LayerSettingTypeEXT::STRING,
                (&raw const file).cast(),
            ),
            setting(
                c"size_limit",
                vk::LayerSettingTypeEXT::UINT64,
                (&raw const limit).cast(),
            ),
            setting(
                c"enable",
                vk::LayerSettingTypeEXT::BOOL32,
                (&raw const on).cast(),
            ),
        ]);
    };
    recorded(test, BARE, &extra, body, |recorded| {
        let events: Vec<_> = recorded.trace().events().collect();
        let [
            Event::DeviceCreated(created),
            Event::DeviceDestroyed { device },
        ] = events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!(created.device, *device);
        assert!(!created.sparse_binding);
        // The instance is of Vulkan 1.0, and asks for no extension that would tell.
        assert_eq!(created.driver_name, "");
    });
}

#[test]
fn a_wrong_layer_setting_is_named() {
    let test = common::name_of!(a_wrong_layer_setting_is_named);
    let body = || {
        let limit = -1_i32;
        with_settings(&[setting(
            c"size_limit",
            vk::LayerSettingTypeEXT::INT32,
            (&raw const limit).cast(),
        )]);
    };
    let extra = [("VK_INSTANCE_LAYERS", ""), KNOWS_OLD_EXTENSIONS_ONLY];
    recorded(test, BARE, &extra, body, |recorded| {
        let stderr = &recorded.outcome.stderr;
        assert!(stderr.contains("size_limit=\"-1\""), "{stderr}");
        assert!(recorded.trace.is_none());
    });
}

#[test]
fn the_loader_can_enable_it_by_its_own_variable() {
    let test = common::name_of!(the_loader_can_enable_it_by_its_own_variable);
    for (pattern, on) in [(LAYER, true), ("*PANVK_sparse*", true), ("*other*", false)] {
        let extra = [
            ("VK_INSTANCE_LAYERS", ""),
            ("VK_LOADER_LAYERS_ENABLE", pattern),
        ];
        recorded(test, BARE, &extra, application, |recorded| {
            assert_eq!(recorded.trace.is_some(), on, "{pattern}");
        });
    }
}

#[test]
fn without_a_name_the_file_lies_in_the_users_folder_for_state() {
    let test = common::name_of!(without_a_name_the_file_lies_in_the_users_folder_for_state);
    for (variable, folder) in [("XDG_STATE_HOME", ""), ("HOME", ".local/state")] {
        let extra = [(FILE, ""), ("XDG_STATE_HOME", ""), (variable, "{folder}")];
        recorded(test, BARE, &extra, application, |recorded| {
            let folder = recorded.folder.join(folder).join("panvk-sparse");
            let files: Vec<_> = std::fs::read_dir(&folder)
                .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
                .map(|entry| entry.expect("an entry").path())
                .collect();
            let [file] = &files[..] else {
                panic!("{files:?}");
            };
            let trace = Trace::read(file);
            assert_eq!(trace.binds(), CALLS);
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let expected = format!("{}-{}-", trace.header.process, trace.header.pid);
            assert!(name.starts_with(&expected), "{name}");
        });
    }
}

/// What is recorded first is not overwritten by what the process records later.
#[test]
fn a_second_recording_of_a_process_is_a_file_of_its_own() {
    let test = common::name_of!(a_second_recording_of_a_process_is_a_file_of_its_own);
    let body = || {
        // An instance without a device is no recording.
        drop(App::new().expect("vkCreateInstance"));
        for calls in [1, 2] {
            let app = App::new().expect("vkCreateInstance");
            binds_on(&Gpu::new(&app), calls);
        }
        // Two at a time share one.
        let apps = [App::new(), App::new()].map(|app| app.expect("vkCreateInstance"));
        for app in &apps {
            binds_on(&Gpu::new(app), 4);
        }
    };
    let extra = [(FILE, "{folder}/%p.pvst")];
    recorded(test, BARE, &extra, body, |recorded| {
        let mut binds = Vec::new();
        for path in recordings(recorded) {
            let trace = Trace::read(&path);
            assert!(trace.ended_cleanly, "{}", path.display());
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let pid = trace.header.pid.to_string();
            assert!(name.starts_with(&pid), "{name}");
            binds.push((name[pid.len()..].to_owned(), trace.binds()));
        }
        let expected = [("", 1), ("-2", 2), ("-3", 8)];
        let expected = expected.map(|(name, binds)| (name.to_owned(), binds));
        binds.sort();
        assert_eq!(binds, expected);
    });
}
