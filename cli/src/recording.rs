//! A recording in a file, with the file's name in everything that is said of it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use trace::{Header, ReadError, Reader, Record};

use super::Failure;

/// Read record by record.
pub struct Recording {
    path: PathBuf,
    /// Bytes of the file; 0 where that is not known.
    size: u64,
    reader: Reader<BufReader<File>>,
}

impl Recording {
    /// `salvage`: whether damage ends the recording, rather than with a failure.
    pub fn open(path: &Path, salvage: bool) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| failed(&error))?;
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        if metadata.is_dir() {
            return Err(failed(&"found a directory, expected a recording"));
        }
        let reader = Reader::new(BufReader::new(file)).map_err(|error| failed(&error))?;
        Ok(Self {
            path: path.to_owned(),
            size: metadata.len(),
            reader: reader.salvaging(salvage),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    pub fn reader(&self) -> &Reader<BufReader<File>> {
        &self.reader
    }

    /// The next record, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>, Failure> {
        self.reader.next_record().map_err(|error| {
            let hint = match error {
                ReadError::Io { .. } => "",
                _ => " (--salvage takes what is before it)",
            };
            format!("{}: {error}{hint}", self.path.display())
        })
    }

    /// Takes a record back that is not needed any more: the next one may have its memory.
    pub fn recycle(&mut self, record: Record) {
        self.reader.recycle(record);
    }

    /// Says on stderr what ended the recording before its end.
    pub fn note_damage(&self) {
        if let Some(damage) = self.reader.damage() {
            eprintln!("panvk-sparse: note: {}: {damage}", self.path.display());
        }
    }
}
