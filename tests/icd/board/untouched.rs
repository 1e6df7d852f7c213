//! Base drivers that the driver leaves alone, and which one it chooses.

use common::name_of;

use super::kit::{App, Gpu, PIECE, Ran, SMALL, run, scattered};

/// Binds, in whatever way.
fn bind() {
    let (app, _library) = App::new();
    let gpu = Gpu::new(&app, 0);
    let (buffer, memory) = (gpu.buffer(200 * PIECE, true), gpu.memory(100 * PIECE));
    gpu.bind_and_wait(0, buffer, memory, &scattered(100));
    gpu.destroy();
}

#[test]
fn a_driver_that_creates_otherwise_binds_as_it_does_alone() {
    let test = name_of!(a_driver_that_creates_otherwise_binds_as_it_does_alone);
    let Some(ran) = run(test, "1.9", "strange", bind) else {
        return;
    };
    assert_eq!(
        ran.stderr.matches("everything passes untouched").count(),
        1,
        "{}",
        ran.stderr
    );
    let stats = &ran.stats[0];
    assert_eq!(stats["mode"], "board", "{stats}");
    assert!(
        stats["untouched"]
            .as_str()
            .is_some_and(|why| why.contains("8388608")),
        "{stats}"
    );
    assert_eq!(stats["vm_bind_ioctls"], 0, "{stats}");
    // Trial: creation, destruction. Then memory, creation, and the pieces.
    assert_eq!(
        ran.dump["nodes"][0]["ioctls"]["VM_BIND"]["calls"],
        2 + 2 + 7
    );
}

#[test]
fn a_driver_that_binds_from_a_thread_of_its_own_is_left_alone() {
    let test = name_of!(a_driver_that_binds_from_a_thread_of_its_own_is_left_alone);
    let Some(ran) = run(test, "1.9", "thread", bind) else {
        return;
    };
    let why = ran.stats[0]["untouched"].as_str().expect("a reason");
    assert!(why.contains("0 asynchronous"), "{why}");
    // What the trial bound was there until it had happened.
    let refused = &ran.dump["nodes"][0]["refused"];
    assert_eq!(refused, 0, "{:#}", ran.dump["nodes"][0]["ioctls"]);
}

#[test]
fn a_kernel_that_refuses_what_the_trial_asks_leaves_the_driver_alone() {
    let test = name_of!(a_kernel_that_refuses_what_the_trial_asks_leaves_the_driver_alone);
    // The small panvk maps nothing as the kernel 1.9 does, which older ones refuse.
    let Some(ran) = run(test, "1.5", "", || {
        let (app, _library) = App::new();
        Gpu::new(&app, 0).destroy();
    }) else {
        return;
    };
    assert!(
        ran.stderr.contains("creating a sparse buffer fails"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_panvk_without_sparse_binding_is_told_apart() {
    let test = name_of!(a_panvk_without_sparse_binding_is_told_apart);
    let Some(ran) = run(test, "1.9", "none", || {
        let (app, _library) = App::new();
        app.destroy();
        let (app, _library) = App::new();
        app.destroy();
    }) else {
        return;
    };
    assert_eq!(
        ran.stderr.matches("docs/panvk.md").count(),
        1,
        "{}",
        ran.stderr
    );
}

/// Has the driver choose, on a machine where the small panvk is installed beside lavapipe. If `small` is
/// `kernel`, a kernel is named.
fn chosen(test: &str, small: &str) -> Option<Ran> {
    run(test, "1.9", small, || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let manifests = folder.path().join("vulkan/icd.d");
        std::fs::create_dir_all(&manifests).expect("a folder");
        let library = std::env::var(SMALL).expect("its path");
        let manifest = format!(r#"{{"ICD":{{"library_path":"{library}"}}}}"#);
        std::fs::write(manifests.join("panfrost_icd.json"), manifest).expect("a file");
        // SAFETY: no other thread of the child looks at the environment.
        unsafe {
            std::env::remove_var("PANVK_SPARSE_BASE_ICD");
            let folders = format!("{}:/usr/local/share:/usr/share", folder.path().display());
            std::env::set_var("XDG_DATA_DIRS", folders);
            std::env::set_var("PANVK_SPARSE_LOG", "info");
            if std::env::var("SMALL_PANVK").is_ok_and(|words| words.contains("kernel")) {
                std::env::set_var("PANVK_SPARSE_KERNEL", "vpanthor:1.9");
            }
        }
        let (app, _library) = App::new();
        app.destroy();
    })
}

#[test]
fn a_panvk_that_drives_a_gpu_is_chosen_if_it_binds_and_no_kernel_is_named() {
    let test = name_of!(a_panvk_that_drives_a_gpu_is_chosen_if_it_binds_and_no_kernel_is_named);
    for (small, mode) in [("", "board"), ("none", "hosted"), ("kernel", "hosted")] {
        let Some(ran) = chosen(test, small) else {
            return;
        };
        let said = ran.stderr.contains(&format!("mode {mode}"));
        assert!(said, "{small:?}: {}", ran.stderr);
        let library = if mode == "board" {
            "small_panvk"
        } else {
            "lvp"
        };
        assert!(ran.stderr.contains(library), "{small:?}: {}", ran.stderr);
        let is_told = ran.stderr.contains("docs/panvk.md");
        assert_eq!(is_told, small == "none", "{}", ran.stderr);
    }
}
