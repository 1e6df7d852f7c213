//! VMs and VM_BIND: address spaces, and what is mapped in them.

uapi_structs! {
    /// A user-space array of `count` objects, `stride` bytes apart, at address `array`.
    ///
    /// The stride says which version of the object the caller knows: a shorter one than the kernel's reads as
    /// zeros where it ends, a longer one must be zero there (else E2BIG).
    drm_panthor_obj_array = ObjArray (16) {
        /// Bytes.
        0 => stride: u32,
        4 => count: u32,
        8 => array: u64,
    }

    /// One wait or signal.
    drm_panthor_sync_op = SyncOp (16) {
        /// A `SYNC_OP_HANDLE_TYPE_*`, and [`SYNC_OP_SIGNAL`] or not.
        0 => flags: u32,
        4 => handle: u32,
        /// The point of a timeline syncobj; 0 for a binary one.
        8 => timeline_value: u64,
    }

    drm_panthor_vm_create = VmCreate (16) {
        /// 0.
        0 => flags: u32,
        /// Out: from 1.
        4 => id: u32,
        /// In and out, bytes: the addresses below it are the user's. 0 lets the kernel choose.
        8 => user_va_range: u64,
    }

    drm_panthor_vm_destroy = VmDestroy (8) {
        0 => id: u32,
        4 => pad: u32,
    }

    /// One operation of a VM_BIND: 48 bytes, understood by every kernel.
    drm_panthor_vm_bind_op = VmBindOp (48) {
        /// A `VM_BIND_OP_TYPE_*` with `VM_BIND_OP_MAP_*`.
        0 => flags: u32,
        4 => bo_handle: u32,
        /// Bytes, a multiple of 4 KiB, as `va` and `size`.
        8 => bo_offset: u64,
        16 => va: u64,
        24 => size: u64,
        /// Of [`SyncOp`]; only in an asynchronous bind.
        32 => syncs: ObjArray,
    }

    /// Argument of [`IOCTL_VM_BIND`](super::IOCTL_VM_BIND).
    drm_panthor_vm_bind = VmBind (24) {
        0 => vm_id: u32,
        /// 0 or [`VM_BIND_ASYNC`].
        4 => flags: u32,
        /// Of [`VmBindOp`] or [`VmBindOpRepeat`]. When a synchronous bind fails, `count` becomes the index of the op that did.
        8 => ops: ObjArray,
    }

    drm_panthor_vm_get_state = VmGetState (8) {
        0 => vm_id: u32,
        /// Out: a `VM_STATE_*`.
        4 => state: u32,
    }
}

/// `struct drm_panthor_vm_bind_op` of the OP_MAP_REPEAT series: 56 bytes.
///
/// v2 to v4 wrote the last eight bytes as `u32 bo_repeat_range; u32 pad`: the same for every range under 4 GiB on a
/// little-endian machine, and no Mali sits in another.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmBindOpRepeat {
    pub op: VmBindOp,
    /// With [`VM_BIND_OP_MAP_REPEAT`]: these many bytes of the BO, from `bo_offset`, fill `size` bytes, over and over.
    pub bo_repeat_range: u64,
}

const _: () = {
    assert!(size_of::<VmBindOpRepeat>() == 56);
    assert!(std::mem::offset_of!(VmBindOpRepeat, op) == 0);
    assert!(std::mem::offset_of!(VmBindOpRepeat, bo_repeat_range) == 48);
};

// SAFETY: repr(C), a `Plain` struct of 48 bytes and a u64 at 48 of 56: no padding.
unsafe impl super::Plain for VmBindOpRepeat {}

/// OP_MAP_REPEAT series: the bit of [`VM_BIND_OP_MAP_SPARSE`], told from it by the size of the kernel's struct.
pub const VM_BIND_OP_MAP_REPEAT: u32 = 1 << 3;

uapi_constants! {
    DRM_PANTHOR_SYNC_OP_HANDLE_TYPE_MASK = SYNC_OP_HANDLE_TYPE_MASK: u32 = 0xff;
    DRM_PANTHOR_SYNC_OP_HANDLE_TYPE_SYNCOBJ = SYNC_OP_HANDLE_TYPE_SYNCOBJ: u32 = 0;
    DRM_PANTHOR_SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ = SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ: u32 = 1;
    DRM_PANTHOR_SYNC_OP_WAIT = SYNC_OP_WAIT: u32 = 0 << 31;
    DRM_PANTHOR_SYNC_OP_SIGNAL = SYNC_OP_SIGNAL: u32 = 1 << 31;

    DRM_PANTHOR_VM_BIND_OP_MAP_READONLY = VM_BIND_OP_MAP_READONLY: u32 = 1 << 0;
    DRM_PANTHOR_VM_BIND_OP_MAP_NOEXEC = VM_BIND_OP_MAP_NOEXEC: u32 = 1 << 1;
    DRM_PANTHOR_VM_BIND_OP_MAP_UNCACHED = VM_BIND_OP_MAP_UNCACHED: u32 = 1 << 2;
    /// Mainline 1.9: the kernel maps its own dummy.
    DRM_PANTHOR_VM_BIND_OP_MAP_SPARSE = VM_BIND_OP_MAP_SPARSE: u32 = 1 << 3;
    DRM_PANTHOR_VM_BIND_OP_TYPE_MASK = VM_BIND_OP_TYPE_MASK: u32 = 0xf << 28;
    DRM_PANTHOR_VM_BIND_OP_TYPE_MAP = VM_BIND_OP_TYPE_MAP: u32 = 0 << 28;
    DRM_PANTHOR_VM_BIND_OP_TYPE_UNMAP = VM_BIND_OP_TYPE_UNMAP: u32 = 1 << 28;
    /// Waits and signals in the VM's order, no mapping.
    DRM_PANTHOR_VM_BIND_OP_TYPE_SYNC_ONLY = VM_BIND_OP_TYPE_SYNC_ONLY: u32 = 2 << 28;

    DRM_PANTHOR_VM_BIND_ASYNC = VM_BIND_ASYNC: u32 = 1 << 0;

    DRM_PANTHOR_VM_STATE_USABLE = VM_STATE_USABLE: u32 = 0;
    /// An asynchronous op failed: no map works any more, the VM has to be destroyed.
    DRM_PANTHOR_VM_STATE_UNUSABLE = VM_STATE_UNUSABLE: u32 = 1;
}
