//! Several threads, several devices: nothing is missing, nothing is mixed up.

use crate::kit::{ICD, recorded};
use common::gpu::bind;
use common::{App, Batch, Gpu, SZ_64K};
use std::collections::BTreeMap;
use trace::Event;

const THREADS: u64 = 4;
const CALLS: u64 = 200;
const PIECES: u64 = 40;

#[test]
fn threads_with_a_device_each_are_recorded_whole_and_in_order() {
    let test = common::name_of!(threads_with_a_device_each_are_recorded_whole_and_in_order);
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let app = &app;
                scope.spawn(move || {
                    let gpu = Gpu::new(app);
                    let buffer = gpu.sparse_buffer(PIECES * SZ_64K);
                    let memory = gpu.memory(&buffer, (PIECES + CALLS) * SZ_64K);
                    for call in 0..CALLS {
                        // Calls of very different sizes, each told from the others by its offset.
                        let pieces = 1 + call % PIECES;
                        let binds: Vec<_> = (0..pieces)
                            .map(|i| bind(i * SZ_64K, SZ_64K, &memory, (call + i) * SZ_64K))
                            .collect();
                        gpu.bind_async(&[Batch::buffer(&buffer, binds)], None)
                            .expect("vkQueueBindSparse");
                    }
                    gpu.wait_idle();
                });
            }
        });
    };
    recorded(test, ICD, &[], body, |recorded| {
        let mut calls: BTreeMap<u64, u64> = BTreeMap::new();
        let mut alive = BTreeMap::new();
        for event in recorded.trace().events() {
            match event {
                Event::DeviceCreated(created) => {
                    let again = alive.insert(created.device, ());
                    assert!(again.is_none(), "one device of that number at a time");
                }
                Event::DeviceDestroyed { device } => {
                    alive.remove(device).expect("it was created");
                    let made = calls.remove(device);
                    assert_eq!(made, Some(CALLS));
                }
                Event::BindSparse { device, call, .. } => {
                    let n = calls.entry(*device).or_default();
                    let binds = &call.infos[0].binds[0].1;
                    assert_eq!(binds.len() as u64, 1 + *n % PIECES);
                    assert!(
                        binds
                            .iter()
                            .zip(*n..)
                            .all(|(bind, place)| bind.memory_offset == place * SZ_64K)
                    );
                    *n += 1;
                }
                Event::Lost { .. } => panic!("there is room for all"),
                _ => {}
            }
        }
        let devices = recorded
            .trace()
            .count(|event| matches!(event, Event::DeviceDestroyed { .. }));
        assert_eq!(devices as u64, THREADS);
    });
}
