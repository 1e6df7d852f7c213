//! The structs of `panvk_sparse.h`, which says what each field means. A test compares their sizes and offsets.

use std::ffi::{c_char, c_void};

pub const PVS_ABI: u32 = 1;

/// The type of `pvs_device_info.log`.
pub type Log = unsafe extern "C" fn(*mut c_void, u32, *const c_char);

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsDeviceInfo {
    pub abi: u32,
    pub fd: i32,
    pub strategy: u32,
    pub reserved: u32,
    pub log: Option<Log>,
    pub log_data: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsVmInfo {
    pub abi: u32,
    pub fd: i32,
    pub vm_id: u32,
    pub reserved: u32,
    pub va_end: u64,
}

pub const PVS_RANGE_RESIDENT: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsRange {
    pub va: u64,
    pub size: u64,
    pub reserved: u64,
    pub granularity: u64,
    pub flags: u32,
    pub pad: u32,
}

pub const PVS_BIND_READONLY: u32 = 1;
pub const PVS_BIND_UNCACHED: u32 = 2;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsBind {
    pub va: u64,
    pub size: u64,
    pub bo_offset: u64,
    pub row_stride: u64,
    pub slice_stride: u64,
    pub rows: u32,
    pub slices: u32,
    pub bo_handle: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsSync {
    pub handle: u32,
    pub pad: u32,
    pub point: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PvsBatch {
    pub waits: *const PvsSync,
    pub signals: *const PvsSync,
    pub binds: *const PvsBind,
    pub wait_count: u32,
    pub signal_count: u32,
    pub bind_count: u32,
    pub pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PvsStats {
    pub ioctls: u64,
    pub ops: u64,
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    pub sync_ops: u64,
    pub calls: u64,
    pub binds: u64,
    pub elided: u64,
    pub strategy: u32,
    pub pad: u32,
}
