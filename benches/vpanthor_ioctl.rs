//! What a VM_BIND of 16,384 ops costs above what it does to the VM: reading, checking, queueing.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use panvk_sparse::uapi::*;
use panvk_sparse::units::SZ_64K;
use vpanthor::bo::Bo;
use vpanthor::gpuvm::Gpuvm;
use vpanthor::mapping::{MapFlags, Source};
use vpanthor::{Arena, File, Flavour, Kernel, OpenOptions, UserMemory};

const OPS: u64 = 16_384;
const BASE: u64 = 0x1000;
const ARRAY: u64 = BASE + 64;

/// Reversed memory, so that no op continues the one before.
fn ops(bo_handle: u32) -> Vec<VmBindOp> {
    (0..OPS)
        .map(|i| VmBindOp {
            flags: VM_BIND_OP_TYPE_MAP | VM_BIND_OP_MAP_NOEXEC,
            bo_handle,
            bo_offset: (OPS - 1 - i) * SZ_64K,
            va: i * SZ_64K,
            size: SZ_64K,
            ..Default::default()
        })
        .collect()
}

/// A file with a VM, a buffer object of 1 GiB and the ops in memory.
fn rig(unmap: bool) -> (File, Arena, u32) {
    let file = Kernel::new(Flavour::V1_9).open(OpenOptions {
        take_waits_as_met: true,
        ..OpenOptions::default()
    });
    let mem = Arena::new(BASE, 1 << 20);
    let call = |code, args: &mut dyn AsMut<[u8]>| {
        mem.write(BASE, args.as_mut()).expect("memory");
        file.ioctl(code, BASE, &mem).expect("an ioctl");
        mem.read(BASE, args.as_mut()).expect("memory");
    };
    let mut vm = VmCreate::default().as_bytes().to_vec();
    call(IOCTL_VM_CREATE, &mut vm);
    let vm = VmCreate::from_prefix(&vm);
    let mut bo = BoCreate {
        size: OPS * SZ_64K,
        ..Default::default()
    }
    .as_bytes()
    .to_vec();
    call(IOCTL_BO_CREATE, &mut bo);
    let mut ops = ops(BoCreate::from_prefix(&bo).handle);
    if unmap {
        for op in &mut ops {
            op.flags = VM_BIND_OP_TYPE_UNMAP;
            (op.bo_handle, op.bo_offset) = (0, 0);
        }
    }
    mem.write(ARRAY, VmBindOp::slice_as_bytes(&ops))
        .expect("memory");
    (file, mem, vm.id)
}

fn bind(file: &File, mem: &Arena, vm_id: u32, flags: u32) {
    let args = VmBind {
        vm_id,
        flags,
        ops: ObjArray {
            stride: 48,
            count: OPS as u32,
            array: ARRAY,
        },
    };
    mem.write(BASE, args.as_bytes()).expect("memory");
    file.ioctl(IOCTL_VM_BIND, BASE, mem).expect("a bind");
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("vm_bind_16384");
    group.throughput(Throughput::Elements(OPS));
    for (name, flags) in [("sync", 0), ("async", VM_BIND_ASYNC)] {
        let (file, mem, vm) = rig(true);
        group.bench_function(format!("unmaps_of_nothing_{name}"), |b| {
            b.iter(|| bind(&file, &mem, vm, flags));
        });
        let (file, mem, vm) = rig(false);
        group.bench_function(format!("maps_{name}"), |b| {
            b.iter(|| bind(&file, &mem, vm, flags));
        });
    }
    group.bench_function("unmaps_of_nothing_without_ioctl", |b| {
        let mut vm = Gpuvm::new(1 << 47, None);
        b.iter(|| {
            for i in 0..OPS {
                black_box(vm.unmap(i * SZ_64K, SZ_64K)).expect("an unmap");
            }
        });
    });
    group.bench_function("maps_without_ioctl", |b| {
        let bo = Arc::new(Bo::new(1, OPS * SZ_64K, None));
        let mut vm = Gpuvm::new(1 << 47, None);
        b.iter_batched(
            || (),
            |()| {
                for i in 0..OPS {
                    let source = Source::Bo {
                        bo: bo.clone(),
                        offset: (OPS - 1 - i) * SZ_64K,
                    };
                    vm.map(i * SZ_64K, SZ_64K, source, MapFlags::NOEXEC)
                        .expect("a map");
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
