//! The file of docs/trace-format.md, byte by byte.

use panvk_sparse::layout::{Extent, Offset, Region};
use trace::{Event, Header, Record, Writer};
use vulkan::calls::{ImageBind, Semaphore};

use super::kit::*;

#[test]
fn the_example_in_the_documentation_is_what_is_written() {
    let text = include_str!("../../../docs/trace-format.md");
    let (_, example) = text.split_once("```hex\n").expect("a block of hex");
    let (example, _) = example.split_once("```").expect("its end");
    let documented: Vec<u8> = example
        .lines()
        .flat_map(|line| line.split("  ").next().unwrap_or("").split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let header = Header {
        started_unix_ns: 1_700_000_000_000_000_000,
        layer_version: "0.1.0".to_owned(),
        ..Header::new("game", 4321)
    };
    let tile = |x, y, place: u64| ImageBind {
        region: Region {
            aspect: 1,
            level: 0,
            layer: 0,
            offset: Offset { x, y, z: 0 },
            extent: Extent::new(128, 128, 1),
        },
        memory: Some(0x4000),
        memory_offset: place << 16,
    };
    let mut tiles = bind_sparse(6_000_000, Vec::new());
    if let Event::BindSparse { call, .. } = &mut tiles.event {
        call.infos[0].binds.clear();
        call.infos[0].waits.push(Semaphore {
            handle: 0x7000,
            value: 1,
        });
        call.infos[0]
            .image_binds
            .push((0x5000, vec![tile(128, 0, 2), tile(0, 128, 5)]));
    }
    let records = [
        bind_sparse(
            5_000_000,
            vec![bind(0, Some(0x4000)), bind(1, Some(0x4000)), bind(2, None)],
        ),
        Record {
            time: 5_100_000,
            event: Event::Present {
                device: 0x1000,
                queue: 0x2400,
            },
        },
        tiles,
    ];
    let mut writer = Writer::new(Vec::new(), &header).unwrap();
    records
        .iter()
        .for_each(|record| writer.record(record).unwrap());
    let written = writer.finish().unwrap();
    let hex = |bytes: &[u8]| -> Vec<String> { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    assert_eq!(hex(&documented), hex(&written));
}
