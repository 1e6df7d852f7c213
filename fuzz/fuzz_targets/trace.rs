//! Any bytes as a recording: as they are, with all checksums made right, and as the contents of one block. No panic;
//! salvage ends where a strict reader finds damage, with the same records; and what was read is written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use trace::{Header, Reader, Record, Writer};

const HEADER: usize = 20;
const BLOCK: usize = 12;

fn records(bytes: &[u8], salvage: bool) -> (Vec<Record>, bool, bool) {
    let Ok(reader) = Reader::new(bytes) else {
        return (Vec::new(), false, false);
    };
    let mut reader = reader.salvaging(salvage);
    let mut records = Vec::new();
    loop {
        let before = reader.offset();
        match reader.next_record() {
            Ok(Some(record)) => {
                assert!(reader.offset() > before);
                assert!(reader.offset() <= bytes.len() as u64);
                reader.recycle(record.clone());
                records.push(record);
            }
            Ok(None) => {
                let damaged = reader.damage().is_some();
                assert!(salvage || !damaged);
                return (records, damaged, reader.ended_cleanly());
            }
            Err(error) => {
                assert!(!salvage, "{error}");
                assert!(error.offset() <= bytes.len() as u64);
                return (records, true, false);
            }
        }
    }
}

fn check(bytes: &[u8]) {
    let strict = records(bytes, false);
    assert_eq!(strict, records(bytes, true));
    let (records_read, damaged, clean) = strict;
    assert!(!(damaged && clean));
    assert!(
        records_read
            .windows(2)
            .all(|pair| pair[0].time <= pair[1].time)
    );

    let mut writer = Writer::new(Vec::new(), &Header::new("fuzz", 1)).expect("memory");
    for record in &records_read {
        writer
            .record(record)
            .expect("it was read, so it can be written");
    }
    let again = writer.finish().expect("memory");
    assert_eq!(records(&again, false), (records_read, false, true));
}

fn checksum(parts: [&[u8]; 2]) -> [u8; 4] {
    let mut checksum = crc32fast::Hasher::new();
    parts.into_iter().for_each(|part| checksum.update(part));
    checksum.finalize().to_le_bytes()
}

fn length(bytes: &[u8]) -> usize {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

/// A fuzzer does not find checksums by itself.
fn repaired(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < HEADER {
        return bytes;
    }
    let end = HEADER.saturating_add(length(&bytes[12..]));
    if end > bytes.len() {
        return bytes;
    }
    let right = checksum([&bytes[..16], &bytes[HEADER..end]]);
    bytes[16..HEADER].copy_from_slice(&right);
    let mut at = end;
    while bytes.len() - at >= BLOCK {
        let end = at
            .saturating_add(BLOCK)
            .saturating_add(length(&bytes[at + 4..]));
        if end > bytes.len() {
            break;
        }
        let right = checksum([&bytes[at..at + 8], &bytes[at + BLOCK..end]]);
        bytes[at + 8..at + BLOCK].copy_from_slice(&right);
        at = end;
    }
    bytes
}

fn one_block(contents: &[u8]) -> Vec<u8> {
    let writer = Writer::new(Vec::new(), &Header::new("fuzz", 1)).expect("memory");
    let mut bytes = writer.finish().expect("memory");
    // Without the end: a block with the number of records, which is 0.
    bytes.truncate(bytes.len() - BLOCK - 1);
    bytes.extend(b"PVSB");
    bytes.extend((contents.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(contents);
    repaired(bytes)
}

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&repaired(data.to_vec()));
    check(&one_block(data));
});
