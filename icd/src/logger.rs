//! The log: one line a message on stderr, from the level that `PANVK_SPARSE_LOG` names.

use std::fmt;
use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        say(record.level(), *record.args());
    }

    fn flush(&self) {}
}

/// Starts the log. The `log` crate is linked into this library alone: it is not the application's.
pub fn start(level: LevelFilter) {
    static LOGGER: Stderr = Stderr;
    // Fails where it was started before, which leaves it running.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}

/// One line on stderr, whole: lines of several threads do not mix. A closed stderr is no reason to fail.
pub fn say(level: Level, message: fmt::Arguments<'_>) {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let line = format!("panvk-sparse: {level}: {message}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
