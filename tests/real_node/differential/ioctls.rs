//! Random ioctls of every kind, right ones and wrong ones.

use common::Random;
use panvk_sparse::uapi::*;

use super::call::{BASE, Builder, Call, LEN, plain};
use super::random::Choice;

const CALLS: u64 = 100;

/// The address of nothing that can be read.
fn nowhere(random: &mut Random) -> u64 {
    random.pick(&[0, 8, BASE + LEN as u64 - 4, BASE - 8, u64::MAX - 7, 1 << 63])
}

fn handle(random: &mut Random) -> u32 {
    if random.one_in(12) {
        random.pick(&[0, 99, u32::MAX])
    } else {
        1 + random.below(5) as u32
    }
}

fn handles(random: &mut Random) -> [u32; 2] {
    [handle(random), handle(random)]
}

/// 0, and sometimes not.
fn padding(random: &mut Random) -> u32 {
    u32::from(random.one_in(30))
}

fn count(random: &mut Random) -> u32 {
    random.below(3) as u32
}

fn sync_op(random: &mut Random) -> SyncOp {
    let mut sync = SyncOp {
        flags: random.below(2) as u32,
        handle: handle(random),
        timeline_value: 0,
    };
    if random.one_in(2) {
        sync.flags |= SYNC_OP_SIGNAL;
    }
    if sync.flags & 1 != 0 || random.one_in(10) {
        sync.timeline_value = random.below(6);
    }
    if random.one_in(12) {
        sync.flags ^= random.pick(&[2, 1 << 8, 1 << 30, 4]);
    }
    sync
}

fn dev_query(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let flags = if random.one_in(3) {
        random.pick(&[0, 1, 2, 3, 4, 8, 16, 32, 64, 1 << 8, 0xff])
    } else {
        0
    };
    let out = memory.put(&[TimestampInfo {
        flags,
        ..Default::default()
    }]);
    memory.put(&[0u64; 24]);
    let pointer = if random.one_in(6) {
        nowhere(random)
    } else {
        out
    };
    let args = DevQuery {
        r#type: random.below(7) as u32,
        size: random.pick(&[0, 4, 8, 24, 32, 56, 64, 100, 112, 128, 200]),
        pointer,
    };
    memory.call(IOCTL_DEV_QUERY, args)
}

fn vm(random: &mut Random) -> Call {
    let ranges = [
        0,
        0,
        0,
        1 << 32,
        1 << 47,
        1 << 48,
        4096,
        1,
        u64::MAX,
        (1 << 48) - (1 << 28),
        (1 << 48) - (1 << 28) + 1,
        1 << 46,
        12_345_678,
    ];
    match random.below(3) {
        0 => plain(
            IOCTL_VM_CREATE,
            VmCreate {
                flags: u32::from(random.one_in(12)),
                id: 0,
                user_va_range: random.pick(&ranges),
            },
        ),
        1 => plain(
            IOCTL_VM_DESTROY,
            VmDestroy {
                id: if random.one_in(4) { handle(random) } else { 77 },
                pad: padding(random),
            },
        ),
        _ => plain(
            IOCTL_VM_GET_STATE,
            VmGetState {
                vm_id: handle(random),
                state: 77,
            },
        ),
    }
}

fn bo_create(random: &mut Random) -> Call {
    let sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        65536,
        1 << 20,
        2 << 20,
        (2 << 20) + 1,
        3 << 20,
        u64::MAX,
        u64::MAX - 4096,
        1 << 63,
    ];
    let flags = [0, 1, 2, 3, 4, 8, 1 << 31];
    plain(
        IOCTL_BO_CREATE,
        BoCreate {
            size: random.pick(&sizes),
            flags: if random.one_in(3) {
                random.pick(&flags)
            } else {
                0
            },
            exclusive_vm_id: if random.one_in(3) { handle(random) } else { 0 },
            handle: 0,
            pad: padding(random),
        },
    )
}

fn bo(random: &mut Random) -> Call {
    let (handle, pad) = (handle(random), padding(random));
    match random.below(4) {
        0 => plain(
            IOCTL_BO_MMAP_OFFSET,
            BoMmapOffset {
                handle,
                pad,
                offset: 0,
            },
        ),
        1 => plain(
            IOCTL_BO_QUERY_INFO,
            BoQueryInfo {
                handle,
                pad,
                ..Default::default()
            },
        ),
        2 => {
            let mut memory = Builder::new();
            let length = random.pick(&[0, 1, 10, 4094, 4095, 4096, 4097, 8000]);
            let text = memory.put(&vec![b'x'; length]);
            let label = if random.one_in(5) {
                nowhere(random)
            } else {
                text
            };
            memory.call(IOCTL_BO_SET_LABEL, BoSetLabel { handle, pad, label })
        }
        _ => {
            // Buffer objects that work is done with are closed more often than is good for that.
            let handle = if random.one_in(3) { handle } else { 99 };
            plain(IOCTL_GEM_CLOSE, GemClose { handle, pad })
        }
    }
}

fn bo_sync(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let ops: Vec<BoSyncOp> = (0..4)
        .map(|_| BoSyncOp {
            handle: handle(random),
            r#type: if random.one_in(6) {
                random.below(5) as u32
            } else {
                random.below(2) as u32
            },
            offset: random.pick(&[0, 0, 4096, 1 << 20, u64::MAX, 100]),
            size: random.pick(&[0, 4096, 100, 1 << 20, 1 << 40, u64::MAX]),
        })
        .collect();
    let array = memory.put(&ops);
    let ops = ObjArray {
        stride: random.mostly(24, &[16, 0, 32]),
        count: random.below(4) as u32,
        array: if random.one_in(10) {
            nowhere(random)
        } else {
            array
        },
    };
    memory.call(IOCTL_BO_SYNC, BoSync { ops })
}

fn vm_bind(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let asynchronous = random.one_in(2);
    let ops: Vec<VmBindOp> = (0..1 + random.below(2))
        .map(|_| {
            let mut syncs = [sync_op(random), sync_op(random)];
            syncs[0].flags |= SYNC_OP_SIGNAL;
            let flags = random.pick(&[0, 2, 10, 1 << 28, 2 << 28, 3 << 28, 16]);
            let sync_only = flags == VM_BIND_OP_TYPE_SYNC_ONLY;
            VmBindOp {
                flags,
                bo_handle: if flags < 8 { handle(random) } else { 0 },
                bo_offset: random.mostly(0, &[4096, 1 << 20, 100]),
                va: if sync_only {
                    0
                } else {
                    random.pick(&[1 << 20, 1 << 21, 1 << 30, 0, 1 << 47])
                },
                size: if sync_only {
                    0
                } else {
                    random.pick(&[4096, 4096, 65536, 0, 2 << 20])
                },
                syncs: ObjArray {
                    stride: random.mostly(16, &[8, 0, 24]),
                    count: if asynchronous {
                        random.pick(&[1, 1, 2, 0])
                    } else {
                        0
                    },
                    array: memory.put(&syncs),
                },
            }
        })
        .collect();
    let array = memory.put(&ops);
    let vm_id = 1 + random.below(2) as u32;
    let args = VmBind {
        vm_id: random.mostly(vm_id, &[0, 3, 99]),
        flags: u32::from(asynchronous),
        ops: ObjArray {
            stride: random.mostly(48, &[40, 0, 56, 64]),
            count: random.mostly(ops.len() as u32, &[0, 4, 1000, 1 << 16]),
            array: if random.one_in(30) {
                nowhere(random)
            } else {
                array
            },
        },
    };
    memory.call(IOCTL_VM_BIND, args)
}

fn group_create(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let queues: Vec<QueueCreate> = (0..40)
        .map(|_| {
            let ring = random.pick(&[65536, 4096]);
            let priority = random.below(16) as u8;
            QueueCreate {
                priority: random.mostly(priority, &[16, 255]),
                pad: [padding(random) as u8, 0, 0],
                ringbuf_size: random.mostly(ring, &[0, 65535, 1 << 20, 3 << 12, 2048]),
            }
        })
        .collect();
    let array = memory.put(&queues);
    let (compute, fragment) = (1 + random.below(4) as u8, 1 + random.below(4) as u8);
    let count = 1 + random.below(3) as u32;
    let priority = random.below(2) as u8;
    let vm_id = 1 + random.below(2) as u32;
    let args = GroupCreate {
        queues: ObjArray {
            stride: random.mostly(8, &[4, 0, 16]),
            count: random.mostly(count, &[0, 8, 9, 32, 33]),
            array: if random.one_in(30) {
                nowhere(random)
            } else {
                array
            },
        },
        max_compute_cores: random.mostly(compute, &[0, 5, 200]),
        max_fragment_cores: random.mostly(fragment, &[0, 5]),
        max_tiler_cores: random.mostly(1, &[0, 2]),
        priority: random.mostly(priority, &[2, 3, 4, 255]),
        pad: padding(random),
        compute_core_mask: random.mostly(0x50005, &[1, 0, 2, 0xfffff, 5]),
        fragment_core_mask: random.mostly(0x50005, &[1, 0, 5]),
        tiler_core_mask: random.mostly(1, &[0, 2, 3]),
        vm_id: random.mostly(vm_id, &[0, 3, 99]),
        group_handle: 0,
    };
    memory.call(IOCTL_GROUP_CREATE, args)
}

fn group_submit(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let jobs: Vec<QueueSubmit> = (0..2)
        .map(|_| {
            let syncs = [sync_op(random), sync_op(random)];
            let size = random.pick(&[0, 64, 128]);
            let addr = random.pick(&[1 << 20, 1 << 21]);
            let flush = random.below(3) as u32;
            let mut job = QueueSubmit {
                queue_index: random.mostly(0, &[1, 2, 9]),
                stream_size: random.mostly(size, &[8, 12, 4]),
                stream_addr: random.mostly(addr, &[0, 64, 7, 8]),
                latest_flush: random.mostly(flush, &[1 << 23, 1 << 24, 1 << 30, 1 << 31]),
                pad: padding(random),
                syncs: ObjArray {
                    stride: random.mostly(16, &[8, 0]),
                    count: count(random),
                    array: memory.put(&syncs),
                },
            };
            if job.stream_size == 0 && !random.one_in(10) {
                job.stream_addr = 0;
            }
            job
        })
        .collect();
    let array = memory.put(&jobs);
    let (group, count) = (1 + random.below(2) as u32, 1 + random.below(2) as u32);
    let args = GroupSubmit {
        group_handle: random.mostly(group, &[0, 3, 99]),
        pad: padding(random),
        queue_submits: ObjArray {
            stride: random.mostly(40, &[32, 0, 48]),
            count: random.mostly(count, &[0, 3]),
            array: if random.one_in(30) {
                nowhere(random)
            } else {
                array
            },
        },
    };
    memory.call(IOCTL_GROUP_SUBMIT, args)
}

fn group(random: &mut Random) -> Call {
    let group = 1 + random.below(2) as u32;
    let group_handle = random.mostly(group, &[0, 3, 99]);
    let pad = padding(random);
    if random.one_in(3) {
        let group_handle = if random.one_in(2) { 50 } else { group_handle };
        return plain(IOCTL_GROUP_DESTROY, GroupDestroy { group_handle, pad });
    }
    plain(
        IOCTL_GROUP_GET_STATE,
        GroupGetState {
            group_handle,
            pad,
            ..Default::default()
        },
    )
}

fn heap(random: &mut Random) -> Call {
    if random.one_in(3) {
        let of_a_vm = (1 + random.below(2) as u32) << 16 | random.below(2) as u32;
        let handle = if random.one_in(2) {
            of_a_vm
        } else {
            handle(random)
        };
        let pad = padding(random);
        return plain(IOCTL_TILER_HEAP_DESTROY, TilerHeapDestroy { handle, pad });
    }
    let chunks = [
        2 << 20,
        2 << 20,
        128 << 10,
        256 << 10,
        0,
        4096,
        8 << 20,
        16 << 20,
        3 << 20,
        12345,
    ];
    plain(
        IOCTL_TILER_HEAP_CREATE,
        TilerHeapCreate {
            vm_id: 1 + random.below(3) as u32,
            initial_chunk_count: random.pick(&[1, 1, 5, 0, 6, 100]),
            chunk_size: random.pick(&chunks),
            max_chunks: random.pick(&[5, 64, 64, 1, 0, 4]),
            target_in_flight: random.pick(&[65535, 1, 0]),
            ..Default::default()
        },
    )
}

fn syncobj_create(random: &mut Random) -> Call {
    let flags = if random.one_in(8) {
        2 + random.below(3) as u32
    } else {
        random.below(2) as u32
    };
    plain(IOCTL_SYNCOBJ_CREATE, SyncobjCreate { handle: 0, flags })
}

fn syncobj_destroy(random: &mut Random) -> Call {
    let handle = if random.one_in(3) { handle(random) } else { 60 };
    let pad = padding(random);
    plain(IOCTL_SYNCOBJ_DESTROY, SyncobjDestroy { handle, pad })
}

fn wait(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let array = memory.put(&handles(random));
    let points = memory.put(&[random.below(6), random.below(6)]);
    let handles = if random.one_in(20) {
        nowhere(random)
    } else {
        array
    };
    let timeout_nsec = random.pick(&[0, 0, 1, -1, i64::MIN]).min(0);
    let (count_handles, pad) = (count(random), padding(random));
    let flags = random.pick(&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 16]);
    if random.one_in(2) {
        return memory.call(
            IOCTL_SYNCOBJ_WAIT,
            SyncobjWait {
                handles,
                timeout_nsec,
                count_handles,
                flags,
                first_signaled: 1234,
                pad,
                deadline_nsec: random.below(3),
            },
        );
    }
    let points = if random.one_in(10) {
        nowhere(random)
    } else {
        points
    };
    memory.call(
        IOCTL_SYNCOBJ_TIMELINE_WAIT,
        SyncobjTimelineWait {
            handles,
            points,
            timeout_nsec,
            count_handles,
            flags,
            first_signaled: 1234,
            pad,
            deadline_nsec: random.below(3),
        },
    )
}

fn syncobj_arrays(random: &mut Random) -> Call {
    let mut memory = Builder::new();
    let which = handles(random);
    let array = memory.put(&which);
    let points = memory.put(&[random.below(6), random.below(6)]);
    let handles = if random.one_in(20) {
        nowhere(random)
    } else {
        array
    };
    let points = if random.one_in(15) {
        nowhere(random)
    } else {
        points
    };
    let count_handles = count(random);
    match random.below(4) {
        kind @ (0 | 1) => {
            let code = [IOCTL_SYNCOBJ_RESET, IOCTL_SYNCOBJ_SIGNAL][kind as usize];
            let pad = padding(random);
            memory.call(
                code,
                SyncobjArray {
                    handles,
                    count_handles,
                    pad,
                },
            )
        }
        kind => {
            let code = [IOCTL_SYNCOBJ_QUERY, IOCTL_SYNCOBJ_TIMELINE_SIGNAL][kind as usize - 2];
            let flags = if random.one_in(4) {
                random.below(3) as u32
            } else {
                0
            };
            memory.call(
                code,
                SyncobjTimelineArray {
                    handles,
                    points,
                    count_handles,
                    flags,
                },
            )
        }
    }
}

fn transfer(random: &mut Random) -> Call {
    let [src_handle, dst_handle] = handles(random);
    let point = |random: &mut Random| if random.one_in(2) { 0 } else { random.below(5) };
    let args = SyncobjTransfer {
        src_handle,
        dst_handle,
        src_point: point(random),
        dst_point: point(random),
        flags: if random.one_in(8) {
            random.pick(&[2, 1, 4, 8])
        } else {
            0
        },
        pad: padding(random),
    };
    plain(IOCTL_SYNCOBJ_TRANSFER, args)
}

fn syncobj_fd(random: &mut Random) -> Call {
    let flags = if random.one_in(6) {
        random.below(8) as u32
    } else {
        random.below(2) as u32
    };
    let args = SyncobjHandle {
        handle: handle(random),
        flags,
        fd: 0,
        pad: padding(random),
        point: if random.one_in(4) { random.below(5) } else { 0 },
    };
    let mut call = if random.one_in(2) {
        return plain(IOCTL_SYNCOBJ_HANDLE_TO_FD, args);
    } else if random.one_in(4) {
        let args = SyncobjEventfd {
            handle: args.handle,
            flags: if random.one_in(3) {
                random.below(8) as u32
            } else {
                0
            },
            point: random.below(6),
            fd: 0,
            pad: args.pad,
        };
        plain(IOCTL_SYNCOBJ_EVENTFD, args)
    } else {
        plain(IOCTL_SYNCOBJ_FD_TO_HANDLE, args)
    };
    let at = if call.is(IOCTL_SYNCOBJ_EVENTFD) {
        16
    } else {
        8
    };
    let any = 2 + random.below(4) as usize;
    let which = if call.is(IOCTL_SYNCOBJ_EVENTFD) {
        random.mostly(0, &[1, any, usize::MAX])
    } else {
        random.mostly(any, &[0, 1, usize::MAX])
    };
    call.fd = Some((at, which));
    call
}

fn prime(random: &mut Random) -> Call {
    let mut args = PrimeHandle {
        handle: handle(random),
        flags: random.mostly(CLOEXEC | RDWR, &[0, CLOEXEC, RDWR, 4, 1, u32::MAX]),
        fd: 0,
    };
    if random.one_in(2) {
        return plain(IOCTL_PRIME_HANDLE_TO_FD, args);
    }
    args.handle = 0;
    let mut call = plain(IOCTL_PRIME_FD_TO_HANDLE, args);
    let any = 2 + random.below(4) as usize;
    call.fd = Some((8, random.mostly(any, &[0, 1, usize::MAX])));
    call
}

fn core(random: &mut Random) -> Call {
    match random.below(5) {
        3 => {
            let mut memory = Builder::new();
            let text = memory.put(
                &random
                    .pick(&[*b"name", *b"a b ", *b"\0abc", [0x80; 4], *b"~!#\x7f"])
                    .repeat(20),
            );
            let name = if random.one_in(5) {
                nowhere(random)
            } else {
                text
            };
            let name_len = random.pick(&[0, 1, 2, 3, 4, 64, 65, u64::MAX]);
            memory.call(IOCTL_SET_CLIENT_NAME, SetClientName { name_len, name })
        }
        0 => plain(
            IOCTL_GET_CAP,
            GetCap {
                capability: random.pick(&[1, 2, 5, 6, 0x10, 0x11, 0x13, 0x14, 0x15, 99]),
                value: 77,
            },
        ),
        1 => {
            let mut memory = Builder::new();
            let text = memory.put(&[0u64; 12]);
            let at = |random: &mut Random, place: u64| {
                if random.one_in(10) {
                    nowhere(random)
                } else {
                    text + place
                }
            };
            let lengths = [0, 3, 7, 8, 32];
            let args = Version {
                name_len: random.pick(&lengths),
                name: at(random, 0),
                date_len: random.pick(&lengths),
                date: at(random, 32),
                desc_len: random.pick(&lengths),
                desc: at(random, 64),
                ..Default::default()
            };
            memory.call(IOCTL_VERSION, args)
        }
        2 => plain(
            IOCTL_SET_USER_MMIO_OFFSET,
            SetUserMmioOffset {
                offset: random.pick(&[
                    USER_MMIO_OFFSET_64BIT,
                    USER_MMIO_OFFSET_32BIT,
                    0,
                    1,
                    1 << 40,
                ]),
            },
        ),
        _ => unknown(random),
    }
}

/// A number that panthor does not have, or DRM not for a render node.
fn unknown(random: &mut Random) -> Call {
    let numbers = [
        0x51, 0x52, 0x5f, 0x9f, 0xff, 0x0a, 0x0b, 0x1e, 0x1f, 0x06, 0x07, 0x0d, 0xb2, 0xa1, 0x11,
        0x01, 0x02, 0x05, 0x20, 0x3f, 0x10, 0xc6, 0xc9, 0xd0, 0xbe, 0xce,
    ];
    let letter = random.mostly(IOCTL_BASE, b"xDe");
    let number: u32 = random.pick(&numbers);
    let size = random.pick(&[0u32, 4, 8, 16, 64, 104]);
    let direction = random.below(4) as u32;
    Call {
        request: direction << 30 | size << 16 | u32::from(letter) << 8 | number,
        arg: BASE,
        ..Call::default()
    }
}

/// Another size, direction or address of the argument.
fn bend(random: &mut Random, call: &mut Call) {
    match random.below(4) {
        0 => call.arg = nowhere(random),
        1 => call.request ^= 1 << 30,
        2 => call.request ^= 1 << 31,
        _ => {
            let size = random.pick(&[0u32, 1, 4, 8, 12, 16, 20, 24, 40, 63, 64, 256, 4096]);
            call.request = call.request & !(0x3fff << 16) | size << 16;
        }
    }
}

/// Something of each kind, so that calls have what they are about.
fn setup() -> Vec<Call> {
    let mut calls = vec![plain(IOCTL_VM_CREATE, VmCreate::default()); 2];
    for size in [64 << 10, 2 << 20, 4 << 10] {
        let args = BoCreate {
            size,
            ..Default::default()
        };
        calls.push(plain(IOCTL_BO_CREATE, args));
    }
    for flags in [0, SYNCOBJ_CREATE_SIGNALED, 0, SYNCOBJ_CREATE_SIGNALED] {
        calls.push(plain(
            IOCTL_SYNCOBJ_CREATE,
            SyncobjCreate { handle: 0, flags },
        ));
    }
    let mut memory = Builder::new();
    let queues = [QueueCreate {
        priority: 1,
        ringbuf_size: 4096,
        ..Default::default()
    }; 3];
    let args = GroupCreate {
        queues: ObjArray {
            stride: 8,
            count: 3,
            array: memory.put(&queues),
        },
        max_compute_cores: 4,
        max_fragment_cores: 4,
        max_tiler_cores: 1,
        compute_core_mask: 0x50005,
        fragment_core_mask: 0x50005,
        tiler_core_mask: 1,
        vm_id: 1,
        ..Default::default()
    };
    calls.push(memory.call(IOCTL_GROUP_CREATE, args));
    calls
}

pub fn sequence(seed: u64) -> Vec<Call> {
    let mut random = Random::new(seed);
    let mut calls = if random.one_in(10) {
        Vec::new()
    } else {
        setup()
    };
    calls.extend((0..CALLS).map(|_| {
        let random = &mut random;
        let mut call = match random.below(30) {
            0 => dev_query(random),
            1..=3 => vm(random),
            4 | 5 => bo_create(random),
            6 | 7 => bo(random),
            8 => bo_sync(random),
            9 | 10 => vm_bind(random),
            11 | 12 => group_create(random),
            13 | 14 => group_submit(random),
            15 => group(random),
            16 | 17 => heap(random),
            18 => syncobj_create(random),
            19 => syncobj_destroy(random),
            20 | 21 => wait(random),
            22 | 23 => syncobj_arrays(random),
            24 | 25 => transfer(random),
            26 | 27 => syncobj_fd(random),
            28 => prime(random),
            _ => core(random),
        };
        if random.one_in(60) {
            bend(random, &mut call);
        }
        call
    }));
    calls
}
