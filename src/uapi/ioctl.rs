//! The ioctl request numbers.

use super::*;
use rustix::ioctl::opcode;

/// 'd', the letter of all DRM ioctls.
pub const IOCTL_BASE: u8 = b'd';

/// The number within the letter: the part of a request that says which ioctl it is, whatever the size of its argument.
pub const fn ioctl_nr(code: u32) -> u8 {
    (code & 0xff) as u8
}

/// The argument's size in bytes, as the caller knows it.
pub const fn ioctl_size(code: u32) -> usize {
    ((code >> 16) & 0x3fff) as usize
}

macro_rules! ioctls {
    ($( $c_name:ident = $name:ident: $dir:ident($nr:expr, $ty:ty), $short:literal; )+) => {
        $(
            #[doc = concat!("`", stringify!($c_name), "`, with a [`", stringify!($ty), "`].")]
            pub const $name: u32 = opcode::$dir::<$ty>(IOCTL_BASE, $nr) as u32;
        )+

        pub(super) const IOCTLS: &[super::Ioctl] = &[
            $( super::Ioctl { c_name: stringify!($c_name), name: $short, code: $name }, )+
        ];
    };
}

ioctls! {
    DRM_IOCTL_PANTHOR_DEV_QUERY = IOCTL_DEV_QUERY: read_write(COMMAND_BASE + ID_DEV_QUERY, DevQuery), "DEV_QUERY";
    DRM_IOCTL_PANTHOR_VM_CREATE = IOCTL_VM_CREATE: read_write(COMMAND_BASE + ID_VM_CREATE, VmCreate), "VM_CREATE";
    DRM_IOCTL_PANTHOR_VM_DESTROY = IOCTL_VM_DESTROY: read_write(COMMAND_BASE + ID_VM_DESTROY, VmDestroy), "VM_DESTROY";
    DRM_IOCTL_PANTHOR_VM_BIND = IOCTL_VM_BIND: read_write(COMMAND_BASE + ID_VM_BIND, VmBind), "VM_BIND";
    DRM_IOCTL_PANTHOR_VM_GET_STATE = IOCTL_VM_GET_STATE: read_write(COMMAND_BASE + ID_VM_GET_STATE, VmGetState), "VM_GET_STATE";
    DRM_IOCTL_PANTHOR_BO_CREATE = IOCTL_BO_CREATE: read_write(COMMAND_BASE + ID_BO_CREATE, BoCreate), "BO_CREATE";
    DRM_IOCTL_PANTHOR_BO_MMAP_OFFSET = IOCTL_BO_MMAP_OFFSET: read_write(COMMAND_BASE + ID_BO_MMAP_OFFSET, BoMmapOffset), "BO_MMAP_OFFSET";
    DRM_IOCTL_PANTHOR_GROUP_CREATE = IOCTL_GROUP_CREATE: read_write(COMMAND_BASE + ID_GROUP_CREATE, GroupCreate), "GROUP_CREATE";
    DRM_IOCTL_PANTHOR_GROUP_DESTROY = IOCTL_GROUP_DESTROY: read_write(COMMAND_BASE + ID_GROUP_DESTROY, GroupDestroy), "GROUP_DESTROY";
    DRM_IOCTL_PANTHOR_GROUP_SUBMIT = IOCTL_GROUP_SUBMIT: read_write(COMMAND_BASE + ID_GROUP_SUBMIT, GroupSubmit), "GROUP_SUBMIT";
    DRM_IOCTL_PANTHOR_GROUP_GET_STATE = IOCTL_GROUP_GET_STATE: read_write(COMMAND_BASE + ID_GROUP_GET_STATE, GroupGetState), "GROUP_GET_STATE";
    DRM_IOCTL_PANTHOR_TILER_HEAP_CREATE = IOCTL_TILER_HEAP_CREATE: read_write(COMMAND_BASE + ID_TILER_HEAP_CREATE, TilerHeapCreate), "TILER_HEAP_CREATE";
    DRM_IOCTL_PANTHOR_TILER_HEAP_DESTROY = IOCTL_TILER_HEAP_DESTROY: read_write(COMMAND_BASE + ID_TILER_HEAP_DESTROY, TilerHeapDestroy), "TILER_HEAP_DESTROY";
    DRM_IOCTL_PANTHOR_BO_SET_LABEL = IOCTL_BO_SET_LABEL: read_write(COMMAND_BASE + ID_BO_SET_LABEL, BoSetLabel), "BO_SET_LABEL";
    DRM_IOCTL_PANTHOR_SET_USER_MMIO_OFFSET = IOCTL_SET_USER_MMIO_OFFSET: read_write(COMMAND_BASE + ID_SET_USER_MMIO_OFFSET, SetUserMmioOffset), "SET_USER_MMIO_OFFSET";
    DRM_IOCTL_PANTHOR_BO_SYNC = IOCTL_BO_SYNC: read_write(COMMAND_BASE + ID_BO_SYNC, BoSync), "BO_SYNC";
    DRM_IOCTL_PANTHOR_BO_QUERY_INFO = IOCTL_BO_QUERY_INFO: read_write(COMMAND_BASE + ID_BO_QUERY_INFO, BoQueryInfo), "BO_QUERY_INFO";

    DRM_IOCTL_VERSION = IOCTL_VERSION: read_write(0x00, Version), "VERSION";
    DRM_IOCTL_GEM_CLOSE = IOCTL_GEM_CLOSE: write(0x09, GemClose), "GEM_CLOSE";
    DRM_IOCTL_GET_CAP = IOCTL_GET_CAP: read_write(0x0c, GetCap), "GET_CAP";
    DRM_IOCTL_PRIME_HANDLE_TO_FD = IOCTL_PRIME_HANDLE_TO_FD: read_write(0x2d, PrimeHandle), "PRIME_HANDLE_TO_FD";
    DRM_IOCTL_PRIME_FD_TO_HANDLE = IOCTL_PRIME_FD_TO_HANDLE: read_write(0x2e, PrimeHandle), "PRIME_FD_TO_HANDLE";
    DRM_IOCTL_SYNCOBJ_CREATE = IOCTL_SYNCOBJ_CREATE: read_write(0xbf, SyncobjCreate), "SYNCOBJ_CREATE";
    DRM_IOCTL_SYNCOBJ_DESTROY = IOCTL_SYNCOBJ_DESTROY: read_write(0xc0, SyncobjDestroy), "SYNCOBJ_DESTROY";
    DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD = IOCTL_SYNCOBJ_HANDLE_TO_FD: read_write(0xc1, SyncobjHandle), "SYNCOBJ_HANDLE_TO_FD";
    DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE = IOCTL_SYNCOBJ_FD_TO_HANDLE: read_write(0xc2, SyncobjHandle), "SYNCOBJ_FD_TO_HANDLE";
    DRM_IOCTL_SYNCOBJ_WAIT = IOCTL_SYNCOBJ_WAIT: read_write(0xc3, SyncobjWait), "SYNCOBJ_WAIT";
    DRM_IOCTL_SYNCOBJ_RESET = IOCTL_SYNCOBJ_RESET: read_write(0xc4, SyncobjArray), "SYNCOBJ_RESET";
    DRM_IOCTL_SYNCOBJ_SIGNAL = IOCTL_SYNCOBJ_SIGNAL: read_write(0xc5, SyncobjArray), "SYNCOBJ_SIGNAL";
    DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT = IOCTL_SYNCOBJ_TIMELINE_WAIT: read_write(0xca, SyncobjTimelineWait), "SYNCOBJ_TIMELINE_WAIT";
    DRM_IOCTL_SYNCOBJ_QUERY = IOCTL_SYNCOBJ_QUERY: read_write(0xcb, SyncobjTimelineArray), "SYNCOBJ_QUERY";
    DRM_IOCTL_SYNCOBJ_TRANSFER = IOCTL_SYNCOBJ_TRANSFER: read_write(0xcc, SyncobjTransfer), "SYNCOBJ_TRANSFER";
    DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL = IOCTL_SYNCOBJ_TIMELINE_SIGNAL: read_write(0xcd, SyncobjTimelineArray), "SYNCOBJ_TIMELINE_SIGNAL";
    DRM_IOCTL_SYNCOBJ_EVENTFD = IOCTL_SYNCOBJ_EVENTFD: read_write(0xcf, SyncobjEventfd), "SYNCOBJ_EVENTFD";
    DRM_IOCTL_SET_CLIENT_NAME = IOCTL_SET_CLIENT_NAME: read_write(0xd1, SetClientName), "SET_CLIENT_NAME";
}

// Panthor's own numbers; 0x40 is added in the request.
uapi_constants! {
    DRM_PANTHOR_DEV_QUERY = ID_DEV_QUERY: u8 = 0;
    DRM_PANTHOR_VM_CREATE = ID_VM_CREATE: u8 = 1;
    DRM_PANTHOR_VM_DESTROY = ID_VM_DESTROY: u8 = 2;
    DRM_PANTHOR_VM_BIND = ID_VM_BIND: u8 = 3;
    DRM_PANTHOR_VM_GET_STATE = ID_VM_GET_STATE: u8 = 4;
    DRM_PANTHOR_BO_CREATE = ID_BO_CREATE: u8 = 5;
    DRM_PANTHOR_BO_MMAP_OFFSET = ID_BO_MMAP_OFFSET: u8 = 6;
    DRM_PANTHOR_GROUP_CREATE = ID_GROUP_CREATE: u8 = 7;
    DRM_PANTHOR_GROUP_DESTROY = ID_GROUP_DESTROY: u8 = 8;
    DRM_PANTHOR_GROUP_SUBMIT = ID_GROUP_SUBMIT: u8 = 9;
    DRM_PANTHOR_GROUP_GET_STATE = ID_GROUP_GET_STATE: u8 = 10;
    DRM_PANTHOR_TILER_HEAP_CREATE = ID_TILER_HEAP_CREATE: u8 = 11;
    DRM_PANTHOR_TILER_HEAP_DESTROY = ID_TILER_HEAP_DESTROY: u8 = 12;
    /// Since 1.4.
    DRM_PANTHOR_BO_SET_LABEL = ID_BO_SET_LABEL: u8 = 13;
    /// Since 1.5.
    DRM_PANTHOR_SET_USER_MMIO_OFFSET = ID_SET_USER_MMIO_OFFSET: u8 = 14;
    /// Since 1.7, as the next one.
    DRM_PANTHOR_BO_SYNC = ID_BO_SYNC: u8 = 15;
    DRM_PANTHOR_BO_QUERY_INFO = ID_BO_QUERY_INFO: u8 = 16;
}
