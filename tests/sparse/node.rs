//! What a node beside the virtual kernel was asked: the same, and it took it.

use common::child::Outcome;
use common::preload;

/// Every device's operations reached the node, the node has counted as many, and none was refused but by the probe.
pub fn check(vpanthor: &str, outcome: &Outcome) {
    assert!(!outcome.stderr.contains("differ"), "{}", outcome.stderr);
    let mut ops = 0;
    for stats in &outcome.stats {
        assert_eq!(stats.model, Some(format!("vpanthor:{vpanthor}")));
        assert_eq!(stats.differences, Some(0), "{stats:?}");
        assert_eq!(stats.node_ioctls, Some(stats.vm_bind_ioctls), "{stats:?}");
        assert_eq!(stats.node_ops, Some(stats.vm_bind_ops), "{stats:?}");
        ops += stats.vm_bind_ops;
    }
    let dump = outcome.dump.as_ref().expect("the node tells");
    let node = &dump.nodes[0];
    assert_eq!((&*node.path, &*node.kernel), (&*preload::node(0), vpanthor));
    // The first file is that of the instance, which only probes; each device has one, and probes too.
    let probe = &node.files[0];
    let files = node.files.len() as u64;
    assert_eq!(files, 1 + outcome.stats.len() as u64);
    assert_eq!(node.vm_bind.ops - files * probe.vm_bind.ops, ops);
    let refused = |ioctls: &std::collections::BTreeMap<String, preload::Calls>| -> u64 {
        ioctls.values().map(|calls| calls.refused).sum()
    };
    assert_eq!(node.refused, files * refused(&probe.ioctls), "{node:?}");
    node.assert_all_closed();
}
