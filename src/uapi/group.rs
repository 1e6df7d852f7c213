//! Groups of command-stream queues and tiler heaps: how work reaches the GPU. Nothing here binds memory; a driver on a
//! board needs it beside the VM that it binds in.

use super::ObjArray;

uapi_structs! {
    drm_panthor_queue_create = QueueCreate (8) {
        /// Within the group, 0 to 15.
        0 => priority: u8,
        1 => pad: [u8; 3],
        /// Bytes.
        4 => ringbuf_size: u32,
    }

    drm_panthor_group_create = GroupCreate (56) {
        /// Of [`QueueCreate`].
        0 => queues: ObjArray,
        /// At most the number of bits in the mask; likewise below.
        16 => max_compute_cores: u8,
        17 => max_fragment_cores: u8,
        18 => max_tiler_cores: u8,
        /// A `GROUP_PRIORITY_*`.
        19 => priority: u8,
        20 => pad: u32,
        24 => compute_core_mask: u64,
        32 => fragment_core_mask: u64,
        40 => tiler_core_mask: u64,
        48 => vm_id: u32,
        /// Out.
        52 => group_handle: u32,
    }

    drm_panthor_group_destroy = GroupDestroy (8) {
        0 => group_handle: u32,
        4 => pad: u32,
    }

    /// One job: a call of a command stream by one queue of the group.
    drm_panthor_queue_submit = QueueSubmit (40) {
        0 => queue_index: u32,
        /// Bytes, a multiple of 8. 0 (with `stream_addr` 0): waits and signals only.
        4 => stream_size: u32,
        /// GPU address, a multiple of 64.
        8 => stream_addr: u64,
        /// The flush id when the stream was written; 0 flushes in any case.
        16 => latest_flush: u32,
        20 => pad: u32,
        /// Of [`SyncOp`](super::SyncOp).
        24 => syncs: ObjArray,
    }

    drm_panthor_group_submit = GroupSubmit (24) {
        0 => group_handle: u32,
        4 => pad: u32,
        /// Of [`QueueSubmit`].
        8 => queue_submits: ObjArray,
    }

    drm_panthor_group_get_state = GroupGetState (16) {
        0 => group_handle: u32,
        /// Out: `GROUP_STATE_*`.
        4 => state: u32,
        /// Out: a bit for each queue with a fatal fault.
        8 => fatal_queues: u32,
        12 => pad: u32,
    }

    drm_panthor_tiler_heap_create = TilerHeapCreate (40) {
        0 => vm_id: u32,
        /// At least 1.
        4 => initial_chunk_count: u32,
        /// Bytes: whole pages, 128 KiB to 8 MiB.
        8 => chunk_size: u32,
        12 => max_chunks: u32,
        /// Render passes in flight above which the firmware waits.
        16 => target_in_flight: u32,
        /// Out, as all that follows.
        20 => handle: u32,
        24 => tiler_heap_ctx_gpu_va: u64,
        32 => first_heap_chunk_gpu_va: u64,
    }

    drm_panthor_tiler_heap_destroy = TilerHeapDestroy (8) {
        0 => handle: u32,
        4 => pad: u32,
    }
}

uapi_constants! {
    PANTHOR_GROUP_PRIORITY_LOW = GROUP_PRIORITY_LOW: u8 = 0;
    PANTHOR_GROUP_PRIORITY_MEDIUM = GROUP_PRIORITY_MEDIUM: u8 = 1;
    /// Needs CAP_SYS_NICE or to be DRM master, as the next one.
    PANTHOR_GROUP_PRIORITY_HIGH = GROUP_PRIORITY_HIGH: u8 = 2;
    PANTHOR_GROUP_PRIORITY_REALTIME = GROUP_PRIORITY_REALTIME: u8 = 3;

    /// Jobs were cut off. No more can be submitted, as after a fault.
    DRM_PANTHOR_GROUP_STATE_TIMEDOUT = GROUP_STATE_TIMEDOUT: u32 = 1 << 0;
    DRM_PANTHOR_GROUP_STATE_FATAL_FAULT = GROUP_STATE_FATAL_FAULT: u32 = 1 << 1;
    /// With TIMEDOUT: the victim of a reset that another group caused. Since 1.3.
    DRM_PANTHOR_GROUP_STATE_INNOCENT = GROUP_STATE_INNOCENT: u32 = 1 << 2;
}
