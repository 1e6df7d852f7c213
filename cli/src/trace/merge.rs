//! `panvk-sparse trace merge`: several recordings on one time line.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use trace::{Header, Record, Writer};

use super::Failure;
use crate::plot;
use crate::progress::Bar;
use crate::recording::Recording;
use crate::stop::{Error, Stop};

const DETAILS: &str = "\
The recordings are aligned by the wall clocks of their starts. Two devices of different recordings may have the same
handle: the one that is spoken of first keeps it, the other one gets the lowest number that no device has yet. The
result replaces OUT when it is complete, and not before.

Examples:
  panvk-sparse trace merge -o game.pvst /tmp/game-*.pvst
      what PANVK_SPARSE_TRACE_FILE=/tmp/game-%p.pvst recorded, a file a process
  panvk-sparse replay game.pvst";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The file to write; it may not be one of the recordings
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Take what is before damage, with a note on stderr
    #[arg(long)]
    salvage: bool,

    /// The recordings
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
}

/// Merges.
pub fn run(args: &Args) -> Result<(), Error> {
    let stop = Stop::on_signals()?;
    let output = Output::new(&args.output, &args.traces)?;
    let sources: Result<Vec<_>, _> = args
        .traces
        .iter()
        .map(|path| Recording::open(path, args.salvage))
        .collect();
    let sources = sources?;
    let header = header(&sources);
    let mut inputs = Vec::new();
    for source in sources {
        inputs.push(Input::new(source, header.started_unix_ns)?);
    }

    let failed = |error| format!("{}: {error}", args.output.display());
    let file = BufWriter::new(output.file.as_file());
    let mut writer = Writer::new(file, &header).map_err(failed)?;
    let mut devices = Devices::default();
    let size = inputs.iter().map(|input| input.source.size()).sum();
    let mut progress = Bar::new("merging", size);
    while let Some(n) = earliest(&inputs) {
        stop.check()?;
        progress.show(inputs.iter().map(|i| i.source.reader().offset()).sum());
        let Some(mut record) = inputs[n].take()? else {
            continue;
        };
        if let Some(device) = record.event.device_mut() {
            *device = devices.merged(n, *device);
        }
        writer.record(&record).map_err(failed)?;
    }
    let mut file = writer.finish().map_err(failed)?;
    file.flush().map_err(failed)?;
    drop(file);
    progress.clear();
    for input in &inputs {
        input.note_end();
    }
    // A signal up to here leaves what was there before.
    stop.check()?;
    Ok(output.publish()?)
}

/// The input whose next record comes first; of several, the first input.
fn earliest(inputs: &[Input]) -> Option<usize> {
    let times = inputs
        .iter()
        .enumerate()
        .filter_map(|(n, input)| Some((input.next.as_ref()?.time, n)));
    times.min().map(|(_, n)| n)
}

/// A recording, with its next record on the common time line.
struct Input {
    source: Recording,
    next: Option<Record>,
    /// From the common start to this recording's, in nanoseconds.
    delay: u64,
}

impl Input {
    fn new(source: Recording, started: u64) -> Result<Self, Failure> {
        let own = source.header().started_unix_ns;
        if own == 0 {
            eprintln!(
                "panvk-sparse: note: {}: when it started is not known; taken for the start of the earliest",
                source.path().display()
            );
        }
        let mut input = Self {
            source,
            next: None,
            delay: own.saturating_sub(started),
        };
        input.advance()?;
        Ok(input)
    }

    fn advance(&mut self) -> Result<(), Failure> {
        self.next = self.source.next()?;
        if let Some(record) = &mut self.next {
            let time = record.time.checked_add(self.delay);
            record.time = time.ok_or_else(|| {
                format!(
                    "{}: found an event {} ns after the start, expected less than 2^64 ns after that of the \
                     earliest recording, which is {} ns before",
                    self.source.path().display(),
                    record.time,
                    self.delay
                )
            })?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Record>, Failure> {
        let record = self.next.take();
        self.advance()?;
        Ok(record)
    }

    fn note_end(&self) {
        self.source.note_damage();
        let reader = self.source.reader();
        if !reader.ended_cleanly() && reader.damage().is_none() {
            eprintln!(
                "panvk-sparse: note: {}: its end is not marked; events may be missing",
                self.source.path().display()
            );
        }
    }
}

/// What is true of all recordings: a process id only where it is the same.
fn header(sources: &[Recording]) -> Header {
    let headers = || sources.iter().map(Recording::header);
    let joined = |text: fn(&Header) -> &String, separator: &str| {
        let mut texts: Vec<&str> = Vec::new();
        for header in headers() {
            if !texts.contains(&text(header).as_str()) {
                texts.push(text(header));
            }
        }
        texts.join(separator)
    };
    let mut pids: Vec<u32> = headers().map(|header| header.pid).collect();
    pids.dedup();
    let started = headers().map(|header| header.started_unix_ns);
    Header {
        layer_version: joined(|header| &header.layer_version, ", "),
        started_unix_ns: started.filter(|&ns| ns != 0).min().unwrap_or(0),
        ..Header::new(
            joined(|header| &header.process, " + "),
            if pids.len() == 1 { pids[0] } else { 0 },
        )
    }
}

/// Which number a device has in the merged recording.
#[derive(Default)]
struct Devices {
    /// By input and handle there.
    merged: HashMap<(usize, u64), u64>,
    taken: HashSet<u64>,
    /// Numbers up to here are not asked for again.
    last: u64,
}

impl Devices {
    fn merged(&mut self, input: usize, device: u64) -> u64 {
        if let Some(&merged) = self.merged.get(&(input, device)) {
            return merged;
        }
        let mut merged = device;
        while !self.taken.insert(merged) {
            self.last += 1;
            merged = self.last;
        }
        self.merged.insert((input, device), merged);
        merged
    }
}

/// A file that takes its place when it is complete.
struct Output {
    path: PathBuf,
    file: NamedTempFile,
}

impl Output {
    fn new(path: &Path, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        if let Ok(metadata) = fs::metadata(path) {
            if !metadata.is_file() {
                return Err(failed(
                    &"found something else than a file, expected a file to replace, or none",
                ));
            }
            let same =
                |other: Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
            if let Some(input) = inputs
                .iter()
                .find(|input| fs::metadata(input).is_ok_and(same))
            {
                return Err(failed(&format!(
                    "found the recording {}, expected another file to write to",
                    input.display()
                )));
            }
        }
        let beside = plot::beside(path, ".panvk-sparse-merge-");
        let (path, file) = beside.map_err(|error| failed(&error))?;
        Ok(Self { path, file })
    }

    fn publish(self) -> Result<(), Failure> {
        let failed = |error| format!("{}: {error}", self.path.display());
        self.file.as_file().sync_all().map_err(failed)?;
        let persisted = self.file.persist(&self.path);
        persisted.map_err(|error| failed(error.error))?;
        Ok(())
    }
}
