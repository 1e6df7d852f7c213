//! Recordings of an earlier version, with what that version counted in them: a newer one counts the same.
//!
//! The recordings are of the examples `sparse_buffer` and `streaming --frames 120`. What is written to page tables is not
//! compared: that is what a newer version may do better. Where it takes more operations for that, [`MORE`] says how many.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use hosted::config::NullChoice;
use replay::Replay;
use serde_json::Value;
use trace::Reader;

type Counts = BTreeMap<String, u64>;

/// Recording, kernel and strategy; operations for unbound ranges more than in the earlier version; bytes more, or fewer, to the kernel.
///
/// The longest gap that is mapped again to save an operation is 360 KiB, and was 2 MiB; on 1.5 and 1.6-repeat, which are without
/// a region lock, it is only bridged if a request names it. And on 1.6-repeat an unbound range that
/// does not begin and end with a slot has an operation at each of these ends, where it then needs fewer page-table entries.
const MORE: [(&str, &str, i64, i64); 6] = [
    ("sparse_buffer", "vpanthor:1.6-repeat repeat", 2, 112),
    ("streaming", "vpanthor:1.5 chunk", 13, 624),
    ("streaming", "vpanthor:1.6-repeat repeat", 70, -4280),
    ("streaming", "vpanthor:1.8 chunk", 2, 96),
    ("streaming", "vpanthor:1.8-repeat repeat", 54, 3024),
    ("streaming", "vpanthor:1.9 sparse", 54, 2592),
];

#[test]
fn an_old_recording_has_the_counts_that_it_had() {
    let folder = Path::new(common::cargo::ROOT).join("tests/trace/recorded");
    let counts = std::fs::read(folder.join("counts.json")).expect("the counts");
    let counts: BTreeMap<String, BTreeMap<String, Counts>> =
        serde_json::from_slice(&counts).expect("counts by recording, kernel and strategy");
    assert_eq!(counts.len(), 2);
    for (recording, ways) in &counts {
        assert_eq!(
            ways.len(),
            5,
            "every kernel with the strategy that it takes"
        );
        for (way, expected) in ways {
            let (kernel, strategy) = way.split_once(' ').expect("a kernel and a strategy");
            let strategy: NullChoice = strategy.parse().expect("a strategy");
            let mut replay = Replay::new(&kernel.parse().expect("a kernel"), strategy)
                .expect("a virtual kernel");
            let file = File::open(folder.join(format!("{recording}.pvst"))).expect("a recording");
            let mut reader = Reader::new(BufReader::new(file)).expect("its header");
            while let Some(record) = reader.next_record().expect("a record") {
                replay.feed(&record).expect("the kernel has room");
            }
            let totals = serde_json::to_value(replay.totals()).expect("JSON");
            let found: Counts = expected
                .keys()
                .map(|name| (name.clone(), totals[name].as_u64().unwrap_or_default()))
                .collect();
            let more = MORE
                .iter()
                .find(|more| (more.0, more.1) == (recording, way));
            let mut expected = expected.clone();
            for (name, more) in more.into_iter().flat_map(|&(_, _, ops, bytes)| {
                [
                    ("null_ops", ops),
                    ("vm_bind_ops", ops),
                    ("bytes_to_kernel", bytes),
                ]
            }) {
                let count = expected.get_mut(name).expect("a count of that name");
                *count = count.checked_add_signed(more).expect("a count");
            }
            assert_eq!(found, expected, "{recording} on {way}");
            assert_eq!(totals["not_taken"], Value::from(0));
        }
    }
}
