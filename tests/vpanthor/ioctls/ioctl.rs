//! What DRM and panthor answer besides VM_BIND: codes and sizes, version, capabilities, queries, VMs, buffer objects.

use std::fs::File as StdFile;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::kit::*;
use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::{Flavour, Kernel, Objects, OpenOptions, UserMemory, last_refusal};

fn with_size(code: u32, size: u32) -> u32 {
    code & !(0x3fff << 16) | size << 16
}

#[test]
fn a_code_of_another_letter_is_no_ioctl_and_an_unknown_number_is_invalid() {
    let p = Process::model(Flavour::V1_9);
    let addr = p.put(&[0; 64]);
    let call = |code| p.file.ioctl(code, addr, &p.mem);
    assert_eq!(call(IOCTL_VERSION ^ 0x100), Err(Errno::NOTTY));
    assert_eq!(call(IOCTL_VERSION | 0x0f), Err(Errno::INVAL));
    // What a primary node takes is not for this one.
    for display in [0x02, 0x0d, 0x11, 0x13, 0x1f, 0x3c, 0x3f, 0xa0, 0xbe, 0xce] {
        let code = IOCTL_VERSION & !0xff | display;
        assert_eq!(call(code), Err(Errno::ACCESS), "{code:#x}");
    }
    assert_eq!(last_refusal(), Some("not for a render node"));
    // That its argument can be copied is seen to before.
    let nowhere = |display| p.file.ioctl(IOCTL_VERSION & !0xff | display, 8, &p.mem);
    assert_eq!(nowhere(0x3f), Err(Errno::FAULT));
    assert_eq!(nowhere(0x02), Err(Errno::FAULT));
    assert_eq!(nowhere(0x1f), Err(Errno::ACCESS));
    assert_eq!((call(IOCTL_VERSION), last_refusal()), (Ok(0), None));
}

#[test]
fn an_argument_shorter_than_the_kernels_reads_as_zeros_and_only_so_much_comes_back() {
    let p = Process::model(Flavour::V1_9);
    let addr = p.put(&[0xff; 64]);
    p.mem.write(addr, &[0; 8]).unwrap();
    // flags and id only: user_va_range reads as 0 and is not written.
    let code = with_size(IOCTL_VM_CREATE, 8);
    assert_eq!(p.file.ioctl(code, addr, &p.mem), Ok(0));
    let args: VmCreate = p.get(addr);
    assert_eq!((args.flags, args.id), (0, 1));
    assert_eq!(args.user_va_range, u64::MAX);
}

#[test]
fn an_argument_longer_than_the_kernels_keeps_what_the_kernel_does_not_know() {
    let p = Process::model(Flavour::V1_9);
    let addr = p.put(&[0xff; 64]);
    p.mem.write(addr, VmCreate::default().as_bytes()).unwrap();
    let code = with_size(IOCTL_VM_CREATE, 48);
    assert_eq!(p.file.ioctl(code, addr, &p.mem), Ok(0));
    assert_eq!(p.get::<VmCreate>(addr).user_va_range, 1 << 47);
    assert_eq!(p.get::<u64>(addr + 16), u64::MAX);
    // The whole of it has to be there.
    let end = BASE + (1 << 20);
    let tail = end - 16;
    p.mem.write(tail, VmCreate::default().as_bytes()).unwrap();
    assert_eq!(p.file.ioctl(code, tail, &p.mem), Err(Errno::FAULT));
    assert_eq!(p.file.ioctl(IOCTL_VM_CREATE, tail, &p.mem), Ok(0));
}

#[test]
fn what_only_the_caller_knows_of_an_argument_comes_back_as_it_was() {
    let p = Process::model(Flavour::V1_9);
    let addr = p.put(&[b'x'; 4096]);
    let args = Version {
        name_len: 7,
        name: addr + 64,
        ..Default::default()
    };
    p.mem.write(addr, args.as_bytes()).unwrap();
    let code = with_size(IOCTL_VERSION, 4096);
    assert_eq!(p.file.ioctl(code, addr, &p.mem), Ok(0));
    // The name was there, until the whole argument was copied back.
    assert_eq!(p.get::<u64>(addr + 64).to_ne_bytes(), [b'x'; 8]);
    assert_eq!(p.get::<Version>(addr).name_len, 7);
}

#[test]
fn a_byte_too_much_counts_before_memory_that_ends() {
    let p = Process::model(Flavour::V1_9);
    let query = |pointer| {
        let mut args = DevQuery {
            r#type: DEV_QUERY_TIMESTAMP_INFO,
            size: 200,
            pointer,
        };
        p.call(IOCTL_DEV_QUERY, &mut args)
    };
    let end = BASE + (1 << 20);
    p.mem.write(end - 8, &[0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    assert_eq!(query(end - 64), Err(Errno::TOOBIG));
    assert_eq!(query(end - 32), Err(Errno::FAULT));
    p.mem.write(end - 8, &[0; 8]).unwrap();
    assert_eq!(query(end - 64), Err(Errno::FAULT));
}

#[test]
fn a_direction_that_the_caller_leaves_out_is_not_copied() {
    let p = Process::model(Flavour::V1_9);
    let write_only = IOCTL_VM_CREATE & !(2 << 30);
    let mut args = VmCreate::default();
    p.call(write_only, &mut args).unwrap();
    assert_eq!(args, VmCreate::default());
    assert_eq!(p.file.objects().vms, 1);
}

#[test]
fn the_version_is_told_in_two_calls() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let mut args = Version::default();
        p.call(IOCTL_VERSION, &mut args).unwrap();
        let (major, minor) = flavour.version();
        assert_eq!(
            (args.version_major, args.version_minor),
            (major as i32, minor as i32)
        );
        assert_eq!(args.name_len, 7);
        let name = p.put(&[b'x'; 16]);
        args.name = name;
        p.call(IOCTL_VERSION, &mut args).unwrap();
        assert_eq!(p.get::<u64>(name).to_ne_bytes(), *b"panthorx");
        // A buffer too short gets what fits and learns the length.
        let short = p.put(&[b'x'; 16]);
        args = Version {
            name: short,
            name_len: 3,
            ..Default::default()
        };
        p.call(IOCTL_VERSION, &mut args).unwrap();
        assert_eq!(args.name_len, 7);
        assert_eq!(p.get::<u64>(short).to_ne_bytes(), *b"panxxxxx");
    }
}

#[test]
fn a_process_may_give_itself_a_name_that_can_be_printed() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let name = |text: &[u8], name_len| {
            let name = p.put(text);
            p.call(IOCTL_SET_CLIENT_NAME, &mut SetClientName { name_len, name })
        };
        if flavour == Flavour::V1_0 {
            assert_eq!(name(b"name", 4), Err(Errno::INVAL));
            continue;
        }
        assert_eq!(name(b"name", 4), Ok(()));
        assert_eq!(name(&[b'x'; 65], 64), Ok(()));
        assert_eq!(name(&[b'x'; 65], 65), Err(Errno::INVAL));
        for wrong in [b"a b", b"a\0b", b"a\xffb"] {
            assert_eq!(name(wrong, 3), Err(Errno::INVAL), "{wrong:?}");
        }
        let nowhere = |name_len| SetClientName { name_len, name: 8 };
        assert_eq!(
            p.call(IOCTL_SET_CLIENT_NAME, &mut nowhere(1)),
            Err(Errno::FAULT)
        );
        assert_eq!(p.call(IOCTL_SET_CLIENT_NAME, &mut nowhere(0)), Ok(()));
        assert_eq!(
            p.call(IOCTL_SET_CLIENT_NAME, &mut nowhere(u64::MAX)),
            Err(Errno::INVAL)
        );
    }
}

#[test]
fn capabilities_are_those_of_a_render_node() {
    let p = Process::new(Flavour::V1_5);
    let table = [
        (CAP_PRIME, Ok(3)),
        (CAP_SYNCOBJ, Ok(1)),
        (CAP_SYNCOBJ_TIMELINE, Ok(1)),
        (CAP_TIMESTAMP_MONOTONIC, Ok(1)),
        (1, Err(Errno::OPNOTSUPP)),
    ];
    for (capability, expected) in table {
        let mut args = GetCap {
            capability,
            value: 99,
        };
        let result = p.call(IOCTL_GET_CAP, &mut args).map(|()| args.value);
        assert_eq!(result, expected, "capability {capability}");
    }
}

/// Size of a query's answer.
fn query_size(p: &Process, r#type: u32) -> Result<u32, Errno> {
    let mut args = DevQuery {
        r#type,
        size: 77,
        pointer: 0,
    };
    p.call(IOCTL_DEV_QUERY, &mut args).map(|()| args.size)
}

fn query<T: Plain>(p: &Process, r#type: u32, size: u32, fill: T) -> Result<T, Errno> {
    let pointer = p.put(&[0xee; 512]);
    p.mem.write(pointer, fill.as_bytes()).unwrap();
    let mut args = DevQuery {
        r#type,
        size,
        pointer,
    };
    p.call(IOCTL_DEV_QUERY, &mut args)?;
    assert_eq!(args.size, size);
    Ok(p.get(pointer))
}

#[test]
fn query_sizes_and_types_follow_the_version() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let mainline_1_8 = matches!(flavour, Flavour::V1_8 | Flavour::V1_9);
        let table = [
            (
                DEV_QUERY_GPU_INFO,
                Ok(if flavour == Flavour::V1_0 { 104 } else { 112 }),
            ),
            (DEV_QUERY_CSIF_INFO, Ok(24)),
            (
                DEV_QUERY_TIMESTAMP_INFO,
                match flavour {
                    Flavour::V1_0 => Err(Errno::INVAL),
                    _ => Ok(if mainline_1_8 { 56 } else { 24 }),
                },
            ),
            (
                DEV_QUERY_GROUP_PRIORITIES_INFO,
                match flavour {
                    Flavour::V1_0 => Err(Errno::INVAL),
                    _ => Ok(4),
                },
            ),
            (
                DEV_QUERY_MMU_INFO,
                match flavour {
                    Flavour::V1_9 | Flavour::V1_8Repeat => Ok(8),
                    _ => Err(Errno::INVAL),
                },
            ),
            (5, Err(Errno::INVAL)),
        ];
        for (r#type, size) in table {
            assert_eq!(query_size(&p, r#type), size, "{flavour}, type {}", r#type);
        }
    }
}

#[test]
fn the_gpu_is_a_mali_g610_with_48_bits_of_address() {
    let p = Process::new(Flavour::V1_9);
    let info = query(&p, DEV_QUERY_GPU_INFO, 112, GpuInfo::default()).unwrap();
    assert_eq!(
        (arch_major(info.gpu_id), product_major(info.gpu_id)),
        (10, 7)
    );
    assert_eq!(mmu_va_bits(info.mmu_features), 48);
    let mmu = query(&p, DEV_QUERY_MMU_INFO, 8, MmuInfo::default()).unwrap();
    assert_eq!(mmu.page_size_bitmap, PAGE | (2 * MIB));
}

#[test]
fn a_query_fills_what_the_caller_knows_and_zeros_what_only_it_knows() {
    let p = Process::new(Flavour::V1_9);
    let old = query(&p, DEV_QUERY_GPU_INFO, 96, [0xaau8; 3]).unwrap();
    assert_eq!(old, [5, 0, 0x67]);
    assert_eq!(query(&p, DEV_QUERY_GPU_INFO, 95, 0u8), Err(Errno::INVAL));
    let pointer = p.put(&[0xee; 32]);
    let mut args = DevQuery {
        r#type: DEV_QUERY_MMU_INFO,
        size: 16,
        pointer,
    };
    p.call(IOCTL_DEV_QUERY, &mut args).unwrap();
    assert_eq!(p.get::<u64>(pointer), PAGE | (2 * MIB));
    assert_eq!(p.get::<u64>(pointer + 8), 0);
    assert_eq!(p.get::<u64>(pointer + 16), 0xeeee_eeee_eeee_eeee);
    args.pointer = 8;
    assert_eq!(p.call(IOCTL_DEV_QUERY, &mut args), Err(Errno::FAULT));
    // No bytes can be read from anywhere, but are too few.
    (args.r#type, args.size) = (DEV_QUERY_TIMESTAMP_INFO, 0);
    assert_eq!(p.call(IOCTL_DEV_QUERY, &mut args), Err(Errno::INVAL));
}

#[test]
fn timestamp_flags_choose_the_clocks() {
    let p = Process::new(Flavour::V1_9);
    let ask = |flags| {
        let fill = TimestampInfo {
            flags,
            ..Default::default()
        };
        query(&p, DEV_QUERY_TIMESTAMP_INFO, 56, fill)
    };
    let default = ask(0).unwrap();
    assert!(default.timestamp_frequency > 0 && default.current_timestamp > 0);
    assert_eq!(default.cpu_timestamp_sec, 0);
    let cpu = ask(TIMESTAMP_CPU_MONOTONIC).unwrap();
    assert_eq!((cpu.timestamp_frequency, cpu.current_timestamp), (0, 0));
    assert!(cpu.cpu_timestamp_sec > 0 || cpu.cpu_timestamp_nsec > 0);
    assert_eq!(ask(3 << 1), Err(Errno::INVAL));
    assert_eq!(ask(1 << 8), Err(Errno::INVAL));
}

#[test]
fn vm_ids_start_at_1_are_reused_and_end_at_32() {
    let p = Process::model(Flavour::V1_9);
    assert!((1..=32).all(|id| p.vm() == id));
    let mut args = VmCreate::default();
    assert_eq!(p.call(IOCTL_VM_CREATE, &mut args), Err(Errno::BUSY));
    let destroy = |id, pad| p.call(IOCTL_VM_DESTROY, &mut VmDestroy { id, pad });
    assert_eq!(destroy(7, 1), Err(Errno::INVAL));
    assert_eq!(destroy(7, 0), Ok(()));
    assert_eq!(destroy(7, 0), Err(Errno::INVAL));
    assert_eq!(destroy(0, 0), Err(Errno::INVAL));
    assert_eq!(p.vm(), 7);
    assert_eq!(p.kernel_objects().vms, 32);
}

impl Process {
    fn kernel_objects(&self) -> Objects {
        self.file.kernel().objects()
    }
}

#[test]
fn a_vm_takes_no_flags_and_tells_its_range() {
    let p = Process::new(Flavour::V1_9);
    let create = |flags, user_va_range| {
        let mut args = VmCreate {
            flags,
            id: 0,
            user_va_range,
        };
        p.call(IOCTL_VM_CREATE, &mut args)
            .map(|()| args.user_va_range)
    };
    assert_eq!(create(1, 0), Err(Errno::INVAL));
    assert_eq!(create(0, 0), Ok(1 << 47));
    assert_eq!(create(0, (1 << 47) + 1), Ok((1 << 48) - (1 << 46)));
    assert_eq!(create(0, 1 << 48), Err(Errno::INVAL));
}

#[test]
fn the_state_of_an_unknown_vm_is_invalid() {
    let p = Process::new(Flavour::V1_9);
    let mut args = VmGetState { vm_id: 1, state: 0 };
    assert_eq!(p.call(IOCTL_VM_GET_STATE, &mut args), Err(Errno::INVAL));
    assert!(p.usable(p.vm()));
}

#[test]
fn a_bo_has_whole_pages_and_known_flags() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        p.vm();
        let since_1_7 = flavour.has_bo_query_info();
        let wb = if since_1_7 {
            Ok(PAGE)
        } else {
            Err(Errno::INVAL)
        };
        let bad = Err(Errno::INVAL);
        let table = [
            ((1, 0, 0, 0), Ok(PAGE)),
            ((PAGE, 0, 0, 0), Ok(PAGE)),
            ((PAGE + 1, BO_NO_MMAP, 1, 0), Ok(2 * PAGE)),
            ((1, BO_WB_MMAP, 0, 0), wb),
            ((1, BO_WB_MMAP | BO_NO_MMAP, 0, 0), bad),
            ((1, 4, 0, 0), bad),
            ((1, 0, 2, 0), bad),
            ((1, 0, 0, 1), bad),
            ((0, 0, 0, 0), bad),
            ((u64::MAX - PAGE + 1, 0, 0, 0), bad),
            ((1 << 63, 0, 0, 0), bad),
            // Rounded up it is 0, which has no place among the offsets for mmap.
            ((u64::MAX, 0, 0, 0), Err(Errno::NOSPC)),
            ((1 << 40, 0, 0, 0), Err(Errno::NOSPC)),
        ];
        for ((size, flags, exclusive_vm_id, pad), expected) in table {
            let mut args = BoCreate {
                size,
                flags,
                exclusive_vm_id,
                handle: 0,
                pad,
            };
            let result = p.call(IOCTL_BO_CREATE, &mut args).map(|()| args.size);
            assert_eq!(result, expected, "{flavour}: {args:?}");
            if result.is_ok() {
                assert_ne!(args.handle, 0);
            }
        }
    }
}

#[test]
fn handles_are_reused_but_ids_are_not() {
    let p = Process::model(Flavour::V1_9);
    let bo = p.bo(PAGE);
    let id = p.file.bo_id(bo).unwrap();
    assert_eq!(p.close_bo(bo), Ok(()));
    assert_eq!(p.close_bo(bo), Err(Errno::INVAL));
    assert_eq!(p.file.bo_id(bo), None);
    let again = p.bo(PAGE);
    assert_eq!(again, bo);
    assert_ne!(p.file.bo_id(again), Some(id));
}

#[test]
fn bo_query_info_exists_since_1_7_and_tells_the_flags() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let mut create = BoCreate {
            size: 1,
            flags: BO_NO_MMAP,
            ..Default::default()
        };
        p.call(IOCTL_BO_CREATE, &mut create).unwrap();
        let mut args = BoQueryInfo {
            handle: create.handle,
            extra_flags: 9,
            create_flags: 9,
            pad: 9,
        };
        let result = p.call(IOCTL_BO_QUERY_INFO, &mut args);
        if flavour.has_bo_query_info() {
            assert_eq!(result, Ok(()));
            assert_eq!(
                (args.extra_flags, args.create_flags, args.pad),
                (0, BO_NO_MMAP, 0)
            );
            args.handle = 99;
            assert_eq!(p.call(IOCTL_BO_QUERY_INFO, &mut args), Err(Errno::NOENT));
        } else {
            assert_eq!(result, Err(Errno::INVAL), "{flavour}");
        }
    }
}

fn mmap_offset(p: &Process, handle: u32) -> Result<u64, Errno> {
    let mut args = BoMmapOffset {
        handle,
        ..Default::default()
    };
    p.call(IOCTL_BO_MMAP_OFFSET, &mut args)
        .map(|()| args.offset)
}

#[test]
fn two_mappings_of_a_bo_show_the_same_memory() {
    let p = Process::model(Flavour::V1_9);
    let (bo, other) = (p.bo(3 * PAGE), p.bo(PAGE));
    let offset = mmap_offset(&p, bo).unwrap();
    assert_eq!(mmap_offset(&p, bo), Ok(offset));
    assert_ne!(mmap_offset(&p, other), Ok(offset));
    let (first, at) = p.file.mmap(offset, 3 * PAGE).unwrap();
    let mut first = StdFile::from(first);
    assert_eq!(first.metadata().unwrap().len(), 3 * PAGE);
    first.seek(SeekFrom::Start(at + PAGE)).unwrap();
    first.write_all(b"seen").unwrap();
    let (second, at) = p.file.mmap(offset, 1).unwrap();
    let mut second = StdFile::from(second);
    let mut seen = [0; 4];
    second.seek(SeekFrom::Start(at + PAGE)).unwrap();
    second.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"seen");
}

#[test]
fn mmap_takes_only_what_mmap_offset_gave_to_this_file() {
    let kernel = Kernel::new(Flavour::V1_9);
    let p = Process::on(&kernel, OpenOptions::default());
    let other = Process::on(&kernel, OpenOptions::default());
    let bo = p.bo(2 * PAGE);
    let offset = mmap_offset(&p, bo).unwrap();
    let mmap = |p: &Process, offset, len| p.file.mmap(offset, len).map(|_| ());
    assert_eq!(mmap(&p, offset, 2 * PAGE), Ok(()));
    assert_eq!(mmap(&p, offset, 0), Err(Errno::INVAL));
    assert_eq!(mmap(&p, offset, 2 * PAGE + 1), Err(Errno::INVAL));
    assert_eq!(mmap(&p, offset, u64::MAX), Err(Errno::INVAL));
    assert_eq!(mmap(&p, offset + PAGE, PAGE), Err(Errno::INVAL));
    assert_eq!(mmap(&p, 0, PAGE), Err(Errno::INVAL));
    assert_eq!(mmap(&other, offset, PAGE), Err(Errno::ACCESS));
    p.close_bo(bo).unwrap();
    assert_eq!(mmap(&p, offset, PAGE), Err(Errno::INVAL));

    let mut create = BoCreate {
        size: PAGE,
        flags: BO_NO_MMAP,
        ..Default::default()
    };
    p.call(IOCTL_BO_CREATE, &mut create).unwrap();
    assert_eq!(mmap_offset(&p, create.handle), Err(Errno::PERM));
    assert_eq!(mmap_offset(&p, 99), Err(Errno::NOENT));
    let old = Process::model(Flavour::V1_0);
    old.call(IOCTL_BO_CREATE, &mut create).unwrap();
    let offset = mmap_offset(&old, create.handle).unwrap();
    assert_eq!(mmap(&old, offset, PAGE), Err(Errno::INVAL));
}

/// A mapping of a whole file, for as long as it lives.
struct Mapped(*mut std::ffi::c_void, usize);

impl Mapped {
    fn of((file, at): (std::os::fd::OwnedFd, u64), len: u64) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let (none, len) = (std::ptr::null_mut(), len as usize);
        // SAFETY: a new mapping, whose place the system chooses.
        let place = unsafe { mmap(none, len, ProtFlags::READ, MapFlags::SHARED, &file, at) };
        Self(place.unwrap(), len)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a reference into it.
        unsafe { rustix::mm::munmap(self.0, self.1) }.unwrap();
    }
}

#[test]
fn a_closed_bo_that_is_still_mapped_is_there_but_no_longer_for_this_file() {
    let p = Process::model(Flavour::V1_9);
    let (bo, other) = (p.bo(2 * PAGE), p.bo(2 * PAGE));
    let offset = mmap_offset(&p, bo).unwrap();
    let mapped = Mapped::of(p.file.mmap(offset, 2 * PAGE).unwrap(), 2 * PAGE);
    p.close_bo(bo).unwrap();
    let mmap = |offset, len| p.file.mmap(offset, len).map(|_| ());
    assert_eq!(mmap(offset, PAGE), Err(Errno::ACCESS));
    assert_eq!(mmap(offset, 2 * PAGE + 1), Err(Errno::INVAL));
    assert_eq!(mmap(offset, 0), Err(Errno::INVAL));
    assert_eq!(mmap(offset + PAGE, PAGE), Err(Errno::INVAL));
    drop(mapped);
    assert_eq!(mmap(offset, PAGE), Err(Errno::INVAL));
    // One that is mapped nowhere is gone with its handle.
    let offset = mmap_offset(&p, other).unwrap();
    p.close_bo(other).unwrap();
    assert_eq!(mmap(offset, PAGE), Err(Errno::INVAL));
}

#[test]
fn what_came_after_1_0_is_unknown_to_it() {
    let p = Process::new(Flavour::V1_0);
    let bo = p.bo(PAGE);
    let label = &mut BoSetLabel {
        handle: bo,
        ..Default::default()
    };
    assert_eq!(p.call(IOCTL_BO_SET_LABEL, label), Err(Errno::INVAL));
    let offset = &mut SetUserMmioOffset {
        offset: USER_MMIO_OFFSET_64BIT,
    };
    assert_eq!(
        p.call(IOCTL_SET_USER_MMIO_OFFSET, offset),
        Err(Errno::INVAL)
    );
    let gpu = query(&p, DEV_QUERY_GPU_INFO, 112, GpuInfo::default()).unwrap();
    assert_eq!((gpu.selected_coherency, gpu.gpu_features), (0, 0));
    let mut version = Version::default();
    p.call(IOCTL_VERSION, &mut version).unwrap();
    assert_eq!(version.date_len, 1);
    // A timeline's point cannot become a sync file, and the field for it is not looked at.
    let timeline = p.syncobj(false);
    p.signal_point(timeline, 3).unwrap();
    let mut export = SyncobjHandle {
        handle: timeline,
        flags: SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE | SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE,
        fd: -1,
        pad: 0,
        point: 3,
    };
    assert_eq!(
        p.call(IOCTL_SYNCOBJ_HANDLE_TO_FD, &mut export),
        Err(Errno::INVAL)
    );
    assert_eq!((export.flags, export.point), (3, 3), "as they were");
    export.flags = 0;
    assert_eq!(p.call(IOCTL_SYNCOBJ_HANDLE_TO_FD, &mut export), Ok(()));
    assert_eq!(export.point, 3);
    close(export.fd);
}

#[test]
fn a_bo_that_comes_back_has_the_handle_that_it_had() {
    let kernel = Kernel::new(Flavour::V1_9);
    let p = Process::on(&kernel, OpenOptions::default());
    let other = Process::on(&kernel, OpenOptions::default());
    other.bo(PAGE);
    let bo = p.bo(3 * PAGE);
    let fd = p.bo_to_fd(bo).unwrap();
    assert_eq!(p.bo_from_fd(fd), Ok(bo));
    let there = other.bo_from_fd(fd).unwrap();
    assert_eq!(there, 2);
    assert_eq!(other.bo_from_fd(fd), Ok(there));
    assert_eq!(other.file.bo_id(there), p.file.bo_id(bo));
    assert_eq!(kernel.objects().bos, 2);
    close(fd);
}

#[test]
fn an_exported_bo_outlives_its_last_handle() {
    let kernel = Kernel::new(Flavour::V1_9);
    let p = Process::on(&kernel, OpenOptions::default());
    let bo = p.bo(3 * PAGE);
    let id = p.file.bo_id(bo);
    let fd = p.bo_to_fd(bo).unwrap();
    let (memory, _) = p.file.mmap(mmap_offset(&p, bo).unwrap(), 1).unwrap();
    StdFile::from(memory).write_all(b"still here").unwrap();
    p.close_bo(bo).unwrap();
    assert_eq!(kernel.objects().bos, 0);

    let again = p.bo_from_fd(fd).unwrap();
    close(fd);
    assert_eq!(p.file.bo_id(again), id);
    let (memory, _) = p
        .file
        .mmap(mmap_offset(&p, again).unwrap(), 3 * PAGE)
        .unwrap();
    let mut seen = [0; 10];
    StdFile::from(memory).read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"still here");
}

#[test]
fn what_cannot_be_exported_or_imported() {
    let p = Process::model(Flavour::V1_9);
    p.vm();
    let mut exclusive = BoCreate {
        size: PAGE,
        exclusive_vm_id: 1,
        ..Default::default()
    };
    p.call(IOCTL_BO_CREATE, &mut exclusive).unwrap();
    assert_eq!(p.bo_to_fd(exclusive.handle), Err(Errno::INVAL));
    assert_eq!(p.bo_to_fd(99), Err(Errno::NOENT));
    let mut flags = PrimeHandle {
        handle: p.bo(PAGE),
        flags: 1 << 30,
        fd: -1,
    };
    assert_eq!(
        p.call(IOCTL_PRIME_HANDLE_TO_FD, &mut flags),
        Err(Errno::INVAL)
    );
    assert_eq!(p.bo_from_fd(-1), Err(Errno::BADF));
    assert_eq!(p.bo_from_fd(987_654), Err(Errno::BADF));
    let stdin = 0;
    assert_eq!(p.bo_from_fd(stdin), Err(Errno::INVAL));
    // Another device's.
    let elsewhere = Process::model(Flavour::V1_9);
    let fd = p.bo_to_fd(flags.handle).unwrap();
    assert_eq!(elsewhere.bo_from_fd(fd), Err(Errno::INVAL));
    close(fd);
}

#[test]
fn closing_the_file_frees_everything() {
    let kernel = Kernel::new(Flavour::V1_9);
    let p = Process::on(&kernel, OpenOptions::default());
    let (vm, bo) = (p.vm(), p.bo(MIB));
    p.syncobj(true);
    p.bind(vm, &[map(bo, 0, MIB, MIB), sparse(8 * MIB, MIB)])
        .unwrap();
    p.close_bo(bo).unwrap();
    // Mapped, so it lives.
    let alive = Objects {
        vms: 1,
        bos: 1,
        syncobjs: 1,
    };
    assert_eq!(kernel.objects(), alive);
    assert_eq!(p.file.objects(), Objects { bos: 0, ..alive });
    p.bind(vm, &[unmap(MIB, MIB / 2)]).unwrap();
    assert_eq!(kernel.objects(), alive);
    p.bind(vm, &[unmap(MIB, MIB)]).unwrap();
    assert_eq!(kernel.objects().bos, 0);
    drop(p);
    assert_eq!(kernel.objects(), Objects::default());
}
