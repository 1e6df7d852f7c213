//! A look at what a sequence of binds has left: the kernel's list of mappings, and the page tables page by page.

use std::collections::BTreeMap;

use panvk_sparse::uapi::*;

use super::binds::USER;
use super::rig::{self, Pairs, Rig, Run, Table};
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
    let vms: Vec<u32> = VMS.into_iter().filter(|vm| has_vm(sides, *vm)).collect();
    compare_mappings(sides, rig, &vms)?;
    let mut left = Vec::new();
    for vm in &vms {
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

fn has_vm(sides: &Sides, vm: u32) -> bool {
    sides.model.with_gpuvm(vm, |_| ()).is_some()
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
            va: AWAY + u64::from(bo.handle) * STEP,
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

/// The physical address of each page of memory, by the model's number of the buffer object (0 is the kernel's dummy) and
/// the offset.
fn where_memory_is(sides: &Sides, tables: &[Table]) -> BTreeMap<(u64, u64), u64> {
    let mut memory = BTreeMap::new();
    let mut add = |bo: u64, va: u64, size: u64| {
        for offset in (0..size).step_by(PAGE as usize) {
            let seen = tables.iter().find_map(|table| table.at(va + offset));
            if let Some(run) = seen {
                memory.insert((bo, offset), run.pa);
            }
        }
    };
    for bo in sides.model.snapshot().bos {
        add(bo.id, AWAY + u64::from(bo.handle) * STEP, bo.size);
    }
    VMS.into_iter().for_each(|vm| add(0, mark(vm), DUMMY_SIZE));
    memory
}

fn compare_pages(
    sides: &Sides,
    rig: &Rig,
    vm: u32,
    table: &Table,
    memory: &BTreeMap<(u64, u64), u64>,
) -> Result<(), String> {
    let below = table.0.iter().filter(|run| run.va < AWAY);
    let mapped: u64 = below.map(|run| run.len / PAGE).sum();
    let found = sides.model.with_gpuvm(vm, |gpuvm| {
        let mut pages = 0;
        for mapping in gpuvm.mappings().filter(|mapping| mapping.va < AWAY) {
            for va in (mapping.va..mapping.va + mapping.size).step_by(PAGE as usize) {
                pages += 1;
                let model = gpuvm.translate(va).ok_or(format!("the model does not translate {va:#x}"))?;
                let expected = memory.get(&(model.bo, model.offset)).copied();
                let entry = if gpuvm.is_block(va) { 2 << 20 } else { PAGE };
                let wanted = (expected, Some((model.flags.bits(), entry)));
                let run = table.at(va);
                let seen = (run.map(|run| run.pa), run.map(|run: Run| (run.flags(), run.entry)));
                if seen != wanted {
                    return Err(format!(
                        "VM {vm}, page {va:#x}: the page table has (address, flags, size of the entry) {seen:x?}, the model {wanted:x?}"
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
