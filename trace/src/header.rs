//! What a file says of the recording as a whole.

use std::io::{self, Read};

use super::error::ReadError;
use super::wire::{Cursor, Decoded, put, put_string};
use super::{MAGIC, MAX_STRING, VERSION};

/// Bytes before the header's contents: magic, version, length, checksum.
const HEAD: usize = 20;
/// Contents that no header of any minor version is longer than, in bytes.
const MAX_CONTENTS: u32 = 1 << 20;

/// What a file says of the recording as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Major and minor version of the format. A writer writes its own, whatever stands here.
    pub version: (u16, u16),
    /// The name of the process.
    pub process: String,
    pub pid: u32,
    /// Of the recorder.
    pub layer_version: String,
    /// Wall clock at the time 0 of the records: nanoseconds since 1970-01-01 UTC; 0 where it is not known.
    pub started_unix_ns: u64,
}

impl Header {
    /// A recording of this version of panvk-sparse. The start is not known: a recorder with a clock sets it.
    pub fn new(process: impl Into<String>, pid: u32) -> Self {
        Self {
            version: VERSION,
            process: process.into(),
            pid,
            layer_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ns: 0,
        }
    }

    /// The first bytes of a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut contents = Vec::with_capacity(64);
        put(&mut contents, self.started_unix_ns);
        put(&mut contents, self.pid.into());
        put_string(&mut contents, &self.process);
        put_string(&mut contents, &self.layer_version);
        debug_assert!(contents.len() < 4 * MAX_STRING);

        let mut file = Vec::with_capacity(HEAD + contents.len());
        file.extend(MAGIC);
        file.extend(VERSION.0.to_le_bytes());
        file.extend(VERSION.1.to_le_bytes());
        file.extend((contents.len() as u32).to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&file);
        checksum.update(&contents);
        file.extend(checksum.finalize().to_le_bytes());
        file.extend(contents);
        file
    }

    /// Reads the header, and how many bytes it takes.
    pub(super) fn read(input: &mut impl Read) -> Result<(Self, u64), ReadError> {
        let mut head = [0; HEAD];
        let found = read_up_to(input, &mut head).map_err(|error| io_error(0, error))?;
        let magic = &head[..found.min(MAGIC.len())];
        if magic.is_empty() || !MAGIC.starts_with(magic) {
            return Err(ReadError::NotATrace {
                found: magic.to_vec(),
            });
        }
        if found < HEAD {
            return Err(truncated(found as u64, HEAD as u64));
        }
        let [_, _, _, _, _, _, _, _, a, b, c, d, l @ ..] = head;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = l;
        let version = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        if version.0 > VERSION.0 {
            return Err(ReadError::NewerVersion { found: version });
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len > MAX_CONTENTS {
            return Err(ReadError::Damaged {
                offset: 12,
                found: format!("a header of {len} bytes"),
                expected: format!("at most {MAX_CONTENTS}"),
            });
        }
        let whole = HEAD as u64 + u64::from(len);
        let mut contents = Vec::new();
        input
            .take(len.into())
            .read_to_end(&mut contents)
            .map_err(|error| io_error(HEAD as u64, error))?;
        let found = (HEAD + contents.len()) as u64;
        if found < whole {
            return Err(truncated(found, whole));
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head[..HEAD - 4]);
        checksum.update(&contents);
        let (found, expected) = (checksum.finalize(), u32::from_le_bytes([c0, c1, c2, c3]));
        if found != expected {
            return Err(ReadError::Checksum {
                offset: 0,
                found,
                expected,
            });
        }
        if version.0 == 0 {
            return Err(ReadError::Damaged {
                offset: 8,
                found: format!("version {}.{}", version.0, version.1),
                expected: format!("{}.x", VERSION.0),
            });
        }
        let header = Self::decode(version, &contents).map_err(|fault| ReadError::Damaged {
            offset: (HEAD + fault.at) as u64,
            found: fault.found,
            expected: fault.expected,
        })?;
        Ok((header, whole))
    }

    /// Later minor versions may append to the contents.
    fn decode(version: (u16, u16), contents: &[u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(contents, 0);
        Ok(Self {
            version,
            started_unix_ns: cursor.number()?,
            pid: cursor.number_32()?,
            process: cursor.string()?,
            layer_version: cursor.string()?,
        })
    }
}

fn truncated(found: u64, expected: u64) -> ReadError {
    ReadError::Truncated {
        offset: 0,
        found,
        expected,
    }
}

pub(super) fn io_error(offset: u64, error: io::Error) -> ReadError {
    ReadError::Io { offset, error }
}

/// Fills `buffer` as far as there are bytes, and says how far.
pub(super) fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
