//! Recordings of an earlier version, with what that version counted in them: a newer one counts the same.
//!
//! The recordings are of the examples `sparse_buffer` and `streaming --frames 120`. What is written to page tables is not
//! compared: that is what a newer version may do better. The counts of operations are those of this version where it maps
//! less again to save an operation, or maps a null run by whole slots with a head and a tail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use hosted::config::NullChoice;
use replay::Replay;
use serde_json::Value;
use trace::Reader;

type Counts = BTreeMap<String, u64>;

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
            assert_eq!(&found, expected, "{recording} on {way}");
            assert_eq!(totals["not_taken"], Value::from(0));
        }
    }
}
