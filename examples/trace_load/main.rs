//! Writes a recording of any length, of an application that does nothing but stream: for trying `panvk-sparse replay`
//! on, and for measuring it.
//!
//! ```text
//! cargo run --release --example trace_load -- load.pvst 10000000
//! panvk-sparse replay load.pvst
//! ```

mod load;

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::process::ExitCode;

use load::{BINDS, Load};
use trace::{Header, Writer};

fn run(path: &str, binds: usize) -> Result<usize, Box<dyn Error>> {
    let out = BufWriter::new(File::create(path)?);
    let mut writer = Writer::new(out, &Header::new("trace_load", std::process::id()))?;
    let mut load = Load::new();
    let frames = binds.div_ceil(BINDS);
    for record in load.begin() {
        writer.record(&record)?;
    }
    for _ in 0..frames {
        for record in load.frame() {
            writer.record(&record)?;
        }
    }
    writer.finish()?;
    Ok(frames)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(path), Some(binds)) = (
        arguments.first(),
        arguments.get(1).and_then(|text| text.parse().ok()),
    ) else {
        eprintln!("Usage: trace_load FILE BINDS");
        return ExitCode::from(2);
    };
    match run(path, binds) {
        Ok(frames) => {
            println!("{path}: {} binds in {frames} frames", frames * BINDS);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("trace_load: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
