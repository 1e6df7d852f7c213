//! The command on a folder with recordings, and a recording with one event of each kind.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use panvk_sparse::layout::{Extent, Offset, Region};
use trace::{
    BufferCreated, DeviceCreated, Event, Header, ImageCreated, MemoryRequirements, Reader, Record,
    SparseMemoryRequirements, Writer,
};
use vulkan::calls::{Bind, BindCall, BindInfo, ImageBind, ResourceId, Semaphore};

pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub fn trace(args: &[&str], paths: &[&Path]) -> Output {
    Command::new(common::command::binary())
        .arg("trace")
        .args(args)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What the command prints when all is well.
pub fn succeed(args: &[&str], paths: &[&Path]) -> String {
    let output = trace(args, paths);
    assert_eq!(text(&output.stderr), "", "{args:?}");
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    text(&output.stdout).to_owned()
}

/// The one line on stderr of a command that fails.
pub fn fail(args: &[&str], paths: &[&Path]) -> String {
    let output = trace(args, paths);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let message = text(&output.stderr);
    assert_eq!(message.lines().count(), 1, "{message}");
    message.trim_end().to_owned()
}

pub fn header(process: &str, pid: u32, started_unix_ns: u64) -> Header {
    Header {
        started_unix_ns,
        layer_version: "0.1.0".to_owned(),
        ..Header::new(process, pid)
    }
}

pub fn encode(header: &Header, records: &[Record]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for record in records {
        writer.record(record).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap()
}

/// Without the block that marks the end, of which `records` must take one byte.
pub fn unfinished(header: &Header, records: &[Record]) -> Vec<u8> {
    let mut bytes = encode(header, records);
    bytes.truncate(bytes.len() - 13);
    bytes
}

pub fn decode(path: &Path) -> (Header, Vec<Record>, bool) {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    let records = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    (reader.header().clone(), records, reader.ended_cleanly())
}

pub const DEVICE: u64 = 0x1000;
pub const QUEUE: u64 = 0x2000;

pub fn at(time: u64, event: Event) -> Record {
    Record { time, event }
}

pub fn device(device: u64, name: &str) -> Event {
    Event::DeviceCreated(DeviceCreated {
        device,
        name: name.to_owned(),
        driver_name: "llvmpipe".to_owned(),
        driver_info: "Mesa 25.0.7".to_owned(),
        api_version: 1 << 22 | 4 << 12 | 305,
        driver_version: 1,
        vendor_id: 0x10005,
        device_id: 0,
        sparse_binding: true,
    })
}

pub fn present(device: u64) -> Event {
    Event::Present {
        device,
        queue: QUEUE,
    }
}

/// One of everything.
pub fn records() -> Vec<Record> {
    let requirements = MemoryRequirements {
        size: 1 << 20,
        alignment: 1 << 16,
        memory_type_bits: 3,
    };
    let bind = |n: u64, memory| Bind {
        resource_offset: n << 16,
        size: 1 << 16,
        memory,
        memory_offset: 0,
        metadata: n == 4,
    };
    let tile = |x, memory| ImageBind {
        region: Region {
            aspect: 1,
            level: 2,
            layer: 0,
            offset: Offset { x, y: 0, z: 0 },
            extent: Extent::new(128, 128, 1),
        },
        memory,
        memory_offset: 0x30000,
    };
    let call = BindCall {
        infos: vec![
            BindInfo {
                waits: vec![Semaphore {
                    handle: 0x7000,
                    value: 4,
                }],
                binds: vec![(
                    ResourceId::Buffer(0x4000),
                    (0..5).map(|n| bind(n, (n > 0).then_some(0x3000))).collect(),
                )],
                ..BindInfo::default()
            },
            BindInfo {
                signals: vec![Semaphore {
                    handle: 0x7000,
                    value: 5,
                }],
                image_binds: vec![(0x5000, vec![tile(0, Some(0x3000)), tile(128, None)])],
                joins_previous: true,
                ..BindInfo::default()
            },
        ],
        fence: Some(0x8000),
    };
    vec![
        at(1_000, device(DEVICE, "llvmpipe (256 bits)\n")),
        at(
            2_000,
            Event::MemoryAllocated {
                device: DEVICE,
                memory: 0x3000,
                size: 1 << 20,
                memory_type: 1,
            },
        ),
        at(
            3_000,
            Event::BufferCreated(BufferCreated {
                device: DEVICE,
                buffer: 0x4000,
                flags: 1,
                size: 1_000_000,
                usage: 0x20,
                requirements,
            }),
        ),
        at(
            4_000,
            Event::ImageCreated(ImageCreated {
                device: DEVICE,
                image: 0x5000,
                flags: 3,
                image_type: 1,
                format: 37,
                extent: Extent::new(512, 512, 1),
                mip_levels: 3,
                array_layers: 1,
                samples: 1,
                tiling: 0,
                usage: 6,
                requirements,
                sparse_requirements: vec![SparseMemoryRequirements {
                    aspect_mask: 1,
                    granularity: Extent::new(128, 128, 1),
                    flags: 0,
                    mip_tail_first_lod: 3,
                    mip_tail_size: 0,
                    mip_tail_offset: 0,
                    mip_tail_stride: 0,
                }],
            }),
        ),
        at(
            5_000,
            Event::TimelineCreated {
                device: DEVICE,
                semaphore: 0x7000,
            },
        ),
        at(
            2_000_000_000,
            Event::BindSparse {
                device: DEVICE,
                queue: QUEUE,
                call: call.clone(),
                result: 0,
                duration: 83_211,
            },
        ),
        at(
            2_000_100_000,
            Event::Submit {
                device: DEVICE,
                queue: QUEUE,
                count: 2,
            },
        ),
        at(2_000_200_000, present(DEVICE)),
        at(2_000_300_000, Event::Lost { events: 7 }),
        at(
            2_000_400_000,
            Event::BindSparse {
                device: DEVICE,
                queue: QUEUE,
                call: BindCall::default(),
                result: -2,
                duration: 5,
            },
        ),
        at(
            2_000_500_000,
            Event::ResourceDestroyed {
                device: DEVICE,
                resource: ResourceId::Image(0x5000),
            },
        ),
        at(
            2_000_600_000,
            Event::SemaphoreDestroyed {
                device: DEVICE,
                semaphore: 0x7000,
            },
        ),
        at(
            2_000_700_000,
            Event::FenceDestroyed {
                device: DEVICE,
                fence: 0x8000,
            },
        ),
        at(
            2_000_800_000,
            Event::MemoryFreed {
                device: DEVICE,
                memory: 0x3000,
            },
        ),
        at(2_000_900_000, Event::DeviceDestroyed { device: DEVICE }),
    ]
}

pub const START: u64 = 1_700_000_000_000_000_000;
