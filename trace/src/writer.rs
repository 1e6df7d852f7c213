//! Records become blocks of a file.

use std::io::{self, Write};

use super::state::Context;
use super::wire::put;
use super::{BLOCK_HEAD, FULL_BLOCK, MAX_BLOCK, MAX_ITEMS, TAG_END, TAG_RECORDS};
use super::{Event, Header, Record, encode};

/// Writes a recording.
///
/// Records are gathered in an *open* block. It is handed to the output in one `write_all` when it has become large
/// enough (64 KiB), with [`Writer::flush`] and with [`Writer::finish`]; a writer that is dropped loses the open block. When the
/// output fails, part of a block may have been written, so the writer takes nothing from then on.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    /// The open block, with room for its head; empty where none is open.
    block: Vec<u8>,
    /// The record that is encoded, whose length has to be written before it.
    record: Vec<u8>,
    state: Context,
    /// How many records are in the open block.
    block_records: u64,
    /// Of the last record.
    time: u64,
    written: u64,
    records: u64,
    /// Bytes of the file, its end included, that no record may exceed.
    limit: u64,
    failed: bool,
}

/// Bytes of the end of a file at most: a head, and a number in the form of LEB128.
const END_BYTES: usize = BLOCK_HEAD + 10;

impl<W: Write> Writer<W> {
    /// Writes the file's header at once.
    ///
    /// # Errors
    /// The output's.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let header = header.encode();
        out.write_all(&header)?;
        Ok(Self {
            out,
            block: Vec::new(),
            record: Vec::new(),
            state: Context::new(),
            block_records: 0,
            time: 0,
            written: header.len() as u64,
            records: 0,
            limit: u64::MAX,
            failed: false,
        })
    }

    /// From here on, no record makes the file longer than so many bytes, with its end.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Adds a record to the open block. A time before that of the record before is raised to it.
    ///
    /// # Errors
    /// `InvalidInput` where the record is too large for the format: a call with more than [`MAX_ITEMS`] items, or one
    /// that takes more than [`MAX_BLOCK`] bytes. The recording goes on without it. `FileTooLarge` where the record would make
    /// the file longer than its limit: only [`Writer::finish`] may follow. All other errors are the output's.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.usable()?;
        if let Event::BindSparse { call, .. } = &record.event {
            let items = encode::items(call);
            if items > MAX_ITEMS {
                return Err(too_large(items, "items", MAX_ITEMS));
            }
        }
        let time = record.time.max(self.time);
        self.encode(time, &record.event);
        if self.block.len() + self.record.len() > MAX_BLOCK {
            self.close()?;
            self.encode(time, &record.event);
            if self.block.len() + self.record.len() > MAX_BLOCK {
                self.block.clear();
                return Err(too_large(
                    self.record.len() as u64,
                    "bytes",
                    MAX_BLOCK as u64,
                ));
            }
        }
        let longest = self.bytes() + (10 + self.record.len() + END_BYTES) as u64;
        if longest > self.limit {
            if self.block_records == 0 {
                self.block.clear();
            }
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "the limit of {} bytes is reached: with one more record the file would need {longest}",
                    self.limit
                ),
            ));
        }
        self.time = time;
        self.records += 1;
        self.block_records += 1;
        put(&mut self.block, self.record.len() as u64);
        self.block.extend_from_slice(&self.record);
        if self.block.len() >= BLOCK_HEAD + FULL_BLOCK {
            self.close()?;
        }
        Ok(())
    }

    /// Closes the open block and hands it to the output in one `write_all`. Then all records so far are where the output
    /// keeps them.
    ///
    /// # Errors
    /// The output's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.usable()?;
        self.close()?;
        self.out.flush()
    }

    /// Bytes of the file: those that were written, and the open block.
    pub fn bytes(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    /// Flushes, and marks the end: a reader can tell that nothing is missing.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self) -> io::Result<W> {
        self.usable()?;
        self.close()?;
        self.block.resize(BLOCK_HEAD, 0);
        put(&mut self.block, self.records);
        self.write(TAG_END)?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Encodes an event as the next one of the open block, or of a new one where none is open.
    fn encode(&mut self, time: u64, event: &Event) {
        if self.block.is_empty() {
            self.state = Context::new();
            self.state.time = time;
            self.block_records = 0;
            self.block.resize(BLOCK_HEAD, 0);
            put(&mut self.block, time);
        }
        self.record.clear();
        encode::record(&mut self.record, &mut self.state, time, event);
    }

    fn close(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.write(TAG_RECORDS)
    }

    fn write(&mut self, tag: [u8; 4]) -> io::Result<()> {
        let contents = self.block.len() - BLOCK_HEAD;
        self.block[..4].copy_from_slice(&tag);
        self.block[4..8].copy_from_slice(&(contents as u32).to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.block[..8]);
        checksum.update(&self.block[BLOCK_HEAD..]);
        self.block[8..12].copy_from_slice(&checksum.finalize().to_le_bytes());
        if let Err(error) = self.out.write_all(&self.block) {
            self.failed = true;
            return Err(error);
        }
        self.written += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn usable(&self) -> io::Result<()> {
        match self.failed {
            false => Ok(()),
            true => Err(io::Error::other(
                "an earlier block could not be written as a whole, so nothing can follow it",
            )),
        }
    }
}

fn too_large(found: u64, what: &str, most: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the record has {found} {what}, expected at most {most}"),
    )
}
