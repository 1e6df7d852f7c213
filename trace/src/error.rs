//! Why a recording can't be read (further).

use std::error::Error;
use std::fmt;
use std::io;

/// Why a recording can't be read (further). Offsets are in bytes from the start of the file.
#[derive(Debug)]
pub enum ReadError {
    /// The file does not begin as a recording does.
    NotATrace {
        /// The first bytes, 8 at most.
        found: Vec<u8>,
    },
    /// A later major version, which may mean other things by the same bytes.
    NewerVersion { found: (u16, u16) },
    /// The file ends inside the header or a block, as after a crash or an incomplete copy.
    Truncated {
        /// Of the header's or the block's first byte.
        offset: u64,
        /// Bytes that are there.
        found: u64,
        /// Bytes that it takes, as far as is known.
        expected: u64,
    },
    /// Bytes have changed since they were written.
    Checksum {
        /// Of the header's or the block's first byte.
        offset: u64,
        /// Of the bytes that are there.
        found: u32,
        /// What the file says.
        expected: u32,
    },
    /// Bytes that make no sense.
    Damaged {
        offset: u64,
        found: String,
        expected: String,
    },
    /// The system could not read.
    Io { offset: u64, error: io::Error },
}

impl ReadError {
    /// Where: up to here, the file is in order.
    pub fn offset(&self) -> u64 {
        match self {
            Self::NotATrace { .. } => 0,
            Self::NewerVersion { .. } => 8,
            Self::Truncated { offset, .. }
            | Self::Checksum { offset, .. }
            | Self::Damaged { offset, .. }
            | Self::Io { offset, .. } => *offset,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: ", self.offset())?;
        match self {
            Self::NotATrace { found } if found.is_empty() => {
                write!(f, "the file is empty, expected a recording")
            }
            Self::NotATrace { found } => write!(
                f,
                "found {}, expected a recording, which begins with {}",
                Hex(found),
                Hex(&super::MAGIC)
            ),
            Self::NewerVersion {
                found: (major, minor),
            } => write!(
                f,
                "found version {major}.{minor} of the format, expected {}.x: a newer panvk-sparse made it",
                super::VERSION.0
            ),
            Self::Truncated {
                found, expected, ..
            } => write!(
                f,
                "found {found} bytes up to the end of the file, expected at least {expected}: the file is cut off"
            ),
            Self::Checksum {
                found, expected, ..
            } => write!(
                f,
                "found bytes with the checksum {found:#010x}, expected {expected:#010x}: they have changed since \
                 they were written"
            ),
            Self::Damaged {
                found, expected, ..
            } => write!(f, "found {found}, expected {expected}"),
            Self::Io { error, .. } => write!(f, "{error}"),
        }
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Bytes as `89 50 56`.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            write!(f, "{space}{byte:02x}")?;
        }
        Ok(())
    }
}
