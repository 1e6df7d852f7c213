//! What a driver needs besides VM_BIND: groups of queues and their jobs, tiler heaps, labels, cache maintenance, the flush
//! id, eventfds.

use crate::kit::*;
use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::{Flavour, Kernel, OpenOptions, Privileges, last_refusal};

/// What panvk asks for on a G610.
fn group_args(p: &Process, vm_id: u32) -> GroupCreate {
    let queues = [QueueCreate {
        priority: 1,
        ringbuf_size: 64 << 10,
        ..Default::default()
    }; 3];
    GroupCreate {
        queues: ObjArray {
            stride: 8,
            count: 3,
            array: p.put_all(&queues),
        },
        max_compute_cores: 4,
        max_fragment_cores: 4,
        max_tiler_cores: 1,
        priority: GROUP_PRIORITY_MEDIUM,
        compute_core_mask: 0x50005,
        fragment_core_mask: 0x50005,
        tiler_core_mask: 1,
        vm_id,
        ..Default::default()
    }
}

fn group(p: &Process, vm: u32) -> u32 {
    let mut args = group_args(p, vm);
    p.call(IOCTL_GROUP_CREATE, &mut args).unwrap();
    args.group_handle
}

fn job(p: &Process, queue_index: u32, syncs: &[SyncOp]) -> QueueSubmit {
    QueueSubmit {
        queue_index,
        stream_size: 64,
        stream_addr: 1 << 30,
        syncs: ObjArray {
            stride: 16,
            count: syncs.len() as u32,
            array: p.put_all(syncs),
        },
        ..Default::default()
    }
}

fn submit(p: &Process, group_handle: u32, jobs: &[QueueSubmit]) -> Result<(), Errno> {
    let mut args = GroupSubmit {
        group_handle,
        pad: 0,
        queue_submits: ObjArray {
            stride: 40,
            count: jobs.len() as u32,
            array: p.put_all(jobs),
        },
    };
    p.call(IOCTL_GROUP_SUBMIT, &mut args)
}

#[test]
fn a_job_ends_at_once_and_signals() {
    let p = Process::new(Flavour::V1_9);
    let group = group(&p, p.vm());
    let (done, timeline) = (p.syncobj(false), p.syncobj(false));
    let jobs = [
        job(&p, 0, &[signal(done)]),
        job(&p, 2, &[signal_point(timeline, 5)]),
    ];
    assert_eq!(submit(&p, group, &jobs), Ok(()));
    assert!(p.is_signalled(done));
    assert_eq!(p.query(timeline, 0), 5);
}

#[test]
fn the_state_of_a_group_takes_the_place_of_all_that_was_asked() {
    let p = Process::new(Flavour::V1_9);
    let asked = GroupGetState {
        group_handle: group(&p, p.vm()),
        state: 7,
        fatal_queues: 7,
        pad: 0,
    };
    let mut state = asked;
    p.call(IOCTL_GROUP_GET_STATE, &mut state).unwrap();
    assert_eq!(state, GroupGetState::default());
    let unknown = GroupGetState {
        group_handle: 99,
        ..asked
    };
    state = unknown;
    assert_eq!(p.call(IOCTL_GROUP_GET_STATE, &mut state), Err(Errno::INVAL));
    assert_eq!(state, unknown);
}

#[test]
fn no_jobs_are_taken_for_any_group() {
    let p = Process::new(Flavour::V1_9);
    assert_eq!(submit(&p, group(&p, p.vm()), &[]), Ok(()));
    assert_eq!(submit(&p, 99, &[]), Ok(()));
    let mut padded = GroupSubmit {
        pad: 1,
        ..Default::default()
    };
    assert_eq!(p.call(IOCTL_GROUP_SUBMIT, &mut padded), Err(Errno::INVAL));
}

#[test]
fn a_group_has_no_more_queues_than_the_firmware_has_slots() {
    let p = Process::new(Flavour::V1_9);
    let good = group_args(&p, p.vm());
    let queue = QueueCreate {
        ringbuf_size: 4 << 10,
        ..Default::default()
    };
    for (count, result) in [(8, Ok(())), (9, Err(Errno::INVAL))] {
        let mut args = GroupCreate {
            queues: ObjArray {
                stride: 8,
                count,
                array: p.put_all(&vec![queue; count as usize]),
            },
            ..good
        };
        assert_eq!(p.call(IOCTL_GROUP_CREATE, &mut args), result, "{count}");
    }
}

/// Priorities, and the errors of creating a group with them.
fn priorities(p: &Process) -> (u8, Vec<Option<Errno>>) {
    let pointer = p.put(&[0; 8]);
    let mut query = DevQuery {
        r#type: DEV_QUERY_GROUP_PRIORITIES_INFO,
        size: 4,
        pointer,
    };
    let mask = match p.call(IOCTL_DEV_QUERY, &mut query) {
        Ok(()) => p.get::<GroupPrioritiesInfo>(pointer).allowed_mask,
        Err(_) => 0,
    };
    let good = group_args(p, p.vm());
    let create = |priority| {
        let mut args = GroupCreate { priority, ..good };
        p.call(IOCTL_GROUP_CREATE, &mut args).err()
    };
    (mask, (0..=4).map(create).collect())
}

#[test]
fn high_priorities_are_for_those_who_have_privileges() {
    let on = |flavour, privileges| {
        let options = OpenOptions {
            privileges,
            ..Default::default()
        };
        priorities(&Process::on(&Kernel::new(flavour), options))
    };
    let (access, invalid) = (Some(Errno::ACCESS), Some(Errno::INVAL));
    let ordinary = (0x3, vec![None, None, access, access, invalid]);
    let privileged = (0xf, vec![None, None, None, None, invalid]);
    let v1_9 = Flavour::V1_9;
    assert_eq!(on(v1_9, Privileges::default()), ordinary);
    assert_eq!(on(v1_9, Privileges::All), privileged);
    let of_this_thread = if has_privileges() {
        privileged
    } else {
        ordinary
    };
    assert_eq!(on(v1_9, Privileges::OfCaller), of_this_thread);
    assert_eq!(priorities(&Process::new(v1_9)).0.count_ones(), {
        if is_on_nodes() {
            of_this_thread.0
        } else {
            0x3u8
        }
        .count_ones()
    });
    // The first version knows no REALTIME, and cannot be asked.
    let v1_0 = on(Flavour::V1_0, Privileges::All);
    assert_eq!(v1_0, (0, vec![None, None, None, invalid, invalid]));
}

#[test]
fn a_job_waits_for_its_syncs_and_for_the_job_before_it_in_its_queue_alone() {
    let p = Process::model(Flavour::V1_8);
    let group = group(&p, p.vm());
    let [first, second, other, gate] = [(); 4].map(|()| p.syncobj(false));
    let work = p.file.attach_foreign_fence(gate, 0).unwrap();
    assert_eq!(
        submit(&p, group, &[job(&p, 0, &[wait_for(gate), signal(first)])]),
        Ok(())
    );
    assert_eq!(
        submit(
            &p,
            group,
            &[job(&p, 0, &[signal(second)]), job(&p, 1, &[signal(other)])]
        ),
        Ok(())
    );
    let signalled = || [first, second, other].map(|syncobj| p.is_signalled(syncobj));
    assert_eq!(signalled(), [false, false, true]);
    work.signal();
    assert_eq!(signalled(), [true; 3]);
}

#[test]
fn a_bind_waits_for_a_job_and_a_job_for_a_bind() {
    let p = Process::model(Flavour::V1_9);
    let (vm, bo) = (p.vm(), p.bo(PAGE));
    let group = group(&p, vm);
    let [gate, ran, bound, last] = [(); 4].map(|()| p.syncobj(false));
    let work = p.file.attach_foreign_fence(gate, 0).unwrap();
    submit(&p, group, &[job(&p, 0, &[wait_for(gate), signal(ran)])]).unwrap();
    p.bind_async(
        vm,
        &[(map(bo, 0, 0, PAGE), &[wait_for(ran), signal(bound)])],
    )
    .unwrap();
    submit(&p, group, &[job(&p, 1, &[wait_for(bound), signal(last)])]).unwrap();
    assert!(!p.is_mapped(vm, 0) && !p.is_signalled(last));
    work.signal();
    assert!(p.is_mapped(vm, 0) && p.is_signalled(last));
}

#[test]
fn jobs_of_one_call_are_taken_all_or_none() {
    let p = Process::model(Flavour::V1_9);
    let group = group(&p, p.vm());
    let done = p.syncobj(false);
    let good = job(&p, 0, &[signal(done)]);
    let table = [
        (
            QueueSubmit {
                queue_index: 3,
                ..good
            },
            "the group has no such queue",
        ),
        (
            QueueSubmit {
                stream_addr: 8,
                ..good
            },
            "a stream's address is a multiple of 64, its size of 8",
        ),
        (
            QueueSubmit {
                stream_size: 0,
                ..good
            },
            "a stream has both an address and a size, or none",
        ),
        (QueueSubmit { pad: 1, ..good }, "padding must be zero"),
        (
            QueueSubmit {
                latest_flush: 1 << 24,
                ..good
            },
            "a flush id has 24 bits, and bit 31",
        ),
        (
            job(&p, 0, &[wait_for(p.syncobj(false))]),
            "the syncobj has no fence for this point",
        ),
    ];
    for (bad, why) in table {
        assert_eq!(submit(&p, group, &[good, bad]), Err(Errno::INVAL), "{why}");
        assert_eq!(last_refusal(), Some(why));
        assert!(!p.is_signalled(done), "{why}");
    }
    assert_eq!(submit(&p, group + 1, &[good]), Err(Errno::INVAL));
    assert_eq!(submit(&p, group, &[good]), Ok(()));
    assert!(p.is_signalled(done));
}

#[test]
fn a_group_that_goes_lets_nobody_wait_and_its_vm_lives_as_long_as_it() {
    let p = Process::model(Flavour::V1_9);
    let vm = p.vm();
    let group = group(&p, vm);
    let (gate, done) = (p.syncobj(false), p.syncobj(false));
    let _work = p.file.attach_foreign_fence(gate, 0).unwrap();
    submit(&p, group, &[job(&p, 0, &[wait_for(gate), signal(done)])]).unwrap();
    p.call(IOCTL_VM_DESTROY, &mut VmDestroy { id: vm, pad: 0 })
        .unwrap();
    assert_eq!(
        (p.file.objects().vms, p.file.kernel().objects().vms),
        (0, 1)
    );
    assert!(!p.is_signalled(done));
    let mut args = GroupDestroy {
        group_handle: group,
        pad: 0,
    };
    p.call(IOCTL_GROUP_DESTROY, &mut args).unwrap();
    assert!(p.is_signalled(done));
    assert_eq!(p.file.kernel().objects().vms, 0);
    assert_eq!(p.call(IOCTL_GROUP_DESTROY, &mut args), Err(Errno::INVAL));
}

#[test]
fn a_group_takes_the_cores_that_there_are() {
    let p = Process::new(Flavour::V1_9);
    let good = group_args(&p, p.vm());
    let queue = |ringbuf_size, priority| ObjArray {
        stride: 8,
        count: 1,
        array: p.put_all(&[QueueCreate {
            ringbuf_size,
            priority,
            ..Default::default()
        }]),
    };
    let table = [
        (
            GroupCreate {
                compute_core_mask: 0x50007,
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                fragment_core_mask: 1,
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                tiler_core_mask: 3,
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                priority: 4,
                ..good
            },
            Errno::INVAL,
        ),
        (GroupCreate { vm_id: 9, ..good }, Errno::INVAL),
        (GroupCreate { pad: 1, ..good }, Errno::INVAL),
        (
            GroupCreate {
                queues: ObjArray::default(),
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                queues: queue(48 << 10, 0),
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                queues: queue(128 << 10, 0),
                ..good
            },
            Errno::INVAL,
        ),
        (
            GroupCreate {
                queues: queue(4 << 10, 16),
                ..good
            },
            Errno::INVAL,
        ),
    ];
    for (mut args, errno) in table {
        assert_eq!(
            p.call(IOCTL_GROUP_CREATE, &mut args),
            Err(errno),
            "{args:?}"
        );
    }
    let mut args = GroupCreate {
        queues: queue(4 << 10, 15),
        ..good
    };
    assert_eq!(p.call(IOCTL_GROUP_CREATE, &mut args), Ok(()));
    assert_eq!(args.group_handle, 1);
}

#[test]
fn tiler_heaps_lie_apart_in_the_kernels_addresses() {
    let p = Process::new(Flavour::V1_9);
    let vm = p.vm();
    let destroy = |handle| {
        p.call(
            IOCTL_TILER_HEAP_DESTROY,
            &mut TilerHeapDestroy { handle, pad: 0 },
        )
    };
    assert_eq!(destroy(vm << 16), Err(Errno::NOENT), "there never was one");
    assert_eq!(destroy((vm + 1) << 16), Err(Errno::INVAL), "no such VM");
    let good = TilerHeapCreate {
        vm_id: vm,
        initial_chunk_count: 5,
        chunk_size: 2 << 20,
        max_chunks: 64,
        target_in_flight: 65535,
        ..Default::default()
    };
    let create = |args: TilerHeapCreate| {
        let mut args = args;
        p.call(IOCTL_TILER_HEAP_CREATE, &mut args).map(|()| args)
    };
    let none = TilerHeapCreate {
        initial_chunk_count: 0,
        ..good
    };
    assert_eq!(create(none).unwrap_err(), Errno::INVAL);
    assert_eq!(
        destroy(vm << 16),
        Err(Errno::INVAL),
        "somebody asked for one"
    );
    let (first, second) = (create(good).unwrap(), create(good).unwrap());
    assert_eq!((first.handle, second.handle), (vm << 16, vm << 16 | 1));
    assert!(first.tiler_heap_ctx_gpu_va >= 1 << 47);
    assert!(second.first_heap_chunk_gpu_va >= first.first_heap_chunk_gpu_va + 5 * (2 << 20));
    assert_ne!(first.tiler_heap_ctx_gpu_va, second.tiler_heap_ctx_gpu_va);
    for bad in [
        TilerHeapCreate {
            initial_chunk_count: 0,
            ..good
        },
        TilerHeapCreate {
            max_chunks: 4,
            ..good
        },
        TilerHeapCreate {
            chunk_size: 64 << 10,
            ..good
        },
        TilerHeapCreate {
            chunk_size: 16 << 20,
            ..good
        },
        TilerHeapCreate {
            chunk_size: (128 << 10) + 1,
            ..good
        },
        TilerHeapCreate {
            vm_id: vm + 1,
            ..good
        },
    ] {
        assert_eq!(create(bad).unwrap_err(), Errno::INVAL, "{bad:?}");
    }
    assert_eq!(destroy(first.handle), Ok(()));
    assert_eq!(destroy(first.handle), Err(Errno::INVAL));
    assert_eq!(create(good).unwrap().handle, first.handle);
}

#[test]
fn a_label_is_kept_up_to_4096_bytes() {
    let p = Process::model(Flavour::V1_5);
    let handle = p.bo(PAGE);
    let set = |handle, label| {
        p.call(
            IOCTL_BO_SET_LABEL,
            &mut BoSetLabel {
                handle,
                pad: 0,
                label,
            },
        )
    };
    let seen = || p.file.snapshot().bos[0].label.clone();
    assert_eq!(set(handle, p.put(b"descriptor heap\0rest")), Ok(()));
    assert_eq!(seen().as_deref(), Some("descriptor heap"));
    let mut long = vec![b'x'; 4096];
    assert_eq!(set(handle, p.put(&long)), Err(Errno::TOOBIG));
    long[4095] = 0;
    assert_eq!(set(handle, p.put(&long)), Ok(()));
    assert_eq!(seen().map(|label| label.len()), Some(4095));
    assert_eq!(set(handle, 8), Err(Errno::FAULT));
    assert_eq!(set(handle + 1, p.put(b"\0")), Err(Errno::NOENT));
    assert_eq!(set(handle, 0), Ok(()));
    assert_eq!(seen(), None);
}

#[test]
fn cache_maintenance_is_refused_where_a_kernel_refuses_it() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let handle = p.bo(2 * PAGE);
        let good = BoSyncOp {
            handle,
            r#type: BO_SYNC_CPU_CACHE_FLUSH_AND_INVALIDATE,
            offset: 100,
            size: 2 * PAGE - 100,
        };
        let sync = |ops: &[BoSyncOp]| {
            let ops = ObjArray {
                stride: 24,
                count: ops.len() as u32,
                array: p.put_all(ops),
            };
            p.call(IOCTL_BO_SYNC, &mut BoSync { ops })
        };
        if !flavour.has_bo_query_info() {
            assert_eq!(sync(&[good]), Err(Errno::INVAL), "not before 1.7");
            continue;
        }
        assert_eq!(sync(&[good, good]), Ok(()));
        assert_eq!(
            sync(&[
                good,
                BoSyncOp {
                    size: good.size + 1,
                    ..good
                }
            ]),
            Err(Errno::INVAL)
        );
        assert_eq!(
            sync(&[BoSyncOp {
                size: u64::MAX,
                ..good
            }]),
            Err(Errno::INVAL)
        );
        assert_eq!(sync(&[BoSyncOp { r#type: 2, ..good }]), Err(Errno::INVAL));
        assert_eq!(sync(&[BoSyncOp { handle: 9, ..good }]), Err(Errno::NOENT));
    }
}

/// The number in the page that mmap shows.
fn flush_id(p: &Process, offset: u64) -> Result<u32, Errno> {
    let (page, at) = p.file.mmap(offset, PAGE)?;
    let mut word = 0u32;
    rustix::io::pread(&page, word.as_bytes_mut(), at)?;
    Ok(word)
}

#[test]
fn a_job_that_has_seen_the_last_flush_flushes_again() {
    let p = Process::model(Flavour::V1_9);
    let group = group(&p, p.vm());
    let seen = flush_id(&p, USER_FLUSH_ID_MMIO_OFFSET).unwrap();
    assert_ne!(seen, 0);
    let with = |latest_flush| QueueSubmit {
        latest_flush,
        ..job(&p, 0, &[])
    };
    submit(&p, group, &[with(seen)]).unwrap();
    let next = flush_id(&p, USER_FLUSH_ID_MMIO_OFFSET).unwrap();
    assert_ne!(next, seen);
    submit(&p, group, &[with(seen)]).unwrap();
    assert_eq!(
        flush_id(&p, USER_FLUSH_ID_MMIO_OFFSET),
        Ok(next),
        "flushed since"
    );
    let nothing = QueueSubmit {
        stream_addr: 0,
        stream_size: 0,
        ..with(next)
    };
    submit(&p, group, &[nothing]).unwrap();
    assert_eq!(
        flush_id(&p, USER_FLUSH_ID_MMIO_OFFSET),
        Ok(next),
        "no stream, no flush"
    );
}

#[test]
fn the_register_moves_to_where_a_32_bit_process_can_map_it() {
    let p = Process::model(Flavour::V1_5);
    let set = |offset| {
        p.call(
            IOCTL_SET_USER_MMIO_OFFSET,
            &mut SetUserMmioOffset { offset },
        )
    };
    assert_eq!(flush_id(&p, USER_MMIO_OFFSET_32BIT), Err(Errno::INVAL));
    assert_eq!(set(USER_MMIO_OFFSET_32BIT), Ok(()));
    assert!(flush_id(&p, USER_MMIO_OFFSET_32BIT).is_ok());
    assert_eq!(flush_id(&p, USER_MMIO_OFFSET_64BIT), Err(Errno::INVAL));
    assert_eq!(set(USER_MMIO_OFFSET_32BIT + PAGE), Err(Errno::INVAL));
    assert_eq!(
        p.file.mmap(USER_MMIO_OFFSET_32BIT, PAGE + 1).unwrap_err(),
        Errno::INVAL
    );
}

#[test]
fn an_eventfd_is_told_once_when_a_point_is_reached_or_available() {
    use std::os::fd::AsRawFd;
    let p = Process::model(Flavour::V1_9);
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
    let count = || {
        let mut bytes = [0; 8];
        match rustix::io::read(&eventfd, &mut bytes) {
            Ok(_) => u64::from_ne_bytes(bytes),
            Err(Errno::AGAIN) => 0,
            Err(errno) => panic!("{errno}"),
        }
    };
    let timeline = p.syncobj(false);
    let watch = |flags, fd| {
        let mut args = SyncobjEventfd {
            handle: timeline,
            flags,
            point: 3,
            fd,
            pad: 0,
        };
        p.call(IOCTL_SYNCOBJ_EVENTFD, &mut args)
    };
    assert_eq!(watch(0, eventfd.as_raw_fd()), Ok(()));
    assert_eq!(
        watch(SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE, eventfd.as_raw_fd()),
        Ok(())
    );
    p.signal_point(timeline, 2).unwrap();
    assert_eq!(count(), 0);
    let work = p.file.attach_foreign_fence(timeline, 3).unwrap();
    assert_eq!(count(), 1, "there is a fence for it");
    work.signal();
    assert_eq!(count(), 1);
    p.signal_point(timeline, 4).unwrap();
    assert_eq!(count(), 0, "once each");
    assert_eq!(watch(0, eventfd.as_raw_fd()), Ok(()));
    assert_eq!(count(), 1, "reached already");
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(watch(0, null.as_raw_fd()), Err(Errno::INVAL));
    assert_eq!(watch(0, -1), Err(Errno::BADF));
    assert_eq!(
        watch(SYNCOBJ_WAIT_FLAGS_WAIT_ALL, eventfd.as_raw_fd()),
        Err(Errno::INVAL)
    );
}
