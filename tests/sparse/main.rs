//! An unmodified application's sparse binds: real loader, real base driver, real shaders, and the data is right.
//!
//! Every case runs over the bare base driver, under every kernel flavour with every null strategy that goes with it,
//! and under the validation layer. A test is named `<kernel>_<strategy>::<case>`, and is a process of its own.

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod images;
mod many;
mod mistakes;
mod model;
mod queue_bind;
mod residency;
mod sync;
mod usages;

use common::config::Config;
use common::gpu::unbind;
use common::{App, Batch, Gpu};

/// Hands all cases, as `module::function`, to another macro.
macro_rules! with_cases {
    ($callback:ident $($arguments:tt)*) => {
        $callback! { [$($arguments)*]
            buffers: shader_writes_are_read_by_a_copy;
            buffers: copies_are_read_by_a_shader;
            buffers: memory_in_two_buffers_is_shared;
            buffers: memory_twice_in_one_buffer_is_shared;
            buffers: aliases_may_overlap_with_a_shift;
            buffers: blocks_in_reverse_order_hold_reversed_memory;
            buffers: partial_binds_leave_the_rest_usable;
            buffers: a_rebind_switches_memory_and_keeps_the_old_contents;
            buffers: an_unbind_keeps_memory_and_neighbours;
            buffers: memory_moves_to_another_place;
            buffers: writes_to_unbound_ranges_change_no_bound_memory;
            buffers: a_binding_only_buffer_bound_in_pieces;
            buffers: a_hundred_million_bytes;
            buffers: a_new_buffer_does_not_see_the_memory_of_a_destroyed_one;
            buffers: memory_may_be_freed_after_its_unbind;
            buffers: the_same_bind_twice_changes_nothing;
            buffers: memory_outlives_a_destroyed_buffer;
            mistakes: a_null_bind_honours_its_offset;
            mistakes: a_null_bind_of_many_dummy_chunks_reaches_its_end;
            images: bound_as_a_whole;
            images: bound_in_pieces_in_any_order;
            images: pieces_hold_what_the_plan_says;
            images: levels_layers_and_volumes;
            images: linear_tiling;
            images: a_rebind_switches_contents;
            images: image_and_buffer_in_one_batch;
            sync: a_binary_chain_orders_binds_and_shaders;
            sync: a_bind_may_wait_before_the_signal;
            sync: a_timeline_orders_many_binds;
            sync: an_empty_submit_signals_its_fence;
            sync: a_batch_without_binds_passes_semaphores_on;
            sync: batches_of_one_call_may_wait_for_each_other;
            sync: many_waits_and_signals_of_both_kinds;
            sync: a_device_group_struct_is_taken;
            sync: batches_without_a_resource_are_taken;
            many: resources_in_one_call;
            many: batches_in_one_call;
            many: threads_on_one_device;
            many: threads_with_a_device_each;
            many: devices_in_one_process_one_after_another;
            many: thousand_pieces_in_shuffled_order;
            model: random_sequences;
        }
    };
}

/// As `with_cases`, for what the dEQP-VK sparse groups cover beyond these.
macro_rules! with_conformance_cases {
    ($callback:ident $($arguments:tt)*) => {
        $callback! { [$($arguments)*]
            queue_bind: all_forms_with_a_fence;
            queue_bind: all_forms_without_a_fence;
            queue_bind: a_chain_of_binds_alone;
            usages: uniform_blocks;
            usages: storage_blocks;
            usages: vertices;
            usages: indices;
            usages: indirect_draws;
            usages: indirect_dispatches;
        }
    };
}

/// As `with_cases`, for partially resident images.
macro_rules! with_residency_cases {
    ($callback:ident $($arguments:tt)*) => {
        $callback! { [$($arguments)*]
            residency: scattered_tiles_of_rgba8;
            residency: scattered_tiles_of_1_byte_texels;
            residency: scattered_tiles_of_16_byte_texels;
            residency: scattered_tiles_of_array_layers;
            residency: scattered_tiles_of_mip_levels;
            residency: scattered_tiles_of_a_cube;
            residency: scattered_tiles_of_a_volume;
            residency: unbound_tiles_do_not_disturb_bound_ones;
            residency: a_region_comes_back_with_its_memory;
            residency: a_box_is_its_tiles_one_by_one;
            residency: aliased_images_share_their_memory;
            residency: the_last_bind_of_a_tile_counts;
            residency: a_tile_of_memory_in_two_places_of_one_image;
            residency: all_kinds_of_resources_in_one_batch;
            residency: a_new_image_takes_over_memory_but_no_binds;
            residency: shaders_load_what_is_bound;
            residency: random_sequences;
        }
    };
}

/// The tests of one configuration.
macro_rules! tests {
    ([$module:ident $config:expr, $extra:expr] $($file:ident: $case:ident;)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::run($crate::name_of!($case), $config, $extra, super::$file::$case);
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
    v1_8_page: "1.8" "page";
    v1_8_chunk: "1.8" "chunk";
    v1_6_repeat_page: "1.6-repeat" "page";
    v1_6_repeat_chunk: "1.6-repeat" "chunk";
    v1_6_repeat_repeat: "1.6-repeat" "repeat";
    v1_8_repeat_page: "1.8-repeat" "page";
    v1_8_repeat_chunk: "1.8-repeat" "chunk";
    v1_8_repeat_repeat: "1.8-repeat" "repeat";
    v1_9_page: "1.9" "page";
    v1_9_chunk: "1.9" "chunk";
    v1_9_sparse: "1.9" "sparse";
}

with_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
with_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
with_cases! { tests validated_v1_9 super::Config::Icd { kernel: "1.9", null: "auto" }, super::VALIDATED }

mod conformance {
    use super::{Config, VALIDATED, queue_bind, run, usages};

    with_conformance_cases! { tests base_driver super::Config::Bare, &[] }
    with_conformance_cases! { tests v1_5_chunk super::Config::Icd { kernel: "1.5", null: "chunk" }, &[] }
    with_conformance_cases! { tests v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[] }
    with_conformance_cases! { tests v1_9_sparse super::Config::Icd { kernel: "1.9", null: "sparse" }, &[] }
    with_conformance_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
    with_conformance_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
}

// Kernels and strategies meet images as they meet buffers, so one of each kind will do for the tile maps.
mod residency_tests {
    use super::{Config, VALIDATED, residency, run};

    with_residency_cases! { tests base_driver super::Config::Bare, &[] }
    with_residency_cases! { tests v1_5_page super::Config::Icd { kernel: "1.5", null: "page" }, &[] }
    with_residency_cases! { tests v1_5_chunk super::Config::Icd { kernel: "1.5", null: "chunk" }, &[] }
    with_residency_cases! { tests v1_8_repeat_repeat super::Config::Icd { kernel: "1.8-repeat", null: "repeat" }, &[] }
    with_residency_cases! { tests v1_9_sparse super::Config::Icd { kernel: "1.9", null: "sparse" }, &[] }
    with_residency_cases! { tests validated_base_driver super::Config::Bare, super::VALIDATED }
    with_residency_cases! { tests validated_v1_8_repeat super::Config::Icd { kernel: "1.8-repeat", null: "auto" }, super::VALIDATED }
}

const VALIDATED: &[(&str, &str)] = &[(common::app::VALIDATION, "1")];

/// One case under one configuration, in a process of its own; the instance and a device are made for it.
fn run(test: &str, config: Config, extra: &[(&str, &str)], case: fn(&Gpu)) {
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        let gpu = Gpu::new(&app);
        case(&gpu);
    };
    common::child::run(test, config, extra, body, |outcome| {
        let Config::Icd { kernel, null } = config else {
            return;
        };
        assert!(
            !outcome.stats.is_empty(),
            "a line of counters for each device"
        );
        for stats in &outcome.stats {
            assert_eq!(stats.kernel, format!("vpanthor:{kernel}"));
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
        name_of!(the_validation_layer_sees_a_bind_beyond_its_buffer),
        config,
        VALIDATED,
        body,
        |_| (),
    );
}
