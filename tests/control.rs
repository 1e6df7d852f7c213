//! The control: a driver that binds wrongly, and a test that has to notice. (`PANVK_SPARSE_CONTROL`, in builds for tests.)

mod common;

use common::config::{Config, failing_icd_manifest};
use common::gpu::bind;
use common::pattern::assert_pattern;
use common::{App, Batch, Gpu, SZ_64K};

const PIECES: u64 = 8;

/// Eight pieces, each bound to another place of the memory, hold what is written through the buffer.
fn data_is_where_it_is_bound(gpu: &Gpu) {
    let size = PIECES * SZ_64K;
    let buffer = gpu.sparse_buffer(size);
    let memory = gpu.memory(&buffer, size);
    let binds = (0..PIECES).map(|i| bind(i * SZ_64K, SZ_64K, &memory, (PIECES - 1 - i) * SZ_64K));
    gpu.bind(&[Batch::buffer(&buffer, binds.collect::<Vec<_>>())]);
    for i in 0..PIECES {
        buffer.shader_write(i * SZ_64K, SZ_64K, i as u32 + 1);
    }
    for i in 0..PIECES {
        let held = memory.read((PIECES - 1 - i) * SZ_64K, SZ_64K);
        assert_pattern("in the memory", &held, i as u32 + 1, 0);
    }
}

fn under(test: &str, control: Option<&str>) {
    let manifest = failing_icd_manifest().to_string_lossy().into_owned();
    let mut extra = vec![
        ("VK_ICD_FILENAMES", &*manifest),
        ("PANVK_SPARSE_DUMMY", "alias"),
    ];
    extra.extend(control.map(|control| ("PANVK_SPARSE_CONTROL", control)));
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        data_is_where_it_is_bound(&Gpu::new(&app));
    };
    let config = Config::Icd {
        kernel: "1.8-repeat",
        null: "repeat",
    };
    common::child::run(test, config, &extra, body, |_| {});
}

#[test]
fn a_driver_that_binds_rightly_passes() {
    under(name_of!(a_driver_that_binds_rightly_passes), None);
}

#[test]
#[should_panic(expected = "in the memory")]
fn losing_every_bind_is_noticed() {
    under(name_of!(losing_every_bind_is_noticed), Some("drop"));
}

#[test]
#[should_panic(expected = "in the memory")]
fn losing_every_third_bind_is_noticed() {
    under(name_of!(losing_every_third_bind_is_noticed), Some("drop:3"));
}

#[test]
#[should_panic(expected = "in the memory")]
fn a_bind_that_is_off_by_a_tile_is_noticed() {
    under(
        name_of!(a_bind_that_is_off_by_a_tile_is_noticed),
        Some("shift:3"),
    );
}
