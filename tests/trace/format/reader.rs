//! What is refused of a file, what is skipped, and what is read before damage.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use trace::{Event, MAX_ITEMS, ReadError, Reader, Record};

use super::kit::*;

#[test]
fn foreign_and_newer_files_are_told_apart() {
    assert_eq!(
        error_of(b""),
        "at offset 0: the file is empty, expected a recording"
    );
    assert_eq!(
        error_of(b"\x7fELF\x02\x01\x01\x00\x00"),
        "at offset 0: found 7f 45 4c 46 02 01 01 00, expected a recording, which begins with 89 50 56 53 54 0d 0a 1a"
    );
    let mut newer = file(&[present(1)], 1);
    newer[8] = 2;
    assert_eq!(
        error_of(&newer),
        "at offset 8: found version 2.0 of the format, expected 1.x: a newer panvk-sparse made it"
    );
}

#[test]
fn counts_that_cannot_be_are_refused_before_memory_is_taken() {
    // A call with 2^40 infos: time, record of 12 bytes, kind, elapsed, device, queue, result, duration.
    let contents = [0, 12, 11, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    assert!(
        error_of(&one_block(&contents)).contains(
            "found a count of 1099511627776, expected no more than the 0 bytes that follow"
        )
    );
    let mut bytes = file(&[], 1);
    let start = blocks(&bytes)[0];
    bytes.truncate(start);
    bytes.extend(b"PVSB\xff\xff\xff\x03....");
    assert_eq!(
        error_of(&bytes),
        format!(
            "at offset {start}: found 12 bytes up to the end of the file, expected at least 67108875: the file is cut off"
        )
    );
    bytes[start + 7] = 4;
    assert_eq!(
        error_of(&bytes),
        format!(
            "at offset {}: found a block of 83886079 bytes, expected at most 67108864",
            start + 4
        )
    );
}

#[test]
fn more_items_than_a_call_may_have_are_refused() {
    // Infos without anything, one byte each.
    let infos = MAX_ITEMS + 1;
    let mut record = vec![11, 0, 0, 0, 0, 0];
    let mut number = infos << 1;
    while number >= 0x80 {
        record.push(number as u8 | 0x80);
        number >>= 7;
    }
    record.push(number as u8);
    record.resize(record.len() + infos as usize, 0);
    let mut contents = vec![0];
    let mut length = record.len();
    while length >= 0x80 {
        contents.push(length as u8 | 0x80);
        length >>= 7;
    }
    contents.push(length as u8);
    contents.extend(record);
    assert!(error_of(&one_block(&contents)).contains("found 4194305 items"));
}

#[test]
fn damage_inside_a_record_is_named_with_its_place() {
    let start = blocks(&file(&[], 1))[0] + 12;
    let at = |n: usize| format!("at offset {}: ", start + n);
    let error = |contents: &[u8]| error_of(&one_block(contents));
    assert_eq!(
        error(&[0, 2, 15, 0]),
        at(1) + "found an event of kind 15, expected 1 to 14"
    );
    assert_eq!(
        error(&[0, 4, 14, 0, 1, 9]),
        at(5) + "found 1 bytes more in the record, expected its end"
    );
    assert_eq!(
        error(&[0, 9, 14]),
        at(1) + "found a count of 9, expected no more than the 1 bytes that follow"
    );
    assert_eq!(
        error(&[0, 5, 7, 0, 0, 2, 0]),
        at(5) + "found a flag of 2, expected 0 or 1"
    );
    assert_eq!(error(&[]), at(0) + "found the end, expected another byte");
    let mut late = vec![0xff; 9];
    late.extend([1, 3, 14, 1, 1]);
    assert_eq!(
        error(&late),
        at(12) + "found 1 ns since the record before, expected a time below 2^64 ns"
    );
}

#[test]
fn a_block_does_not_begin_before_the_last_record() {
    let mut bytes = file(&[present(9)], 1);
    bytes.truncate(blocks(&bytes)[1]);
    append_block(&mut bytes, b"PVSB", &[8, 3, 14, 0, 1]);
    assert!(error_of(&bytes).contains("found a block that begins at 8 ns"));
}

#[test]
fn the_end_says_how_many_records_there_are_and_nothing_follows_it() {
    let bytes = file(&[present(1), present(2)], 1);
    let starts = blocks(&bytes);
    // Without the second block.
    let mut gap = bytes[..starts[1]].to_vec();
    gap.extend(&bytes[starts[2]..]);
    assert!(error_of(&gap).contains("found 1 records up to the end, expected 2, as the end says"));
    let mut more = bytes.clone();
    more.push(0);
    assert_eq!(
        error_of(&more),
        format!(
            "at offset {}: found more bytes after the end of the recording, expected the end of the file",
            bytes.len()
        )
    );
}

/// As a writer of version 1.1 might write it.
fn newer_minor(contents: &[u8]) -> Vec<u8> {
    let mut bytes = file(&[], 1);
    let start = blocks(&bytes)[0];
    bytes.truncate(start);
    bytes[10] = 1;
    // The header has a field more, too.
    bytes.push(77);
    let length = (start - 20 + 1) as u32;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&bytes[..16]);
    checksum.update(&bytes[20..]);
    let checksum = checksum.finalize().to_le_bytes();
    bytes[16..20].copy_from_slice(&checksum);
    append_block(&mut bytes, b"PVSB", contents);
    bytes
}

#[test]
fn what_a_later_minor_version_adds_is_skipped() {
    // At 5 ns; an unknown event 2 ns later; 3 events lost 1 ns later, with something more to say of them.
    let bytes = newer_minor(&[5, 4, 99, 2, 1, 2, 5, 14, 1, 3, 8, 8]);
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.header().version, (1, 1));
    assert_eq!(
        reader.next_record().unwrap(),
        Some(Record {
            time: 8,
            event: Event::Lost { events: 3 }
        })
    );
    assert_eq!(reader.next_record().unwrap(), None);
    assert_eq!(reader.skipped(), 1);
}

/// Gives its bytes one by one, with an interruption between, and then an error.
struct Slow<'a> {
    bytes: &'a [u8],
    interrupt: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(ErrorKind::Interrupted.into());
        }
        let Some((first, rest)) = self.bytes.split_first() else {
            return Err(io::Error::other("the disk is gone"));
        };
        self.bytes = rest;
        buffer[0] = *first;
        Ok(1)
    }
}

#[test]
fn what_the_system_fails_to_read_is_an_error_even_where_damage_is_none() {
    let bytes = file(&[present(1)], 1);
    let end = blocks(&bytes)[1];
    let slow = Slow {
        bytes: &bytes[..end],
        interrupt: false,
    };
    let mut reader = Reader::new(slow).unwrap().salvaging(true);
    assert_eq!(reader.next_record().unwrap(), Some(present(1)));
    let error = reader.next_record().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("at offset {end}: the disk is gone")
    );
    assert_eq!(reader.offset(), end as u64);
}

#[test]
fn a_salvaging_reader_remembers_the_damage() {
    let bytes = file(&[present(1), present(2)], 1);
    let starts = blocks(&bytes);
    let cut = &bytes[..starts[2] - 1];
    let mut reader = Reader::new(cut).unwrap().salvaging(true);
    assert_eq!(reader.by_ref().filter_map(Result::ok).count(), 1);
    assert_eq!(
        reader.damage().map(ReadError::offset),
        Some(starts[1] as u64)
    );
    assert_eq!(reader.offset(), starts[1] as u64);
    assert!(!reader.ended_cleanly());
}

#[test]
fn the_corpus_of_the_fuzz_target_does_no_harm() {
    let folder = Path::new(common::cargo::ROOT).join("fuzz/corpus/trace");
    let (mut files, mut damaged) = (0, 0);
    let mut records = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        // As they are, and as what a block with the right checksum has in it.
        for bytes in [&bytes, &one_block(&bytes)] {
            let (strict, error, clean) = read(bytes, false);
            let (salvaged, left, _) = read(bytes, true);
            assert_eq!(strict, salvaged);
            assert!(!clean || error.is_none());
            assert!(left.is_none() || Reader::new(&bytes[..]).is_err());
            damaged += usize::from(error.is_some());
            records.extend(strict);
        }
        files += 1;
    }
    assert!(
        files >= 10 && damaged >= 10,
        "{files} files, {damaged} damaged"
    );
    records.sort_by_key(|record| record.time);
    let (back, error, clean) = read(&file(&records, 7), false);
    assert!(error.is_none() && clean);
    assert!(
        back == records && records.len() >= 20,
        "{} records",
        records.len()
    );
}
