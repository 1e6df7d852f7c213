//! The thread that writes: it turns what waits in the queue into records, and hands them to the system several times a
//! second, so that a process that is killed has lost little.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trace::{Event, Header, Record, Writer};
use vulkan::calls::{BindCall, ResourceId};
use vulkan::guard::guard;

use crate::program;
use crate::recorder::{Entry, Shared, What};

/// How long an event waits at most before it is handed to the system.
const FLUSH: Duration = Duration::from_millis(250);

/// A file that a recording goes to.
#[derive(Debug)]
pub struct Target {
    pub file: File,
    pub path: PathBuf,
    /// Bytes.
    pub limit: Option<u64>,
}

/// Starts the thread. It ends with the recording.
///
/// # Errors
/// There is no thread to be had.
pub fn spawn(shared: Arc<Shared>, target: Target, header: Header) -> io::Result<()> {
    let write = move || {
        // Whatever happens in there, nobody may wait for it for ever.
        guard((), || {
            if let Err(error) = run(&shared, &target, &header) {
                log::error!(
                    "{}: {error}; recording stops, the application goes on",
                    target.path.display()
                );
            }
        });
        shared.stop();
    };
    program::without_signals(|| {
        std::thread::Builder::new()
            .name("sparse-trace".into())
            .spawn(write)
            // It says itself when it is done.
            .map(drop)
    })
}

fn run(shared: &Shared, target: &Target, header: &Header) -> io::Result<()> {
    let mut writer = Writer::new(&target.file, header)?;
    writer.set_limit(target.limit.unwrap_or(u64::MAX));
    let mut relevant = Relevant::default();
    loop {
        let (batches, ending) = shared.take(FLUSH);
        let mut flushed = Instant::now();
        for mut batch in batches {
            for entry in batch.drain(..) {
                match write(shared, &mut writer, &mut relevant, entry) {
                    Err(error) if is_own(&error, io::ErrorKind::FileTooLarge) => {
                        log::warn!(
                            "{}: {error}; recording stops, the application goes on",
                            target.path.display()
                        );
                        return writer.finish().map(drop);
                    }
                    written => written?,
                }
                if flushed.elapsed() >= FLUSH {
                    writer.flush()?;
                    flushed = Instant::now();
                }
            }
            shared.give_back_batch(batch);
        }
        if ending {
            let events = shared.lost_last();
            if events > 0 {
                let time = shared.now();
                record(&mut writer, time, Event::Lost { events })?;
            }
            return writer.finish().map(drop);
        }
        writer.flush()?;
    }
}

fn write(
    shared: &Shared,
    writer: &mut Writer<&File>,
    relevant: &mut Relevant,
    Entry { time, what }: Entry,
) -> io::Result<()> {
    let bytes = what.bytes();
    let result = match what {
        What::Event(event) => match relevant.admits(&event) {
            true => record(writer, time, *event),
            false => Ok(()),
        },
        What::Bind(copy, done) => {
            let call = copy.read();
            shared.give_back_room(copy.into_room());
            relevant.note(done.device, &call);
            let event = Event::BindSparse {
                device: done.device,
                queue: done.queue,
                call,
                result: done.result,
                duration: done.duration.as_nanos() as u64,
            };
            record(writer, time, event)
        }
        What::Lost(events) => record(writer, time, Event::Lost { events }),
    };
    shared.written(bytes);
    result
}

/// Whether the writer has refused a record for that reason, and can go on. The system gives the same kinds of errors: then a
/// block could not be written.
fn is_own(error: &io::Error, kind: io::ErrorKind) -> bool {
    error.kind() == kind && error.raw_os_error().is_none()
}

/// Writes a record; in place of one that the format has no room for, that it is missing.
fn record(writer: &mut Writer<&File>, time: u64, event: Event) -> io::Result<()> {
    match writer.record(&Record { time, event }) {
        Err(error) if is_own(&error, io::ErrorKind::InvalidInput) => writer.record(&Record {
            time,
            event: Event::Lost { events: 1 },
        }),
        result => result,
    }
}

/// Which objects' ends matter: those of sparse resources, timelines, and whatever a bind has named. By device.
#[derive(Debug, Default)]
struct Relevant {
    resources: HashSet<(u64, ResourceId)>,
    semaphores: HashSet<(u64, u64)>,
    fences: HashSet<(u64, u64)>,
}

impl Relevant {
    /// Whether the event belongs into the recording.
    fn admits(&mut self, event: &Event) -> bool {
        match *event {
            Event::BufferCreated(ref buffer) => {
                let id = ResourceId::Buffer(buffer.buffer);
                self.resources.insert((buffer.device, id));
                true
            }
            Event::ImageCreated(ref image) => {
                let id = ResourceId::Image(image.image);
                self.resources.insert((image.device, id));
                true
            }
            Event::TimelineCreated { device, semaphore } => {
                self.semaphores.insert((device, semaphore));
                true
            }
            Event::ResourceDestroyed { device, resource } => {
                self.resources.remove(&(device, resource))
            }
            Event::SemaphoreDestroyed { device, semaphore } => {
                self.semaphores.remove(&(device, semaphore))
            }
            Event::FenceDestroyed { device, fence } => self.fences.remove(&(device, fence)),
            Event::DeviceDestroyed { device } => {
                self.resources.retain(|(of, _)| *of != device);
                self.semaphores.retain(|(of, _)| *of != device);
                self.fences.retain(|(of, _)| *of != device);
                true
            }
            _ => true,
        }
    }

    /// Remembers what the call names.
    fn note(&mut self, device: u64, call: &BindCall) {
        for info in &call.infos {
            let named = info.waits.iter().chain(&info.signals);
            self.semaphores
                .extend(named.map(|semaphore| (device, semaphore.handle)));
        }
        self.fences.extend(call.fence.map(|fence| (device, fence)));
    }
}
