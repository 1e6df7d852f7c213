//! The driver with a node beside the virtual kernel, as an application meets it where something goes wrong: what the node
//! refuses, a node that vanishes, and what is no panthor's node at all. (`tests/sparse` has all that goes right.)

use ash::vk;
use common::child::Outcome;
use common::config::Config;
use common::gpu::{bind, unbind};
use common::pattern::assert_pattern;
use common::{App, Batch, Gpu, SZ_64K};

/// Binds of one operation each, piece by piece.
const PIECES: u64 = 12;
const SIZE: u64 = 2 * PIECES * SZ_64K;

/// Runs `body` in a process of its own, on a node that `vpanthor` says.
#[track_caller]
fn run(test: &str, vpanthor: &'static str, body: fn(&Gpu), check: fn(&Outcome)) {
    let config = Config::Node {
        vpanthor,
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        body(&Gpu::new(&app));
    };
    common::child::run(test, config, &[], body, check);
}

fn errors(outcome: &Outcome) -> Vec<&str> {
    outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("panvk-sparse: error:"))
        .collect()
}

/// Every second piece is bound, and what shaders write there is in the memory.
fn data_is_right(gpu: &Gpu) {
    let buffer = gpu.sparse_buffer(SIZE);
    let memory = gpu.memory(&buffer, SIZE);
    for i in 0..PIECES {
        let at = 2 * i * SZ_64K;
        gpu.bind(&[Batch::buffer(&buffer, [bind(at, SZ_64K, &memory, at)])]);
        buffer.shader_write(at, SZ_64K, i as u32);
    }
    for i in 0..PIECES {
        let at = 2 * i * SZ_64K;
        assert_pattern("in memory", &memory.read(at, SZ_64K), i as u32, 0);
        assert_pattern(
            "in the buffer",
            &buffer.shader_read(at, SZ_64K),
            i as u32,
            0,
        );
    }
}

#[test]
fn a_refusal_of_the_node_alone_is_said_with_the_operation_and_the_data_is_right() {
    // The probe of a 1.9 takes 9 operations, the new buffer one, so this is one of the application's binds; and the
    // same again when it is made alone.
    run(
        common::name_of!(
            a_refusal_of_the_node_alone_is_said_with_the_operation_and_the_data_is_right
        ),
        "1.9,fault=op:14:prepare:EINVAL,fault=op:15:prepare:EINVAL",
        data_is_right,
        |outcome| {
            let stats = &outcome.stats[0];
            assert_eq!(stats.differences, Some(1), "{stats:?}");
            assert_eq!(stats.node_ops, Some(stats.vm_bind_ops + 1));
            let errors = errors(outcome);
            assert_eq!(errors.len(), 1, "{errors:?}");
            let node = common::preload::node(0);
            for part in [
                "the kernel and its model differ: operation 0 of 1 (map, flags 0x2, BO ",
                "size 0x10000",
                &format!("{node} said EINVAL, vpanthor:1.9 took it"),
            ] {
                assert!(errors[0].contains(part), "{part} in {}", errors[0]);
            }
            let dump = outcome.dump.as_ref().expect("the node tells");
            dump.nodes[0].assert_all_closed();
        },
    );
}

#[test]
fn an_operation_that_fails_when_the_node_runs_it_is_said_once_and_the_data_is_right() {
    run(
        common::name_of!(
            an_operation_that_fails_when_the_node_runs_it_is_said_once_and_the_data_is_right
        ),
        "1.8,fault=op:14:run:ENOMEM",
        data_is_right,
        |outcome| {
            let stats = &outcome.stats[0];
            assert_eq!(stats.differences, Some(1), "{stats:?}");
            assert!(stats.node_ops < Some(stats.vm_bind_ops), "{stats:?}");
            let errors = errors(outcome);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains("its VM takes no more"), "{errors:?}");
        },
    );
}

#[test]
fn a_node_that_vanishes_is_a_lost_device_from_then_on() {
    run(
        common::name_of!(a_node_that_vanishes_is_a_lost_device_from_then_on),
        "1.9,fault=VM_BIND:16:ENODEV",
        |gpu| {
            let buffer = gpu.sparse_buffer(SIZE);
            let memory = gpu.memory(&buffer, SIZE);
            let answers: Vec<_> = (0..PIECES)
                .map(|i| {
                    let at = 2 * i * SZ_64K;
                    gpu.try_bind(&[Batch::buffer(&buffer, [bind(at, SZ_64K, &memory, at)])])
                })
                .collect();
            let good = answers.iter().take_while(|answer| answer.is_ok()).count();
            assert!(good > 0 && good < answers.len(), "{answers:?}");
            for answer in &answers[good..] {
                assert_eq!(*answer, Err(vk::Result::ERROR_DEVICE_LOST), "{answers:?}");
            }
            let again = gpu.try_bind(&[Batch::buffer(&buffer, [unbind(0, SIZE)])]);
            assert_eq!(again, Err(vk::Result::ERROR_DEVICE_LOST));
        },
        |outcome| {
            let errors = errors(outcome);
            let why = format!("{}: ioctl VM_BIND: ENODEV", common::preload::node(0));
            assert!(errors[0].contains(&why), "{errors:?}");
            assert!(
                errors[0].ends_with("the device behind the node has gone"),
                "{errors:?}"
            );
        },
    );
}

/// There is no instance, and one line says why.
#[track_caller]
fn no_instance(test: &str, vpanthor: &'static str, kernel: &str, why: &'static str) {
    let config = Config::Node {
        vpanthor,
        null: "auto",
    };
    let body = || {
        let answer = App::new().err().expect("vkCreateInstance fails");
        println!("vkCreateInstance: {answer:?}");
    };
    common::child::run(
        test,
        config,
        &[
            (common::stats::FILE, "/dev/null"),
            ("PANVK_SPARSE_KERNEL", kernel),
        ],
        body,
        |outcome| {
            assert!(outcome.stdout.contains("vkCreateInstance: ERROR_"));
            let errors = errors(outcome);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(why), "{errors:?}");
        },
    );
}

macro_rules! no_instance {
    ($($test:ident: $vpanthor:literal, $kernel:literal, $why:literal;)*) => { $(
        #[test]
        fn $test() {
            no_instance(common::name_of!($test), $vpanthor, $kernel, $why);
        }
    )* };
}

no_instance! {
    a_file_that_is_no_node: "1.9", "/dev/null", "PANVK_SPARSE_KERNEL: /dev/null: not a DRM render node";
    a_node_that_is_not_there: "1.9", "/dev/dri/renderD190", "PANVK_SPARSE_KERNEL: /dev/dri/renderD190: no such node";
    a_node_that_vanishes_while_it_is_probed: "1.9,fault=VM_BIND:2:ENODEV", "auto", "ioctl VM_BIND: ENODEV";
    a_node_whose_driver_does_not_know_panthors_ioctls: "1.9,fault=DEV_QUERY:1:ENOTTY", "auto",
        "the driver of the node does not know this ioctl";
    no_node_that_answers: "1.9,fault=VERSION:1:ENOTTY;1.9,fault=VERSION:1:EACCES", "auto",
        "PANVK_SPARSE_KERNEL: no panthor render node in /dev/dri: ";
}

#[test]
fn auto_takes_the_first_node_that_answers_as_panthor() {
    let config = Config::Node {
        vpanthor: "1.5,fault=VERSION:1:ENOTTY;1.9",
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        data_is_right(&Gpu::new(&app));
    };
    common::child::run(
        common::name_of!(auto_takes_the_first_node_that_answers_as_panthor),
        config,
        &[("PANVK_SPARSE_KERNEL", "auto")],
        body,
        |outcome| {
            assert_eq!(outcome.stats[0].kernel, common::preload::node(1));
            assert_eq!(outcome.stats[0].model.as_deref(), Some("vpanthor:1.9"));
            assert_eq!(outcome.stats[0].differences, Some(0));
        },
    );
}

/// On a board: `cargo test -- --ignored real_node`.
#[test]
#[ignore = "needs a panthor node"]
fn real_node_takes_the_operations_that_its_model_takes() {
    let config = Config::Icd {
        kernel: "1.9",
        null: "auto",
    };
    let body = || {
        let app = App::new().expect("vkCreateInstance");
        data_is_right(&Gpu::new(&app));
    };
    common::child::run(
        common::name_of!(real_node_takes_the_operations_that_its_model_takes),
        config,
        &[("PANVK_SPARSE_KERNEL", "auto")],
        body,
        |outcome| {
            assert_eq!(errors(outcome), [""; 0]);
            let stats = &outcome.stats[0];
            assert_eq!(stats.differences, Some(0), "{stats:?}");
            assert_eq!(stats.node_ops, Some(stats.vm_bind_ops), "{stats:?}");
        },
    );
}
