//! Groups, jobs and tiler heaps.

use rustix::io::Errno;

use crate::group::{Group, Job};
use crate::kernel::File;
use crate::queue::Queue;
use crate::refusal::{ensure, refuse};
use crate::shared::lock;
use crate::user_memory::{Objects, UserMemory};
use panvk_sparse::uapi::*;

use super::Answer;
use super::syncs::{Graph, read_syncs};

/// Queues that a group can have (`MAX_CS_PER_CSG`).
const MAX_QUEUES: u32 = 32;
/// The highest priority of a queue within its group.
const MAX_QUEUE_PRIORITY: u8 = 15;
/// Bits that no flush id has.
const RESERVED_FLUSH_ID: u32 = 0x7f << 24;
const RING_BUFFER_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=64 << 10;
const CHUNK_SIZES: std::ops::RangeInclusive<u32> = 128 << 10..=8 << 20;

fn no_such_vm() -> Errno {
    refuse(Errno::INVAL, "no VM has this id")
}

fn no_such_group() -> Errno {
    refuse(Errno::INVAL, "no group has this handle")
}

/// Whether the caller may use a priority (`group_priority_permit`).
pub(super) fn permit(file: &File, priority: u8) -> Result<(), Errno> {
    ensure(
        priority <= file.kernel.flavour().highest_priority(),
        "no such group priority",
    )?;
    if priority > GROUP_PRIORITY_MEDIUM && !file.options.privileges.held() {
        return Err(refuse(Errno::ACCESS, "this priority needs privileges"));
    }
    Ok(())
}

fn check_cores(file: &File, args: &GroupCreate) -> Result<(), Errno> {
    let gpu = file.kernel.identity().gpu_info();
    let kinds = [
        (
            args.compute_core_mask,
            args.max_compute_cores,
            gpu.shader_present,
        ),
        (
            args.fragment_core_mask,
            args.max_fragment_cores,
            gpu.shader_present,
        ),
        (
            args.tiler_core_mask,
            args.max_tiler_cores,
            gpu.tiler_present,
        ),
    ];
    for (mask, max, present) in kinds {
        ensure(mask & !present == 0, "a core that the GPU does not have")?;
        ensure(
            mask.count_ones() >= u32::from(max),
            "more cores at most than there are in the mask",
        )?;
    }
    Ok(())
}

pub(super) fn create(file: &File, args: &mut GroupCreate, mem: &dyn UserMemory) -> Answer {
    let count = args.queues.count;
    ensure(
        (1..=MAX_QUEUES).contains(&count),
        "a group has 1 to 32 queues",
    )?;
    let size = size_of::<QueueCreate>();
    let queues = Objects::read(mem, &args.queues, size, size)?;
    permit(file, args.priority)?;
    ensure(args.pad == 0, "padding must be zero")?;
    check_cores(file, args)?;
    ensure(
        count <= file.kernel.identity().csif_info().cs_slot_count,
        "more queues than a group has slots for",
    )?;
    let vm = file.vm(args.vm_id).ok_or_else(no_such_vm)?;
    for bytes in queues.iter() {
        let queue = QueueCreate::from_prefix(bytes);
        ensure(queue.pad == [0; 3], "padding must be zero")?;
        ensure(
            queue.ringbuf_size.is_power_of_two() && RING_BUFFER_SIZES.contains(&queue.ringbuf_size),
            "a ring buffer has a power of two bytes, 4 KiB to 64 KiB",
        )?;
        ensure(
            queue.priority <= MAX_QUEUE_PRIORITY,
            "a queue's priority is at most 15",
        )?;
    }
    let handle = lock(&file.groups).insert(Group::new(vm, count));
    args.group_handle = handle.ok_or_else(|| refuse(Errno::BUSY, "the file has 128 groups"))?;
    Ok(())
}

pub(super) fn destroy(file: &File, args: &mut GroupDestroy, _: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let removed = lock(&file.groups).remove(args.group_handle);
    removed.ok_or_else(no_such_group)?.destroy();
    file.kernel.changed();
    Ok(())
}

/// Nothing goes wrong on a GPU that does nothing. The answer is the whole struct: the handle in it is gone, too.
pub(super) fn get_state(file: &File, args: &mut GroupGetState, _: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    file.group(args.group_handle).ok_or_else(no_such_group)?;
    *args = GroupGetState::default();
    Ok(())
}

fn check_job(job: &QueueSubmit, group: &Group) -> Result<(), Errno> {
    ensure(job.pad == 0, "padding must be zero")?;
    ensure(
        (job.stream_addr == 0) == (job.stream_size == 0),
        "a stream has both an address and a size, or none",
    )?;
    ensure(
        job.stream_addr % 64 == 0 && job.stream_size % 8 == 0,
        "a stream's address is a multiple of 64, its size of 8",
    )?;
    ensure(
        job.latest_flush & RESERVED_FLUSH_ID == 0,
        "a flush id has 24 bits, and bit 31",
    )?;
    ensure(
        job.queue_index < group.queue_count(),
        "the group has no such queue",
    )
}

/// All or nothing: every job is checked before any is queued.
pub(super) fn submit(file: &File, args: &mut GroupSubmit, mem: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let size = size_of::<QueueSubmit>();
    let objects = Objects::read(mem, &args.queue_submits, size, size)?;
    if objects.iter().len() == 0 {
        // The group is that of the jobs: without one, it is not even looked for.
        return Ok(());
    }
    let group = file.group(args.group_handle).ok_or_else(no_such_group)?;
    let mut submits = Vec::with_capacity(objects.iter().len());
    let mut syncs = Vec::new();
    for (index, bytes) in (0..).zip(objects.iter()) {
        let submit = QueueSubmit::from_prefix(bytes);
        check_job(&submit, &group)?;
        if submit.syncs.count != 0 {
            syncs.extend(read_syncs(mem, index, &submit.syncs)?);
        }
        submits.push(submit);
    }
    let (edges, signals) = {
        let syncobjs = lock(&file.syncobjs);
        let mut graph = Graph::new(file, &syncobjs);
        graph.collect_signals(&syncs)?;
        (graph.edges(&syncs)?, graph.signals)
    };
    let mut edges = edges.into_iter().peekable();
    let mut jobs = Vec::with_capacity(submits.len());
    for (index, submit) in (0..).zip(&submits) {
        if submit.stream_size != 0 {
            file.kernel.flush_caches(submit.latest_flush);
        }
        let edge = edges.next_if(|edge| edge.op == index);
        let job = edge.map_or_else(Job::default, |edge| Job {
            waits: edge.waits,
            done: edge.done,
        });
        jobs.push((submit.queue_index, job));
    }
    group.submit(jobs);
    for signal in &signals {
        signal.publish();
    }
    if group.has_queued() {
        file.kernel.watch(&group);
    }
    file.kernel.changed();
    Ok(())
}

pub(super) fn heap_create(file: &File, args: &mut TilerHeapCreate, _: &dyn UserMemory) -> Answer {
    let vm = file.vm(args.vm_id).ok_or_else(no_such_vm)?;
    vm.heaps.make_pool();
    ensure(
        (1..=args.max_chunks).contains(&args.initial_chunk_count),
        "a heap starts with at least one chunk and at most max_chunks",
    )?;
    ensure(
        args.chunk_size % (4 << 10) == 0 && CHUNK_SIZES.contains(&args.chunk_size),
        "a chunk has whole pages, 128 KiB to 8 MiB",
    )?;
    let heap = vm.heaps.create(args.initial_chunk_count, args.chunk_size)?;
    args.handle = args.vm_id << 16 | heap.index;
    args.tiler_heap_ctx_gpu_va = heap.context_va;
    args.first_heap_chunk_gpu_va = heap.first_chunk_va;
    Ok(())
}

pub(super) fn heap_destroy(file: &File, args: &mut TilerHeapDestroy, _: &dyn UserMemory) -> Answer {
    ensure(args.pad == 0, "padding must be zero")?;
    let vm = file.vm(args.handle >> 16).ok_or_else(no_such_vm)?;
    if !vm.heaps.has_pool() {
        return Err(refuse(Errno::NOENT, "the VM never had a tiler heap"));
    }
    let destroyed = vm.heaps.destroy(args.handle & 0xffff);
    destroyed.ok_or_else(|| refuse(Errno::INVAL, "no tiler heap has this handle"))?;
    Ok(())
}
