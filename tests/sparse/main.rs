//! An unmodified application's sparse binds: real loader, real base driver, real shaders, and the data is right.
//!
//! Every case runs over the bare base driver, under every kernel flavour with every null strategy that goes with it,
//! and under the validation layer. A test is named `<kernel>_<strategy>::<case>`, and is a process of its own.

#[macro_use]
mod cases;

mod buffers;
mod control;
mod groups;
mod images;
mod many;
mod mistakes;
mod model;
mod node;
mod queue_bind;
mod residency;
mod shapes;
mod sync;
mod tile_updates;
mod transfers;
mod usages;

use common::config::Config;
use common::gpu::unbind;
use common::{App, Batch, Gpu};

/// The tests of one configuration.
macro_rules! tests {
    ([$module:ident $config:expr, $extra:expr] $($file:ident: $case:ident;)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::run(common::name_of!($case), $config, $extra, super::$file::$case);
                }
            )*
        }
    };
}

macro_rules! icd {
    ($($module:ident: $kernel:literal $null:literal;)*) => {
        $(with_cases! { tests $module super::Config::Icd { kernel: $kernel, null: $null }, &[] })*
    };
}

with_cases! { tests base_driver super::Config::Bare, &[] }

icd! {
    v1_5_page: "1.5" "page";
    v1_5_chunk: "1.5" "chunk";
    v1_6_repeat_repeat: "1.6-repeat" "repeat";
    v1_8_repeat_repeat: "1.8-repeat" "repeat";
    v1_9_sparse: "1.9" "sparse";
}

/// The same cases once more, unless all pairs of a kernel and a strategy are asked for: because pages and chunks make the same
/// operations, to the byte, on every kernel; because the validation layer stands above the driver and sees no kernel; or
/// because another node stands for this one.
macro_rules! tests_again {
    ([$module:ident $config:expr, $extra:expr] $($file:ident: $case:ident;)*) => {
        mod $module {
            $(
                #[test]
                #[cfg_attr(not(feature = "all-pairs"), ignore = "as on another kernel; runs with --features all-pairs")]
                fn $case() {
                    super::run(common::name_of!($case), $config, $extra, super::$file::$case);
                }
            )*
        }
    };
}

macro_rules! again {
    ($($module:ident: $kernel:literal $null:literal;)*) => {
        $(with_cases! { tests_again $module super::Config::Icd { kernel: $kernel, null: $null }, &[] })*
    };
}

again! {
    v1_0_page: "1.0" "page";
    v1_0_chunk: "1.0" "chunk";
    v1_8_page: "1.8" "page";
    v1_8_chunk: "1.8" "chunk";
    v1_6_repeat_page: "1.6-repeat" "page";
    v1_6_repeat_chunk: "1.6-repeat" "chunk";
    v1_8_repeat_page: "1.8-repeat" "page";
    v1_8_repeat_chunk: "1.8-repeat" "chunk";
    v1_9_page: "1.9" "page";
    v1_9_chunk: "1.9" "chunk";
}

with_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
with_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
with_cases! { tests_again validated_v1_9 super::Config::Icd { kernel: "1.9", null: "auto" }, super::VALIDATED }

mod conformance {
    use super::{ALIAS, Config, VALIDATED, groups, queue_bind, run, shapes, transfers, usages};

    with_conformance_cases! { tests base_driver super::Config::Bare, &[] }
    with_conformance_cases! { tests v1_5_chunk super::Config::Icd { kernel: "1.5", null: "chunk" }, &[] }
    with_conformance_cases! { tests_again v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[] }
    with_conformance_cases! { tests v1_9_sparse super::Config::Icd { kernel: "1.9", null: "sparse" }, &[] }
    with_conformance_cases! { tests v1_9_alias super::Config::Icd { kernel: "1.9", null: "sparse" }, super::ALIAS }
    with_conformance_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
    with_conformance_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
}

// Kernels and strategies meet images as they meet buffers, so one of each kind will do for the tile maps.
mod residency_tests {
    use super::{Config, VALIDATED, residency, run};

    with_residency_cases! { tests base_driver super::Config::Bare, &[] }
    with_residency_cases! { tests v1_5_page super::Config::Icd { kernel: "1.5", null: "page" }, &[] }
    with_residency_cases! { tests v1_5_chunk super::Config::Icd { kernel: "1.5", null: "chunk" }, &[] }
    with_residency_cases! { tests_again v1_8_repeat_repeat super::Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[] }
    with_residency_cases! { tests v1_9_sparse super::Config::Icd { kernel: "1.9", null: "sparse" }, &[] }
    with_residency_cases! { tests_again node_v1_5 super::Config::Node { vpanthor: "1.5", null: "auto" }, &[] }
    with_residency_cases! { tests node_v1_6_repeat super::Config::Node { vpanthor: "1.6-repeat", null: "auto" }, &[] }
    with_residency_cases! { tests_again node_v1_8 super::Config::Node { vpanthor: "1.8", null: "chunk" }, &[] }
    with_residency_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
    with_residency_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
}

// The virtual kernel in this process, and a node beside it that is asked the same.
with_cases! { tests node_v1_9 super::Config::Node { vpanthor: "1.9", null: "auto" }, &[] }
with_cases! { tests_again node_v1_8_repeat super::Config::Node { vpanthor: "1.8-repeat", null: "auto" }, &[] }

const ALIAS: &[(&str, &str)] = &[("PANVK_SPARSE_DUMMY", "alias")];
const VALIDATED: &[(&str, &str)] = &[(common::app::VALIDATION, "1")];

/// One case under one configuration, in a process of its own; the instance and a device are made for it.
fn run(test: &str, config: Config, extra: &[(&str, &str)], case: fn(&Gpu)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        case(&gpu);
    };
    common::child::run(test, config, extra, body, |outcome| {
        let (kernel, null) = match config {
            Config::Bare => return,
            Config::Icd { kernel, null } => (format!("vpanthor:{kernel}"), null),
            Config::Node { vpanthor, null } => {
                node::check(vpanthor, outcome);
                (common::preload::node(0), null)
            }
        };
        assert!(
            !outcome.stats.is_empty(),
            "a line of counters for each device"
        );
        for stats in &outcome.stats {
            assert_eq!(stats.kernel, kernel);
            if null != "auto" {
                assert_eq!(stats.strategy, null);
            }
            assert_eq!(
                stats.vm_bind_ops,
                stats.map_ops + stats.null_ops + stats.unmap_ops + stats.sync_ops,
                "every op is of one kind: {stats:?}"
            );
        }
    });
}

/// A mistake of ours would not go unseen.
#[test]
fn the_validation_layer_sees_a_bind_beyond_its_buffer() {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        let buffer = gpu.sparse_buffer(common::SZ_2M);
        // What the driver answers is not the question here; that the layer speaks is.
        let _ = gpu.try_bind(&[Batch::buffer(&buffer, [unbind(0, 2 * common::SZ_2M)])]);
        let complaints = app.take_complaints();
        assert!(
            complaints
                .iter()
                .any(|c| c.contains("VUID-VkSparseMemoryBind")),
            "{complaints:?}"
        );
    };
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "auto",
    };
    common::child::run(
        common::name_of!(the_validation_layer_sees_a_bind_beyond_its_buffer),
        config,
        VALIDATED,
        body,
        |_| (),
    );
}
