//! A virtual texture, streamed as an engine does it, and a picture of what that asks of the kernel.
//!
//! It works on any Vulkan driver with partially resident 2D images. A camera flies over a texture of 32768x32768 texels,
//! far more than there is memory for. Each frame, one `vkQueueBindSparse` gives memory of a small pool to the tiles
//! that come into view and takes it from those that were left behind; the new tiles are uploaded, and tiles are read
//! back and compared. The last line is the verdict, and the exit status is 0 only if all data was right.
//!
//! ```text
//! VK_ICD_FILENAMES=$PWD/target/release/panvk_sparse_icd.json cargo run --release --example streaming
//! cargo run --release --example streaming -- --compare streaming.svg
//! cargo run --release --example streaming -- --trace flight.pvst
//! ```

mod count;
mod gpu;
mod plot;
mod record;
// As the pictures of the command have it.
#[path = "../../cli/src/plot/shared.rs"]
mod shared;
mod stream;
mod world;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use count::{Counted, WAYS};
use stream::{Outcome, Stream};
use world::{Frame, POOL, WINDOW, World};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HELP: &str = "Usage: streaming [--frames N] [--size N] [--json] [--compare F.svg] [--trace F [--laps N]]

Streams a virtual texture through a fixed pool of memory: each frame one vkQueueBindSparse with the tiles that come into
view and those that lose their memory, then an upload, then tiles are read back and compared. The driver is the one that
the Vulkan loader finds (VK_ICD_FILENAMES chooses).

  --frames N       frames of the flight, 1 to 10000 (default 60)
  --size N         texels of a side, a power of two, 1024 to 65536 (default 32768); a device that can't gets half
                   as much until it can
  --json           one JSON object on standard output: driver, size, frames (each with its binds, unbinds, resident
                   tiles, checked, wrong), passed
  --compare F.svg  do not use Vulkan: count what the same flight asks of each virtual kernel and draw it; with
                   --json, each kernel's ioctls and operations a frame
  --trace F        do not use Vulkan: write what the layer VK_LAYER_PANVK_sparse_trace would record of the flight, for
                   panvk-sparse replay; its frame 0 creates the texture
  --laps N         with --trace: fly so many times, 1 to 10000 (default 1)
  --help           this text

Exit status: 0 all was right, 1 something was wrong, 2 the arguments were not understood.";

struct Arguments {
    frames: u32,
    size: u32,
    json: bool,
    compare: Option<PathBuf>,
    trace: Option<PathBuf>,
    laps: u32,
}

/// `None`: help is wanted.
fn arguments() -> std::result::Result<Option<Arguments>, String> {
    let mut parsed = Arguments {
        frames: 60,
        size: 32768,
        json: false,
        compare: None,
        trace: None,
        laps: 1,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = |expected: &str, fits: fn(u32) -> bool| {
            let value = arguments
                .next()
                .ok_or_else(|| format!("{argument} takes a number"))?;
            let number = value.parse().ok().filter(|&n| fits(n));
            number.ok_or_else(|| format!("{argument} {value}: {expected} is expected"))
        };
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--json" => parsed.json = true,
            "--frames" => {
                parsed.frames = number("1 to 10000", |n| (1..=10_000).contains(&n))?;
            }
            "--laps" => {
                parsed.laps = number("1 to 10000", |n| (1..=10_000).contains(&n))?;
            }
            "--size" => {
                parsed.size = number("a power of two, 1024 to 65536", |n| {
                    n.is_power_of_two() && (1024..=65536).contains(&n)
                })?;
            }
            "--compare" => {
                parsed.compare = Some(arguments.next().ok_or("--compare takes a file")?.into());
            }
            "--trace" => {
                parsed.trace = Some(arguments.next().ok_or("--trace takes a file")?.into());
            }
            other => return Err(format!("{other} is not an argument; --help lists them")),
        }
    }
    Ok(Some(parsed))
}

fn run(arguments: &Arguments) -> Result<bool> {
    let gpu = gpu::Gpu::new()?;
    let mut stream = Stream::new(&gpu, arguments.size)?;
    let texture = stream.texture;
    if !arguments.json {
        println!("driver  {}", gpu.driver);
        if texture.side < arguments.size {
            println!(
                "note    the device takes no image of {} texels a side with its mip chain",
                arguments.size
            );
        }
        println!(
            "texture {0}x{0} RGBA8, {1} levels in tiles of {2}x{3}, a pool of {POOL} tiles ({4} MiB)",
            texture.side,
            texture.levels,
            texture.tile[0],
            texture.tile[1],
            (stream.tile_bytes * u64::from(POOL)) >> 20
        );
        println!("frame  level    binds  unbinds  resident");
    }
    let mut world = World::new(texture, arguments.frames);
    let mut frames = Vec::new();
    let mut outcomes = Vec::new();
    for n in 0..arguments.frames {
        let frame = world.frame();
        if !arguments.json {
            println!(
                "{n:5}  {:5}  {:7}  {:7}  {:8}",
                frame.level,
                frame.binds.len(),
                frame.unbinds.len(),
                frame.resident.iter().sum::<u32>()
            );
        }
        outcomes.extend(stream.frame(&frame, &world.resident())?);
        frames.push(frame);
    }
    outcomes.extend(stream.finish()?);
    let all = stream.read_all(&world.resident())?;
    let driver = gpu.driver.clone();
    stream.destroy();
    gpu.destroy();
    report(arguments, &driver, texture.side, &frames, &outcomes, &all);
    Ok(outcomes.iter().chain([&all]).all(Outcome::right))
}

fn report(
    arguments: &Arguments,
    driver: &str,
    size: u32,
    frames: &[Frame],
    outcomes: &[Outcome],
    all: &Outcome,
) {
    let everything = || outcomes.iter().chain([all]);
    let (checked, wrong) = everything().fold((0, 0), |(checked, wrong), outcome| {
        (checked + outcome.checked, wrong + outcome.wrong)
    });
    let passed = everything().all(Outcome::right);
    if arguments.json {
        let frames: Vec<_> = frames
            .iter()
            .zip(outcomes)
            .enumerate()
            .map(|(n, (frame, outcome))| {
                json!({ "frame": n, "level": frame.level, "binds": frame.binds.len(),
                    "unbinds": frame.unbinds.len(), "resident": frame.resident.iter().sum::<u32>(),
                    "checked": outcome.checked, "wrong": outcome.wrong })
            })
            .collect();
        println!(
            "{}",
            json!({ "driver": driver, "size": size, "pool_tiles": POOL, "frames": frames,
                "checked": checked, "wrong": wrong, "passed": passed })
        );
        return;
    }
    for first in everything().filter_map(|outcome| outcome.first_wrong.as_ref()) {
        println!("WRONG   {first}");
    }
    let sum = |count: fn(&Frame) -> usize| frames.iter().map(count).sum::<usize>();
    println!(
        "verdict {}: {} frames, {} binds, {} unbinds, {} of {checked} tiles read back are right",
        if passed { "PASS" } else { "FAIL" },
        frames.len(),
        sum(|frame| frame.binds.len()),
        sum(|frame| frame.unbinds.len()),
        checked - wrong
    );
}

fn trace(arguments: &Arguments, path: &std::path::Path) -> Result<()> {
    let texture = count::board(arguments.size);
    let mut world = World::new(texture, arguments.frames);
    // The camera comes back to where it started.
    let frames = arguments.frames * arguments.laps;
    record::write(path, &texture, (0..frames).map(|_| world.frame()))
}

fn compare(arguments: &Arguments, path: &std::path::Path) -> Result<()> {
    let texture = count::board(arguments.size);
    let mut world = World::new(texture, arguments.frames);
    let mut history = plot::History::default();
    let mut frames = Vec::new();
    for _ in 0..arguments.frames {
        frames.push(world.frame());
        history.note(&texture, &world.resident());
    }
    let counted = WAYS
        .into_iter()
        .map(|way| count::count(&texture, &frames, way))
        .collect::<Result<Vec<Counted>>>()?;
    plot::write(path, &texture, &frames, &history, &counted)?;
    let sum = |count: fn(&Frame) -> usize| frames.iter().map(count).sum::<usize>();
    let (binds, unbinds) = (sum(|f| f.binds.len()), sum(|f| f.unbinds.len()));
    if arguments.json {
        println!(
            "{}",
            json!({ "size": texture.side, "pool_tiles": POOL, "binds": binds, "unbinds": unbinds,
                "strategies": counted })
        );
        return Ok(());
    }
    println!(
        "A virtual texture of {0}x{0} RGBA8 texels, {1} frames: {binds} tiles bound, {unbinds} unbound.",
        texture.side, arguments.frames
    );
    println!(
        "The camera sees {}x{} tiles; the pool holds {POOL}.\n",
        WINDOW[0], WINDOW[1]
    );
    println!(
        "kernel               strategy   ops at creation   ops in frames   most in one   ioctls"
    );
    for way in &counted {
        let most = way.frames.iter().map(|cost| cost.ops).max().unwrap_or(0);
        println!(
            "{:19}  {:8}  {:16}  {:14}  {:12}  {:7}",
            way.kernel,
            way.strategy,
            way.creation.ops,
            way.sum().ops,
            most,
            way.sum().ioctls
        );
    }
    println!("\nPlot: {}", path.display());
    Ok(())
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("streaming: {message}");
            return ExitCode::from(2);
        }
    };
    let without_device = || {
        if let Some(path) = &arguments.trace {
            trace(&arguments, path)?;
        }
        if let Some(path) = &arguments.compare {
            compare(&arguments, path)?;
        }
        Ok(true)
    };
    let result = match (&arguments.compare, &arguments.trace) {
        (None, None) => run(&arguments),
        _ => without_device(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("streaming: {error}");
            ExitCode::FAILURE
        }
    }
}
