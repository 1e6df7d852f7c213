//! Blocks of a file become records.

use std::io::Read;

use super::error::{Hex, ReadError};
use super::header::{Header, io_error, read_up_to};
use super::spare::Spare;
use super::state::Context;
use super::wire::{Cursor, Fault};
use super::{BLOCK_HEAD, Event, MAX_BLOCK, Record, TAG_END, TAG_RECORDS, VERSION, decode};

/// Bytes of a block that are asked for at once, so that a length that is not true allocates little.
const STEP: usize = 1 << 20;

/// Reads a recording, one block at a time. After an error there are no more records.
#[derive(Debug)]
pub struct Reader<R: Read> {
    input: R,
    header: Header,
    /// The contents of the block at hand are the first `len` bytes.
    block: Vec<u8>,
    len: usize,
    /// Bytes of the contents that are decoded.
    at: usize,
    /// Of the contents, in the file.
    contents_offset: u64,
    state: Context,
    spare: Spare,
    /// Of the last record.
    time: u64,
    /// Records so far, those skipped among them.
    records: u64,
    skipped: u64,
    end: End,
    salvaging: bool,
    damage: Option<ReadError>,
}

/// How far the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// There may be more.
    Open,
    /// No more blocks, but no end was marked either.
    Stopped,
    Marked,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// The file is no recording, or of a newer major version, or its header is damaged.
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let (header, offset) = Header::read(&mut input)?;
        Ok(Self {
            input,
            header,
            block: Vec::new(),
            len: 0,
            at: 0,
            contents_offset: offset,
            state: Context::new(),
            spare: Spare::default(),
            time: 0,
            records: 0,
            skipped: 0,
            end: End::Open,
            salvaging: false,
            damage: None,
        })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether damage ends the recording quietly, with all records before it, rather than with an error. What the system
    /// fails to read stays an error.
    pub fn salvaging(mut self, on: bool) -> Self {
        self.salvaging = on;
        self
    }

    /// The damage that a salvaging reader has stopped at.
    pub fn damage(&self) -> Option<&ReadError> {
        self.damage.as_ref()
    }

    /// The next record, or `None` at the end. Records of kinds that a later minor version has added are skipped.
    ///
    /// # Errors
    /// The first damage, with its offset; once.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        match self.advance() {
            Ok(record) => Ok(record),
            Err(error) => {
                self.end = End::Stopped;
                match error {
                    ReadError::Io { .. } => Err(error),
                    error if self.salvaging => {
                        self.damage = Some(error);
                        Ok(None)
                    }
                    error => Err(error),
                }
            }
        }
    }

    /// Takes a record that is not needed any more. Later ones get the memory of its lists.
    pub fn recycle(&mut self, record: Record) {
        if let Event::BindSparse { call, .. } = record.event {
            self.spare.keep(call);
        }
    }

    /// Bytes of the file that have been decoded.
    pub fn offset(&self) -> u64 {
        self.contents_offset + self.at as u64
    }

    /// Whether the recording was ended, and not cut off. Known when there are no more records.
    pub fn ended_cleanly(&self) -> bool {
        self.end == End::Marked
    }

    /// Records that were skipped, because their kind is not known here.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn advance(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            if self.end != End::Open || (self.at == self.len && !self.next_block()?) {
                return Ok(None);
            }
            if self.at == self.len {
                continue;
            }
            let mut cursor = Cursor::new(&self.block[..self.len], self.at);
            let newer = self.header.version > VERSION;
            let record = decode::record(&mut cursor, &mut self.state, &mut self.spare, newer)
                .map_err(|fault| self.damaged(*fault))?;
            self.at = cursor.at();
            self.time = self.state.time;
            self.records += 1;
            match record {
                Some(record) => return Ok(Some(record)),
                None => self.skipped += 1,
            }
        }
    }

    fn damaged(&self, fault: Fault) -> ReadError {
        ReadError::Damaged {
            offset: self.contents_offset + fault.at as u64,
            found: fault.found,
            expected: fault.expected,
        }
    }

    /// Reads a block, or the end.
    fn next_block(&mut self) -> Result<bool, ReadError> {
        let offset = self.offset();
        let mut head = [0; BLOCK_HEAD];
        let found =
            read_up_to(&mut self.input, &mut head).map_err(|error| io_error(offset, error))?;
        if found == 0 {
            self.end = End::Stopped;
            return Ok(false);
        }
        if found < BLOCK_HEAD {
            return Err(ReadError::Truncated {
                offset,
                found: found as u64,
                expected: BLOCK_HEAD as u64,
            });
        }
        let [t0, t1, t2, t3, l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let tag = [t0, t1, t2, t3];
        if tag != TAG_RECORDS && tag != TAG_END {
            return Err(ReadError::Damaged {
                offset,
                found: Hex(&tag).to_string(),
                expected: format!("a block, which begins with {}", Hex(&TAG_RECORDS)),
            });
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > MAX_BLOCK {
            return Err(ReadError::Damaged {
                offset: offset + 4,
                found: format!("a block of {len} bytes"),
                expected: format!("at most {MAX_BLOCK}"),
            });
        }
        self.read_contents(offset, len)?;
        let contents = &self.block[..len];
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head[..8]);
        checksum.update(contents);
        let (found, expected) = (checksum.finalize(), u32::from_le_bytes([c0, c1, c2, c3]));
        if found != expected {
            return Err(ReadError::Checksum {
                offset,
                found,
                expected,
            });
        }
        self.contents_offset = offset + BLOCK_HEAD as u64;
        self.len = len;
        self.at = 0;
        if tag == TAG_END {
            self.ending()
        } else {
            self.beginning()
        }
    }

    /// Reads `len` bytes into the block.
    fn read_contents(&mut self, offset: u64, len: usize) -> Result<(), ReadError> {
        let mut filled = 0;
        while filled < len {
            let step = STEP.min(len - filled);
            if self.block.len() < filled + step {
                self.block.resize(filled + step, 0);
            }
            let read = read_up_to(&mut self.input, &mut self.block[filled..filled + step])
                .map_err(|error| io_error(offset + (BLOCK_HEAD + filled) as u64, error))?;
            filled += read;
            if read < step {
                return Err(ReadError::Truncated {
                    offset,
                    found: (BLOCK_HEAD + filled) as u64,
                    expected: (BLOCK_HEAD + len) as u64,
                });
            }
        }
        Ok(())
    }

    /// The time that a block's records count from.
    fn beginning(&mut self) -> Result<bool, ReadError> {
        let mut cursor = Cursor::new(&self.block[..self.len], 0);
        let time = cursor.number().map_err(|fault| self.damaged(*fault))?;
        if time < self.time {
            return Err(ReadError::Damaged {
                offset: self.contents_offset,
                found: format!("a block that begins at {time} ns"),
                expected: format!("no time before {} ns, that of the last record", self.time),
            });
        }
        self.at = cursor.at();
        self.state = Context::new();
        self.state.time = time;
        Ok(true)
    }

    /// The mark of the end, after which nothing comes.
    fn ending(&mut self) -> Result<bool, ReadError> {
        let mut cursor = Cursor::new(&self.block[..self.len], 0);
        let records = cursor.number().map_err(|fault| self.damaged(*fault))?;
        if records != self.records {
            return Err(ReadError::Damaged {
                offset: self.contents_offset,
                found: format!("{} records up to the end", self.records),
                expected: format!("{records}, as the end says"),
            });
        }
        self.at = self.len;
        let offset = self.offset();
        let mut more = [0];
        let more =
            read_up_to(&mut self.input, &mut more).map_err(|error| io_error(offset, error))?;
        if more > 0 {
            return Err(ReadError::Damaged {
                offset,
                found: "more bytes after the end of the recording".to_owned(),
                expected: "the end of the file".to_owned(),
            });
        }
        self.end = End::Marked;
        Ok(false)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}
