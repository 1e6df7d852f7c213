//! A line on stderr for whoever has to wait: only on a terminal, and only after half a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

pub struct Progress {
    begin: Instant,
    /// Bytes of the recording; 0 where that is not known.
    size: u64,
    wanted: bool,
    /// Calls until the clock is looked at again.
    skip: u32,
    shown: Option<Instant>,
}

const EVERY: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

impl Progress {
    pub fn new(size: u64) -> Self {
        Self {
            begin: Instant::now(),
            size,
            wanted: std::io::stderr().is_terminal(),
            skip: 0,
            shown: None,
        }
    }

    /// `offset` bytes are decoded.
    pub fn show(&mut self, offset: u64) {
        if !self.wanted {
            return;
        }
        self.skip = (self.skip + 1) % 256;
        if self.skip != 0
            || self.begin.elapsed() < 5 * EVERY
            || self.shown.is_some_and(|last| last.elapsed() < EVERY)
        {
            return;
        }
        self.shown = Some(Instant::now());
        eprint!("\r\x1b[K{}", bar(offset, self.size));
        let _ = std::io::stderr().flush();
    }

    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn bar(offset: u64, size: u64) -> String {
    let mib = offset >> 20;
    if size == 0 {
        return format!("replaying: {mib} MiB");
    }
    let share =
        |of: u64| (u128::from(offset.min(size)) * u128::from(of) / u128::from(size)) as usize;
    let full = "#".repeat(share(WIDTH));
    format!(
        "replaying [{full:-<width$}] {:3} %, {mib} of {} MiB",
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
            bar(5 << 20, 10 << 20),
            "replaying [###############---------------]  50 %, 5 of 10 MiB"
        );
        assert!(bar(11, 10).contains("100 %"));
        assert_eq!(bar(3 << 20, 0), "replaying: 3 MiB");
    }
}
