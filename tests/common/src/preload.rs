//! The virtual kernel as a node: what a process needs to see `/dev/dri/renderD128`, and what the node has to tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::cargo;

/// The path of virtual node `index`: the first numbers that the machine has no render node for.
pub fn node(index: usize) -> String {
    let mut free = (128..192)
        .map(|number| format!("/dev/dri/renderD{number}"))
        .filter(|path| !Path::new(path).exists());
    free.nth(index).expect("there is room for a node")
}

/// Builds the library with this test's own profile.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = cargo::build(&["--package", "vpanthor-preload"]);
        cargo::written(&folder, "libvpanthor_preload.so")
    })
}

/// Gives `command` the nodes that `vpanthor` says, such as `1.9`. What became of them is in `dump` when it has ended.
pub fn apply(command: &mut Command, vpanthor: &str, dump: &Path) {
    command
        .env("LD_PRELOAD", library())
        .env("VPANTHOR", vpanthor)
        .env("VPANTHOR_DUMP", dump);
}

/// The state of the nodes when a process ended.
#[derive(Debug, Deserialize)]
pub struct Dump {
    pub nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
pub struct Node {
    pub path: String,
    pub kernel: String,
    /// Of all files together, by name.
    pub ioctls: BTreeMap<String, Calls>,
    pub vm_bind: BindCounts,
    pub refused: u64,
    pub files: Vec<File>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Calls {
    pub calls: u64,
    pub refused: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BindCounts {
    pub ops: u64,
    pub map: u64,
    pub repeat: u64,
    pub sparse: u64,
    pub unmap: u64,
    pub sync_only: u64,
}

#[derive(Debug, Deserialize)]
pub struct File {
    /// Whether it was open when the process ended.
    pub open: bool,
    pub ioctls: BTreeMap<String, Calls>,
    pub vms: Vec<serde_json::Value>,
    pub bos: Vec<serde_json::Value>,
    pub syncobjs: u64,
    pub vm_bind: BindCounts,
}

impl Dump {
    /// # Panics
    /// There is none, or it is not understood.
    pub fn read(path: &Path) -> Dump {
        let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

impl Node {
    /// Calls of each ioctl.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let calls = self.ioctls.iter();
        calls
            .map(|(name, count)| (name.clone(), count.calls))
            .collect()
    }

    pub fn count(&self, ioctl: &str) -> u64 {
        self.ioctls.get(ioctl).map_or(0, |count| count.calls)
    }

    /// Everything that was made was closed by an ioctl of its own, and so were the files.
    pub fn assert_all_closed(&self) {
        for (made, closed) in [
            ("VM_CREATE", "VM_DESTROY"),
            ("BO_CREATE", "GEM_CLOSE"),
            ("SYNCOBJ_CREATE", "SYNCOBJ_DESTROY"),
        ] {
            assert_eq!(self.count(made), self.count(closed), "{:?}", self.ioctls);
        }
        for file in &self.files {
            assert!(!file.open && file.vms.is_empty() && file.bos.is_empty());
            assert_eq!(file.syncobjs, 0);
        }
    }
}
