//! The panthor uAPI: the structs and numbers of `drm/panthor_drm.h`, version 1.9, and of the OP_MAP_REPEAT series.
//!
//! Names are the header's, in Rust's case. All structs are plain data in native byte order.

/// `struct drm_panthor_obj_array`: a user-space array of `count` objects, `stride` bytes apart, at address `array`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjArray {
    pub stride: u32,
    pub count: u32,
    pub array: u64,
}

/// `struct drm_panthor_sync_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncOp {
    pub flags: u32,
    pub handle: u32,
    pub timeline_value: u64,
}

pub const SYNC_OP_HANDLE_TYPE_MASK: u32 = 0xff;
pub const SYNC_OP_HANDLE_TYPE_SYNCOBJ: u32 = 0;
pub const SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ: u32 = 1;
pub const SYNC_OP_SIGNAL: u32 = 1 << 31;

/// `struct drm_panthor_vm_bind_op`: 48 bytes, understood by every kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmBindOp {
    pub flags: u32,
    pub bo_handle: u32,
    pub bo_offset: u64,
    pub va: u64,
    pub size: u64,
    pub syncs: ObjArray,
}

/// `struct drm_panthor_vm_bind_op` of the OP_MAP_REPEAT series: 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmBindOpRepeat {
    pub op: VmBindOp,
    pub bo_repeat_range: u64,
}

pub const VM_BIND_OP_MAP_READONLY: u32 = 1 << 0;
pub const VM_BIND_OP_MAP_NOEXEC: u32 = 1 << 1;
pub const VM_BIND_OP_MAP_UNCACHED: u32 = 1 << 2;
/// Mainline 1.9: the kernel maps its own dummy.
pub const VM_BIND_OP_MAP_SPARSE: u32 = 1 << 3;
/// OP_MAP_REPEAT series: the same bit, told from SPARSE by the size of the struct.
pub const VM_BIND_OP_MAP_REPEAT: u32 = 1 << 3;
pub const VM_BIND_OP_TYPE_MASK: u32 = 0xf << 28;
pub const VM_BIND_OP_TYPE_MAP: u32 = 0;
pub const VM_BIND_OP_TYPE_UNMAP: u32 = 1 << 28;
pub const VM_BIND_OP_TYPE_SYNC_ONLY: u32 = 2 << 28;

/// `struct drm_panthor_vm_bind`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmBind {
    pub vm_id: u32,
    pub flags: u32,
    pub ops: ObjArray,
}

pub const VM_BIND_ASYNC: u32 = 1 << 0;
