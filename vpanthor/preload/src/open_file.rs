//! One open file of a node: the model's side, the pipe that stands for it, and what was called.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use panvk_sparse::drm::errno_name;
use panvk_sparse::uapi;
use rustix::io::Errno;
use serde::Serialize;
use vpanthor::snapshot::Snapshot;
use vpanthor::{self, last_refusal};

use crate::memory::ProcessMemory;
use crate::sys::{errno, file_id, real_stat};
use crate::tree::FileId;

/// Refused calls of one file that the dump tells in full.
const MAX_REFUSALS: usize = 100;
/// Where our ends of the pipes go, out of the way of the program's numbers.
const HIGH_FD: c_int = 512;

/// An ioctl that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    ioctl: String,
    errno: String,
    /// The rule that was broken, where the model has words for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// Calls of one ioctl.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Calls {
    pub calls: u64,
    pub refused: u64,
}

/// What a file has done, and what it holds.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// From 1, in the order in which they were opened.
    pub file: u64,
    #[serde(skip)]
    pub node: usize,
    pub open: bool,
    pub ioctls: BTreeMap<String, Calls>,
    pub refusals: Vec<Refusal>,
    /// For which there was no room in the list.
    pub refusals_left_out: u64,
    #[serde(flatten)]
    pub holds: Snapshot,
}

#[derive(Debug, Default)]
struct Refusals {
    list: Vec<Refusal>,
    left_out: u64,
}

#[derive(Debug)]
pub struct OpenFile {
    file: vpanthor::File,
    number: u64,
    node: usize,
    /// Our end of the pipe, in the table of this process.
    writer: AtomicI32,
    pipe: FileId,
    /// As the program has opened it.
    access: c_int,
    calls: [AtomicU64; 256],
    refused: [AtomicU64; 256],
    refusals: Mutex<Refusals>,
}

/// The name of an ioctl, or its number.
fn name(number: u8) -> String {
    let known = uapi::ioctls().find(|ioctl| uapi::ioctl_nr(ioctl.code) == number);
    known.map_or_else(|| format!("{number:#04x}"), |ioctl| ioctl.name.to_owned())
}

impl OpenFile {
    /// The file, and the descriptor for the program.
    pub fn new(
        file: vpanthor::File,
        number: u64,
        node: usize,
        flags: c_int,
    ) -> Result<(Self, RawFd), c_int> {
        let mut ends = [0; 2];
        // SAFETY: room for two numbers.
        if unsafe {
            libc::pipe2(
                ends.as_mut_ptr(),
                libc::O_CLOEXEC | flags & libc::O_NONBLOCK,
            )
        } != 0
        {
            return Err(errno());
        }
        let [reader, mut writer] = ends;
        // SAFETY: `writer` and `reader` are ours, as nobody else knows these numbers yet.
        unsafe {
            let high = libc::fcntl(writer, libc::F_DUPFD_CLOEXEC, HIGH_FD);
            // Where no number is left that high, it stays where it is.
            if high >= 0 {
                libc::close(writer);
                writer = high;
            }
            if flags & libc::O_CLOEXEC == 0 {
                libc::fcntl(reader, libc::F_SETFD, 0);
            }
        }
        let pipe = real_stat(reader)
            .map(|stat| file_id(&stat))
            .ok_or(libc::EMFILE)?;
        let file = Self {
            file,
            number,
            node,
            writer: AtomicI32::new(writer),
            pipe,
            access: flags & libc::O_ACCMODE,
            calls: std::array::from_fn(|_| AtomicU64::new(0)),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            refusals: Mutex::default(),
        };
        Ok((file, reader))
    }

    pub fn id(&self) -> FileId {
        self.pipe
    }

    pub fn node(&self) -> usize {
        self.node
    }

    pub fn access(&self) -> c_int {
        self.access
    }

    pub fn model(&self) -> &vpanthor::File {
        &self.file
    }

    /// Whether our number still is our end: a program may close any number that it likes.
    fn has_writer(&self) -> Option<RawFd> {
        let writer = self.writer.load(Ordering::Relaxed);
        let stat = real_stat(writer)?;
        (file_id(&stat) == self.pipe).then_some(writer)
    }

    /// Whether the last descriptor has been closed, here and in other processes.
    pub fn is_closed(&self) -> bool {
        let Some(writer) = self.has_writer() else {
            return false;
        };
        let mut poll = libc::pollfd {
            fd: writer,
            events: 0,
            revents: 0,
        };
        // SAFETY: one pollfd; no wait.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready == 1 && poll.revents & libc::POLLERR != 0
    }

    /// Calls an ioctl, and counts it.
    pub fn ioctl(&self, request: u32, arg: u64) -> Result<u32, Errno> {
        let number = uapi::ioctl_nr(request);
        self.calls[usize::from(number)].fetch_add(1, Ordering::Relaxed);
        let result = self.file.ioctl(request, arg, &ProcessMemory);
        if let Err(errno) = result {
            // A wait that ran out was not refused.
            if errno != Errno::TIME {
                self.refused[usize::from(number)].fetch_add(1, Ordering::Relaxed);
                self.note(number, errno);
            }
        }
        result
    }

    fn note(&self, number: u8, errno: Errno) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.list.len() >= MAX_REFUSALS {
            refusals.left_out += 1;
            return;
        }
        refusals.list.push(Refusal {
            ioctl: name(number),
            errno: errno_name(errno).to_string(),
            why: last_refusal(),
        });
    }

    /// What was done so far. A file that is closed holds nothing any more.
    pub fn record(&self, open: bool) -> Record {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counts: &[AtomicU64; 256], number: u8| {
            counts[usize::from(number)].load(Ordering::Relaxed)
        };
        let ioctls = (0..=u8::MAX)
            .map(|number| {
                let calls = Calls {
                    calls: count(&self.calls, number),
                    refused: count(&self.refused, number),
                };
                (name(number), calls)
            })
            .filter(|(_, calls)| calls.calls != 0)
            .collect();
        let holds = self.file.snapshot();
        Record {
            file: self.number,
            node: self.node,
            open,
            ioctls,
            refusals: refusals.list.clone(),
            refusals_left_out: refusals.left_out,
            holds: if open {
                holds
            } else {
                Snapshot {
                    vm_bind: holds.vm_bind,
                    ..Snapshot::default()
                }
            },
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(writer) = self.has_writer() {
            // SAFETY: the number is our end of the pipe.
            unsafe { libc::close(writer) };
        }
    }
}
