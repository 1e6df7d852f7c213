//! Random VM_BINDs to two VMs, most of them right, some with something wrong or at an edge.

use common::Random;
use panvk_sparse::uapi::*;
use vpanthor::Flavour;

use super::call::{Builder, Call, plain};
use super::random::Choice;

const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const PAGE: u64 = 4 * KI;
/// Where most of it happens.
const WINDOW: u64 = 1 << 30;
const WINDOW_SIZE: u64 = 24 * MI;
/// The end of a VM's user addresses.
pub const USER: u64 = 1 << 47;
/// What VM_CREATE is asked for, to get that many.
const ASK: u64 = 1 << 40;
/// Sizes of the buffer objects, whose handles are 1 to 6. The third is the first VM's own, the seventh the second's.
const SIZES: [u64; 6] = [4 * KI, 64 * KI, MI, 2 * MI, 6 * MI, 8 * MI];
const OTHERS_OWN: u32 = 7;
const BINDS: u64 = 40;
/// Syncobjs: one that is signalled, one that is a timeline, one without a fence.
const SIGNALLED: u32 = 1;
const TIMELINE: u32 = 2;
const EMPTY: u32 = 3;

/// Two VMs, buffer objects and syncobjs.
fn setup() -> Vec<Call> {
    let vm = || {
        let args = VmCreate {
            user_va_range: ASK,
            ..Default::default()
        };
        plain(IOCTL_VM_CREATE, args)
    };
    let bo = |size, exclusive_vm_id, flags| {
        let args = BoCreate {
            size,
            flags,
            exclusive_vm_id,
            ..Default::default()
        };
        plain(IOCTL_BO_CREATE, args)
    };
    let mut calls = vec![vm(), vm()];
    for (index, size) in SIZES.into_iter().enumerate() {
        let own = if index == 2 { 1 } else { 0 };
        let flags = if index == 1 { BO_NO_MMAP } else { 0 };
        calls.push(bo(size, own, flags));
    }
    calls.push(bo(64 * KI, 2, 0));
    for flags in [SYNCOBJ_CREATE_SIGNALED, 0, 0] {
        calls.push(plain(
            IOCTL_SYNCOBJ_CREATE,
            SyncobjCreate { handle: 0, flags },
        ));
    }
    calls
}

fn random_op(random: &mut Random, flavour: Flavour) -> VmBindOp {
    let unit = random.pick(&[PAGE, PAGE, 64 * KI, 2 * MI]);
    let longest = if random.one_in(3) { 512 } else { 24 };
    let mut op = VmBindOp {
        va: WINDOW + random.below(WINDOW_SIZE / unit) * unit,
        size: ((1 + random.below(longest)) * unit).min(WINDOW_SIZE),
        ..Default::default()
    };
    let bo = random.below(SIZES.len() as u64) as usize;
    let handle = bo as u32 + 1;
    let mut kind = random.below(10);
    if !flavour.has_sparse() && (4..=6).contains(&kind) && !random.one_in(8) {
        // Where it is refused, once in a while will do.
        kind = 0;
    }
    match kind {
        0..=3 => {
            op.flags = VM_BIND_OP_TYPE_MAP | random.below(8) as u32;
            op.bo_handle = handle;
            op.size = op.size.min(SIZES[bo]);
            op.bo_offset = random.below((SIZES[bo] - op.size) / PAGE + 1) * PAGE;
            if random.one_in(2) {
                op.bo_offset &= !(2 * MI - 1);
            }
        }
        4..=6 => {
            op.flags = VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_SPARSE | VM_BIND_OP_MAP_NOEXEC;
            if random.one_in(4) {
                op.flags |= random.below(8) as u32;
            }
        }
        _ => op.flags = VM_BIND_OP_TYPE_UNMAP,
    }
    if random.one_in(6) {
        spoil(random, &mut op, handle);
    }
    op
}

/// Something wrong, or at an edge.
fn spoil(random: &mut Random, op: &mut VmBindOp, handle: u32) {
    match random.below(20) {
        0 => op.va += random.pick(&[1, 512, 2048]),
        1 => op.size += random.pick(&[1, 512, 2048]),
        2 => op.bo_offset += random.pick(&[1, 512, 2048, 4096]),
        3 => op.bo_handle = random.pick(&[0, 77, u32::MAX]),
        4 => op.flags |= random.pick(&[1 << 4, 1 << 5, 1 << 12, 1 << 27]),
        5 => op.flags = op.flags & 0xf | random.pick(&[3, 4, 15]) << 28,
        6 => op.flags ^= random.pick(&[1, 2, 4, 8]),
        7 => op.size = 0,
        8 => op.va = USER - random.pick(&[PAGE, 2 * MI, 0]),
        9 => op.va = random.pick(&[USER, !0 << 12, 1 << 63, 0]),
        10 => op.size = random.pick(&[!0 << 12, 1 << 63, USER, 1 << 41]),
        11 => op.bo_offset = random.pick(&[!0 << 12, 1 << 40, 8 * MI]),
        12 => {
            *op = VmBindOp {
                flags: VM_BIND_OP_TYPE_SYNC_ONLY,
                syncs: op.syncs,
                ..if random.one_in(4) {
                    *op
                } else {
                    VmBindOp::default()
                }
            };
        }
        13 => {
            op.bo_handle = OTHERS_OWN;
            op.size = 64 * KI;
            op.bo_offset = 0;
        }
        14 => {
            op.syncs = ObjArray {
                stride: 16,
                count: random.pick(&[1, 2]),
                array: random.pick(&[0, 8]),
            };
        }
        15 => op.syncs.stride = random.pick(&[0, 8, 16, 24]),
        16 => op.bo_handle = handle,
        17 => op.va = 0,
        18 => op.size = random.pick(&[1 << 32, 1 << 33]),
        _ => {
            op.flags = VM_BIND_OP_TYPE_UNMAP;
            (op.va, op.size) = (0, USER);
        }
    }
}

/// What the last op of an asynchronous bind waits for and signals.
fn random_syncs(random: &mut Random, point: &mut u64) -> Vec<SyncOp> {
    *point += 1;
    let mut signal = SyncOp {
        flags: SYNC_OP_SIGNAL | SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
        handle: TIMELINE,
        timeline_value: *point,
    };
    if random.one_in(12) {
        signal.flags ^= random.pick(&[SYNC_OP_SIGNAL, 1, 2, 1 << 8]);
    }
    let mut syncs = vec![signal];
    if random.one_in(4) {
        let handle = random.pick(&[SIGNALLED, SIGNALLED, SIGNALLED, EMPTY, 99]);
        syncs.push(SyncOp {
            handle,
            ..Default::default()
        });
    }
    syncs
}

fn random_bind(random: &mut Random, flavour: Flavour, point: &mut u64) -> Call {
    let asynchronous = random.one_in(4);
    let count = if random.one_in(2) {
        1
    } else {
        1 + random.below(6)
    };
    let mut ops: Vec<VmBindOp> = (0..count).map(|_| random_op(random, flavour)).collect();
    let mut memory = Builder::new();
    if let Some(last) = ops
        .last_mut()
        .filter(|last| asynchronous && last.syncs.count == 0)
    {
        let syncs = random_syncs(random, point);
        last.syncs = ObjArray {
            stride: 16,
            count: syncs.len() as u32,
            array: memory.put(&syncs),
        };
    }
    let mut args = VmBind {
        vm_id: if random.one_in(8) { 2 } else { 1 },
        flags: u32::from(asynchronous),
        ops: ObjArray {
            stride: 48,
            count: count as u32,
            array: memory.put(&ops),
        },
    };
    match random.below(200) {
        0..=4 => args.vm_id = random.pick(&[0, 9, 33, u32::MAX]),
        5..=9 => args.flags |= random.pick(&[2, 4, 1 << 31]),
        10..=14 => args.ops.stride = random.pick(&[0, 8, 47, 48, 56, 40]),
        15..=17 => args.ops.array = random.pick(&[0, 4096]),
        18..=20 => args.ops.count = 0,
        _ => {}
    }
    memory.call(IOCTL_VM_BIND, args)
}

pub fn sequence(seed: u64, flavour: Flavour) -> Vec<Call> {
    let mut random = Random::new(seed);
    let mut calls = setup();
    let mut point = 0;
    for _ in 0..BINDS {
        calls.push(random_bind(&mut random, flavour, &mut point));
        if random.one_in(8) {
            let vm_id = 1 + random.below(3) as u32;
            calls.push(plain(IOCTL_VM_GET_STATE, VmGetState { vm_id, state: 77 }));
        }
    }
    calls
}
