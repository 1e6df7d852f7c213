//! The syncobj ioctls (`drm_syncobj.c`).

use std::sync::Arc;

use rustix::io::Errno;

use crate::fds::{self, Exported};
use crate::fence::FenceSet;
use crate::kernel::monotonic_ns;
use crate::kernel::{File, install};
use crate::payload::Payload;
use crate::shared::lock;
use crate::syncobj::Syncobj;
use crate::user_memory::{UserMemory, read_values};
use crate::watches::Watch;
use panvk_sparse::uapi::*;

use super::Answer;

/// How long a transfer waits for a fence that is not there yet.
const TRANSFER_TIMEOUT_NS: i64 = 5_000_000_000;

fn require(holds: bool) -> Result<(), Errno> {
    if holds { Ok(()) } else { Err(Errno::INVAL) }
}

/// The syncobjs of a user-space array of handles.
fn find_all(
    file: &File,
    mem: &dyn UserMemory,
    addr: u64,
    count: u32,
) -> Result<Vec<Arc<Syncobj>>, Errno> {
    require(count != 0)?;
    let handles: Vec<u32> = read_values(mem, addr, count)?;
    lock(&file.syncobjs).get_all(&handles, Errno::NOENT)
}

/// The points of a user-space array, zeros where there is none.
fn points(mem: &dyn UserMemory, addr: u64, count: u32) -> Result<Vec<u64>, Errno> {
    if addr == 0 {
        return Ok(vec![0; count as usize]);
    }
    read_values(mem, addr, count)
}

fn add_handle(file: &File, syncobj: Arc<Syncobj>) -> Result<u32, Errno> {
    lock(&file.syncobjs).insert(syncobj).ok_or(Errno::NOSPC)
}

pub(super) fn create(file: &File, args: &mut SyncobjCreate, _: &dyn UserMemory) -> Answer {
    require(args.flags & !SYNCOBJ_CREATE_SIGNALED == 0)?;
    let signalled = args.flags & SYNCOBJ_CREATE_SIGNALED != 0;
    let syncobj = Syncobj::new(signalled, file.kernel.count_syncobj());
    args.handle = add_handle(file, syncobj)?;
    Ok(())
}

pub(super) fn destroy(file: &File, args: &mut SyncobjDestroy, _: &dyn UserMemory) -> Answer {
    require(args.pad == 0)?;
    let mut syncobjs = lock(&file.syncobjs);
    let removed = match args.handle {
        0 if file.kernel.flavour().keeps_syncobjs_in_an_xarray() => syncobjs.remove_zero(),
        handle => syncobjs.remove(handle),
    };
    drop(syncobjs);
    removed.map(|_| ()).ok_or(Errno::INVAL)
}

/// The point that is meant: 0, the fence itself, without the flag `timeline`.
fn point_of(args: &SyncobjHandle, timeline: u32) -> u64 {
    match args.flags & timeline {
        0 => 0,
        _ => args.point,
    }
}

/// The point that a call names which turns syncobjs into file descriptors or back. Linux 6.12 has none there: it does not
/// look at that field, and does not know the flag.
fn point_field(file: &File, args: &SyncobjHandle, timeline: u32) -> Result<u64, Errno> {
    if file.kernel.flavour().has_timeline_sync_files() {
        return Ok(args.point);
    }
    require(args.flags & timeline == 0)?;
    Ok(0)
}

pub(super) fn handle_to_fd(file: &File, args: &mut SyncobjHandle, _: &dyn UserMemory) -> Answer {
    const SYNC_FILE: u32 = SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
    const TIMELINE: u32 = SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE;
    let point_field = point_field(file, args, TIMELINE)?;
    require(args.pad == 0 && args.flags & !(SYNC_FILE | TIMELINE) == 0)?;
    let point = point_of(args, TIMELINE);
    let what = if args.flags & SYNC_FILE != 0 {
        let syncobj = file.syncobj(args.handle).ok_or(Errno::NOENT)?;
        Exported::SyncFile(syncobj.find(point)?)
    } else {
        require(point_field == 0)?;
        Exported::Syncobj(file.syncobj(args.handle).ok_or(Errno::INVAL)?)
    };
    args.fd = install(file.kernel.exports.export(what)?, true)?;
    Ok(())
}

pub(super) fn fd_to_handle(file: &File, args: &mut SyncobjHandle, _: &dyn UserMemory) -> Answer {
    const SYNC_FILE: u32 = SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;
    const TIMELINE: u32 = SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE;
    let point_field = point_field(file, args, TIMELINE)?;
    require(args.pad == 0 && args.flags & !(SYNC_FILE | TIMELINE) == 0)?;
    let point = point_of(args, TIMELINE);
    let what = file.kernel.exports.find(args.fd)?;
    match what {
        Exported::SyncFile(held) if args.flags & SYNC_FILE != 0 => {
            let syncobj = file.syncobj(args.handle).ok_or(Errno::NOENT)?;
            syncobj.put(point, held);
            file.kernel.changed();
        }
        Exported::Syncobj(syncobj) if args.flags & SYNC_FILE == 0 => {
            require(point_field == 0)?;
            args.handle = add_handle(file, syncobj)?;
        }
        Exported::SyncFile(_) | Exported::Syncobj(_) => return Err(Errno::INVAL),
    }
    Ok(())
}

pub(super) fn reset(file: &File, args: &mut SyncobjArray, mem: &dyn UserMemory) -> Answer {
    require(args.pad == 0)?;
    for syncobj in find_all(file, mem, args.handles, args.count_handles)? {
        syncobj.reset();
    }
    file.kernel.changed();
    Ok(())
}

pub(super) fn signal(file: &File, args: &mut SyncobjArray, mem: &dyn UserMemory) -> Answer {
    require(args.pad == 0)?;
    for syncobj in find_all(file, mem, args.handles, args.count_handles)? {
        syncobj.replace(Payload::signalled());
    }
    file.kernel.changed();
    Ok(())
}

pub(super) fn timeline_signal(
    file: &File,
    args: &mut SyncobjTimelineArray,
    mem: &dyn UserMemory,
) -> Answer {
    require(args.flags == 0)?;
    let syncobjs = find_all(file, mem, args.handles, args.count_handles)?;
    let points = points(mem, args.points, args.count_handles)?;
    for (syncobj, point) in syncobjs.iter().zip(points) {
        syncobj.add_point(point, FenceSet::default());
    }
    file.kernel.changed();
    Ok(())
}

pub(super) fn query(file: &File, args: &mut SyncobjTimelineArray, mem: &dyn UserMemory) -> Answer {
    require(args.flags & !SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED == 0)?;
    let submitted = args.flags & SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED != 0;
    let syncobjs = find_all(file, mem, args.handles, args.count_handles)?;
    let points: Vec<u64> = syncobjs.iter().map(|s| s.query(submitted)).collect();
    mem.write(args.points, u64::slice_as_bytes(&points))?;
    Ok(())
}

pub(super) fn transfer(file: &File, args: &mut SyncobjTransfer, _: &dyn UserMemory) -> Answer {
    require(args.pad == 0)?;
    let to = file.syncobj(args.dst_handle).ok_or(Errno::NOENT)?;
    let from = file.syncobj(args.src_handle).ok_or(Errno::NOENT)?;
    require(args.flags & !SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT == 0)?;
    let held = if args.flags & SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT != 0 {
        let deadline = monotonic_ns().saturating_add(TRANSFER_TIMEOUT_NS);
        file.kernel
            .wait_until(deadline, || from.find(args.src_point).ok())?
    } else {
        from.find(args.src_point)?
    };
    to.put(args.dst_point, held);
    file.kernel.changed();
    Ok(())
}

/// One thing that a CPU waits for.
struct Awaited {
    syncobj: Arc<Syncobj>,
    point: u64,
    /// What the syncobj held when there first was something: later resets do not matter.
    fences: Option<FenceSet>,
}

impl Awaited {
    fn look(&mut self) -> bool {
        if self.fences.is_none() {
            self.fences = self.syncobj.find_fence(self.point).ok();
        }
        self.fences.is_some()
    }

    fn is_met(&self, available: bool) -> bool {
        self.fences
            .as_ref()
            .is_some_and(|fences| available || fences.is_signalled())
    }
}

/// Waits for all or for one; the index that the caller gets to know.
fn wait_for(
    file: &File,
    syncobjs: Vec<Arc<Syncobj>>,
    points: Vec<u64>,
    flags: u32,
    timeout_ns: i64,
) -> Result<u32, Errno> {
    let all = flags & SYNCOBJ_WAIT_FLAGS_WAIT_ALL != 0;
    let available = flags & SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE != 0;
    let may_be_empty = available || flags & SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT != 0;
    let mut awaited: Vec<_> = syncobjs
        .into_iter()
        .zip(points)
        .map(|(syncobj, point)| Awaited {
            syncobj,
            point,
            fences: None,
        })
        .collect();
    for one in &mut awaited {
        if !one.look() && !may_be_empty {
            return Err(Errno::INVAL);
        }
    }
    let first = |awaited: &[Awaited]| awaited.iter().position(|one| one.is_met(available));
    let index = |place: Option<usize>| place.map_or(u32::MAX, |i| i as u32);
    // Before it sleeps, the kernel notes the first that is signalled even if it waits for all.
    let noted = index(first(&awaited));
    file.kernel.wait_until(timeout_ns, || {
        for one in &mut awaited {
            one.look();
        }
        if all {
            let done = awaited.iter().all(|one| one.is_met(available));
            done.then_some(noted)
        } else {
            first(&awaited).map(|i| i as u32)
        }
    })
}

pub(super) fn wait(file: &File, args: &mut SyncobjWait, mem: &dyn UserMemory) -> Answer {
    // A deadline is a hint for the one who does the work.
    const KNOWN: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_ALL
        | SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT
        | SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE;
    require(args.flags & !KNOWN == 0)?;
    if args.count_handles == 0 {
        return Ok(());
    }
    let syncobjs = find_all(file, mem, args.handles, args.count_handles)?;
    let points = vec![0; syncobjs.len()];
    args.first_signaled = wait_for(file, syncobjs, points, args.flags, args.timeout_nsec)?;
    Ok(())
}

pub(super) fn timeline_wait(
    file: &File,
    args: &mut SyncobjTimelineWait,
    mem: &dyn UserMemory,
) -> Answer {
    const KNOWN: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_ALL
        | SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT
        | SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE
        | SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE;
    require(args.flags & !KNOWN == 0)?;
    if args.count_handles == 0 {
        return Ok(());
    }
    let syncobjs = find_all(file, mem, args.handles, args.count_handles)?;
    let points = points(mem, args.points, args.count_handles)?;
    args.first_signaled = wait_for(file, syncobjs, points, args.flags, args.timeout_nsec)?;
    Ok(())
}

pub(super) fn eventfd(file: &File, args: &mut SyncobjEventfd, _: &dyn UserMemory) -> Answer {
    require(args.flags & !SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE == 0 && args.pad == 0)?;
    let syncobj = file.syncobj(args.handle).ok_or(Errno::NOENT)?;
    file.kernel.watches.add(Watch {
        syncobj,
        point: args.point,
        available: args.flags & SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE != 0,
        eventfd: fds::eventfd(args.fd)?,
        fences: None,
    });
    file.kernel.watches.announce();
    Ok(())
}
