//! What every DRM driver has, as far as we use it: version, capabilities, GEM handles, dma-buf, syncobjs.

// `drm_version` holds `size_t` and pointers; everything else is the same on 32 bits.
const _: () = assert!(
    size_of::<usize>() == 8,
    "the uAPI structs are those of 64-bit processes"
);

uapi_structs! {
    /// Argument of [`IOCTL_VERSION`](super::IOCTL_VERSION). The lengths are in and out, in bytes, without a NUL.
    drm_version = Version (64) {
        0 => version_major: i32,
        4 => version_minor: i32,
        8 => version_patchlevel: i32,
        12 => _pad: u32,
        16 => name_len: u64,
        24 => name: u64,
        32 => date_len: u64,
        40 => date: u64,
        48 => desc_len: u64,
        56 => desc: u64,
    }

    drm_gem_close = GemClose (8) {
        0 => handle: u32,
        4 => pad: u32,
    }

    drm_get_cap = GetCap (16) {
        /// A `CAP_*`.
        0 => capability: u64,
        8 => value: u64,
    }

    /// Names the process for debugfs. Since Linux 6.13.
    drm_set_client_name = SetClientName (16) {
        /// Bytes, without a NUL; 0 takes the name away.
        0 => name_len: u64,
        8 => name: u64,
    }

    /// Between a GEM handle and a dma-buf.
    drm_prime_handle = PrimeHandle (12) {
        0 => handle: u32,
        /// For an export: `CLOEXEC`, `RDWR`.
        4 => flags: u32,
        8 => fd: i32,
    }

    drm_syncobj_create = SyncobjCreate (8) {
        0 => handle: u32,
        4 => flags: u32,
    }

    drm_syncobj_destroy = SyncobjDestroy (8) {
        0 => handle: u32,
        4 => pad: u32,
    }

    /// Between a syncobj and a file descriptor (of a syncobj or of a sync file).
    drm_syncobj_handle = SyncobjHandle (24) {
        0 => handle: u32,
        4 => flags: u32,
        8 => fd: i32,
        12 => pad: u32,
        /// Only looked at with a `*_TIMELINE` flag; the struct of older kernels ends before it.
        16 => point: u64,
    }

    /// Copies the fence of one point to another.
    drm_syncobj_transfer = SyncobjTransfer (32) {
        0 => src_handle: u32,
        4 => dst_handle: u32,
        8 => src_point: u64,
        16 => dst_point: u64,
        24 => flags: u32,
        28 => pad: u32,
    }

    drm_syncobj_wait = SyncobjWait (40) {
        /// Address of `count_handles` u32.
        0 => handles: u64,
        /// CLOCK_MONOTONIC, absolute, nanoseconds.
        8 => timeout_nsec: i64,
        16 => count_handles: u32,
        /// `SYNCOBJ_WAIT_FLAGS_*`.
        20 => flags: u32,
        /// Out, an index; only where not all are waited for.
        24 => first_signaled: u32,
        28 => pad: u32,
        32 => deadline_nsec: u64,
    }

    drm_syncobj_timeline_wait = SyncobjTimelineWait (48) {
        0 => handles: u64,
        /// Address of `count_handles` u64.
        8 => points: u64,
        /// CLOCK_MONOTONIC, absolute, nanoseconds.
        16 => timeout_nsec: i64,
        24 => count_handles: u32,
        28 => flags: u32,
        32 => first_signaled: u32,
        36 => pad: u32,
        40 => deadline_nsec: u64,
    }

    /// Signals an eventfd when a point is reached.
    drm_syncobj_eventfd = SyncobjEventfd (24) {
        0 => handle: u32,
        4 => flags: u32,
        8 => point: u64,
        16 => fd: i32,
        20 => pad: u32,
    }

    /// Argument of SYNCOBJ_RESET and SYNCOBJ_SIGNAL.
    drm_syncobj_array = SyncobjArray (16) {
        0 => handles: u64,
        8 => count_handles: u32,
        12 => pad: u32,
    }

    /// Argument of SYNCOBJ_QUERY and SYNCOBJ_TIMELINE_SIGNAL.
    drm_syncobj_timeline_array = SyncobjTimelineArray (24) {
        0 => handles: u64,
        8 => points: u64,
        16 => count_handles: u32,
        20 => flags: u32,
    }
}

uapi_constants! {
    /// Driver ioctls start at this number.
    DRM_COMMAND_BASE = COMMAND_BASE: u8 = 0x40;

    DRM_CAP_PRIME = CAP_PRIME: u64 = 0x5;
    DRM_PRIME_CAP_IMPORT = PRIME_CAP_IMPORT: u64 = 0x1;
    DRM_PRIME_CAP_EXPORT = PRIME_CAP_EXPORT: u64 = 0x2;
    DRM_CAP_TIMESTAMP_MONOTONIC = CAP_TIMESTAMP_MONOTONIC: u64 = 0x6;
    DRM_CAP_SYNCOBJ = CAP_SYNCOBJ: u64 = 0x13;
    DRM_CAP_SYNCOBJ_TIMELINE = CAP_SYNCOBJ_TIMELINE: u64 = 0x14;

    DRM_CLIENT_NAME_MAX_LEN = CLIENT_NAME_MAX_LEN: u64 = 64;

    DRM_CLOEXEC = CLOEXEC: u32 = rustix::fs::OFlags::CLOEXEC.bits();
    DRM_RDWR = RDWR: u32 = rustix::fs::OFlags::RDWR.bits();

    DRM_SYNCOBJ_CREATE_SIGNALED = SYNCOBJ_CREATE_SIGNALED: u32 = 1 << 0;
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE = SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE: u32 = 1 << 0;
    DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE = SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE: u32 = 1 << 1;
    DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE = SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE: u32 = 1 << 0;
    DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE = SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE: u32 = 1 << 1;
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL = SYNCOBJ_WAIT_FLAGS_WAIT_ALL: u32 = 1 << 0;
    /// A syncobj without a fence is waited for, not refused.
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT = SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT: u32 = 1 << 1;
    /// Until there is a fence, not until it is signalled.
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE = SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE: u32 = 1 << 2;
    DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE = SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE: u32 = 1 << 3;
    /// The last point that has a fence, not the last that is signalled.
    DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED = SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED: u32 = 1 << 0;
}
