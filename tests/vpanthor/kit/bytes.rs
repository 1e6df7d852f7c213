//! Any bytes as a series of VM_BINDs, and what has to hold after each. Shared by the property test and the fuzzer.

use std::collections::BTreeMap;

use panvk_sparse::uapi::*;
use rustix::io::Errno;
use vpanthor::gpuvm::Gpuvm;
use vpanthor::{Arena, Change, File, Flavour, Kernel, Location, Objects, OpenOptions, UserMemory};

const PAGE: u64 = 4096;
const BASE: u64 = 0x10_0000;
const LEN: usize = 64 << 10;
/// The argument of the ioctl, the array of sync ops and the array of ops, from `BASE` on.
const ARGS: u64 = BASE;
const SYNCS: u64 = BASE + 64;
const SYNC_BYTES: usize = 256;
const OPS: u64 = SYNCS + SYNC_BYTES as u64;
/// A map may take time in proportion to its size. Larger ones that might be valid are cut to this.
const MAX_SIZE: u64 = 8 << 20;
/// What no VM has, so that such ops are refused quickly.
const BEYOND: u64 = 1 << 47;
/// Tame ops stay below this address, so that they meet.
const TAME_VA: u64 = 16 << 20;

fn call<T: Plain>(file: &File, mem: &Arena, code: u32, mut args: T) -> (T, Result<u32, Errno>) {
    mem.write(ARGS, args.as_bytes()).unwrap();
    let result = file.ioctl(code, ARGS, mem);
    mem.read(ARGS, args.as_bytes_mut()).unwrap();
    (args, result)
}

/// Takes `N` bytes off the front, zeros where there are none left.
fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let len = N.min(data.len());
    let (front, rest) = data.split_at(len);
    *data = rest;
    let mut out = [0; N];
    out[..len].copy_from_slice(front);
    out
}

/// Sizes of the buffer objects, whose handles are 1 to 4.
const BOS: [u64; 4] = [PAGE, 16 * PAGE, 2 << 20, 8 << 20];

/// Makes an op cheap.
fn cap(f: &mut VmBindOp) {
    if f.size < BEYOND && f.size > MAX_SIZE {
        f.size %= MAX_SIZE;
    }
}

/// Makes an op that is probably valid, and like others, of what the bytes say.
fn tame(fields: &mut VmBindOpRepeat, flavour: Flavour, asynchronous: bool) {
    const NULL: u32 = VM_BIND_OP_MAP_SPARSE;
    let f = &mut fields.op;
    let kind = f.flags & 7;
    let access = f.flags >> 4 & (VM_BIND_OP_MAP_READONLY | VM_BIND_OP_MAP_UNCACHED);
    let bo = f.bo_handle as usize % BOS.len();
    f.va &= (TAME_VA - 1) & !(PAGE - 1);
    f.size = f.size % (TAME_VA / 4) / PAGE * PAGE;
    f.syncs = ObjArray {
        stride: 16,
        count: if asynchronous { f.syncs.count & 1 } else { 0 },
        array: SYNCS + (f.syncs.array & 0x30),
    };
    let range = PAGE << (fields.bo_repeat_range & 7);
    fields.bo_repeat_range = 0;
    match kind {
        4 if flavour.has_sparse() => {
            f.flags = VM_BIND_OP_MAP_NOEXEC | NULL | access;
            (f.bo_handle, f.bo_offset) = (0, 0);
        }
        4 if flavour.repeat_rule().is_some() => {
            f.flags = VM_BIND_OP_MAP_NOEXEC | VM_BIND_OP_MAP_REPEAT | access;
            f.bo_handle = 3;
            f.bo_offset &= 0xf000;
            f.va = f.va / range * range;
            f.size = (f.size / range * range).max(range);
            fields.bo_repeat_range = range;
        }
        0..=4 => {
            f.flags = access;
            f.bo_handle = bo as u32 + 1;
            f.bo_offset = f.bo_offset % BOS[bo] / PAGE * PAGE;
            f.size = f.size.min(BOS[bo] - f.bo_offset);
        }
        5 | 6 => {
            f.flags = VM_BIND_OP_TYPE_UNMAP;
            (f.bo_handle, f.bo_offset) = (0, 0);
        }
        _ if asynchronous && f.syncs.count != 0 => {
            *f = VmBindOp {
                flags: VM_BIND_OP_TYPE_SYNC_ONLY,
                syncs: f.syncs,
                ..Default::default()
            };
        }
        // Anything.
        _ => {}
    }
}

/// Runs `data` on a kernel of this flavour. Panics where something does not hold.
///
/// Returns how many binds succeeded that were not empty.
pub fn run(flavour: Flavour, mut data: &[u8]) -> usize {
    let kernel = Kernel::new(flavour);
    let options = OpenOptions {
        record_changes: true,
        take_waits_as_met: false,
        ..OpenOptions::default()
    };
    let file = kernel.open(options);
    let mem = Arena::new(BASE, LEN);
    let (vm, _) = call(&file, &mem, IOCTL_VM_CREATE, VmCreate::default());
    for size in BOS {
        let args = BoCreate {
            size,
            ..Default::default()
        };
        call(&file, &mem, IOCTL_BO_CREATE, args).1.unwrap();
    }
    for flags in [0, 1, 0, 0] {
        let args = SyncobjCreate { handle: 0, flags };
        call(&file, &mem, IOCTL_SYNCOBJ_CREATE, args).1.unwrap();
    }
    let mut pending = file.attach_foreign_fence(3, 0);
    let mut shown = BTreeMap::new();
    let mut succeeded = 0;

    while !data.is_empty() {
        let [control, count, stride] = take(&mut data);
        let wild = control & 0xc0 == 0xc0;
        let asynchronous = control & 4 != 0;
        let stride = match stride & 0x1f {
            0x1c => 48,
            0x1d => 56,
            0x1e | 0x1f => usize::from(stride),
            _ => flavour.op_size(),
        };
        let count = usize::from(count % 12);
        let mut ops = vec![0; stride * count];
        for op in ops.chunks_exact_mut(stride) {
            let bytes: [u8; 64] = take(&mut data);
            let len = bytes.len().min(stride);
            op[..len].copy_from_slice(&bytes[..len]);
            let mut fields = VmBindOpRepeat::from_prefix(op);
            if !wild {
                op.fill(0);
                tame(&mut fields, flavour, asynchronous);
            }
            cap(&mut fields.op);
            let len = op.len().min(size_of_val(&fields));
            op[..len].copy_from_slice(&fields.as_bytes()[..len]);
        }
        if control & 1 != 0 {
            let mut syncs: [u8; SYNC_BYTES] = take(&mut data);
            if !wild {
                for sync in syncs.chunks_exact_mut(16) {
                    let mut fields = SyncOp::from_prefix(sync);
                    fields.flags &= SYNC_OP_SIGNAL | 1;
                    fields.handle = fields.handle % 4 + 1;
                    fields.timeline_value &= 7 * u64::from(fields.flags & 1);
                    sync.copy_from_slice(fields.as_bytes());
                }
            }
            mem.write(SYNCS, &syncs).unwrap();
        }
        if control & 2 != 0 {
            // Signals it.
            pending = None;
        }
        mem.write(OPS, &ops).unwrap();
        let args = VmBind {
            vm_id: if control & 0x7c == 0x7c {
                vm.id + 1
            } else {
                vm.id
            },
            flags: u32::from(asynchronous),
            ops: ObjArray {
                stride: stride as u32,
                count: count as u32,
                array: OPS,
            },
        };
        let (after, result) = call(&file, &mem, IOCTL_VM_BIND, args);
        let expected = VmBind {
            ops: ObjArray {
                count: after.ops.count,
                ..args.ops
            },
            ..args
        };
        assert_eq!(after, expected);
        if result.is_ok() || args.flags == VM_BIND_ASYNC {
            assert_eq!(after.ops.count, args.ops.count);
        } else {
            assert!(after.ops.count <= args.ops.count);
        }
        succeeded += usize::from(result.is_ok() && count > 0);
        follow(&mut shown, &file.take_changes(vm.id));
        file.with_gpuvm(vm.id, |vm| check(vm, &shown)).unwrap();
    }
    drop(pending);
    follow(&mut shown, &file.take_changes(vm.id));
    file.with_gpuvm(vm.id, |vm| check(vm, &shown)).unwrap();
    assert_eq!(file.vm_stats(vm.id).unwrap().queued_ops, 0);
    drop(file);
    assert_eq!(kernel.objects(), Objects::default());
    succeeded
}

/// Applies reported changes to what is known to be shown, page by page.
fn follow(shown: &mut BTreeMap<u64, Location>, changes: &[Change]) {
    for change in changes {
        assert!(change.len > 0 && change.va % PAGE == 0 && change.len % PAGE == 0);
        for at in (0..change.len).step_by(PAGE as usize) {
            let va = change.va + at;
            let old = change.old.map(|place| place.after(at));
            let before = match change.new {
                Some(place) => shown.insert(va, place.after(at)),
                None => shown.remove(&va),
            };
            assert_eq!(before, old, "{va:#x}");
        }
    }
}

/// The mappings are whole, in order and disjoint; the page table shows them and nothing else; so do the changes.
fn check(vm: &Gpuvm, shown: &BTreeMap<u64, Location>) {
    let mut pages = shown.iter();
    let mut end = 0;
    for mapping in vm.mappings() {
        assert!(mapping.va >= end && mapping.size > 0);
        assert!((mapping.va | mapping.size | mapping.offset) % PAGE == 0);
        if mapping.va > end {
            assert_eq!(vm.translate(mapping.va - PAGE), None);
        }
        end = mapping.va + mapping.size;
        assert!(end <= vm.user_va_range());
        for at in (0..mapping.size).step_by(PAGE as usize) {
            let va = mapping.va + at;
            let offset = match mapping.repeat {
                Some(repeat) => mapping.offset + (repeat.phase + at) % repeat.range,
                None if mapping.bo == 0 => va % (2 << 20),
                None => mapping.offset + at,
            };
            let entry = vm.translate(va).unwrap();
            let seen = (entry.bo, entry.offset, entry.flags);
            assert_eq!(seen, (mapping.bo, offset, mapping.flags), "{va:#x}");
            let place = match mapping.bo {
                0 => Location::Null,
                bo => Location::Memory { bo, offset },
            };
            assert_eq!(pages.next(), Some((&va, &place)));
        }
    }
    assert_eq!(pages.next(), None);
    if end < vm.user_va_range() {
        assert_eq!(vm.translate(end), None);
    }
}
