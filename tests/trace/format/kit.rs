//! Recordings for the tests of the format, and what is read of them.

use trace::{Event, Header, ReadError, Reader, Record, Writer};
use vulkan::calls::{Bind, BindCall, BindInfo, ResourceId};

pub fn header() -> Header {
    Header {
        started_unix_ns: 1_700_000_000_000_000_000,
        ..Header::new("game", 4321)
    }
}

/// A recording with a flush after every `per_block` records.
pub fn file(records: &[Record], per_block: usize) -> Vec<u8> {
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
pub fn read(bytes: &[u8], salvage: bool) -> (Vec<Record>, Option<ReadError>, bool) {
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
pub fn blocks(bytes: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut starts = vec![20 + length(12)];
    while starts[starts.len() - 1] < bytes.len() {
        let start = starts[starts.len() - 1];
        starts.push(start + 12 + length(start + 4));
    }
    starts
}

pub fn append_block(bytes: &mut Vec<u8>, tag: &[u8; 4], contents: &[u8]) {
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
pub fn one_block(contents: &[u8]) -> Vec<u8> {
    let mut bytes = file(&[], 1);
    bytes.truncate(blocks(&bytes)[0]);
    append_block(&mut bytes, b"PVSB", contents);
    bytes
}

pub fn present(time: u64) -> Record {
    Record {
        time,
        event: Event::Present {
            device: 1,
            queue: 2,
        },
    }
}

pub fn bind_sparse(time: u64, binds: Vec<Bind>) -> Record {
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

pub fn bind(n: u64, memory: Option<u64>) -> Bind {
    Bind {
        resource_offset: n << 16,
        size: 1 << 16,
        memory,
        memory_offset: memory.map_or(0, |_| n << 16),
        metadata: false,
    }
}

pub fn error_of(bytes: &[u8]) -> String {
    read(bytes, false).1.expect("an error").to_string()
}
