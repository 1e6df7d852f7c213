//! What is written, in how many bytes and how many writes; what is refused.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};

use trace::{DeviceCreated, Event, Header, MAX_BLOCK, MAX_ITEMS, Reader, Record, Writer};
use vulkan::calls::{Bind, BindCall, BindInfo, Semaphore};

use super::kit::*;

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
