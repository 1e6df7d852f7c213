//! Syncobjs from the CPU's side, binary and timeline, and across files by file descriptors.

use std::thread;

use crate::kit::*;
use panvk_sparse::uapi::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use vpanthor::{Flavour, Kernel, OpenOptions};

const ALL: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_ALL;
const FOR_SUBMIT: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
const AVAILABLE: u32 = SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;

fn process() -> Process {
    Process::new(Flavour::V1_9)
}

fn in_ms(ms: i64) -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec + ms * 1_000_000
}

/// Long enough that only a hang reaches it.
fn far() -> i64 {
    in_ms(60_000)
}

#[test]
fn a_syncobj_is_created_signalled_or_empty() {
    let p = process();
    let (empty, signalled) = (p.syncobj(false), p.syncobj(true));
    assert_eq!(p.wait(&[signalled], 0, 0), Ok(0));
    assert_eq!(p.wait(&[empty], 0, 0), Err(Errno::INVAL));
    assert_eq!(p.wait(&[empty], FOR_SUBMIT, 0), Err(Errno::TIME));
    let mut flags = SyncobjCreate {
        flags: 2,
        ..Default::default()
    };
    assert_eq!(p.call(IOCTL_SYNCOBJ_CREATE, &mut flags), Err(Errno::INVAL));
}

#[test]
fn a_destroyed_syncobj_is_gone() {
    let p = Process::model(Flavour::V1_9);
    let s = p.syncobj(true);
    let destroy = |handle, pad| p.call(IOCTL_SYNCOBJ_DESTROY, &mut SyncobjDestroy { handle, pad });
    assert_eq!(destroy(s, 1), Err(Errno::INVAL));
    assert_eq!(destroy(s, 0), Ok(()));
    assert_eq!(destroy(s, 0), Err(Errno::INVAL));
    assert_eq!(p.wait(&[s], 0, 0), Err(Errno::NOENT));
    assert_eq!(p.file.kernel().objects().syncobjs, 0);
}

#[test]
fn signal_and_reset_take_arrays() {
    let p = process();
    let all = [p.syncobj(false), p.syncobj(false), p.syncobj(false)];
    assert_eq!(p.signal(&all[..2]), Ok(()));
    assert_eq!(all.map(|s| p.is_signalled(s)), [true, true, false]);
    assert_eq!(p.reset(&all[1..2]), Ok(()));
    assert_eq!(all.map(|s| p.is_signalled(s)), [true, false, false]);
    assert_eq!(p.signal(&[]), Err(Errno::INVAL));
    // One unknown handle, and nothing happens.
    assert_eq!(p.signal(&[all[2], 99]), Err(Errno::NOENT));
    assert!(!p.is_signalled(all[2]));
}

#[test]
fn a_wait_for_any_tells_the_first_that_is_signalled() {
    let p = process();
    let all = [p.syncobj(false), p.syncobj(true), p.syncobj(true)];
    assert_eq!(p.wait(&all, FOR_SUBMIT, 0), Ok(1));
    // An empty one among them is an error unless the caller says that it will be filled.
    assert_eq!(p.wait(&all, 0, far()), Err(Errno::INVAL));
}

#[test]
fn a_wait_for_all_needs_all() {
    let p = process();
    let all = [p.syncobj(true), p.syncobj(false)];
    assert_eq!(p.wait(&all, ALL | FOR_SUBMIT, 0), Err(Errno::TIME));
    p.signal(&all[1..]).unwrap();
    assert_eq!(p.wait(&all, ALL, 0), Ok(0));
}

#[test]
fn wait_arguments_are_checked() {
    let p = process();
    let s = p.syncobj(true);
    assert_eq!(p.wait(&[s], AVAILABLE, 0), Err(Errno::INVAL));
    assert_eq!(p.wait(&[s], 1 << 4, 0), Err(Errno::INVAL));
    assert_eq!(p.wait(&[s], SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE, 0), Ok(0));
    assert_eq!(p.wait_points(&[(s, 0)], 1 << 4, 0), Err(Errno::INVAL));
    let mut args = SyncobjWait {
        handles: 8,
        count_handles: 1,
        ..Default::default()
    };
    assert_eq!(p.call(IOCTL_SYNCOBJ_WAIT, &mut args), Err(Errno::FAULT));
}

#[test]
fn a_wait_for_none_is_over_and_tells_nothing() {
    let p = process();
    // The index stays what it was.
    assert_eq!(p.wait(&[], ALL, far()), Ok(1234));
    assert_eq!(p.wait_points(&[], AVAILABLE, far()), Ok(1234));
    assert_eq!(p.wait(&[], 1 << 4, 0), Err(Errno::INVAL));
    assert_eq!(p.wait_points(&[], 1 << 4, 0), Err(Errno::INVAL));
    assert_eq!(p.signal(&[]), Err(Errno::INVAL));
    assert_eq!(p.reset(&[]), Err(Errno::INVAL));
}

#[test]
fn a_deadline_in_the_past_only_looks() {
    let p = process();
    let (empty, signalled) = (p.syncobj(false), p.syncobj(true));
    for past in [0, -1, i64::MIN, 1] {
        assert_eq!(p.wait(&[empty], FOR_SUBMIT, past), Err(Errno::TIME));
        assert_eq!(p.wait(&[signalled], 0, past), Ok(0));
    }
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let p = process();
    let s = p.syncobj(false);
    let deadline = in_ms(20);
    assert_eq!(p.wait(&[s], FOR_SUBMIT, deadline), Err(Errno::TIME));
    assert!(in_ms(0) >= deadline);
}

#[test]
fn a_sleeping_wait_is_woken_by_a_signal_from_another_thread() {
    let kernel = Kernel::new(Flavour::V1_9);
    let a = Process::on(&kernel, OpenOptions::default());
    let (first, second) = (a.syncobj(false), a.syncobj(false));
    let fds = [first, second].map(|s| a.syncobj_to_fd(s, 0).unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let b = Process::on(&kernel, OpenOptions::default());
            let handles = fds.map(|fd| b.syncobj_from_fd(fd, 0, 0).unwrap());
            b.wait(&handles, ALL | FOR_SUBMIT, far())
        });
        a.signal(&[second]).unwrap();
        a.signal(&[first]).unwrap();
        assert!(waiter.join().unwrap().is_ok());
    });
    fds.into_iter().for_each(close);
}

#[test]
fn points_are_reached_in_order_and_queried() {
    let p = Process::model(Flavour::V1_9);
    let s = p.syncobj(false);
    assert_eq!(p.query(s, 0), 0);
    p.signal_point(s, 3).unwrap();
    assert_eq!(p.query(s, 0), 3);
    assert_eq!(p.wait_points(&[(s, 2)], 0, 0), Ok(0));
    assert_eq!(p.wait_points(&[(s, 4)], 0, 0), Err(Errno::INVAL));
    assert_eq!(p.wait_points(&[(s, 4)], FOR_SUBMIT, 0), Err(Errno::TIME));
    let pending = p.file.attach_foreign_fence(s, 5).unwrap();
    let last = SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED;
    assert_eq!((p.query(s, 0), p.query(s, last)), (3, 5));
    assert_eq!(p.wait_points(&[(s, 4)], 0, 0), Err(Errno::TIME));
    assert_eq!(p.wait_points(&[(s, 4)], AVAILABLE, 0), Ok(0));
    // A later point does not overtake.
    p.signal_point(s, 9).unwrap();
    assert_eq!(p.query(s, 0), 3);
    pending.signal();
    assert_eq!(p.query(s, 0), 9);
    assert_eq!(p.wait_points(&[(s, 9)], 0, 0), Ok(0));
}

#[test]
fn a_binary_fence_has_no_points() {
    let p = process();
    let s = p.syncobj(true);
    assert_eq!(p.wait_points(&[(s, 0)], 0, 0), Ok(0));
    assert_eq!(p.wait_points(&[(s, 1)], 0, 0), Err(Errno::INVAL));
    assert_eq!(p.query(s, 0), 0);
}

#[test]
fn a_wait_keeps_the_fence_that_it_has_seen() {
    let kernel = Kernel::new(Flavour::V1_9);
    let a = Process::on(&kernel, OpenOptions::default());
    let (s, gate) = (a.syncobj(false), a.syncobj(false));
    let fence = a.file.attach_foreign_fence(s, 0).unwrap();
    let fds = [s, gate].map(|s| a.syncobj_to_fd(s, 0).unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let b = Process::on(&kernel, OpenOptions::default());
            let [s, gate] = fds.map(|fd| b.syncobj_from_fd(fd, 0, 0).unwrap());
            b.signal(&[gate]).unwrap();
            b.wait(&[s], FOR_SUBMIT, far())
        });
        a.wait(&[gate], FOR_SUBMIT, far()).unwrap();
        // Whether it has looked by now or not: what it waits for ends.
        fence.signal();
        assert_eq!(waiter.join().unwrap(), Ok(0));
    });
    fds.into_iter().for_each(close);
}

#[test]
fn transfer_moves_fences_between_binary_and_timeline() {
    let p = Process::model(Flavour::V1_9);
    let (binary, timeline) = (p.syncobj(false), p.syncobj(false));
    let transfer = |src_handle, src_point, dst_handle, dst_point, pad| {
        let mut args = SyncobjTransfer {
            src_handle,
            dst_handle,
            src_point,
            dst_point,
            flags: 0,
            pad,
        };
        p.call(IOCTL_SYNCOBJ_TRANSFER, &mut args)
    };
    assert_eq!(transfer(binary, 0, timeline, 7, 0), Err(Errno::INVAL));
    let fence = p.file.attach_foreign_fence(binary, 0).unwrap();
    assert_eq!(transfer(binary, 0, timeline, 7, 1), Err(Errno::INVAL));
    assert_eq!(transfer(99, 0, timeline, 7, 0), Err(Errno::NOENT));
    assert_eq!(transfer(binary, 0, 99, 7, 0), Err(Errno::NOENT));
    assert_eq!(transfer(binary, 0, timeline, 7, 0), Ok(()));
    p.reset(&[binary]).unwrap();
    assert_eq!(transfer(timeline, 7, binary, 0, 0), Ok(()));
    assert!(!p.is_signalled(binary));
    assert_eq!(transfer(timeline, 8, binary, 0, 0), Err(Errno::INVAL));
    fence.signal();
    assert_eq!(p.query(timeline, 0), 7);
    assert!(p.is_signalled(binary));
}

#[test]
fn transfer_may_wait_for_a_fence_and_takes_no_other_flag() {
    let p = process();
    let (from, to) = (p.syncobj(true), p.syncobj(false));
    for flags in [ALL, AVAILABLE, 1 << 3, ALL | FOR_SUBMIT, 1 << 31] {
        let result = p.transfer((from, 0), (to, 0), flags);
        assert_eq!(result, Err(Errno::INVAL), "{flags:#x}");
    }
    assert_eq!(p.transfer((99, 0), (to, 0), ALL), Err(Errno::NOENT));
    assert_eq!(p.transfer((from, 0), (to, 0), FOR_SUBMIT), Ok(()));
    assert!(p.is_signalled(to));
}

#[test]
fn what_is_taken_out_of_a_timeline_is_a_timeline() {
    let p = Process::model(Flavour::V1_9);
    let (timeline, copy) = (p.syncobj(false), p.syncobj(true));
    let first = p.file.attach_foreign_fence(timeline, 3).unwrap();
    let second = p.file.attach_foreign_fence(timeline, 5).unwrap();
    let last = SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED;
    let seen = |handle| (p.query(handle, 0), p.query(handle, last));
    // As a whole, through a sync file.
    let fd = p.syncobj_to_fd(timeline, TO_SYNC_FILE).unwrap();
    assert_eq!(p.syncobj_from_fd(fd, FROM_SYNC_FILE, copy), Ok(copy));
    close(fd);
    assert_eq!(seen(copy), (0, 5));
    assert_eq!(p.wait_points(&[(copy, 3)], 0, 0), Err(Errno::TIME));
    assert_eq!(p.wait_points(&[(copy, 6)], 0, 0), Err(Errno::INVAL));
    first.signal();
    assert_eq!(seen(copy), (3, 5));
    assert_eq!(p.wait_points(&[(copy, 3)], 0, 0), Ok(0));
    // The copy goes on by itself.
    p.signal_point(copy, 8).unwrap();
    assert_eq!((seen(copy), seen(timeline)), ((3, 8), (3, 5)));
    // By TRANSFER, as a whole and up to a point.
    for point in [0, 5] {
        p.transfer((timeline, point), (copy, 0), 0).unwrap();
        assert_eq!(seen(copy), (3, 5), "by {point}");
    }
    second.signal();
    assert_eq!(seen(copy), (5, 5));
    // Point 3 has been reached and left behind: what stands for it is a mere fence.
    p.transfer((timeline, 3), (copy, 0), 0).unwrap();
    assert_eq!(seen(copy), (0, 0));
    assert!(p.is_signalled(copy));
}

#[test]
fn handle_0_is_free_once_it_was_destroyed_beside_another() {
    for flavour in Flavour::ALL {
        let p = Process::new(flavour);
        let (bad, ok) = (Err(Errno::INVAL), Ok(()));
        assert_eq!(p.destroy_syncobj(0), bad, "{flavour}");
        assert_eq!((p.syncobj(true), p.syncobj(true)), (1, 2));
        assert_eq!(p.destroy_syncobj(0), bad);
        let zero = if matches!(flavour, Flavour::V1_8 | Flavour::V1_9) {
            0
        } else {
            3
        };
        assert_eq!(p.syncobj(true), zero, "{flavour}");
        assert!(p.is_signalled(zero));
        assert_eq!(p.destroy_syncobj(zero), ok);
        assert_eq!((p.destroy_syncobj(2), p.destroy_syncobj(1)), (ok, ok));
        assert_eq!(p.syncobj(false), zero.min(1), "{flavour}");
    }
}

#[test]
fn a_syncobj_fd_is_the_same_syncobj_under_a_new_handle() {
    let kernel = Kernel::new(Flavour::V1_9);
    let a = Process::on(&kernel, OpenOptions::default());
    let b = Process::on(&kernel, OpenOptions::default());
    b.syncobj(false);
    let s = a.syncobj(false);
    let fd = a.syncobj_to_fd(s, 0).unwrap();
    let there = b.syncobj_from_fd(fd, 0, 0).unwrap();
    assert_eq!(there, 2);
    assert_eq!(b.syncobj_from_fd(fd, 0, 0), Ok(3));
    assert_eq!(kernel.objects().syncobjs, 2);
    a.signal(&[s]).unwrap();
    assert!(b.is_signalled(there));
    b.reset(&[there]).unwrap();
    assert!(!a.is_signalled(s));
    close(fd);
    assert!(b.syncobj_from_fd(fd, 0, 0).is_err());
}

#[test]
fn a_syncobj_lives_as_long_as_a_file_descriptor_of_it() {
    let kernel = Kernel::new(Flavour::V1_9);
    let a = Process::on(&kernel, OpenOptions::default());
    let s = a.syncobj(true);
    let fd = a.syncobj_to_fd(s, 0).unwrap();
    drop(a);
    assert_eq!(kernel.objects().syncobjs, 1);
    let b = Process::on(&kernel, OpenOptions::default());
    let there = b.syncobj_from_fd(fd, 0, 0).unwrap();
    assert!(b.is_signalled(there));
    drop(b);
    assert_eq!(kernel.objects().syncobjs, 1);
    close(fd);
    assert_eq!(kernel.objects().syncobjs, 0);
}

const TO_SYNC_FILE: u32 = SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE;
const FROM_SYNC_FILE: u32 = SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE;

#[test]
fn a_sync_file_holds_the_fence_of_the_moment() {
    let p = Process::model(Flavour::V1_9);
    let (s, t) = (p.syncobj(false), p.syncobj(false));
    assert_eq!(p.syncobj_to_fd(s, TO_SYNC_FILE), Err(Errno::INVAL));
    let fence = p.file.attach_foreign_fence(s, 0).unwrap();
    let fd = p.syncobj_to_fd(s, TO_SYNC_FILE).unwrap();
    p.signal(&[s]).unwrap();
    assert_eq!(p.syncobj_from_fd(fd, FROM_SYNC_FILE, t), Ok(t));
    assert!(p.is_signalled(s) && !p.is_signalled(t));
    fence.signal();
    assert!(p.is_signalled(t));
    // A sync file is no syncobj, and the other way round.
    assert_eq!(p.syncobj_from_fd(fd, 0, 0), Err(Errno::INVAL));
    let other = p.syncobj_to_fd(s, 0).unwrap();
    assert_eq!(
        p.syncobj_from_fd(other, FROM_SYNC_FILE, t),
        Err(Errno::INVAL)
    );
    assert_eq!(p.syncobj_from_fd(fd, FROM_SYNC_FILE, 99), Err(Errno::NOENT));
    close(fd);
    close(other);
}

fn is_readable(fd: i32) -> bool {
    let file = std::fs::File::open(format!("/proc/self/fd/{fd}"));
    // A socket cannot be opened again; it is polled through a duplicate.
    assert!(file.is_err());
    // SAFETY: the caller has the file descriptor open for as long as this runs.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents().contains(PollFlags::IN)
}

#[test]
fn a_sync_file_becomes_readable_when_its_fence_signals() {
    let p = Process::model(Flavour::V1_9);
    let s = p.syncobj(false);
    let fence = p.file.attach_foreign_fence(s, 0).unwrap();
    let pending = p.syncobj_to_fd(s, TO_SYNC_FILE).unwrap();
    assert!(!is_readable(pending));
    fence.signal();
    assert!(is_readable(pending));
    let done = p.syncobj_to_fd(s, TO_SYNC_FILE).unwrap();
    assert!(is_readable(done));
    assert_eq!(p.syncobj_from_fd(done, FROM_SYNC_FILE, s), Ok(s));
    close(pending);
    close(done);
}

#[test]
fn fd_arguments_are_checked() {
    let p = process();
    let s = p.syncobj(true);
    assert_eq!(p.syncobj_to_fd(s, 4), Err(Errno::INVAL));
    assert_eq!(p.syncobj_to_fd(99, 0), Err(Errno::INVAL));
    assert_eq!(p.syncobj_to_fd(99, TO_SYNC_FILE), Err(Errno::NOENT));
    assert_eq!(p.syncobj_from_fd(0, 0, 0), Err(Errno::INVAL));
    assert_eq!(p.syncobj_from_fd(-1, 0, 0), Err(Errno::INVAL));
    assert_eq!(p.syncobj_from_fd(0, 4, 0), Err(Errno::INVAL));
    let bo = p.bo_to_fd(p.bo(PAGE)).unwrap();
    assert_eq!(p.syncobj_from_fd(bo, 0, 0), Err(Errno::INVAL));
    close(bo);
    let fd = p.syncobj_to_fd(s, 0).unwrap();
    assert_eq!(p.bo_from_fd(fd), Err(Errno::INVAL));
    close(fd);
}
