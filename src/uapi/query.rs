//! DEV_QUERY: what the device is.

uapi_structs! {
    /// Argument of [`IOCTL_DEV_QUERY`](super::IOCTL_DEV_QUERY): with `pointer` 0 the kernel only fills in `size`.
    drm_panthor_dev_query = DevQuery (16) {
        /// One of `DEV_QUERY_*`. A type that the kernel does not know is EINVAL.
        0 => r#type: u32,
        /// Bytes at `pointer`; on return, bytes that the kernel wrote (or would).
        4 => size: u32,
        /// Address of the struct of this type.
        8 => pointer: u64,
    }

    /// The GPU's identification and feature registers.
    drm_panthor_gpu_info = GpuInfo (112) {
        /// Architecture, product and version: see [`arch_major`] and its neighbours.
        0 => gpu_id: u32,
        4 => gpu_rev: u32,
        /// Command-stream front end and its firmware: see [`cshw_major`] and its neighbours.
        8 => csf_id: u32,
        12 => l2_features: u32,
        16 => tiler_features: u32,
        20 => mem_features: u32,
        /// Address widths: see [`mmu_va_bits`].
        24 => mmu_features: u32,
        28 => thread_features: u32,
        32 => max_threads: u32,
        36 => thread_max_workgroup_size: u32,
        40 => thread_max_barrier_size: u32,
        /// A bit for each `GPU_COHERENCY_*` that the GPU could do.
        44 => coherency_features: u32,
        48 => texture_features: [u32; 4],
        /// A bit for each address space of the MMU.
        64 => as_present: u32,
        /// The `GPU_COHERENCY_*` in force. Since 1.7.
        68 => selected_coherency: u32,
        /// A bit for each shader core.
        72 => shader_present: u64,
        80 => l2_present: u64,
        88 => tiler_present: u64,
        96 => core_features: u32,
        100 => pad: u32,
        104 => gpu_features: u64,
    }

    /// The command-stream interface that the firmware offers.
    drm_panthor_csif_info = CsifInfo (24) {
        0 => csg_slot_count: u32,
        /// Per group.
        4 => cs_slot_count: u32,
        8 => cs_reg_count: u32,
        12 => scoreboard_slot_count: u32,
        /// Registers that the kernel overwrites when it calls a user's command stream.
        16 => unpreserved_cs_reg_count: u32,
        20 => pad: u32,
    }

    /// Clocks of GPU and CPU. Since 1.1; everything from `flags` on since 1.8.
    drm_panthor_timestamp_info = TimestampInfo (56) {
        /// Hz, 0 if not known.
        0 => timestamp_frequency: u64,
        8 => current_timestamp: u64,
        16 => timestamp_offset: u64,
        /// `TIMESTAMP_*`; 0 asks for what was there before 1.8.
        24 => flags: u32,
        /// Nanoseconds that the query took.
        28 => duration_nsec: u32,
        32 => cycle_count: u64,
        40 => cpu_timestamp_sec: u64,
        48 => cpu_timestamp_nsec: u64,
    }

    /// The MMU. Since 1.9; also in v5 of the repeat series.
    drm_panthor_mmu_info = MmuInfo (8) {
        /// Bit n: pages of 2^n bytes can be mapped.
        0 => page_size_bitmap: u64,
    }

    /// Which group priorities this file may use. Since 1.2.
    drm_panthor_group_priorities_info = GroupPrioritiesInfo (4) {
        /// Bit n: priority n, see `GROUP_PRIORITY_*`.
        0 => allowed_mask: u8,
        1 => pad: [u8; 3],
    }
}

uapi_constants! {
    DRM_PANTHOR_DEV_QUERY_GPU_INFO = DEV_QUERY_GPU_INFO: u32 = 0;
    DRM_PANTHOR_DEV_QUERY_CSIF_INFO = DEV_QUERY_CSIF_INFO: u32 = 1;
    DRM_PANTHOR_DEV_QUERY_TIMESTAMP_INFO = DEV_QUERY_TIMESTAMP_INFO: u32 = 2;
    DRM_PANTHOR_DEV_QUERY_GROUP_PRIORITIES_INFO = DEV_QUERY_GROUP_PRIORITIES_INFO: u32 = 3;
    DRM_PANTHOR_DEV_QUERY_MMU_INFO = DEV_QUERY_MMU_INFO: u32 = 4;

    DRM_PANTHOR_GPU_COHERENCY_ACE_LITE = GPU_COHERENCY_ACE_LITE: u32 = 0;
    DRM_PANTHOR_GPU_COHERENCY_ACE = GPU_COHERENCY_ACE: u32 = 1;
    DRM_PANTHOR_GPU_COHERENCY_NONE = GPU_COHERENCY_NONE: u32 = 31;

    DRM_PANTHOR_TIMESTAMP_GPU = TIMESTAMP_GPU: u32 = 1 << 0;
    DRM_PANTHOR_TIMESTAMP_CPU_NONE = TIMESTAMP_CPU_NONE: u32 = 0 << 1;
    DRM_PANTHOR_TIMESTAMP_CPU_MONOTONIC = TIMESTAMP_CPU_MONOTONIC: u32 = 1 << 1;
    DRM_PANTHOR_TIMESTAMP_CPU_MONOTONIC_RAW = TIMESTAMP_CPU_MONOTONIC_RAW: u32 = 2 << 1;
    DRM_PANTHOR_TIMESTAMP_CPU_TYPE_MASK = TIMESTAMP_CPU_TYPE_MASK: u32 = 7 << 1;
    DRM_PANTHOR_TIMESTAMP_GPU_OFFSET = TIMESTAMP_GPU_OFFSET: u32 = 1 << 4;
    DRM_PANTHOR_TIMESTAMP_GPU_CYCLE_COUNT = TIMESTAMP_GPU_CYCLE_COUNT: u32 = 1 << 5;
    DRM_PANTHOR_TIMESTAMP_FREQ = TIMESTAMP_FREQ: u32 = 1 << 6;
    DRM_PANTHOR_TIMESTAMP_DURATION = TIMESTAMP_DURATION: u32 = 1 << 7;

    /// Where a 32-bit process maps the registers that it may see, as an mmap offset.
    DRM_PANTHOR_USER_MMIO_OFFSET_32BIT = USER_MMIO_OFFSET_32BIT: u64 = 1 << 43;
    DRM_PANTHOR_USER_MMIO_OFFSET_64BIT = USER_MMIO_OFFSET_64BIT: u64 = 1 << 56;
    DRM_PANTHOR_USER_MMIO_OFFSET = USER_MMIO_OFFSET: u64 = USER_MMIO_OFFSET_64BIT;
    /// The page with the LATEST_FLUSH_ID register, read-only.
    DRM_PANTHOR_USER_FLUSH_ID_MMIO_OFFSET = USER_FLUSH_ID_MMIO_OFFSET: u64 = USER_MMIO_OFFSET;
}

macro_rules! bit_fields {
    ($( $(#[$meta:meta])* $c_name:ident = $name:ident: $shift:literal, $mask:literal; )+) => {
        $(
            $(#[$meta])*
            pub const fn $name(word: u32) -> u32 {
                (word >> $shift) & $mask
            }
        )+

        pub(super) const BIT_FIELDS: &[super::BitField] =
            &[ $( super::BitField { c_name: stringify!($c_name), shift: $shift, mask: $mask }, )+ ];
    };
}

bit_fields! {
    /// Of [`GpuInfo::gpu_id`]: 10 is the first with a command-stream front end, and panthor's first.
    DRM_PANTHOR_ARCH_MAJOR = arch_major: 28, 0xf;
    DRM_PANTHOR_ARCH_MINOR = arch_minor: 24, 0xf;
    DRM_PANTHOR_ARCH_REV = arch_rev: 20, 0xf;
    DRM_PANTHOR_PRODUCT_MAJOR = product_major: 16, 0xf;
    DRM_PANTHOR_VERSION_MAJOR = version_major: 12, 0xf;
    DRM_PANTHOR_VERSION_MINOR = version_minor: 4, 0xff;
    DRM_PANTHOR_VERSION_STATUS = version_status: 0, 0xf;
    /// Of [`GpuInfo::csf_id`].
    DRM_PANTHOR_CSHW_MAJOR = cshw_major: 26, 0x3f;
    DRM_PANTHOR_CSHW_MINOR = cshw_minor: 20, 0x3f;
    DRM_PANTHOR_CSHW_REV = cshw_rev: 16, 0xf;
    DRM_PANTHOR_MCU_MAJOR = mcu_major: 10, 0x3f;
    DRM_PANTHOR_MCU_MINOR = mcu_minor: 4, 0x3f;
    DRM_PANTHOR_MCU_REV = mcu_rev: 0, 0xf;
    /// Of [`GpuInfo::mmu_features`]: bits of a GPU virtual address.
    DRM_PANTHOR_MMU_VA_BITS = mmu_va_bits: 0, 0xff;
}
