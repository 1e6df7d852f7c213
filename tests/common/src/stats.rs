//! The counters that the ICD writes when a device is destroyed.

use serde::Deserialize;
use std::path::Path;

/// The variable that names the file.
pub const FILE: &str = "PANVK_SPARSE_STATS";

/// One line of it.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
pub struct Stats {
    pub device: String,
    pub base_driver: String,
    pub kernel: String,
    pub strategy: String,
    pub queue_bind_sparse_calls: u64,
    pub binds: u64,
    pub vm_bind_ioctls: u64,
    pub vm_bind_ops: u64,
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    pub sync_ops: u64,
    pub binds_elided: u64,
    /// Of a node, as all below.
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub node_ioctls: Option<u64>,
    #[serde(default)]
    pub node_ops: Option<u64>,
    #[serde(default)]
    pub differences: Option<u64>,
}

/// All lines of the file, which must exist.
pub fn read(path: &Path) -> Vec<Stats> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e} in the stats line: {l}")))
        .collect()
}

/// In the child: the lines so far.
pub fn so_far() -> Vec<Stats> {
    let path = std::env::var_os(FILE).expect("the ICD is told where to write its counters");
    if Path::new(&path).exists() {
        read(Path::new(&path))
    } else {
        Vec::new()
    }
}

impl Stats {
    /// What this device did beyond what `setup` did.
    pub fn beyond(&self, setup: &Self) -> Self {
        let minus = |a: u64, b: u64| {
            a.checked_sub(b)
                .unwrap_or_else(|| panic!("{a} < {b}:\n{self:?}\n{setup:?}"))
        };
        Self {
            queue_bind_sparse_calls: minus(
                self.queue_bind_sparse_calls,
                setup.queue_bind_sparse_calls,
            ),
            binds: minus(self.binds, setup.binds),
            vm_bind_ioctls: minus(self.vm_bind_ioctls, setup.vm_bind_ioctls),
            vm_bind_ops: minus(self.vm_bind_ops, setup.vm_bind_ops),
            map_ops: minus(self.map_ops, setup.map_ops),
            null_ops: minus(self.null_ops, setup.null_ops),
            unmap_ops: minus(self.unmap_ops, setup.unmap_ops),
            sync_ops: minus(self.sync_ops, setup.sync_ops),
            binds_elided: minus(self.binds_elided, setup.binds_elided),
            ..self.clone()
        }
    }
}
