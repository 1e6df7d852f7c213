//! The variables that users set: a value that is not understood is said so, and nothing starts.

use common::App;
use common::config::Config;

const ICD: Config = Config::Icd {
    kernel: "1.8-repeat",
    null: "auto",
};

/// With `variable` = `value` there is no instance, and stderr names the variable, the value and `accepted`.
fn refused(test: &str, variable: &str, value: &str, accepted: &[&str]) {
    let body = || {
        let answer = App::new().err().expect("vkCreateInstance fails");
        println!("vkCreateInstance: {answer:?}");
    };
    common::child::run(
        test,
        ICD,
        &[(common::stats::FILE, "/dev/null"), (variable, value)],
        body,
        |outcome| {
            assert!(
                outcome.stdout.contains("vkCreateInstance: ERROR_"),
                "{}",
                outcome.stdout
            );
            let named = |line: &&str| line.contains(variable) && line.contains(value);
            assert!(
                outcome.stderr.lines().any(|l| named(&l)),
                "no line of stderr names {variable} and {value}:\n{}",
                outcome.stderr
            );
            for word in accepted {
                assert!(
                    outcome.stderr.contains(word),
                    "stderr does not say that {word} is accepted:\n{}",
                    outcome.stderr
                );
            }
        },
    );
}

macro_rules! refused {
    ($($test:ident: $variable:literal = $value:literal, $accepted:expr;)*) => { $(
        #[test]
        fn $test() {
            refused(common::name_of!($test), $variable, $value, &$accepted);
        }
    )* };
}

refused! {
    a_kernel_of_no_known_flavour: "PANVK_SPARSE_KERNEL" = "vpanthor:2.7", ["1.0", "1.5", "1.8", "1.6-repeat", "1.8-repeat", "1.9"];
    a_kernel_that_is_neither_flavour_nor_path: "PANVK_SPARSE_KERNEL" = "mali", ["vpanthor:", "/"];
    a_kernel_node_that_is_not_there: "PANVK_SPARSE_KERNEL" = "/dev/dri/renderD9999", [];
    a_strategy_of_no_known_name: "PANVK_SPARSE_NULL" = "fast", ["auto", "sparse", "repeat", "chunk", "page"];
    a_strategy_that_this_kernel_does_not_have: "PANVK_SPARSE_NULL" = "sparse", ["repeat", "chunk", "page"];
    a_profile_of_no_known_name: "PANVK_SPARSE_PROFILE" = "adreno", ["base", "mali"];
    a_dummy_of_no_known_name: "PANVK_SPARSE_DUMMY" = "zero", ["null", "alias"];
    a_log_level_of_no_known_name: "PANVK_SPARSE_LOG" = "loud", ["error", "warn", "info", "debug", "trace"];
    a_base_driver_that_is_not_there: "PANVK_SPARSE_BASE_ICD" = "/nowhere/icd.json", [];
    a_base_driver_that_is_not_a_library: "PANVK_SPARSE_BASE_ICD" = "/etc/passwd", [];
    counters_to_a_folder_that_is_not_there: "PANVK_SPARSE_STATS" = "/nowhere/at/all/stats", ["stderr"];
}

/// Without any variable there is a driver: lavapipe, the default kernel, the best strategy.
#[test]
fn the_defaults_work() {
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "auto",
    };
    let body = || {
        // Read when the instance is created, in this process of its own.
        // SAFETY: no other thread runs here (--test-threads=1), and none of ours has started.
        unsafe {
            for name in [
                "PANVK_SPARSE_BASE_ICD",
                "PANVK_SPARSE_KERNEL",
                "PANVK_SPARSE_NULL",
            ] {
                std::env::remove_var(name);
            }
        }
        let app = App::new().expect("vkCreateInstance");
        let gpu = common::Gpu::new(&app);
        drop(gpu.sparse_buffer(common::SZ_2M));
        println!("driver info: {}", app.driver_info());
    };
    common::child::run(
        common::name_of!(the_defaults_work),
        config,
        &[],
        body,
        |outcome| {
            assert_eq!(outcome.stats[0].kernel, "vpanthor:1.8-repeat");
            assert_eq!(outcome.stats[0].strategy, "repeat");
            assert!(
                outcome.stdout.contains("panvk-sparse"),
                "{}",
                outcome.stdout
            );
        },
    );
}

/// Counters to stderr: the same line.
#[test]
fn counters_go_to_stderr_when_asked() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = common::Gpu::new(&app);
        drop(gpu.sparse_buffer(100_000_000));
    };
    let extra = [(common::stats::FILE, "stderr")];
    common::child::run(
        common::name_of!(counters_go_to_stderr_when_asked),
        ICD,
        &extra,
        body,
        |outcome| {
            let line = outcome
                .stderr
                .lines()
                .find(|l| l.starts_with('{'))
                .expect("a line of JSON");
            let stats: common::stats::Stats = serde_json::from_str(line).expect("the counters");
            assert_eq!((stats.null_ops, stats.unmap_ops), (1, 1));
        },
    );
}

/// A device that has nothing to do with sparse resources has its line all the same.
#[test]
fn a_device_without_sparse_binding_has_a_line_of_zeros() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let priorities = [1.0];
        let queues = [ash::vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let info = ash::vk::DeviceCreateInfo::default().queue_create_infos(&queues);
        // SAFETY: a physical device of this instance; the struct lives until the call returns.
        let device = unsafe { app.instance.create_device(app.physical, &info, None) };
        // SAFETY: the device was just created, and nothing of it is left.
        unsafe { device.expect("vkCreateDevice").destroy_device(None) };
    };
    let name = common::name_of!(a_device_without_sparse_binding_has_a_line_of_zeros);
    common::child::run(name, ICD, &[], body, |outcome| {
        let stats = &outcome.stats[0];
        assert_eq!(
            (&*stats.kernel, &*stats.strategy),
            ("vpanthor:1.8-repeat", "repeat")
        );
        assert!(!stats.device.is_empty() && !stats.base_driver.is_empty());
        let zeros = common::stats::Stats {
            device: stats.device.clone(),
            base_driver: stats.base_driver.clone(),
            kernel: stats.kernel.clone(),
            strategy: stats.strategy.clone(),
            ..Default::default()
        };
        assert_eq!(*stats, zeros);
    });
}
