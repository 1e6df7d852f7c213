//! `panvk-sparse trace info`: what a recording is of.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use trace::{DeviceCreated, Event};
use vulkan::calls::BindCall;

use super::super::size::thousands;
use super::super::table::render;
use super::Failure;
use super::dump::Text;
use super::json::Handle;
use crate::progress::Bar;
use crate::recording::Recording;

const DETAILS: &str = "\
Examples:
  panvk-sparse trace info game.pvst
  panvk-sparse replay game.pvst
      what it asks of each kernel";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The recording
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// Print JSON, one line, for scripts
    #[arg(long)]
    json: bool,

    /// Take what is before damage, with a note on stderr
    #[arg(long)]
    salvage: bool,
}

/// What is in a recording.
#[derive(Default, Serialize)]
struct Report {
    version: String,
    process: String,
    pid: u32,
    layer_version: String,
    started_unix_ns: u64,
    devices: Vec<Device>,
    /// From the start of the recording to its last event.
    duration_ns: u64,
    /// Presents.
    frames: u64,
    submits: u64,
    buffers: u64,
    images: u64,
    memory_allocations: u64,
    memory_bytes: u64,
    calls: u64,
    /// Calls that the driver did not answer with VK_SUCCESS.
    failed_calls: u64,
    /// `VkSparseMemoryBind` structs.
    binds: u64,
    /// `VkSparseImageMemoryBind` structs.
    image_binds: u64,
    /// Binds of both sorts that have no memory.
    unbinds: u64,
    records: u64,
    lost_events: u64,
    /// Records of kinds that only a newer panvk-sparse knows.
    unknown_records: u64,
    bytes: u64,
    bytes_per_bind: Option<f64>,
    clean_end: bool,
    damage: Option<String>,
}

#[derive(Serialize)]
struct Device {
    device: Handle,
    name: String,
    driver_name: String,
    driver_info: String,
    api_version: String,
    sparse_binding: bool,
}

impl From<DeviceCreated> for Device {
    fn from(created: DeviceCreated) -> Self {
        Self {
            device: Handle(created.device),
            name: created.name,
            driver_name: created.driver_name,
            driver_info: created.driver_info,
            api_version: version(created.api_version),
            sparse_binding: created.sparse_binding,
        }
    }
}

/// A version as Vulkan packs it.
pub fn version(packed: u32) -> String {
    use ash::vk::{api_version_major, api_version_minor, api_version_patch};
    format!(
        "{}.{}.{}",
        api_version_major(packed),
        api_version_minor(packed),
        api_version_patch(packed)
    )
}

/// Reads the recording, and returns what goes to stdout.
pub fn run(args: &Args) -> Result<String, Failure> {
    let mut source = Recording::open(&args.trace, args.salvage)?;
    let header = source.header().clone();
    let mut report = Report {
        version: format!("{}.{}", header.version.0, header.version.1),
        process: header.process,
        pid: header.pid,
        layer_version: header.layer_version,
        started_unix_ns: header.started_unix_ns,
        ..Report::default()
    };
    let mut progress = Bar::new("reading", source.size());
    while let Some(record) = source.next()? {
        progress.show(source.reader().offset());
        report.records += 1;
        report.duration_ns = record.time;
        report.add(record.event);
    }
    progress.clear();
    source.note_damage();
    let reader = source.reader();
    report.unknown_records = reader.skipped();
    report.bytes = reader.offset();
    report.clean_end = reader.ended_cleanly();
    report.damage = reader.damage().map(ToString::to_string);
    let binds = report.binds + report.image_binds;
    report.bytes_per_bind = (binds > 0).then(|| report.bytes as f64 / binds as f64);
    match args.json {
        true => crate::json(&report),
        false => Ok(report.for_people()),
    }
}

impl Report {
    fn add(&mut self, event: Event) {
        match event {
            Event::DeviceCreated(created) => self.devices.push(created.into()),
            Event::MemoryAllocated { size, .. } => {
                self.memory_allocations += 1;
                self.memory_bytes = self.memory_bytes.saturating_add(size);
            }
            Event::BufferCreated(_) => self.buffers += 1,
            Event::ImageCreated(_) => self.images += 1,
            Event::BindSparse { call, result, .. } => self.call(&call, result),
            Event::Present { .. } => self.frames += 1,
            Event::Submit { .. } => self.submits += 1,
            Event::Lost { events } => self.lost_events = self.lost_events.saturating_add(events),
            _ => {}
        }
    }

    fn call(&mut self, call: &BindCall, result: i32) {
        self.calls += 1;
        self.failed_calls += u64::from(result != 0);
        for info in &call.infos {
            let binds = info.binds.iter().flat_map(|(_, binds)| binds);
            let image_binds = info.image_binds.iter().flat_map(|(_, binds)| binds);
            self.binds += binds.clone().count() as u64;
            self.image_binds += image_binds.clone().count() as u64;
            let memories = binds.map(|bind| bind.memory);
            let memories = memories.chain(image_binds.map(|bind| bind.memory));
            self.unbinds += memories.filter(Option::is_none).count() as u64;
        }
    }

    fn for_people(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name:<11} {text}");
        };
        let n = thousands;
        let mut process = Text(&self.process).to_string();
        if self.pid != 0 {
            process += &format!(", process id {}", self.pid);
        }
        line("Process", process);
        let (version, layer) = (&self.version, Text(&self.layer_version));
        line("Format", format!("{version}, recorded by version {layer}"));
        let started = match self.started_unix_ns {
            0 => "not known".to_owned(),
            ns => humantime::format_rfc3339(UNIX_EPOCH + Duration::from_nanos(ns)).to_string(),
        };
        line("Started", started);
        line("Duration", format!("{} s", seconds(self.duration_ns)));
        let (frames, submits) = (n(self.frames), n(self.submits));
        line("Frames", format!("{frames}, {submits} queue submits"));
        let (buffers, images) = (n(self.buffers), n(self.images));
        let resources = format!("{buffers} sparse buffers, {images} sparse images");
        line("Resources", resources);
        let (memories, bytes) = (n(self.memory_allocations), n(self.memory_bytes));
        line("Memory", format!("{memories} allocations, {bytes} bytes"));
        let (calls, failed) = (n(self.calls), n(self.failed_calls));
        let calls = format!("{calls} of vkQueueBindSparse, {failed} failed");
        line("Calls", calls);
        let (bytes, regions, un) = (n(self.binds), n(self.image_binds), n(self.unbinds));
        let binds = format!("{bytes} of bytes, {regions} of image regions; {un} of them unbind");
        line("Binds", binds);
        let mut size = format!("{} bytes", n(self.bytes));
        if let Some(per_bind) = self.bytes_per_bind {
            size += &format!(", {per_bind:.2} a bind");
        }
        line("Size", size);
        if self.lost_events > 0 {
            let lost = n(self.lost_events);
            let lost = format!("{lost} events that the recorder had no room for");
            line("Missing", lost);
        }
        if self.unknown_records > 0 {
            let unknown = n(self.unknown_records);
            let what = "records of kinds that a newer panvk-sparse has added";
            line("Not known", format!("{unknown} {what}"));
        }
        let end = match (&self.damage, self.clean_end) {
            (Some(damage), _) => format!("damaged {damage}"),
            (None, true) => "clean".to_owned(),
            (None, false) => "not marked: the process ended before the recording did".to_owned(),
        };
        line("End", end);
        out.push('\n');
        out + &self.devices()
    }

    fn devices(&self) -> String {
        if self.devices.is_empty() {
            return "No devices.\n".to_owned();
        }
        let rows: Vec<_> = self
            .devices
            .iter()
            .map(|device| {
                vec![
                    device.device.to_string(),
                    Text(&device.name).to_string(),
                    Text(format!("{} {}", device.driver_name, device.driver_info).trim())
                        .to_string(),
                    device.api_version.clone(),
                    if device.sparse_binding { "yes" } else { "no" }.to_owned(),
                ]
            })
            .collect();
        render(">device|name|driver|Vulkan|sparseBinding", &rows)
    }
}

/// Nanoseconds as seconds, in full.
pub fn seconds(ns: u64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}
