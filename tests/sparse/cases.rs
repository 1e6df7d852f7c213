//! The list of all cases: each is a function that takes a device, and is run under many configurations.

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
            tile_updates: rounds_of_runs_unmapped_tiles_and_copied_mappings;
            model: random_sequences;
        }
    };
}

/// As `with_cases`, for what the dEQP-VK sparse groups cover beyond these.
macro_rules! with_conformance_cases {
    ($callback:ident $($arguments:tt)*) => {
        $callback! { [$($arguments)*]
            groups: binds_of_the_only_device;
            groups: binds_of_another_device_are_refused;
            queue_bind: all_forms_with_a_fence;
            queue_bind: all_forms_without_a_fence;
            queue_bind: a_chain_of_binds_alone;
            shapes: all_places_say_one_shape;
            shapes: one_block_is_exactly_its_texels;
            transfers: buffer_copies;
            transfers: image_copies;
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
            residency: hundreds_of_scattered_tiles;
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
