//! VM_BIND's rules: arrays of ops of any version, what an op may say on which kernel, how far a failed bind gets.

use crate::kit::*;
use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::{Flavour, Kernel, Location, OpenOptions};

const BAD: Result<(), Errno> = Err(Errno::INVAL);

#[test]
fn an_empty_bind_of_a_known_vm_does_nothing_and_its_array_is_not_looked_at() {
    let p = Process::new(Flavour::V1_9);
    let vm = p.vm();
    for flags in [0, VM_BIND_ASYNC] {
        for (vm_id, expected) in [(vm, Ok(())), (vm + 1, BAD), (0, BAD)] {
            let mut args = VmBind {
                vm_id,
                flags,
                ops: ObjArray {
                    stride: 1,
                    count: 0,
                    array: 8,
                },
            };
            assert_eq!(p.call(IOCTL_VM_BIND, &mut args), expected);
        }
    }
}

#[test]
fn a_stride_below_48_bytes_is_refused() {
    let p = Process::new(Flavour::V1_9);
    let vm = p.vm();
    for stride in [1, 16, 47] {
        let (count, result) = p.bind_raw(vm, 0, stride, &vec![0; stride as usize]);
        assert_eq!((count, result), (1, BAD), "stride {stride}");
    }
}

#[test]
fn ops_of_48_bytes_work_on_every_kernel() {
    for flavour in Flavour::ALL {
        let p = Process::model(flavour);
        let (vm, bo) = (p.vm(), p.bo(MIB));
        assert_eq!(p.bind(vm, &[map(bo, 0, 0, MIB)]), Ok(()), "{flavour}");
        assert!(p.is_mapped(vm, MIB - PAGE) && !p.is_mapped(vm, MIB));
    }
}

#[test]
fn surplus_bytes_of_a_longer_op_have_to_be_zero() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let (vm, bo) = (p.vm(), p.bo(MIB));
        let known = flavour.op_size();
        for stride in [56usize, 64, 200] {
            let mut op = vec![0; stride];
            op[..48].copy_from_slice(map(bo, 0, 0, MIB).as_bytes());
            let bind = |op: &[u8]| p.bind_raw(vm, 0, stride as u32, op).1;
            assert_eq!(bind(&op), Ok(()), "{flavour}, {stride}");
            for last in known..stride {
                let mut op = op.clone();
                op[last] = 1;
                assert_eq!(bind(&op), Err(Errno::TOOBIG), "{flavour}, {stride}, {last}");
            }
        }
    }
}

#[test]
fn a_repeat_range_is_too_big_for_a_mainline_kernel() {
    for flavour in Flavour::ALL {
        let p = Process::model(flavour);
        let (vm, bo) = (p.vm(), p.bo(PAGE));
        let result = p.bind_repeat(vm, &[repeat(bo, 0, 16 * PAGE, PAGE)]);
        if flavour.repeat_rule().is_some() {
            assert_eq!(result, Ok(()), "{flavour}");
            let id = p.file.bo_id(bo).unwrap();
            assert_eq!(p.pages(vm, 17)[15..], [Some((id, 0)), None]);
        } else {
            assert_eq!(result, Err(Errno::TOOBIG), "{flavour}");
            // Without the range, the bit is SPARSE or nothing; neither is what was wanted.
            let op = repeat(bo, 0, 16 * PAGE, PAGE).op;
            assert_eq!(p.bind(vm, &[op]), BAD, "{flavour}");
        }
    }
}

#[test]
fn sparse_is_a_flag_of_1_9_alone() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let vm = p.vm();
        let expected = if flavour == Flavour::V1_9 {
            Ok(())
        } else {
            BAD
        };
        assert_eq!(p.bind(vm, &[sparse(0, MIB)]), expected, "{flavour}");
    }
}

#[test]
fn arrays_that_cannot_be_read_fault_and_monstrous_ones_cannot_be_allocated() {
    let p = Process::model(Flavour::V1_9);
    let vm = p.vm();
    let bind = |stride, count, array| {
        let ops = ObjArray {
            stride,
            count,
            array,
        };
        let mut args = VmBind {
            vm_id: vm,
            flags: 0,
            ops,
        };
        p.call(IOCTL_VM_BIND, &mut args)
    };
    assert_eq!(bind(48, 1, 8), Err(Errno::FAULT));
    assert_eq!(bind(48, 1, u64::MAX), Err(Errno::FAULT));
    assert_eq!(bind(64, 2, BASE + (1 << 20) - 64), Err(Errno::FAULT));
    assert_eq!(bind(48, 1 << 20, BASE), Err(Errno::FAULT));
    assert_eq!(bind(48, u32::MAX, BASE), Err(Errno::NOMEM));
    assert_eq!(bind(u32::MAX, 1, BASE), Err(Errno::FAULT));
}

#[test]
fn what_an_op_may_say() {
    let p = Process::model(Flavour::V1_9);
    let (vm, other_vm) = (p.vm(), p.vm());
    let bo = p.bo(MIB);
    let mut exclusive = BoCreate {
        size: MIB,
        exclusive_vm_id: other_vm,
        ..Default::default()
    };
    p.call(IOCTL_BO_CREATE, &mut exclusive).unwrap();
    let range = 1 << 47;
    let good = map(bo, 0, MIB, MIB);
    let flags = |flags| VmBindOp { flags, ..good };
    let hole = unmap(0, PAGE);
    let syncs = ObjArray {
        stride: 16,
        count: 1,
        array: BASE,
    };
    let table: &[(&str, VmBindOp, Result<(), Errno>)] = &[
        ("a map", good, Ok(())),
        ("at address 0", map(bo, 0, 0, PAGE), Ok(())),
        ("the last page", map(bo, 0, range - PAGE, PAGE), Ok(())),
        ("beyond the range", map(bo, 0, range, PAGE), BAD),
        ("across its end", map(bo, 0, range - PAGE, 2 * PAGE), BAD),
        ("overflowing", map(bo, 0, PAGE, u64::MAX - PAGE + 1), BAD),
        ("2^63 bytes", sparse(0, 1 << 63), BAD),
        ("va in a page", map(bo, 0, 1, PAGE), BAD),
        ("size in a page", map(bo, 0, 0, PAGE + 1), BAD),
        ("offset in a page", map(bo, 8, 0, PAGE), BAD),
        (
            "size 0, rest wrong",
            VmBindOp {
                size: 0,
                flags: 99,
                ..good
            },
            Ok(()),
        ),
        ("no handle", map(0, 0, 0, PAGE), BAD),
        ("unknown handle", map(99, 0, 0, PAGE), BAD),
        ("beyond the BO", map(bo, MIB, 0, PAGE), BAD),
        ("across the BO's end", map(bo, PAGE, 0, MIB), BAD),
        ("another VM's BO", map(exclusive.handle, 0, 0, PAGE), BAD),
        ("read-only, uncached, executable", flags(5), Ok(())),
        ("flag bit 4", flags(1 << 4), BAD),
        ("flag bit 27", flags(1 << 27), BAD),
        ("type 3", flags(3 << 28), BAD),
        ("SYNC_ONLY", flags(VM_BIND_OP_TYPE_SYNC_ONLY), BAD),
        ("sparse", sparse(MIB, MIB), Ok(())),
        (
            "sparse, executable",
            VmBindOp {
                flags: 8,
                ..sparse(0, MIB)
            },
            BAD,
        ),
        (
            "sparse of a BO",
            VmBindOp {
                bo_handle: bo,
                ..sparse(0, MIB)
            },
            BAD,
        ),
        (
            "sparse at an offset",
            VmBindOp {
                bo_offset: PAGE,
                ..sparse(0, MIB)
            },
            BAD,
        ),
        ("unmap", hole, Ok(())),
        ("unmap of nothing", unmap(1 << 40, PAGE), Ok(())),
        (
            "unmap with a flag",
            VmBindOp {
                flags: hole.flags | 1,
                ..hole
            },
            BAD,
        ),
        (
            "unmap with a handle",
            VmBindOp {
                bo_handle: bo,
                ..hole
            },
            BAD,
        ),
        (
            "unmap with an offset",
            VmBindOp {
                bo_offset: PAGE,
                ..hole
            },
            BAD,
        ),
        ("with sync ops", VmBindOp { syncs, ..good }, BAD),
        (
            "size 0 with sync ops",
            VmBindOp {
                syncs,
                size: 0,
                ..good
            },
            BAD,
        ),
    ];
    for (what, op, expected) in table {
        assert_eq!(p.bind(vm, &[*op]), *expected, "{what}");
    }
    assert_eq!(
        p.bind(other_vm, &[map(exclusive.handle, 0, 0, PAGE)]),
        Ok(())
    );
}

#[test]
fn a_bo_exclusive_to_a_destroyed_vm_is_not_the_next_vms() {
    let p = Process::new(Flavour::V1_9);
    let vm = p.vm();
    let mut bo = BoCreate {
        size: PAGE,
        exclusive_vm_id: vm,
        ..Default::default()
    };
    p.call(IOCTL_BO_CREATE, &mut bo).unwrap();
    p.call(IOCTL_VM_DESTROY, &mut VmDestroy { id: vm, pad: 0 })
        .unwrap();
    assert_eq!(p.vm(), vm);
    assert_eq!(p.bind(vm, &[map(bo.handle, 0, 0, PAGE)]), BAD);
}

#[test]
fn a_synchronous_bind_stops_at_the_first_failure_and_tells_where() {
    let p = Process::model(Flavour::V1_9);
    let (vm, bo) = (p.vm(), p.bo(MIB));
    let ops = [
        map(bo, 0, 0, PAGE),
        map(bo, 0, PAGE, PAGE),
        map(99, 0, 2 * PAGE, PAGE),
        map(bo, 0, 3 * PAGE, PAGE),
    ];
    let (count, result) = p.bind_raw(vm, 0, 48, VmBindOp::slice_as_bytes(&ops));
    assert_eq!((count, result), (2, BAD));
    let id = p.file.bo_id(bo).unwrap();
    assert_eq!(p.pages(vm, 4), [Some((id, 0)), Some((id, 0)), None, None]);
    // Not a reason to give the VM up.
    assert!(p.usable(vm));
}

#[test]
fn an_op_that_the_vm_refuses_stops_a_synchronous_bind_too() {
    let p = Process::model(Flavour::V1_8Repeat);
    let (vm, dummy) = (p.vm(), p.bo(64 * 1024));
    let op = |op: VmBindOp| VmBindOpRepeat {
        op,
        bo_repeat_range: 0,
    };
    let ops = [
        repeat(dummy, 0, MIB, 64 * 1024),
        op(unmap(0, 64 * 1024)),
        op(unmap(128 * 1024, PAGE)),
        op(unmap(0, MIB)),
    ];
    let (count, result) = p.bind_raw(vm, 0, 56, VmBindOpRepeat::slice_as_bytes(&ops));
    assert_eq!((count, result), (2, BAD));
    assert!(!p.is_mapped(vm, 0) && p.is_mapped(vm, 128 * 1024));
    assert!(p.usable(vm));
}

#[test]
fn an_asynchronous_bind_is_all_or_nothing() {
    let p = Process::model(Flavour::V1_9);
    let (vm, bo) = (p.vm(), p.bo(MIB));
    let s = p.syncobj(false);
    let ops: &[(VmBindOp, &[SyncOp])] = &[
        (map(bo, 0, 0, PAGE), &[signal(s)]),
        (map(bo, 0, PAGE, PAGE), &[]),
        (map(99, 0, 2 * PAGE, PAGE), &[]),
    ];
    assert_eq!(p.bind_async(vm, ops), BAD);
    assert_eq!(p.pages(vm, 3), [None, None, None]);
    assert!(!p.is_signalled(s));
    assert!(p.usable(vm));
    assert_eq!(p.bind_async(vm, &ops[..2]), Ok(()));
    assert!(p.is_mapped(vm, 0) && p.is_signalled(s));
}

#[test]
fn the_count_of_a_failed_asynchronous_bind_stays() {
    let p = Process::new(Flavour::V1_9);
    let vm = p.vm();
    let ops = [unmap(0, PAGE), map(99, 0, 0, PAGE)];
    let (count, result) = p.bind_raw(vm, VM_BIND_ASYNC, 48, VmBindOp::slice_as_bytes(&ops));
    assert_eq!((count, result), (2, BAD));
}

#[test]
fn sync_only_needs_a_sync_op_and_nothing_else() {
    let p = Process::new(Flavour::V1_9);
    let (vm, s) = (p.vm(), p.syncobj(true));
    let bo = p.bo(PAGE);
    let only = sync_only();
    let wait = [wait_for(s)];
    let table: [(&str, VmBindOp, &[SyncOp], bool); 7] = [
        ("with one", only, &wait, true),
        ("with none", only, &[], false),
        ("at an address", VmBindOp { va: PAGE, ..only }, &wait, false),
        ("with a size", VmBindOp { size: PAGE, ..only }, &wait, false),
        (
            "with a handle",
            VmBindOp {
                bo_handle: bo,
                ..only
            },
            &wait,
            false,
        ),
        (
            "with an offset",
            VmBindOp {
                bo_offset: PAGE,
                ..only
            },
            &wait,
            false,
        ),
        (
            "with a flag",
            VmBindOp {
                flags: only.flags | 2,
                ..only
            },
            &wait,
            false,
        ),
    ];
    for (what, op, syncs, good) in table {
        let expected = if good { Ok(()) } else { BAD };
        assert_eq!(p.bind_async(vm, &[(op, syncs)]), expected, "{what}");
    }
}

#[test]
fn changes_name_the_op_that_made_them() {
    let kernel = Kernel::new(Flavour::V1_9);
    let options = OpenOptions {
        record_changes: true,
        ..Default::default()
    };
    let p = Process::on(&kernel, options);
    let (vm, bo) = (p.vm(), p.bo(MIB));
    let id = p.file.bo_id(bo).unwrap();
    p.bind(vm, &[sparse(0, MIB), map(bo, PAGE, 0, PAGE)])
        .unwrap();
    let s = p.syncobj(false);
    p.bind_async(vm, &[(sync_only(), &[signal(s)]), (unmap(0, PAGE), &[])])
        .unwrap();
    let memory = Some(Location::Memory {
        bo: id,
        offset: PAGE,
    });
    let changes: Vec<_> = p
        .file
        .take_changes(vm)
        .iter()
        .map(|c| (c.op, c.va, c.len, c.old, c.new))
        .collect();
    assert_eq!(
        changes,
        [
            (0, 0, MIB, None, Some(Location::Null)),
            (1, 0, PAGE, Some(Location::Null), memory),
            (3, 0, PAGE, memory, None),
        ]
    );
    assert_eq!(p.file.take_changes(vm), []);
}

#[test]
fn a_bo_named_dummy_counts_as_nothing_in_changes() {
    let kernel = Kernel::new(Flavour::V1_8Repeat);
    let options = OpenOptions {
        record_changes: true,
        ..Default::default()
    };
    let p = Process::on(&kernel, options);
    let (vm, dummy) = (p.vm(), p.bo(PAGE));
    let id = p.file.bo_id(dummy).unwrap();
    assert_eq!(p.file.set_dummy(vm, id), Some(()));
    assert_eq!(p.file.set_dummy(vm + 1, id), None);
    p.bind_repeat(vm, &[repeat(dummy, 0, 64 * MIB, PAGE)])
        .unwrap();
    let changes = p.file.take_changes(vm);
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].len, changes[0].new),
        (64 * MIB, Some(Location::Null))
    );
    p.bind_repeat(vm, &[repeat(dummy, 0, 64 * MIB, PAGE)])
        .unwrap();
    assert_eq!(p.file.take_changes(vm), []);
}

#[test]
fn small_pages_make_small_entries_and_sparse_is_cut_as_if_it_were_huge() {
    let options = OpenOptions {
        small_pages: true,
        ..Default::default()
    };
    let p = Process::on(&Kernel::new(Flavour::V1_9), options);
    let (vm, bo) = (p.vm(), p.bo(4 * MIB));
    let written = || {
        let stats = p.file.with_gpuvm(vm, |vm| vm.stats()).unwrap();
        assert_eq!((stats.map_2m, stats.clear_2m_block), (0, 0));
        (stats.map_4k, stats.clear_4k)
    };
    p.bind(vm, &[map(bo, 0, 0, 4 * MIB)]).unwrap();
    assert_eq!(written(), (1024, 0));
    // Only what is cut out is cleared.
    p.bind(vm, &[unmap(MIB, PAGE)]).unwrap();
    assert_eq!(written(), (1024, 1));
    p.bind(vm, &[sparse(1 << 30, 4 * MIB)]).unwrap();
    assert_eq!(written(), (2048, 1));
    // The slot goes with its table, and all but the page is written again.
    p.bind(vm, &[unmap(1 << 30 | MIB, PAGE)]).unwrap();
    assert_eq!(written(), (2048 + 511, 1));
}
