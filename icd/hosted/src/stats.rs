//! The counters of one VkDevice, as the line of JSON that `PANVK_SPARSE_STATS` asks for.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::config::StatsSink;

/// Where the binds go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// To a virtual kernel in this process.
    #[default]
    Hosted,
    /// To the kernel of the base driver, a panvk.
    Board,
}

/// One line. The names are relied on by scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub mode: Mode,
    /// `VkPhysicalDeviceProperties::deviceName`.
    pub device: String,
    pub base_driver: String,
    /// As `PANVK_SPARSE_KERNEL` writes it.
    pub kernel: String,
    /// How unbound ranges are mapped: `sparse`, `repeat`, `chunk` or `page`.
    pub strategy: String,
    /// Those that succeeded. What the kernel was asked to do for the others counts below all the same.
    pub queue_bind_sparse_calls: u64,
    /// `VkSparseMemoryBind` structs in these calls.
    pub binds: u64,
    /// VM_BIND ioctls, those at the creation and destruction of resources among them.
    pub vm_bind_ioctls: u64,
    /// The operations in them: the sum of the next four.
    pub vm_bind_ops: u64,
    /// Maps of memory.
    pub map_ops: u64,
    /// Maps of the dummy: what is not bound.
    pub null_ops: u64,
    pub unmap_ops: u64,
    /// SYNC_ONLY operations.
    pub sync_ops: u64,
    /// Binds that changed nothing: already so, or overwritten by a later bind of the same batch.
    pub binds_elided: u64,
    /// The virtual kernel that the application lives on, where the kernel is a render node. This and all below are left
    /// out where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// VM_BIND ioctls of the node: as many as `vm_bind_ioctls` where it took what its model took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_ioctls: Option<u64>,
    /// The operations in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_ops: Option<u64>,
    /// How often the node answered otherwise than its model. The log has the operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differences: Option<u64>,
    /// On a board, why everything passes untouched; left out if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untouched: Option<String>,
    /// What the base driver asked of the kernel for the binds, on a board, as all below: VM_BIND ioctls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_ioctls: Option<u64>,
    /// The operations in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_ops: Option<u64>,
    /// VM_BIND ioctls that passed and have to do with no sparse resource: ordinary memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_ioctls: Option<u64>,
    /// The operations in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_ops: Option<u64>,
}

impl Stats {
    /// Writes the line to `sink`, in one write, so that lines of several devices and processes do not mix.
    ///
    /// # Errors
    /// The file can't be opened or written; the message names it.
    pub fn write_to(&self, sink: &StatsSink) -> std::io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        match sink {
            StatsSink::Stderr => std::io::stderr().write_all(line.as_bytes()),
            StatsSink::File(path) => open(path)?
                .write_all(line.as_bytes())
                .map_err(|error| naming(path, &error)),
        }
    }
}

/// Finds out early whether lines can be written to `sink`. Creates the file where it is not there.
///
/// # Errors
/// The file can't be opened; the message names it.
pub fn check(sink: &StatsSink) -> std::io::Result<()> {
    match sink {
        StatsSink::Stderr => Ok(()),
        StatsSink::File(path) => open(path).map(drop),
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    options.open(path).map_err(|error| naming(path, &error))
}

fn naming(path: &Path, error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
