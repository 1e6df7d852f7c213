//! A look at what a sequence of binds has left: the kernel's list of mappings, and the page tables page by page.

use std::collections::HashMap;
use std::time::Duration;

use panvk_sparse::uapi::*;
use vpanthor::snapshot::VmSnapshot;

use super::binds::USER;
use super::rig::{self, Pairs, Rig, Table};
use super::sides::Sides;

const PAGE: u64 = 4 << 10;
/// What SPARSE maps.
const DUMMY_SIZE: u64 = 2 << 20;
/// From here on each buffer object is mapped as a whole, one every `STEP` bytes, to see where its memory is.
const AWAY: u64 = 1 << 46;
const STEP: u64 = 64 << 20;
/// Here the kernel's dummy is mapped, in each VM at a place of its own; on a kernel that has none, a page of a new buffer
/// object.
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
    // What is asynchronous and signals nothing may still be on its way.
    let mut left = 100;
    while let Err(what) = compare_mappings(sides, rig, &vms) {
        if left == 0 {
            return Err(what);
        }
        left -= 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let usable = |vm: &VmSnapshot| vm.usable && vm.user_va_range == USER && VMS.contains(&vm.id);
    for vm in sides.model.snapshot().vms.iter().filter(|vm| usable(vm)) {
        map_away(sides, vm.id)?;
        let table = table_of(sides, rig, vm.id)?;
        compare_pages(sides, rig, vm.id, &table)?;
    }
    Ok(())
}

/// The page table of a VM. A VM that does no work loses its address space sooner or later.
fn table_of(sides: &Sides, rig: &Rig, vm: u32) -> Result<Table, String> {
    for _ in 0..10 {
        work(sides, vm)?;
        let tables = rig.tables().into_iter();
        if let Some(table) = tables
            .into_iter()
            .find(|table| table.at(mark(vm)).is_some())
        {
            return Ok(table);
        }
    }
    Err(format!("VM {vm} has no address space after ten jobs"))
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

/// Maps all memory once more on the node.
fn map_away(sides: &Sides, vm: u32) -> Result<(), String> {
    let bind = |op: VmBindOp| {
        let ops = [op];
        let array = ObjArray {
            stride: 48,
            count: 1,
            array: ops.as_ptr().expose_provenance() as u64,
        };
        sides.ask_node(
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
    let mut marked = VmBindOp {
        flags: VM_BIND_OP_MAP_NOEXEC,
        va: mark(vm),
        ..Default::default()
    };
    if sides.model.kernel().flavour().has_sparse() {
        marked.flags |= VM_BIND_OP_MAP_SPARSE;
        marked.size = DUMMY_SIZE;
    } else {
        let mut bo = BoCreate {
            size: PAGE,
            ..Default::default()
        };
        sides
            .ask_node(IOCTL_BO_CREATE, &mut bo)
            .map_err(|errno| format!("the look at VM {vm}: a buffer object: {errno}"))?;
        marked.bo_handle = bo.handle;
        marked.size = PAGE;
    }
    bind(marked).map_err(|errno| format!("the look at VM {vm}: {errno}"))
}

/// Lets the GPU work in the VM.
fn work(sides: &Sides, vm: u32) -> Result<(), String> {
    let fail = |what: &str, errno| format!("the look at VM {vm}: {what}: {errno}");
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
        .ask_node(IOCTL_GROUP_CREATE, &mut group)
        .map_err(|errno| fail("a group", errno))?;
    let mut done = SyncobjCreate::default();
    sides
        .ask_node(IOCTL_SYNCOBJ_CREATE, &mut done)
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
        .ask_node(IOCTL_GROUP_SUBMIT, &mut submit)
        .map_err(|errno| fail("a job", errno))?;
    let handles = [done.handle];
    let mut wait = SyncobjWait {
        handles: handles.as_ptr().expose_provenance() as u64,
        timeout_nsec: rig::now_ns() + 5_000_000_000,
        count_handles: 1,
        ..Default::default()
    };
    sides
        .ask_node(IOCTL_SYNCOBJ_WAIT, &mut wait)
        .map_err(|errno| fail("the end of a job", errno))
}

/// The physical addresses of the pages of each buffer object, by the model's number of it (0 is the kernel's dummy).
fn where_memory_is(sides: &Sides, vm: u32, table: &Table) -> HashMap<u64, Vec<Option<u64>>> {
    let pages = |va: u64, size: u64| {
        let page = |va| table.at(va).map(|entry| entry.pa(va));
        (va..va + size).step_by(PAGE as usize).map(page).collect()
    };
    let bos = sides.model.snapshot().bos.into_iter();
    let mut memory: HashMap<_, _> = bos
        .map(|bo| (bo.id, pages(away(bo.handle), bo.size)))
        .collect();
    memory.insert(0, pages(mark(vm), DUMMY_SIZE));
    memory
}

fn compare_pages(sides: &Sides, rig: &Rig, vm: u32, table: &Table) -> Result<(), String> {
    let memory = where_memory_is(sides, vm, table);
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
