//! File descriptors that cross the kernel's border.
//!
//! Buffer objects leave as memfds ([`super::bo`]). Syncobjs and fences have no file of their own in user space; what
//! leaves is one end of a socket pair. The other end stays here: it says when the last copy of the first is closed, and
//! that the kernel may forget what it stood for.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::payload::Payload;
use super::shared::lock;
use super::syncobj::Syncobj;

fn path(fd: i32) -> String {
    format!("/proc/self/fd/{fd}")
}

/// A link that is not there names no file descriptor.
fn not_open(errno: Errno) -> Errno {
    if errno == Errno::NOENT {
        Errno::BADF
    } else {
        errno
    }
}

/// What the system calls the open file.
pub(super) fn name(fd: i32) -> Result<String, Errno> {
    let name = rustix::fs::readlink(path(fd), Vec::new()).map_err(not_open)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Opens the same file once more.
pub(super) fn reopen(fd: i32, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path(fd), flags | OFlags::CLOEXEC, Mode::empty()).map_err(not_open)
}

/// Another descriptor of the caller's eventfd. An eventfd has no path to open it by.
///
/// # Errors
/// `EBADF` for what is no file descriptor, `EINVAL` for what is no eventfd.
pub(super) fn eventfd(fd: i32) -> Result<OwnedFd, Errno> {
    if name(fd)? != "anon_inode:[eventfd]" {
        return Err(Errno::INVAL);
    }
    let process = pidfd_open(getpid(), PidfdFlags::empty())?;
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
}

/// Tells open files apart: device and inode.
type FileId = (u64, u64);

fn file_id(stat: &rustix::fs::Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

/// What an exported file descriptor stands for.
#[derive(Clone, Debug)]
pub(super) enum Exported {
    Syncobj(Arc<Syncobj>),
    /// A sync file: what a syncobj held when it was exported.
    SyncFile(Payload),
}

#[derive(Debug)]
struct Entry {
    id: FileId,
    ours: UnixStream,
    what: Exported,
    /// A sync file whose end has been made readable because its fences are signalled.
    announced: bool,
}

impl Entry {
    /// Whether somebody still has the exported end. Where the system does not say, we assume it.
    fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(&self.ours, PollFlags::empty())];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => !fds[0].revents().contains(PollFlags::HUP),
            Err(_) => true,
        }
    }
}

/// The syncobjs and fences of one kernel that have left as file descriptors.
#[derive(Debug, Default)]
pub(super) struct Exports {
    entries: Mutex<Vec<Entry>>,
    /// Sync files not yet announced, so that nobody pays for the lock where there are none.
    unannounced: AtomicUsize,
}

impl Exports {
    /// A new file descriptor, close-on-exec.
    pub fn export(&self, what: Exported) -> Result<OwnedFd, Errno> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?;
        let id = file_id(&rustix::fs::fstat(theirs.as_fd())?);
        let mut entries = lock(&self.entries);
        entries.retain(Entry::is_open);
        entries.push(Entry {
            id,
            ours,
            what,
            announced: false,
        });
        self.announce_in(&mut entries);
        Ok(theirs.into())
    }

    /// What a file descriptor stands for.
    ///
    /// # Errors
    /// `EINVAL` where it is none of ours (the kernel does not tell a closed one from another file either).
    pub fn find(&self, fd: i32) -> Result<Exported, Errno> {
        let id = rustix::fs::stat(path(fd)).map_err(|_| Errno::INVAL)?;
        let id = file_id(&id);
        let mut entries = lock(&self.entries);
        entries.retain(Entry::is_open);
        entries
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.what.clone())
            .ok_or(Errno::INVAL)
    }

    /// Makes sync files readable whose fences are signalled, as polling a sync file shows.
    pub fn announce(&self) {
        if self.unannounced.load(Ordering::Acquire) != 0 {
            self.announce_in(&mut lock(&self.entries));
        }
    }

    fn announce_in(&self, entries: &mut [Entry]) {
        let mut left = 0;
        for entry in entries.iter_mut() {
            let Exported::SyncFile(held) = &entry.what else {
                continue;
            };
            if entry.announced {
                continue;
            }
            if held.is_signalled() {
                // The end of the stream is something to read. If the other end is closed, nobody polls it.
                let _ = entry.ours.shutdown(Shutdown::Write);
                entry.announced = true;
            } else {
                left += 1;
            }
        }
        self.unannounced.store(left, Ordering::Release);
    }

    /// Forgets what nobody can bring back.
    pub fn collect_garbage(&self) {
        lock(&self.entries).retain(Entry::is_open);
    }
}
