//! A line on stderr for whoever has to wait: only on a terminal, and only after half a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Before this it is not worth a line.
const SOON: Duration = Duration::from_millis(500);
/// A line stays for that long at least.
const EVERY: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// One line, which the next one replaces.
pub struct Line {
    begin: Instant,
    wanted: bool,
    shown: Option<Instant>,
}

impl Line {
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            wanted: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.wanted
            || self.begin.elapsed() < SOON
            || self.shown.is_some_and(|last| last.elapsed() < EVERY)
        {
            return;
        }
        self.shown = Some(Instant::now());
        eprint!("\r\x1b[K{}", line());
        let _ = std::io::stderr().flush();
    }

    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How much of some bytes is done, as a bar.
pub struct Bar {
    line: Line,
    what: &'static str,
    /// Bytes in all; 0 where that is not known.
    size: u64,
    /// Calls until the clock is looked at again.
    skip: u32,
}

impl Bar {
    pub fn new(what: &'static str, size: u64) -> Self {
        Self {
            line: Line::new(),
            what,
            size,
            skip: 0,
        }
    }

    /// `done` bytes are.
    pub fn show(&mut self, done: u64) {
        self.skip = (self.skip + 1) % 256;
        if self.skip == 0 {
            let (what, size) = (self.what, self.size);
            self.line.show(|| bar(what, done, size));
        }
    }

    pub fn clear(&mut self) {
        self.line.clear();
    }
}

fn bar(what: &str, done: u64, size: u64) -> String {
    let mib = done >> 20;
    if size == 0 {
        return format!("{what}: {mib} MiB");
    }
    let share = |of: u64| (u128::from(done.min(size)) * u128::from(of) / u128::from(size)) as usize;
    let full = "#".repeat(share(WIDTH));
    format!(
        "{what} [{full:-<width$}] {:3} %, {mib} of {} MiB",
        share(100),
        size >> 20,
        width = WIDTH as usize
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_the_share() {
        assert_eq!(
            bar("replaying", 5 << 20, 10 << 20),
            "replaying [###############---------------]  50 %, 5 of 10 MiB"
        );
        assert!(bar("replaying", 11, 10).contains("100 %"));
        assert_eq!(bar("replaying", 3 << 20, 0), "replaying: 3 MiB");
    }
}
