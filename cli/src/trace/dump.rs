//! `panvk-sparse trace dump`: every event of a recording.

use std::fmt::{self, Display};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

use ash::vk;
use panvk_sparse::layout::Extent;
use trace::{Event, Record};
use vulkan::calls::{Bind, BindCall, ImageBind, ResourceId, Semaphore};

use super::Failure;
use super::info::{seconds, version};
use super::json::{Handle, Line, name};
use crate::recording::Recording;

/// Binds of a resource that are printed for people; the others are counted.
const SHOWN: usize = 4;

const DETAILS: &str = "\
A line has the seconds since the recording began, the event, its VkDevice and what it says. A bind reads
range -> memory+offset: a range of bytes is offset+size, one of an image level.layer(x,y,z)+(width,height,depth). Of many
binds of one resource the first 4 are shown; --json has them all.

Examples:
  panvk-sparse trace dump game.pvst | less
  panvk-sparse trace dump game.pvst --json | jq 'select(.event == \"bind\")'";

#[derive(Debug, clap::Args)]
#[command(after_long_help = DETAILS)]
pub struct Args {
    /// The recording
    #[arg(value_name = "TRACE")]
    trace: PathBuf,

    /// Print JSON, one object a line, for scripts
    #[arg(long)]
    json: bool,

    /// Take what is before damage, with a note on stderr
    #[arg(long)]
    salvage: bool,
}

/// Prints the events. A reader of stdout that has seen enough is no failure.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut source = Recording::open(&args.trace, args.salvage)?;
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        // What was read before damage is printed before it is spoken of.
        let next = source.next();
        let written = match &next {
            Ok(Some(record)) => line(&mut out, record, args.json),
            _ => out.flush(),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("writing to stdout: {error}")),
            Ok(()) => {}
        }
        if next?.is_none() {
            source.note_damage();
            return Ok(());
        }
    }
}

fn line(out: &mut impl Write, record: &Record, json: bool) -> io::Result<()> {
    match json {
        true => {
            serde_json::to_writer(&mut *out, &Line(record))?;
            writeln!(out)
        }
        false => writeln!(out, "{}", People(record)),
    }
}

/// A record as a line for people.
struct People<'a>(&'a Record);

impl Display for People<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { time, event } = self.0;
        write!(f, "{:>16}  {:<19}", seconds(*time), name(event))?;
        if let Some(device) = event.device() {
            write!(f, "  {}", Handle(device))?;
        }
        match event {
            Event::DeviceCreated(created) => write!(
                f,
                "  {}, driver {}, Vulkan {}, {} sparseBinding",
                Text(&created.name),
                Text(format!("{} {}", created.driver_name, created.driver_info).trim()),
                version(created.api_version),
                if created.sparse_binding {
                    "with"
                } else {
                    "without"
                },
            ),
            Event::DeviceDestroyed { .. } => Ok(()),
            Event::MemoryAllocated {
                memory,
                size,
                memory_type,
                ..
            } => write!(
                f,
                "  VkDeviceMemory {memory:#x}, {size} bytes, type {memory_type}"
            ),
            Event::MemoryFreed { memory, .. } => write!(f, "  VkDeviceMemory {memory:#x}"),
            Event::BufferCreated(created) => write!(
                f,
                "  VkBuffer {:#x}, {} bytes, flags {:#x}, usage {:#x}; takes {} bytes in steps of {}",
                created.buffer,
                created.size,
                created.flags,
                created.usage,
                created.requirements.size,
                created.requirements.alignment,
            ),
            Event::ImageCreated(created) => {
                write!(
                    f,
                    "  VkImage {:#x}, {:?} {:?} {}, {} levels, {} layers, {} samples, flags {:#x}, usage {:#x}; \
                     takes {} bytes in steps of {}",
                    created.image,
                    vk::ImageType::from_raw(created.image_type),
                    vk::Format::from_raw(created.format),
                    Size(created.extent),
                    created.mip_levels,
                    created.array_layers,
                    created.samples,
                    created.flags,
                    created.usage,
                    created.requirements.size,
                    created.requirements.alignment,
                )?;
                for sparse in &created.sparse_requirements {
                    write!(
                        f,
                        "; aspect {:#x}: blocks of {}, mip tail from level {}, {} bytes",
                        sparse.aspect_mask,
                        Size(sparse.granularity),
                        sparse.mip_tail_first_lod,
                        sparse.mip_tail_size,
                    )?;
                }
                Ok(())
            }
            Event::ResourceDestroyed { resource, .. } => write!(f, "  {resource}"),
            Event::TimelineCreated { semaphore, .. }
            | Event::SemaphoreDestroyed { semaphore, .. } => {
                write!(f, "  VkSemaphore {semaphore:#x}")
            }
            Event::FenceDestroyed { fence, .. } => write!(f, "  VkFence {fence:#x}"),
            Event::BindSparse {
                queue,
                call,
                result,
                duration,
                ..
            } => write!(
                f,
                "  queue {queue:#x}{}; {:?} after {duration} ns",
                Call(call),
                vk::Result::from_raw(*result)
            ),
            Event::Present { queue, .. } => write!(f, "  queue {queue:#x}"),
            Event::Submit { queue, count, .. } => {
                write!(f, "  queue {queue:#x}, {count} VkSubmitInfo")
            }
            Event::Lost { events } => write!(f, "  {events} events are missing here"),
        }
    }
}

/// Text of an application or driver, which must not break the line or speak to the terminal.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

struct Size(Extent);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.0.width, self.0.height, self.0.depth)
    }
}

struct Call<'a>(&'a BindCall);

impl Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for info in &self.0.infos {
            f.write_str("; info")?;
            if info.joins_previous {
                f.write_str(" (joins the one before)")?;
            }
            semaphores(f, "waits", &info.waits)?;
            for (resource, list) in &info.binds {
                binds(f, *resource, list, bind)?;
            }
            for (image, list) in &info.image_binds {
                binds(f, ResourceId::Image(*image), list, image_bind)?;
            }
            semaphores(f, "signals", &info.signals)?;
        }
        match self.0.fence {
            Some(fence) => write!(f, "; fence {fence:#x}"),
            None => Ok(()),
        }
    }
}

fn semaphores(f: &mut fmt::Formatter<'_>, what: &str, semaphores: &[Semaphore]) -> fmt::Result {
    for (i, Semaphore { handle, value }) in semaphores.iter().enumerate() {
        match i {
            0 => write!(f, ", {what} {handle:#x}={value}")?,
            _ => write!(f, " {handle:#x}={value}")?,
        }
    }
    Ok(())
}

fn binds<T>(
    f: &mut fmt::Formatter<'_>,
    resource: ResourceId,
    binds: &[T],
    one: fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, ", {resource}:")?;
    for bind in binds.iter().take(SHOWN) {
        f.write_str(" ")?;
        one(f, bind)?;
    }
    match binds.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

fn bind(f: &mut fmt::Formatter<'_>, bind: &Bind) -> fmt::Result {
    write!(f, "{:#x}+{:#x}", bind.resource_offset, bind.size)?;
    if bind.metadata {
        f.write_str("(metadata)")?;
    }
    memory(f, bind.memory, bind.memory_offset)
}

fn image_bind(f: &mut fmt::Formatter<'_>, bind: &ImageBind) -> fmt::Result {
    let region = &bind.region;
    let (offset, extent) = (region.offset, region.extent);
    write!(
        f,
        "{}.{}({},{},{})+({},{},{})",
        region.level,
        region.layer,
        offset.x,
        offset.y,
        offset.z,
        extent.width,
        extent.height,
        extent.depth
    )?;
    memory(f, bind.memory, bind.memory_offset)
}

fn memory(f: &mut fmt::Formatter<'_>, memory: Option<u64>, offset: u64) -> fmt::Result {
    match memory {
        Some(memory) => write!(f, "->{memory:#x}+{offset:#x}"),
        None => f.write_str("->none"),
    }
}
