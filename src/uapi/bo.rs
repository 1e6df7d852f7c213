//! Buffer objects.

use super::ObjArray;

uapi_structs! {
    drm_panthor_bo_create = BoCreate (24) {
        /// Bytes; on return rounded up to pages.
        0 => size: u64,
        /// `BO_NO_MMAP`, `BO_WB_MMAP`.
        8 => flags: u32,
        /// 0, or the only VM that the BO can be mapped in; such a BO cannot be exported.
        12 => exclusive_vm_id: u32,
        /// Out.
        16 => handle: u32,
        20 => pad: u32,
    }

    drm_panthor_bo_mmap_offset = BoMmapOffset (16) {
        0 => handle: u32,
        4 => pad: u32,
        /// Out: the offset to give to mmap.
        8 => offset: u64,
    }

    /// A name for debugfs. Since 1.4.
    drm_panthor_bo_set_label = BoSetLabel (16) {
        0 => handle: u32,
        4 => pad: u32,
        /// Address of a NUL-terminated string of at most 4,096 bytes.
        8 => label: u64,
    }

    /// Since 1.5.
    drm_panthor_set_user_mmio_offset = SetUserMmioOffset (8) {
        /// `USER_MMIO_OFFSET_32BIT` or `USER_MMIO_OFFSET_64BIT`.
        0 => offset: u64,
    }

    /// CPU cache maintenance on a part of a BO. Since 1.7.
    drm_panthor_bo_sync_op = BoSyncOp (24) {
        0 => handle: u32,
        /// A `BO_SYNC_CPU_CACHE_*`.
        4 => r#type: u32,
        /// Bytes; the kernel widens the range to whole cache lines.
        8 => offset: u64,
        16 => size: u64,
    }

    drm_panthor_bo_sync = BoSync (16) {
        /// Of [`BoSyncOp`].
        0 => ops: ObjArray,
    }

    /// Since 1.7.
    drm_panthor_bo_query_info = BoQueryInfo (16) {
        0 => handle: u32,
        /// Out: `BO_IS_IMPORTED` or 0.
        4 => extra_flags: u32,
        /// Out: the flags of BO_CREATE; 0 for another driver's BO.
        8 => create_flags: u32,
        12 => pad: u32,
    }
}

uapi_constants! {
    /// The CPU never maps it.
    DRM_PANTHOR_BO_NO_MMAP = BO_NO_MMAP: u32 = 1 << 0;
    /// The CPU maps it write-back cached. Since 1.7.
    DRM_PANTHOR_BO_WB_MMAP = BO_WB_MMAP: u32 = 1 << 1;

    DRM_PANTHOR_BO_SYNC_CPU_CACHE_FLUSH = BO_SYNC_CPU_CACHE_FLUSH: u32 = 0;
    DRM_PANTHOR_BO_SYNC_CPU_CACHE_FLUSH_AND_INVALIDATE = BO_SYNC_CPU_CACHE_FLUSH_AND_INVALIDATE: u32 = 1;

    /// Another driver's BO (panthor's own, exported and imported again, is not).
    DRM_PANTHOR_BO_IS_IMPORTED = BO_IS_IMPORTED: u32 = 1 << 0;
}
