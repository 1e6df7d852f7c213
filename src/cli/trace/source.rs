//! A recording in a file, with the file's name in everything that is said of it.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use panvk_sparse::trace::{Header, ReadError, Reader, Record};

use super::Failure;

pub struct Source {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
}

impl Source {
    /// `salvage`: whether damage ends the recording, with a note on stderr, rather than with a failure.
    pub fn open(path: &Path, salvage: bool) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| failed(&error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(failed(&"found a directory, expected a recording"));
        }
        let reader = Reader::new(BufReader::new(file)).map_err(|error| failed(&error))?;
        Ok(Self {
            path: path.to_owned(),
            reader: reader.salvaging(salvage),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    pub fn reader(&self) -> &Reader<BufReader<File>> {
        &self.reader
    }

    /// The next record, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>, Failure> {
        let record = self.reader.next_record();
        let record = record.map_err(|error| {
            let hint = match error {
                ReadError::Io { .. } => "",
                _ => " (--salvage takes what is before it)",
            };
            format!("{}: {error}{hint}", self.path.display())
        })?;
        if record.is_none() {
            if let Some(damage) = self.reader.damage() {
                eprintln!("panvk-sparse: note: {}: {damage}", self.path.display());
            }
        }
        Ok(record)
    }
}
