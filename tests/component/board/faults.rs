//! Binds that wait for what nobody has signalled, and binds that the kernel refuses.

use common::app::App;
use common::gpu::{Batch, Gpu, bind};
use common::objects::Fence;

use super::{Driver, counts, on_a_board};
use crate::panvk::oracle::{Held, Oracle, bind_calls};

const PIECE: u64 = 65536;

/// Two calls wait for a semaphore in which every second piece is bound, and one after them waits for nothing.
fn held() {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    let mut oracle = Oracle::new(&gpu, Held::Pages);
    let size = 1024 * PIECE;
    let buffer = gpu.sparse_buffer(size);
    oracle.create("buffer", size, true);
    let memory = oracle.allocate(size);
    let (gate, done) = (gpu.timeline(0), gpu.timeline(0));
    let pieces = |first: usize| (0..1024).skip(first).step_by(2).map(|i| i * PIECE);
    let batch = |first: usize| {
        let binds: Vec<_> = pieces(first)
            .map(|at| bind(at, PIECE, &memory.0, at))
            .collect();
        Batch::buffer(&buffer, binds)
    };
    let fence = Fence::new(&gpu);
    let asked = |batches: &[Batch], fence: Option<&Fence<'_>>| {
        gpu.bind_async(batches, fence).expect("a bind");
    };
    asked(&[batch(0).wait(gate.at(1)).signal(done.at(1))], None);
    asked(&[batch(1).wait(gate.at(2)).signal(done.at(2))], None);
    let last = bind(0, PIECE, &memory.0, 4 * PIECE);
    asked(&[Batch::buffer(&buffer, [last])], Some(&fence));
    std::thread::sleep(std::time::Duration::from_millis(200));
    oracle.step("nothing is signalled");
    gate.signal(1);
    done.wait(1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    for at in pieces(0) {
        oracle.bind("buffer", at, PIECE, Some((memory.1, at)));
    }
    oracle.step("the first is signalled");
    gate.signal(2);
    fence.wait();
    for at in pieces(1) {
        oracle.bind("buffer", at, PIECE, Some((memory.1, at)));
    }
    oracle.bind("buffer", 0, PIECE, Some((memory.1, 4 * PIECE)));
    oracle.step("the second is signalled");
    oracle.destroy("buffer");
    drop(buffer);
    oracle.step("the end");
    println!("{} wrong pages", oracle.wrong_pages());
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_a_bind_that_waits_is_one_call_when_its_time_comes() {
    let test = common::name_of!(board_a_bind_that_waits_is_one_call_when_its_time_comes);
    for kernel in ["1.9", "1.5"] {
        let Some(alone) = on_a_board(test, Driver::Alone, kernel, &[], held) else {
            return;
        };
        let ours =
            on_a_board(test, Driver::Ours, kernel, &[], held).expect("the process that starts it");
        let (alone, ours) = (counts(&alone.stdout), counts(&ours.stdout));
        for step in [
            "nothing is signalled",
            "the first is signalled",
            "the second is signalled",
        ] {
            println!("{step}: {:?}, {:?} alone", ours[step], alone[step]);
        }
        assert_eq!(ours["nothing is signalled"], (0, 0));
        assert_eq!(ours["the first is signalled"], (1, 512));
        // All of the second lies between what the first has bound, and the third is a call of its own.
        assert_eq!(ours["the second is signalled"].0, 2);
        assert!(alone["the first is signalled"].0 >= 32);
    }
}

/// Binds 40 pieces that do not touch, once more after that, and prints what the driver says to each call.
fn refused() {
    let app = App::new().expect("an instance");
    let gpu = Gpu::new(&app);
    let size = 128 * PIECE;
    let buffer = gpu.sparse_buffer(size);
    let memory = gpu.memory(&buffer, size);
    let binds = |by: u64| -> Vec<_> {
        let pieces = (0..40).map(|i| 2 * i * PIECE);
        pieces.map(|at| bind(at, PIECE, &memory, at + by)).collect()
    };
    println!("before binding: {}", bind_calls());
    let fence = Fence::new(&gpu);
    let first = gpu.bind_async(&[Batch::buffer(&buffer, binds(0))], Some(&fence));
    println!("answer: {first:?}");
    let fence = Fence::new(&gpu);
    let second = gpu.bind_async(&[Batch::buffer(&buffer, binds(PIECE))], Some(&fence));
    println!("answer: {second:?}");
    // SAFETY: the device is alive.
    let idle = unsafe { gpu.device.device_wait_idle() };
    println!("answer: {idle:?}");
    // SAFETY: a query of the fence.
    let status = unsafe { gpu.device.get_fence_status(fence.raw) };
    println!("answer: {status:?}");
}

fn answers(stdout: &str) -> Vec<String> {
    let lines = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("answer: "));
    lines.map(str::to_owned).collect()
}

#[test]
#[ignore = "needs panvk for arm64: scripts/board.sh test"]
fn board_a_refusal_is_told_as_panvk_tells_it() {
    let test = common::name_of!(board_a_refusal_is_told_as_panvk_tells_it);
    for errno in ["ENOMEM", "EINVAL"] {
        let run = |driver| {
            let plain = on_a_board(test, driver, "1.9", &[], refused)?;
            let before = plain
                .stdout
                .lines()
                .find_map(|line| line.strip_prefix("before binding: "));
            let nth = 1 + before
                .expect("it says so")
                .parse::<u64>()
                .expect("a number");
            assert_eq!(answers(&plain.stdout)[0], "Ok(())", "{}", plain.stdout);
            let kernel = format!("1.9,fault=VM_BIND:{nth}:{errno}");
            Some(
                on_a_board(test, driver, &kernel, &[], refused)
                    .expect("the process that starts it"),
            )
        };
        let Some(alone) = run(Driver::Alone) else {
            return;
        };
        let ours = run(Driver::Ours).expect("the process that starts it");
        assert_eq!(answers(&ours.stdout), answers(&alone.stdout), "{errno}");
        assert_ne!(answers(&ours.stdout)[0], "Ok(())", "{errno}");
    }
}
