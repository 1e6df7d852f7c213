//! The trace format: what is written is what is read, and damage never passes for a recording.

#[path = "trace_kit/arbitrary.rs"]
mod arbitrary;

use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use panvk_sparse::backend::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};
use panvk_sparse::layout::{Extent, Offset, Region};
use panvk_sparse::trace::{
    DeviceCreated, Event, Header, MAX_BLOCK, MAX_ITEMS, ReadError, Reader, Record, Writer,
};
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
            Ok(Some(record)) => {
                // The next ones get its lists, and have to be as if they were new.
                reader.recycle(record.clone());
                records.push(record);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(reader.next_record(), Ok(None)));
    (records, error, reader.ended_cleanly())
}

/// Where each block begins, the end's included, and after the last one the end of the file.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut starts = vec![20 + length(12)];
    while starts[starts.len() - 1] < bytes.len() {
        let start = starts[starts.len() - 1];
        starts.push(start + 12 + length(start + 4));
    }
    starts
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

    #[test]
    fn of_a_file_that_is_cut_off_every_whole_block_is_read(
        records in arbitrary::records(12),
        per_block in 1..5_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = file(&records, per_block);
        let starts = blocks(&bytes);
        let cut = cut.index(bytes.len());
        let (back, error, clean) = read(&bytes[..cut], false);
        prop_assert!(!clean);
        let whole = starts[1..].iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&back, &records[..(whole * per_block).min(records.len())]);
        if cut < starts[0] {
            prop_assert!(error.is_some());
        } else if starts.contains(&cut) {
            prop_assert!(error.is_none());
        } else {
            let truncated = matches!(
                error,
                Some(ReadError::Truncated { offset, found, .. })
                    if offset == starts[whole] as u64 && offset + found == cut as u64
            );
            prop_assert!(truncated, "{error:?}");
            let (salvaged, error, _) = read(&bytes[..cut], true);
            prop_assert!(error.is_none());
            prop_assert_eq!(salvaged, back);
        }
    }

    #[test]
    fn a_changed_byte_is_found_and_the_blocks_before_it_are_read(
        records in arbitrary::records(12),
        per_block in 1..5_usize,
        at in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let mut bytes = file(&records, per_block);
        let starts = blocks(&bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let (back, error, clean) = read(&bytes, false);
        prop_assert!(!clean);
        let error = error.expect("an error");
        let whole = starts[1..].iter().filter(|&&end| end <= at).count();
        prop_assert_eq!(&back, &records[..(whole * per_block).min(records.len())]);
        let damaged = if at < starts[0] { 0..starts[0] } else { starts[whole]..at + 1 };
        prop_assert!(damaged.contains(&(error.offset() as usize)), "{at}: {error}");
        if at >= starts[0] {
            let (salvaged, error, _) = read(&bytes, true);
            prop_assert!(error.is_none());
            prop_assert_eq!(salvaged, back);
        }
    }

    #[test]
    fn contents_of_a_block_that_make_no_sense_are_no_records(
        contents in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = file(&[], 1);
        bytes.truncate(blocks(&bytes)[0]);
        append_block(&mut bytes, b"PVSB", &contents);
        let start = blocks(&bytes)[0];
        // With the checksum right, the decoder is what has to find out.
        let (back, error, _) = read(&bytes, false);
        prop_assert!(back.len() <= contents.len());
        if let Some(error) = error {
            prop_assert!((start..=bytes.len()).contains(&(error.offset() as usize)), "{error}");
        }
    }
}

fn append_block(bytes: &mut Vec<u8>, tag: &[u8; 4], contents: &[u8]) {
    let mut block = tag.to_vec();
    block.extend((contents.len() as u32).to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&block);
    checksum.update(contents);
    bytes.extend(block);
    bytes.extend(checksum.finalize().to_le_bytes());
    bytes.extend(contents);
}

/// A file whose only block has these contents.
fn one_block(contents: &[u8]) -> Vec<u8> {
    let mut bytes = file(&[], 1);
    bytes.truncate(blocks(&bytes)[0]);
    append_block(&mut bytes, b"PVSB", contents);
    bytes
}

fn present(time: u64) -> Record {
    Record {
        time,
        event: Event::Present {
            device: 1,
            queue: 2,
        },
    }
}

fn bind_sparse(time: u64, binds: Vec<Bind>) -> Record {
    Record {
        time,
        event: Event::BindSparse {
            device: 0x1000,
            queue: 0x2000,
            call: BindCall {
                infos: vec![BindInfo {
                    binds: vec![(ResourceId::Buffer(0x3000), binds)],
                    ..BindInfo::default()
                }],
                fence: None,
            },
            result: 0,
            duration: 900,
        },
    }
}

fn bind(n: u64, memory: Option<u64>) -> Bind {
    Bind {
        resource_offset: n << 16,
        size: 1 << 16,
        memory,
        memory_offset: memory.map_or(0, |_| n << 16),
        metadata: false,
    }
}

fn error_of(bytes: &[u8]) -> String {
    read(bytes, false).1.expect("an error").to_string()
}

#[test]
fn the_example_in_the_documentation_is_what_is_written() {
    let text = include_str!("../docs/trace-format.md");
    let (_, example) = text.split_once("```hex\n").expect("a block of hex");
    let (example, _) = example.split_once("```").expect("its end");
    let documented: Vec<u8> = example
        .lines()
        .flat_map(|line| line.split("  ").next().unwrap_or("").split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let header = Header {
        started_unix_ns: 1_700_000_000_000_000_000,
        layer_version: "0.1.0".to_owned(),
        ..Header::new("game", 4321)
    };
    let tile = |x, y, place: u64| ImageBind {
        region: Region {
            aspect: 1,
            level: 0,
            layer: 0,
            offset: Offset { x, y, z: 0 },
            extent: Extent::new(128, 128, 1),
        },
        memory: Some(0x4000),
        memory_offset: place << 16,
    };
    let mut tiles = bind_sparse(6_000_000, Vec::new());
    if let Event::BindSparse { call, .. } = &mut tiles.event {
        call.infos[0].binds.clear();
        call.infos[0].waits.push(Semaphore {
            handle: 0x7000,
            value: 1,
        });
        call.infos[0]
            .image_binds
            .push((0x5000, vec![tile(128, 0, 2), tile(0, 128, 5)]));
    }
    let records = [
        bind_sparse(
            5_000_000,
            vec![bind(0, Some(0x4000)), bind(1, Some(0x4000)), bind(2, None)],
        ),
        Record {
            time: 5_100_000,
            event: Event::Present {
                device: 0x1000,
                queue: 0x2400,
            },
        },
        tiles,
    ];
    let mut writer = Writer::new(Vec::new(), &header).unwrap();
    records
        .iter()
        .for_each(|record| writer.record(record).unwrap());
    let written = writer.finish().unwrap();
    let hex = |bytes: &[u8]| -> Vec<String> { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(hex(&documented), hex(&written));
}

#[test]
fn the_header_comes_back() {
    let bytes = file(&[], 1);
    let reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(*reader.header(), header());
    assert_eq!(reader.header().version, (1, 0));
}

#[test]
fn a_recording_that_was_not_finished_has_no_clean_end() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.record(&present(7)).unwrap();
    writer.flush().unwrap();
    writer.record(&present(8)).unwrap();
    let bytes = file(&[present(7)], 1);
    let starts = blocks(&bytes);
    assert!(writer.bytes() > starts[1] as u64);
    let (back, error, clean) = read(&bytes[..starts[1]], false);
    assert_eq!(back, [present(7)]);
    assert!(error.is_none() && !clean);
}

/// Takes `room` bytes, and remembers each write.
struct Disk<'a> {
    room: usize,
    writes: &'a RefCell<Vec<usize>>,
}

impl Write for Disk<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room);
        if len == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.room -= len;
        self.writes.borrow_mut().push(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_block_is_handed_over_in_one_write_and_holds_about_64_kib() {
    let writes = RefCell::new(Vec::new());
    let disk = Disk {
        room: usize::MAX,
        writes: &writes,
    };
    let mut writer = Writer::new(disk, &header()).unwrap();
    assert_eq!(writes.borrow().len(), 1);
    let record = bind_sparse(0, (0..100).map(|n| bind(n * 3, Some(n))).collect());
    while writes.borrow().len() < 4 {
        writer.record(&record).unwrap();
    }
    assert_eq!(writer.bytes(), writes.borrow().iter().sum::<usize>() as u64);
    for &len in &writes.borrow()[1..] {
        assert!((64 << 10..65 << 10).contains(&len), "{len}");
    }
    writer.record(&record).unwrap();
    assert!(writer.bytes() > writes.borrow().iter().sum::<usize>() as u64);
    writer.flush().unwrap();
    writer.flush().unwrap();
    assert_eq!(writes.borrow().len(), 5);
    assert_eq!(writer.bytes(), writes.borrow().iter().sum::<usize>() as u64);
}

#[test]
fn nothing_follows_a_block_that_could_not_be_written_as_a_whole() {
    let writes = RefCell::new(Vec::new());
    let header_len = blocks(&file(&[], 1))[0];
    let disk = Disk {
        room: header_len + 13,
        writes: &writes,
    };
    let mut writer = Writer::new(disk, &header()).unwrap();
    writer.record(&present(0)).unwrap();
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(writer.record(&present(1)).is_err());
    assert!(writer.flush().is_err());
    assert_eq!(*writes.borrow(), [header_len, 13]);
}

#[test]
fn a_million_binds_in_one_call_come_back() {
    let call = bind_sparse(
        3,
        (0..1_000_000)
            .map(|n| bind(n * 7 % 1_000_003, Some(n % 5)))
            .collect(),
    );
    let records = [present(1), call, present(4)];
    let bytes = file(&records, 3);
    let (back, error, clean) = read(&bytes, false);
    assert!(error.is_none() && clean);
    assert!(back == records);
}

#[test]
fn what_is_too_large_is_refused_and_the_recording_goes_on() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.record(&present(1)).unwrap();
    let items = MAX_ITEMS as usize - 2;
    let mut many = bind_sparse(2, vec![bind(0, None); items + 1]);
    let error = writer.record(&many).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        error.to_string(),
        "the record has 4194305 items, expected at most 4194304"
    );

    if let Event::BindSparse { call, .. } = &mut many.event {
        call.infos[0].binds[0].1.pop();
        // The largest numbers, each far from the one before.
        for (n, bind) in call.infos[0].binds[0].1.iter_mut().enumerate() {
            let wild = (n as u64 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            *bind = Bind {
                resource_offset: wild,
                size: wild.rotate_left(13) | 1,
                memory: Some(wild),
                memory_offset: wild.rotate_left(29),
                metadata: true,
            };
        }
    }
    let error = writer.record(&many).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .ends_with(&format!("bytes, expected at most {MAX_BLOCK}")),
        "{error}"
    );

    writer.record(&present(3)).unwrap();
    let (back, error, clean) = read(&writer.finish().unwrap(), false);
    assert!(error.is_none() && clean);
    assert_eq!(back, [present(1), present(3)]);
}

#[test]
fn a_call_that_does_not_fit_the_open_block_gets_its_own() {
    // Each bind far from the one before, so that each takes as many bytes.
    let call = |binds: usize| {
        let far = |n: usize| if n % 2 == 0 { 1 } else { 1 << 62 | 1 };
        let bind = |n| Bind {
            resource_offset: far(n),
            size: far(n + 1),
            memory: Some(7),
            memory_offset: far(n),
            metadata: false,
        };
        bind_sparse(2, (0..binds).map(bind).collect())
    };
    let len = |binds| file(&[call(binds)], 1).len();
    let per_2000 = len(3000) - len(1000);
    let large = call((MAX_BLOCK - (20 << 10)) * 2000 / per_2000);
    let small = call((40 << 10) * 2000 / per_2000);

    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for record in [&small, &large, &small] {
        writer.record(record).unwrap();
    }
    let bytes = writer.finish().unwrap();
    // The three calls in a block each, and the end.
    assert_eq!(blocks(&bytes).len(), 5);
    let (back, error, clean) = read(&bytes, false);
    assert!(error.is_none() && clean);
    assert!(back == [small.clone(), large, small]);
}

#[test]
fn a_time_that_goes_back_is_raised() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for (time, flush) in [(5, false), (3, true), (2, false), (9, false)] {
        writer.record(&present(time)).unwrap();
        if flush {
            writer.flush().unwrap();
        }
    }
    let (back, ..) = read(&writer.finish().unwrap(), false);
    let times: Vec<u64> = back.iter().map(|record| record.time).collect();
    assert_eq!(times, [5, 5, 5, 9]);
}

#[test]
fn long_strings_are_cut() {
    let long = "x".repeat(10_000);
    let created = |text: &str| Record {
        time: 0,
        event: Event::DeviceCreated(DeviceCreated {
            name: text.to_owned(),
            ..DeviceCreated::default()
        }),
    };
    let mut writer = Writer::new(Vec::new(), &Header::new(long.clone(), 1)).unwrap();
    writer.record(&created(&long)).unwrap();
    let bytes = writer.finish().unwrap();
    let mut reader = Reader::new(&bytes[..]).unwrap();
    assert_eq!(reader.header().process, long[..4096]);
    assert_eq!(reader.next_record().unwrap(), Some(created(&long[..4096])));
}

#[test]
fn a_bind_that_continues_the_one_before_takes_one_byte() {
    let len = |binds| {
        file(
            &[bind_sparse(
                0,
                (0..binds).map(|n| bind(n, Some(9))).collect(),
            )],
            1,
        )
        .len()
    };
    assert_eq!(len(100) - len(90), 10);
    // A jump in both the resource and the memory takes a unit's byte or two each.
    let scattered: Vec<Bind> = (0..100)
        .map(|n| Bind {
            memory_offset: (n * 37 % 100) << 16,
            ..bind(n * 61 % 100, Some(9))
        })
        .collect();
    assert!(file(&[bind_sparse(0, scattered)], 1).len() < 100 * 5 + 150);
}

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
fn semaphores_and_fences_take_few_bytes_when_they_come_again() {
    let call = |time: u64| {
        let semaphores = |n: u64| {
            vec![Semaphore {
                handle: 0x5500_0000_0000 + n * 0x100,
                value: time,
            }]
        };
        Record {
            time,
            event: Event::BindSparse {
                device: 0x1000,
                queue: 0x2000,
                call: BindCall {
                    infos: vec![BindInfo {
                        waits: semaphores(time % 3),
                        signals: semaphores((time + 1) % 3),
                        ..BindInfo::default()
                    }],
                    fence: Some(0x5500_0001_0000 + time % 2 * 0x80),
                },
                result: 0,
                duration: 1,
            },
        }
    };
    let len = |calls| file(&(0..calls).map(call).collect::<Vec<_>>(), 1000).len();
    // Length, kind, time, device, queue, result, duration, infos, fence, flags; count, handle and value twice.
    assert_eq!(len(80) - len(70), 10 * 16);
}

#[test]
fn the_corpus_of_the_fuzz_target_does_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/trace");
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
