//! The trace format: what is written is what is read, and damage never passes for a recording.

#[path = "trace_kit/arbitrary.rs"]
mod arbitrary;

use panvk_sparse::trace::{Header, ReadError, Reader, Record, Writer};
use proptest::prelude::*;

fn header() -> Header {
    Header {
        started_unix_ns: 1_700_000_000_000_000_000,
        ..Header::new("game", 4321)
    }
}

/// A recording with a flush after every `per_block` records.
fn file(records: &[Record], per_block: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for chunk in records.chunks(per_block) {
        for record in chunk {
            writer.record(record).unwrap();
        }
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

/// All records up to the end or an error, and the error.
fn read(bytes: &[u8], salvage: bool) -> (Vec<Record>, Option<ReadError>, bool) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader.salvaging(salvage),
        Err(error) => return (Vec::new(), Some(error), false),
    };
    let mut records = Vec::new();
    let error = loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(reader.next_record(), Ok(None)));
    (records, error, reader.ended_cleanly())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn records_come_back_as_they_were(
        records in arbitrary::records(20),
        per_block in 1..20_usize,
    ) {
        let bytes = file(&records, per_block);
        let (back, error, clean) = read(&bytes, false);
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(back, records);
        prop_assert!(clean);
    }
}
