//! The real node and the model of it, asked the same.

use std::fs::File as StdFile;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use panvk_sparse::uapi::*;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use vpanthor::page_table::PtStats;
use vpanthor::{Kernel, OpenOptions, Privileges};

use super::Judge;
use super::backend::{Backend, Memory};
use super::blocks::Blocks;
use super::call::{BASE, Call, LEN};
use super::rig::{self, Rig};

/// What differs, and at which call (the number of calls: at the end).
#[derive(Debug)]
pub struct Difference {
    pub at: usize,
    pub what: String,
}

pub struct Sides<'a> {
    pub real: Backend,
    pub model: Backend,
    pub memory: &'static Memory,
    pub rig: &'static Option<Rig>,
    blocks: Option<&'a Blocks>,
    /// File descriptors that calls may name: an eventfd, one of no driver, then what was exported.
    fds: Vec<[OwnedFd; 2]>,
    counted: bool,
    /// No VM has a higher id.
    vms: u32,
    /// Whether a VM_DESTROY has succeeded.
    pub vms_destroyed: bool,
    /// What the model's page tables had seen, and the real ones.
    entries: (PtStats, rig::Entries),
}

/// The only memory that calls may reach, at its fixed address.
fn memory() -> &'static Memory {
    struct Shared(Memory);
    // SAFETY: whoever uses it holds the lock of `super::alone`.
    unsafe impl Send for Shared {}
    // SAFETY: as above.
    unsafe impl Sync for Shared {}
    static MEMORY: OnceLock<Shared> = OnceLock::new();
    const AROUND: usize = 1 << 20;
    let shared = MEMORY.get_or_init(|| {
        let start = std::ptr::without_provenance_mut(BASE as usize - AROUND);
        let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: the kernel refuses where anything is mapped.
        let all = unsafe { mmap_anonymous(start, LEN + 2 * AROUND, ProtFlags::empty(), flags) };
        let all = all.expect("the memory for calls");
        let words = all.wrapping_byte_add(AROUND);
        // SAFETY: a part of what was just mapped, and nothing has a reference to it.
        unsafe { mprotect(words, LEN, MprotectFlags::READ | MprotectFlags::WRITE) }
            .expect("the memory for calls");
        Shared(Memory::Real(std::ptr::slice_from_raw_parts_mut(
            words.cast(),
            LEN / 8,
        )))
    });
    &shared.0
}

/// A new file of the node.
pub fn open_node(node: &Path) -> Backend {
    let file = StdFile::options().read(true).write(true).open(node);
    Backend::Node(file.expect("the node opens"))
}

/// Makes a call with an argument of its own, which comes back.
pub fn ask<T: Plain>(node: &Backend, code: u32, args: &mut T) -> Result<(), Errno> {
    let at = std::ptr::from_mut(args).expose_provenance() as u64;
    node.ioctl(code, at, memory()).map(drop)
}

impl<'a> Sides<'a> {
    /// A new file of each.
    pub fn open(judge: &'a Judge) -> Self {
        let rig = judge.rig;
        let options = OpenOptions {
            privileges: Privileges::OfCaller,
            small_pages: rig.is_some() && judge.blocks.is_none(),
            ..OpenOptions::default()
        };
        let model = Kernel::new(judge.flavour).open(options);
        let event =
            || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
        let null = || StdFile::open("/dev/null").expect("/dev/null").into();
        Self {
            real: open_node(&judge.node),
            model: Backend::Model(Box::new(model)),
            memory: memory(),
            rig,
            blocks: judge.blocks.as_ref(),
            fds: vec![[event(), event()], [null(), null()]],
            counted: judge.counted,
            vms: 0,
            vms_destroyed: false,
            entries: (
                PtStats::default(),
                rig.as_ref().map(Rig::entries).unwrap_or_default(),
            ),
        }
    }

    /// Calls the node alone, with an argument of its own, which comes back.
    pub fn ask_node<T: Plain>(&self, code: u32, args: &mut T) -> Result<(), Errno> {
        ask(&self.real, code, args)
    }

    /// Makes the call on both sides; whether it succeeded.
    ///
    /// # Errors
    /// What they say differently.
    pub fn call(&mut self, call: &Call) -> Result<bool, String> {
        let (real, mut real_memory) = self.one(call, 0);
        if real.is_ok() {
            self.settle(call);
        }
        let (model, mut model_memory) = self.one(call, 1);
        let as_number = |result: Result<u32, Errno>| result.map_err(|errno| errno.raw_os_error());
        let (real, model) = (as_number(real), as_number(model));
        if real != model {
            return Err(format!("the node said {real:?}, the model {model:?}"));
        }
        // How much of memory that ends too early is written before the fault is not looked at.
        if real == Err(Errno::FAULT.raw_os_error()) {
            return Ok(false);
        }
        if real.is_ok() {
            self.vms += u32::from(call.is(IOCTL_VM_CREATE));
            self.vms_destroyed |= call.is(IOCTL_VM_DESTROY);
            self.take_fds(call, &mut real_memory, &mut model_memory)?;
            hide(call, &mut real_memory, &mut model_memory);
        }
        if let Some(at) = (0..LEN).find(|at| real_memory[*at] != model_memory[*at]) {
            let at = at & !3;
            let word = |memory: &[u8]| u32::from_prefix(&memory[at..at + 4]);
            return Err(format!(
                "byte {at:#x} of the memory: the node left {:#x}, the model {:#x}",
                word(&real_memory),
                word(&model_memory)
            ));
        }
        if let Some(blocks) = self
            .blocks
            .filter(|_| call.is(IOCTL_BO_CREATE) && real.is_ok())
        {
            let at = (call.arg - BASE) as usize;
            let bo = BoCreate::from_prefix(&real_memory[at..]);
            if bo.size >= 2 << 20 {
                blocks.replace(&self.real, bo.handle, bo.size)?;
            }
        }
        self.compare_entries(call)?;
        Ok(real.is_ok())
    }

    /// The answer of the node (0) or of the model (1), and what it left in the memory.
    fn one(&self, call: &Call, side: usize) -> (Result<u32, Errno>, Vec<u8>) {
        let mut bytes = call.memory.clone();
        bytes.resize(LEN, 0);
        if let Some((at, which)) = call.fd {
            let fd = match self.fds.get(which) {
                Some(both) => both[side].as_raw_fd(),
                None => -1,
            };
            bytes[at..at + 4].copy_from_slice(fd.as_bytes());
        }
        let write = vpanthor::UserMemory::write(self.memory, BASE, &bytes);
        write.expect("the memory is there");
        let backend = [&self.real, &self.model][side];
        let result = backend.ioctl(call.request, call.arg, self.memory);
        let read = vpanthor::UserMemory::read(self.memory, BASE, &mut bytes);
        read.expect("the memory is there");
        if let (Some((at, _)), Err(_)) = (call.fd, result) {
            bytes[at..at + 4].fill(0);
        }
        (result, bytes)
    }

    /// Waits on the node for what the call signals.
    fn settle(&self, call: &Call) {
        let signals = call
            .syncs()
            .into_iter()
            .filter(|(_, sync)| sync.flags & SYNC_OP_SIGNAL != 0);
        for (_, sync) in signals {
            let (handle, point) = (sync.handle, sync.timeline_value);
            let mut args = SyncobjTimelineWait {
                handles: (&raw const handle).expose_provenance() as u64,
                points: (&raw const point).expose_provenance() as u64,
                timeout_nsec: rig::now_ns() + 2_000_000_000,
                count_handles: 1,
                ..Default::default()
            };
            // What does not come shows as a difference later.
            let _ = self.ask_node(IOCTL_SYNCOBJ_TIMELINE_WAIT, &mut args);
        }
    }

    /// File descriptors that came out of a call belong to this from now on.
    fn take_fds(&mut self, call: &Call, real: &mut [u8], model: &mut [u8]) -> Result<(), String> {
        if !call.is(IOCTL_PRIME_HANDLE_TO_FD) && !call.is(IOCTL_SYNCOBJ_HANDLE_TO_FD) {
            return Ok(());
        }
        let at = (call.arg - BASE) as usize + 8;
        let take = |memory: &mut [u8]| {
            let fd = i32::from_prefix(&memory[at..at + 4]);
            memory[at..at + 4].fill(0);
            // SAFETY: the call has made it, and nothing else owns it.
            (fd > 2).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        };
        match (take(real), take(model)) {
            (Some(real), Some(model)) => self.fds.push([real, model]),
            _ => return Err("a call that succeeded gave no file descriptor".into()),
        }
        Ok(())
    }

    /// What was written to the page tables of all VMs of the model.
    fn model_entries(&self) -> PtStats {
        let stats = |vm| self.model.with_gpuvm(vm, |gpuvm| gpuvm.stats());
        let all = (1..=self.vms).filter_map(stats);
        all.fold(PtStats::default(), |sum, one| rig::sum(&sum, &one))
    }

    /// Compares what the call has written to page tables.
    fn compare_entries(&mut self, call: &Call) -> Result<(), String> {
        let Some(rig) = self.rig.as_ref().filter(|_| self.counted) else {
            return Ok(());
        };
        if !call.is(IOCTL_VM_BIND) {
            // What other calls map is the driver's own.
            self.entries = (self.model_entries(), rig.entries());
            return Ok(());
        }
        let model = self.model_entries();
        let expected = rig::Entries::of(&model).since(&rig::Entries::of(&self.entries.0));
        for tries in 0.. {
            let now = rig.entries();
            let seen = now.since(&self.entries.1);
            if seen == expected {
                self.entries = (model, now);
                break;
            }
            if tries < 50 {
                // An asynchronous bind has its turn.
                std::thread::yield_now();
                continue;
            }
            if tries == 150 {
                return Err(format!(
                    "page-table entries: the node's kernel wrote {seen:?}, the model {expected:?}"
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        rig.compared_entries(&expected);
        Ok(())
    }
}

/// What neither side can know of the other, in calls that have succeeded.
fn hide(call: &Call, real: &mut [u8], model: &mut [u8]) {
    let at = call.arg.checked_sub(BASE).map(|at| at as usize);
    let mut clear = |from: usize, len: usize| {
        for memory in [&mut *real, &mut *model] {
            if let Some(bytes) = memory.get_mut(from..from + len) {
                bytes.fill(0);
            }
        }
    };
    let Some(at) = at else { return };
    if call.is(IOCTL_BO_MMAP_OFFSET) {
        clear(at + 8, 8);
    }
    if call.is(IOCTL_SYNCOBJ_FD_TO_HANDLE)
        || call.is(IOCTL_PRIME_FD_TO_HANDLE)
        || call.is(IOCTL_SYNCOBJ_EVENTFD)
    {
        if let Some((place, _)) = call.fd {
            clear(place, 4);
        }
    }
    if call.is(IOCTL_TILER_HEAP_CREATE) {
        // Addresses in the kernel's own part of the VM.
        clear(at + 24, 16);
    }
    if call.is(IOCTL_DEV_QUERY) {
        let query: DevQuery = call.args().unwrap_or_default();
        let timestamp = query.r#type == DEV_QUERY_TIMESTAMP_INFO;
        if let Some(place) = query.pointer.checked_sub(BASE).filter(|_| timestamp) {
            clear(place as usize, size_of::<TimestampInfo>());
        }
    }
}

impl Sides<'_> {
    /// Whether a call must not be sent, since Linux 7.3.4 does not survive it, warns of it, takes very long, or does not do it
    /// in an order that is known.
    pub fn is_fatal(&self, call: &Call) -> bool {
        const MANY: u32 = 256;
        let size = ioctl_size(call.request);
        // A file descriptor that comes back nowhere is never closed.
        if (call.is(IOCTL_PRIME_HANDLE_TO_FD) || call.is(IOCTL_SYNCOBJ_HANDLE_TO_FD))
            && (size < 12
                || call.request >> 30 != 3
                || call.arg < BASE
                || call.arg > BASE + LEN as u64 - 64)
        {
            return true;
        }
        let syncs = call.syncs();
        let signals = |sync: &SyncOp| sync.flags & SYNC_OP_SIGNAL != 0;
        // A signal of a syncobj that is not there, or of one that is waited for, too.
        let is_wrong = |sync: &SyncOp| {
            signals(sync)
                && (!self.has_syncobj(sync.handle)
                    || syncs
                        .iter()
                        .any(|(_, other)| other.handle == sync.handle && !signals(other)))
        };
        if let Some(bind) = call.bind() {
            let asynchronous = bind.flags & VM_BIND_ASYNC != 0;
            let ops = call.array::<VmBindOp>(&bind.ops).unwrap_or_default();
            // A synchronous bind does not wait for those that are queued. So that both sides do them in one order, the last
            // op has to say when it has run (or to write entries, which are waited for).
            let last = ops.len().wrapping_sub(1);
            let is_awaited = syncs.iter().any(|(op, sync)| *op == last && signals(sync));
            let is_map = |op: &VmBindOp| op.flags & VM_BIND_OP_TYPE_MASK == VM_BIND_OP_TYPE_MAP;
            return bind.ops.count > 1 << 16
                || ops.iter().any(|op| op.syncs.count > MANY)
                || ops
                    .iter()
                    .any(|op| is_map(op) && (asynchronous && op.size == 0 || is_slow(op)))
                || asynchronous && syncs.iter().any(|(_, sync)| is_wrong(sync))
                || asynchronous && !self.counted && !is_awaited;
        }
        if call.is(IOCTL_GROUP_SUBMIT) {
            let args: GroupSubmit = call.args().unwrap_or_default();
            // The ring buffers of a VM that was destroyed are gone. The fake GPU knows no faults, so its jobs end only after
            // the five seconds of the scheduler's patience.
            if self.vms_destroyed {
                return true;
            }
            let jobs = call
                .array::<QueueSubmit>(&args.queue_submits)
                .unwrap_or_default();
            return args.queue_submits.count > MANY
                || jobs.iter().any(|job| job.syncs.count > MANY)
                || syncs.iter().any(|(_, sync)| is_wrong(sync));
        }
        if call.is(IOCTL_BO_CREATE) {
            let args: BoCreate = call.args().unwrap_or_default();
            return ((16 << 20) + 1..1 << 40).contains(&args.size);
        }
        if call.is(IOCTL_BO_SET_LABEL) {
            // User Mode Linux, and no other, says ENOMEM of an address that no user can have.
            return call.args::<BoSetLabel>().unwrap_or_default().label >= 1 << 46;
        }
        if call.is(IOCTL_BO_SYNC) {
            return call.args::<BoSync>().unwrap_or_default().ops.count > MANY;
        }
        if call.is(IOCTL_TILER_HEAP_CREATE) {
            let args: TilerHeapCreate = call.args().unwrap_or_default();
            let bytes = u64::from(args.initial_chunk_count) * u64::from(args.chunk_size);
            return bytes > 64 << 20;
        }
        if call.is(IOCTL_SYNCOBJ_TRANSFER) {
            // This would wait for five seconds.
            let args: SyncobjTransfer = call.args().unwrap_or_default();
            return args.flags & SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT != 0
                && !self.has_fence(args.src_handle, args.src_point);
        }
        let counted = [IOCTL_SYNCOBJ_RESET, IOCTL_SYNCOBJ_SIGNAL]
            .iter()
            .any(|code| call.is(*code))
            && call
                .args::<SyncobjArray>()
                .unwrap_or_default()
                .count_handles
                > MANY;
        let timeline = [IOCTL_SYNCOBJ_QUERY, IOCTL_SYNCOBJ_TIMELINE_SIGNAL]
            .iter()
            .any(|code| call.is(*code))
            && call
                .args::<SyncobjTimelineArray>()
                .unwrap_or_default()
                .count_handles
                > MANY;
        let wait = call
            .is(IOCTL_SYNCOBJ_WAIT)
            .then(|| call.args::<SyncobjWait>().unwrap_or_default());
        let points = call.is(IOCTL_SYNCOBJ_TIMELINE_WAIT);
        let points = points.then(|| call.args::<SyncobjTimelineWait>().unwrap_or_default());
        counted
            || timeline
            || wait.is_some_and(|args| args.count_handles > MANY || args.timeout_nsec > 0)
            || points.is_some_and(|args| args.count_handles > MANY || args.timeout_nsec > 0)
    }

    fn has_syncobj(&self, handle: u32) -> bool {
        self.look(handle, 0) != Err(Errno::NOENT)
    }

    fn has_fence(&self, handle: u32, point: u64) -> bool {
        self.look(handle, point).is_ok()
    }

    /// Asks the model whether there is a fence.
    fn look(&self, handle: u32, point: u64) -> Result<u32, Errno> {
        let arena = vpanthor::Arena::new(BASE, 128);
        let args = SyncobjTimelineWait {
            handles: BASE + 64,
            points: BASE + 72,
            count_handles: 1,
            flags: SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE,
            ..Default::default()
        };
        vpanthor::UserMemory::write(&arena, BASE, args.as_bytes())?;
        vpanthor::UserMemory::write(&arena, BASE + 64, handle.as_bytes())?;
        vpanthor::UserMemory::write(&arena, BASE + 72, point.as_bytes())?;
        match &self.model {
            Backend::Model(file) => file.ioctl(IOCTL_SYNCOBJ_TIMELINE_WAIT, BASE, &arena),
            Backend::Node(_) => Err(Errno::NOENT),
        }
    }
}

/// A map of millions of pages.
fn is_slow(op: &VmBindOp) -> bool {
    const SLOW: u64 = 64 << 20;
    (SLOW + 1..1 << 47).contains(&op.size) && op.flags & VM_BIND_OP_MAP_SPARSE != 0
}
