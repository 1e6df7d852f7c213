//! What the kernel was asked to do, summed over all devices of a run: the lines of `PANVK_SPARSE_STATS`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The sums of one kernel and strategy. The names are those of the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub kernel: String,
    pub strategy: String,
    /// VkDevices that were destroyed; one that crashed has no line.
    #[serde(default)]
    pub devices: u64,
    pub queue_bind_sparse_calls: u64,
    pub binds: u64,
    pub vm_bind_ioctls: u64,
    pub vm_bind_ops: u64,
    pub map_ops: u64,
    pub null_ops: u64,
    pub unmap_ops: u64,
    pub sync_ops: u64,
    pub binds_elided: u64,
    /// How often a render node answered otherwise than its model; only where the kernel is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<u64>,
}

/// Sums up the lines of `file`; a file that is not there has none. Lines that are cut off count for nothing.
pub fn sum(file: &Path) -> Vec<Sum> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
    for line in text.lines() {
        let Ok(line) = serde_json::from_str::<Sum>(line) else {
            continue;
        };
        let key = (line.kernel.clone(), line.strategy.clone());
        let sum = sums.entry(key).or_insert_with(|| Sum {
            kernel: line.kernel.clone(),
            strategy: line.strategy.clone(),
            ..Sum::default()
        });
        sum.devices += 1;
        sum.queue_bind_sparse_calls += line.queue_bind_sparse_calls;
        sum.binds += line.binds;
        sum.vm_bind_ioctls += line.vm_bind_ioctls;
        sum.vm_bind_ops += line.vm_bind_ops;
        sum.map_ops += line.map_ops;
        sum.null_ops += line.null_ops;
        sum.unmap_ops += line.unmap_ops;
        sum.sync_ops += line.sync_ops;
        sum.binds_elided += line.binds_elided;
        if let Some(more) = line.differences {
            *sum.differences.get_or_insert(0) += more;
        }
    }
    sums.into_values().collect()
}
