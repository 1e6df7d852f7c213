//! Queues: what is bound, by whom and when.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ash::vk::{self, Handle};
use panvk_sparse::uapi::{
    ObjArray, SYNC_OP_HANDLE_TYPE_SYNCOBJ, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SYNC_OP_SIGNAL,
    SyncOp, VM_BIND_OP_TYPE_SYNC_ONLY, VmBindOp,
};
use panvk_sparse::units::SZ_2M;
use vulkan::binds::{Extensions, slice};

use crate::device::{Buffer, Device, Memory, Sync, wait};
use crate::{LOADER, drmSyncobjReset, is, object};

/// DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT and _WAIT_AVAILABLE.
const AVAILABLE: u32 = 2 | 4;

#[repr(C)]
pub struct Queue {
    loader: usize,
    device: AtomicU64,
    /// Whether all is submitted by the thread.
    is_threaded: AtomicBool,
    todo: Mutex<Todo>,
    changed: Condvar,
}

#[derive(Default)]
struct Todo {
    submissions: VecDeque<Submission>,
    ends: bool,
    thread: Option<JoinHandle<()>>,
}

/// What waits and signals as one.
#[derive(Default)]
struct Submission {
    waits: Vec<SyncOp>,
    ops: Vec<VmBindOp>,
    signals: Vec<SyncOp>,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            loader: LOADER,
            device: AtomicU64::new(0),
            is_threaded: AtomicBool::new(false),
            todo: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Queue {
    pub fn belong_to(&self, device: vk::Device) {
        self.device.store(device.as_raw(), Ordering::Release);
    }

    fn device(&self) -> &Device {
        // SAFETY: a queue is used no longer than its device.
        unsafe { object(vk::Device::from_raw(self.device.load(Ordering::Acquire))) }
    }

    fn todo(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stop(&self) {
        self.todo().ends = true;
        self.changed.notify_all();
        let thread = self.todo().thread.take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn drain(&self) {
        let mut todo = self.todo();
        while !todo.submissions.is_empty() && !self.device().is_lost.load(Ordering::Acquire) {
            todo = self
                .changed
                .wait(todo)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self) {
        let mut todo = self.todo();
        loop {
            let Some(submission) = todo.submissions.pop_front() else {
                if todo.ends {
                    return;
                }
                self.changed.notify_all();
                todo = self
                    .changed
                    .wait(todo)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            // It counts as there until it is submitted.
            todo.submissions.push_front(Submission::default());
            drop(todo);
            let is_there =
                |sync: &SyncOp| wait(self.device(), sync.handle, sync.timeline_value, AVAILABLE);
            while !submission.waits.iter().all(is_there) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            self.submit(submission);
            todo = self.todo();
            todo.submissions.pop_front();
        }
    }

    /// Hands a submission to the kernel. Whether it took it.
    fn submit(&self, mut submission: Submission) -> bool {
        let device = self.device();
        if submission.ops.is_empty() {
            if submission.waits.is_empty() && submission.signals.is_empty() {
                return true;
            }
            submission.ops.push(VmBindOp {
                flags: VM_BIND_OP_TYPE_SYNC_ONLY,
                ..VmBindOp::default()
            });
        }
        let array = |syncs: &[SyncOp]| ObjArray {
            stride: size_of::<SyncOp>() as u32,
            count: syncs.len() as u32,
            array: syncs.as_ptr() as u64,
        };
        let all: Vec<SyncOp> = submission
            .waits
            .iter()
            .chain(&submission.signals)
            .copied()
            .collect();
        let last = submission.ops.len() - 1;
        if last == 0 {
            submission.ops[0].syncs = array(&all);
        } else {
            submission.ops[0].syncs = array(&submission.waits);
            submission.ops[last].syncs = array(&submission.signals);
        }
        for ops in submission.ops.chunks(16) {
            if device.bind(ops, true) != 0 {
                device.is_lost.store(true, Ordering::Release);
                return false;
            }
        }
        for wait in submission
            .waits
            .iter()
            .filter(|wait| wait.timeline_value == 0)
        {
            // SAFETY: an array of one element.
            unsafe { drmSyncobjReset(device.fd(), &wait.handle, 1) };
        }
        true
    }
}

pub unsafe extern "system" fn device_wait_idle(device: vk::Device) -> vk::Result {
    // SAFETY: a device.
    for queue in unsafe { &object::<Device>(device).queues } {
        queue.drain();
    }
    vk::Result::SUCCESS
}

/// # Safety
/// The semaphores are there.
unsafe fn syncs(semaphores: &[vk::Semaphore], values: &[u64], direction: u32) -> Vec<SyncOp> {
    let of = |(i, semaphore): (usize, &vk::Semaphore)| {
        // SAFETY: the caller's promise.
        let sync: &Sync = unsafe { object(*semaphore) };
        let (kind, timeline_value) = match sync.is_timeline {
            true => (SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, values[i]),
            false => (SYNC_OP_HANDLE_TYPE_SYNCOBJ, 0),
        };
        SyncOp {
            flags: direction | kind,
            handle: sync.syncobj,
            timeline_value,
        }
    };
    semaphores.iter().enumerate().map(of).collect()
}

pub unsafe extern "system" fn queue_bind_sparse(
    queue: vk::Queue,
    count: u32,
    infos: *const vk::BindSparseInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    // SAFETY: a queue, and valid structs.
    let (queue, infos): (&'static Queue, _) = unsafe { (object(queue), slice(infos, count)) };
    let device = queue.device();
    if device.is_lost.load(Ordering::Acquire) {
        return vk::Result::ERROR_DEVICE_LOST;
    }
    let mut submissions = vec![Submission::default()];
    for info in infos {
        // SAFETY: valid structs, of resources and semaphores that are there.
        unsafe {
            let extensions = Extensions::read(info.p_next);
            let waits = syncs(
                slice(info.p_wait_semaphores, info.wait_semaphore_count),
                extensions.wait_values,
                0,
            );
            let signals = slice(info.p_signal_semaphores, info.signal_semaphore_count);
            let last = &submissions[submissions.len() - 1];
            if !last.signals.is_empty() || (!waits.is_empty() && !last.ops.is_empty()) {
                submissions.push(Submission::default());
            }
            let position = submissions.len() - 1;
            let submission = &mut submissions[position];
            submission.waits.extend(waits);
            for list in slice(info.p_buffer_binds, info.buffer_bind_count) {
                let va = object::<Buffer>(list.buffer).va;
                for bind in slice(list.p_binds, list.bind_count) {
                    submission.ops.extend(ops(device, va, bind));
                }
            }
            submission.signals = syncs(signals, extensions.signal_values, SYNC_OP_SIGNAL);
        }
    }
    if !fence.is_null() {
        // SAFETY: a fence.
        let handle = unsafe { object::<Sync>(fence) }.syncobj;
        let signal = SyncOp {
            flags: SYNC_OP_SIGNAL,
            handle,
            timeline_value: 0,
        };
        let position = submissions.len() - 1;
        submissions[position].signals.push(signal);
    }
    for submission in submissions {
        let is_there = |sync: &SyncOp| wait(device, sync.handle, sync.timeline_value, AVAILABLE);
        if !queue.is_threaded.load(Ordering::Relaxed)
            && (is("thread") || !submission.waits.iter().all(is_there))
        {
            queue.is_threaded.store(true, Ordering::Relaxed);
            queue.todo().thread = Some(std::thread::spawn(|| queue.run()));
        }
        if queue.is_threaded.load(Ordering::Relaxed) {
            queue.todo().submissions.push_back(submission);
            queue.changed.notify_all();
        } else if !queue.submit(submission) {
            return vk::Result::ERROR_DEVICE_LOST;
        }
    }
    vk::Result::SUCCESS
}

/// # Safety
/// The memory is there.
unsafe fn ops(device: &Device, va: u64, bind: &vk::SparseMemoryBind) -> Vec<VmBindOp> {
    let at = va + bind.resource_offset;
    if !bind.memory.is_null() {
        // SAFETY: the caller's promise.
        let bo = unsafe { object::<Memory>(bind.memory) }.bo;
        return vec![device.map(bo, bind.memory_offset, at, bind.size)];
    }
    if is("stray") {
        // Mesa 26.1: wherever it is, from the start of the resource, and no more than one dummy.
        return device.nothing(va, bind.size.min(SZ_2M - va % SZ_2M));
    }
    device.nothing(at, bind.size)
}
