//! The nodes and the open files of this process.
//!
//! An open file needs a file descriptor that the real kernel knows, so that duplicates, forks, poll and closing work as they
//! do for any other. It is the reading end of a pipe that nobody writes to: reading blocks, polling shows nothing, as on a
//! render node; and the writing end, which stays here, tells when the last duplicate of the other is closed. A pipe is known
//! by its inode, so a number that the program has reused for something else is never mistaken for a node.

use std::collections::HashMap;
use std::ffi::{OsString, c_int};
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use vpanthor::{Kernel, OpenOptions, Privileges};

use crate::config::{self, NodeSpec};
use crate::gate;
use crate::open_file::OpenFile;
use crate::sys::{file_id, real_stat};
use crate::tree::{Entry, FileId, Tree};

/// The first minor of a render node.
const FIRST_MINOR: u32 = 128;

/// One render node.
#[derive(Debug)]
pub struct Node {
    pub entry: Entry,
    pub spec: NodeSpec,
    pub kernel: Arc<Kernel>,
}

impl Node {
    pub fn path(&self) -> String {
        format!("/dev/dri/renderD{}", self.entry.minor)
    }
}

#[derive(Debug)]
enum Folder {
    NotYet,
    There(Arc<Tree>),
    /// It could not be made. That has been said.
    Impossible,
}

/// All there is in this process.
#[derive(Debug)]
pub struct Process {
    specs: Vec<NodeSpec>,
    nodes: OnceLock<Vec<Node>>,
    folder: Mutex<Folder>,
    has_folder: AtomicBool,
    files: Mutex<Files>,
    /// How many files are open, so that a program that has none pays for nothing.
    open: AtomicUsize,
    /// Where the dump goes.
    pub dump: Option<OsString>,
}

#[derive(Debug, Default)]
struct Files {
    open: HashMap<FileId, Arc<OpenFile>>,
    /// What closed files have done, for the dump.
    closed: Vec<crate::open_file::Record>,
    next: u64,
}

static STATE: OnceLock<Process> = OnceLock::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exists(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

impl Process {
    /// The state of this process, set up by the first call.
    ///
    /// A wrong value of VPANTHOR ends the process: a program that goes on would find no node, or another kernel than the one
    /// that was asked for.
    pub fn get() -> &'static Process {
        STATE.get_or_init(|| {
            let value = std::env::var_os("VPANTHOR").unwrap_or_default();
            let specs = match value.to_str() {
                Some(value) => config::nodes(value),
                None => Err(format!("VPANTHOR={value:?} is no text")),
            };
            let specs = specs.unwrap_or_else(|message| {
                eprintln!("libvpanthor_preload: {message}");
                // SAFETY: nothing of the program has run yet, or it could not go on.
                unsafe { libc::_exit(1) }
            });
            Process {
                specs,
                nodes: OnceLock::new(),
                folder: Mutex::new(Folder::NotYet),
                has_folder: AtomicBool::new(false),
                files: Mutex::default(),
                open: AtomicUsize::new(0),
                dump: std::env::var_os("VPANTHOR_DUMP").filter(|path| !path.is_empty()),
            }
        })
    }

    /// The state, if somebody has asked for it already.
    pub fn if_any() -> Option<&'static Process> {
        STATE.get()
    }

    /// The nodes. Their minors are the first that the machine has no node of.
    pub fn nodes(&self) -> &[Node] {
        self.nodes.get_or_init(|| {
            let free = |minor: &u32| {
                !exists(&format!("/dev/dri/renderD{minor}"))
                    && !exists(&format!("/sys/dev/char/226:{minor}"))
            };
            let minors = (FIRST_MINOR..FIRST_MINOR + config::MAX_NODES as u32).filter(free);
            (self.specs.iter().zip(minors))
                .map(|(spec, minor)| Node {
                    entry: Entry {
                        minor,
                        gpu: spec.gpu,
                    },
                    spec: spec.clone(),
                    kernel: Kernel::with(spec.flavour, spec.gpu, Some(Box::new(gate::Outside))),
                })
                .collect()
        })
    }

    /// The folder, made at the first call.
    pub fn tree(&self) -> Option<Arc<Tree>> {
        let mut folder = lock(&self.folder);
        if let Folder::NotYet = *folder {
            let entries: Vec<Entry> = self.nodes().iter().map(|node| node.entry).collect();
            *folder = match Tree::make(&entries) {
                Ok(tree) => Folder::There(Arc::new(tree)),
                Err(error) => {
                    let place = std::env::temp_dir();
                    eprintln!(
                        "libvpanthor_preload: no nodes, for {}: {error}",
                        place.display()
                    );
                    Folder::Impossible
                }
            };
            self.has_folder.store(true, Ordering::Release);
        }
        match &*folder {
            Folder::There(tree) => Some(tree.clone()),
            Folder::NotYet | Folder::Impossible => None,
        }
    }

    /// The folder, if it is there.
    pub fn tree_if_any(&self) -> Option<Arc<Tree>> {
        if !self.has_folder.load(Ordering::Acquire) {
            return None;
        }
        match &*lock(&self.folder) {
            Folder::There(tree) => Some(tree.clone()),
            Folder::NotYet | Folder::Impossible => None,
        }
    }

    /// Whether the folder is there.
    pub fn has_tree(&self) -> bool {
        self.has_folder.load(Ordering::Acquire)
    }

    /// Whether there is anything that may stand for a node.
    pub fn has_any(&self) -> bool {
        self.has_tree() || self.has_files()
    }

    /// Whether there may be a file descriptor of a node.
    pub fn has_files(&self) -> bool {
        self.open.load(Ordering::Acquire) != 0
    }

    /// Opens a node: the new file descriptor, or errno.
    pub fn open(&'static self, index: usize, flags: c_int) -> Result<RawFd, c_int> {
        let node = self.nodes().get(index).ok_or(libc::ENOENT)?;
        if flags & libc::O_DIRECTORY != 0 {
            return Err(libc::ENOTDIR);
        }
        if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        self.collect();
        let file = node.kernel.open(OpenOptions {
            privileges: Privileges::OfCaller,
            ..OpenOptions::default()
        });
        for fault in &node.spec.faults {
            file.inject(*fault);
        }
        let mut files = lock(&self.files);
        files.next += 1;
        let (open_file, fd) = OpenFile::new(file, files.next, index, flags)?;
        files.open.insert(open_file.id(), Arc::new(open_file));
        self.open.store(files.open.len(), Ordering::Release);
        Ok(fd)
    }

    /// The open file behind a file descriptor.
    pub fn file(&self, fd: RawFd) -> Option<Arc<OpenFile>> {
        if !self.has_files() {
            return None;
        }
        let stat = real_stat(fd)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFIFO {
            return None;
        }
        lock(&self.files).open.get(&file_id(&stat)).cloned()
    }

    /// The node that a file stands for: an open one's pipe, or a placeholder.
    pub fn node_of(&self, mode: u32, size: i64, id: FileId) -> Option<&Node> {
        let index = match mode & libc::S_IFMT {
            libc::S_IFIFO if self.has_files() => lock(&self.files).open.get(&id)?.node(),
            libc::S_IFREG if size == 0 => self.tree_if_any()?.node(id)?,
            _ => return None,
        };
        self.nodes().get(index)
    }

    /// Closes the files whose last descriptor is closed.
    pub fn collect(&self) {
        if !self.has_files() {
            return;
        }
        let closed: Vec<_> = {
            let mut files = lock(&self.files);
            let gone: Vec<FileId> = (files.open.iter())
                .filter(|(_, file)| file.is_closed())
                .map(|(id, _)| *id)
                .collect();
            let closed: Vec<_> = gone.iter().filter_map(|id| files.open.remove(id)).collect();
            files
                .closed
                .extend(closed.iter().map(|file| file.record(false)));
            self.open.store(files.open.len(), Ordering::Release);
            closed
        };
        drop(closed);
    }

    /// What every file has done, in the order in which they were opened. `None`: no node was ever opened or called here.
    pub fn records(&self) -> Vec<crate::open_file::Record> {
        self.collect();
        let files = lock(&self.files);
        let mut records = files.closed.clone();
        records.extend(files.open.values().map(|file| file.record(true)));
        records.sort_by_key(|record| record.file);
        records
    }

    /// A forked child goes on with a copy of everything, but the folder is its parent's.
    pub fn after_fork(&self) {
        *lock(&self.folder) = Folder::NotYet;
        self.has_folder.store(false, Ordering::Release);
    }

    /// The process ends.
    pub fn remove_tree(&self) {
        let folder = std::mem::replace(&mut *lock(&self.folder), Folder::NotYet);
        if let Folder::There(tree) = folder {
            tree.remove();
        }
    }

    /// Where a path leads instead: into the folder.
    pub fn redirect(&self, path: &[u8]) -> Option<std::path::PathBuf> {
        // The parts of /dev and /sys that the folder has; most paths end here.
        const PARTS: [&[u8]; 5] = [b"/dri", b"/drm", b"226:", b".gpu", b"/panthor"];
        if !PARTS.iter().any(|part| contains(path, part)) {
            return None;
        }
        self.tree()?.redirect(path)
    }

    /// The node of exactly this path.
    pub fn node_at(&self, path: &[u8]) -> Option<usize> {
        if !contains(path, b"renderD") {
            return None;
        }
        let path = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path));
        self.nodes()
            .iter()
            .position(|node| Path::new(&node.path()) == path)
    }
}

fn contains(path: &[u8], part: &[u8]) -> bool {
    path.windows(part.len()).any(|window| window == part)
}
