//! The log: one line a message on stderr, with the name of the library that speaks.

use std::fmt;
use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Writes to stderr. Each library has its own, with its own `log` crate: neither is the application's.
#[derive(Clone, Copy, Debug)]
pub struct Logger {
    name: &'static str,
}

impl Logger {
    /// `name` stands at the start of each line.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Takes what this library logs, up to `level`.
    pub fn start(&'static self, level: LevelFilter) {
        // Fails where it was started before, which leaves it running.
        let _ = log::set_logger(self);
        log::set_max_level(level);
    }

    /// One line on stderr, whole: lines of several threads do not mix. A closed stderr is no reason to fail.
    pub fn say(&self, level: Level, message: fmt::Arguments<'_>) {
        let level = match level {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        };
        let line = format!("{}: {level}: {message}\n", self.name);
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.say(record.level(), *record.args());
    }

    fn flush(&self) {}
}
