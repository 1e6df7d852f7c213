//! A look at what a sequence of binds has left: the kernel's list of mappings, and the page tables page by page.

use std::collections::HashMap;

use panvk_sparse::uapi::*;

use super::binds::USER;
use super::rig::{self, Pairs, Rig, Table};
use super::sides::Sides;

const PAGE: u64 = 4 << 10;
/// What SPARSE maps.
const DUMMY_SIZE: u64 = 2 << 20;
/// From here on each buffer object is mapped as a whole, one every `STEP` bytes, to see where its memory is.
const AWAY: u64 = 1 << 46;
const STEP: u64 = 64 << 20;
/// Here the kernel's dummy is mapped, in each VM at a place of its own.
const MARK: u64 = AWAY + (1 << 40);

/// The VMs that are looked at.
const VMS: [u32; 2] = [1, 2];

pub fn compare(sides: &Sides) -> Result<(), String> {
    let Some(rig) = sides.rig else { return Ok(()) };
    if sides.vms_destroyed {
        // The kernel's list is in another order than the ids, and has those that a group keeps.
        return Ok(());
    }
    let vms: Vec<u32> = sides.model.snapshot().vms.iter().map(|vm| vm.id).collect();
    compare_mappings(sides, rig, &vms)?;
    let mut left = Vec::new();
    for vm in vms.iter().filter(|vm| VMS.contains(vm)) {
        if sides
            .model
            .snapshot()
            .vms
            .iter()
            .any(|one| one.id == *vm && one.usable && one.user_va_range == USER)
        {
            map_away(sides, *vm)?;
            left.push(*vm);
        }
    }
    let tables = rig.tables();
    let memory = where_memory_is(sides, &tables);
    for vm in left {
        let table = tables.iter().find(|table| table.at(mark(vm)).is_some());
        let table = table.ok_or_else(|| format!("VM {vm} has no address space after a job"))?;
        compare_pages(sides, rig, vm, table, &memory)?;
    }
    Ok(())
}

fn away(bo: u32) -> u64 {
    AWAY + u64::from(bo) * STEP
}

fn mark(vm: u32) -> u64 {
    MARK + u64::from(vm) * STEP
}

fn compare_mappings(sides: &Sides, rig: &Rig, vms: &[u32]) -> Result<(), String> {
    let real = rig.mappings();
    let mut objects = Pairs::default();
    if real.len() < vms.len() {
        return Err(format!(
            "the kernel lists {} VMs, the model has {}",
            real.len(),
            vms.len()
        ));
    }
    // Files that are closed may still be on their way out.
    let ours = &real[real.len() - vms.len()..];
    for (vm, listed) in vms.iter().zip(ours) {
        let range = sides
            .model
            .with_gpuvm(*vm, |vm| vm.user_va_range())
            .unwrap_or_default();
        let model: Vec<_> = sides
            .model
            .with_gpuvm(*vm, |vm| vm.mappings().collect())
            .unwrap_or_default();
        let mut listed = listed.iter().filter(|one| one.va < range);
        for mapping in &model {
            let same = |one: &&rig::Listed| {
                (one.va, one.size, one.offset) == (mapping.va, mapping.size, mapping.offset)
            };
            let one = listed.next();
            if !one.as_ref().is_some_and(same)
                || !one.is_some_and(|one| objects.fit(one.object, mapping.bo))
            {
                return Err(format!(
                    "VM {vm}: the kernel lists {one:x?}, the model has {mapping:x?}"
                ));
            }
        }
        if let Some(one) = listed.next() {
            return Err(format!(
                "VM {vm}: the kernel lists {one:x?}, which the model does not have"
            ));
        }
        rig.count(|compared| compared.mappings += model.len() as u64);
    }
    Ok(())
}

/// Maps all memory once more on the node, and lets the GPU work in the VM, so that its page tables can be seen.
fn map_away(sides: &Sides, vm: u32) -> Result<(), String> {
    let node = &sides.real;
    let fail = |what: &str, errno| format!("the look at VM {vm}: {what}: {errno}");
    let bind = |op: VmBindOp| {
        let ops = [op];
        let array = ObjArray {
            stride: 48,
            count: 1,
            array: ops.as_ptr().expose_provenance() as u64,
        };
        sides.ask(
            node,
            IOCTL_VM_BIND,
            &mut VmBind {
                vm_id: vm,
                flags: 0,
                ops: array,
            },
        )
    };
    for bo in sides.model.snapshot().bos {
        // Another VM's own is refused.
        let _ = bind(VmBindOp {
            flags: VM_BIND_OP_MAP_NOEXEC,
            bo_handle: bo.handle,
            va: away(bo.handle),
            size: bo.size,
            ..Default::default()
        });
    }
    bind(VmBindOp {
        flags: VM_BIND_OP_MAP_NOEXEC | VM_BIND_OP_MAP_SPARSE,
        va: mark(vm),
        size: DUMMY_SIZE,
        ..Default::default()
    })
    .map_err(|errno| fail("SPARSE", errno))?;
    let queue = [QueueCreate {
        priority: 1,
        pad: [0; 3],
        ringbuf_size: 4096,
    }];
    let mut group = GroupCreate {
        queues: ObjArray {
            stride: 8,
            count: 1,
            array: queue.as_ptr().expose_provenance() as u64,
        },
        max_compute_cores: 1,
        max_fragment_cores: 1,
        max_tiler_cores: 1,
        priority: GROUP_PRIORITY_MEDIUM,
        compute_core_mask: 1,
        fragment_core_mask: 1,
        tiler_core_mask: 1,
        vm_id: vm,
        ..Default::default()
    };
    sides
        .ask(node, IOCTL_GROUP_CREATE, &mut group)
        .map_err(|errno| fail("a group", errno))?;
    let mut done = SyncobjCreate::default();
    sides
        .ask(node, IOCTL_SYNCOBJ_CREATE, &mut done)
        .map_err(|errno| fail("a syncobj", errno))?;
    let syncs = [SyncOp {
        flags: SYNC_OP_SIGNAL,
        handle: done.handle,
        timeline_value: 0,
    }];
    let jobs = [QueueSubmit {
        stream_size: 64,
        stream_addr: 1 << 20,
        syncs: ObjArray {
            stride: 16,
            count: 1,
            array: syncs.as_ptr().expose_provenance() as u64,
        },
        ..Default::default()
    }];
    let mut submit = GroupSubmit {
        group_handle: group.group_handle,
        pad: 0,
        queue_submits: ObjArray {
            stride: 40,
            count: 1,
            array: jobs.as_ptr().expose_provenance() as u64,
        },
    };
    sides
        .ask(node, IOCTL_GROUP_SUBMIT, &mut submit)
        .map_err(|errno| fail("a job", errno))?;
    let handles = [done.handle];
    let mut wait = SyncobjWait {
        handles: handles.as_ptr().expose_provenance() as u64,
        timeout_nsec: rig::now_ns() + 5_000_000_000,
        count_handles: 1,
        ..Default::default()
    };
    sides
        .ask(node, IOCTL_SYNCOBJ_WAIT, &mut wait)
        .map_err(|errno| fail("the end of a job", errno))
}

/// The physical addresses of the pages of each buffer object, by the model's number of it (0 is the kernel's dummy).
type Memory = HashMap<u64, Vec<Option<u64>>>;

fn where_memory_is(sides: &Sides, tables: &[Table]) -> Memory {
    let pages = |va: u64, size: u64| -> Vec<Option<u64>> {
        let table = tables.iter().find(|table| table.at(va).is_some());
        let page = |va| table?.at(va).map(|entry| entry.pa(va));
        (va..va + size).step_by(PAGE as usize).map(page).collect()
    };
    let bos = sides.model.snapshot().bos;
    let mut memory: Memory = bos
        .into_iter()
        .map(|bo| (bo.id, pages(away(bo.handle), bo.size)))
        .collect();
    let dummy = VMS
        .into_iter()
        .map(|vm| pages(mark(vm), DUMMY_SIZE))
        .find(|pages| pages[0].is_some());
    memory.insert(0, dummy.unwrap_or_default());
    memory
}

fn compare_pages(
    sides: &Sides,
    rig: &Rig,
    vm: u32,
    table: &Table,
    memory: &Memory,
) -> Result<(), String> {
    let below = table.0.iter().take_while(|entry| entry.va < AWAY);
    let mapped: u64 = below.map(|entry| entry.size / PAGE).sum();
    let found = sides.model.with_gpuvm(vm, |gpuvm| {
        let mut pages = 0;
        for mapping in gpuvm.mappings().filter(|mapping| mapping.va < AWAY) {
            for va in (mapping.va..mapping.va + mapping.size).step_by(PAGE as usize) {
                pages += 1;
                let model = gpuvm.translate(va).ok_or(format!("the model does not translate {va:#x}"))?;
                let memory = memory.get(&model.bo).and_then(|pages| pages.get((model.offset / PAGE) as usize));
                let size = if gpuvm.is_block(va) { 2 << 20 } else { PAGE };
                // Where a buffer object is that has no handle any more is not known.
                let pa = memory.copied().flatten().or(table.at(va).map(|entry| entry.pa(va)));
                let expected = pa.map(|pa| (pa, model.flags.bits(), size));
                let entry = table.at(va).map(|entry| (entry.pa(va), entry.flags(), entry.size));
                if entry.is_none() || entry != expected {
                    return Err(format!(
                        "VM {vm}, page {va:#x}: the page table has (address, flags, size of the entry) {entry:x?}, the model {expected:x?}"
                    ));
                }
            }
        }
        Ok(pages)
    });
    let pages: u64 = found.unwrap_or(Ok(0))?;
    if pages != mapped {
        return Err(format!(
            "VM {vm}: the page table maps {mapped} pages, the model {pages}"
        ));
    }
    rig.count(|compared| compared.pages += pages);
    Ok(())
}
