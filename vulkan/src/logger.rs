//! The log: one line a message on stderr, with the name of the library that speaks.
//!
//! An application that does the same wrong thing over and over does not fill the disk with it: of warnings and errors of one
//! kind, the first few are said, then only every tenth power of them.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Writes to stderr. Each library has its own, with its own `log` crate: neither is the application's.
#[derive(Debug)]
pub struct Logger {
    name: &'static str,
    /// How often each kind of message came.
    kinds: Mutex<BTreeMap<u64, u64>>,
}

/// So many messages of a kind are said.
const SAID: u64 = 10;
/// So many kinds are told apart. All others are one.
const KINDS: usize = 1000;
/// The kind of all others.
const OTHERS: u64 = 0;

/// Messages that differ in their numbers only are of one kind.
fn kind(message: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let words = message.split(|c: char| !c.is_alphanumeric());
    let is_number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    for word in words.filter(|word| !is_number(word)) {
        word.hash(&mut hasher);
    }
    hasher.finish()
}

fn is_power_of_ten(mut n: u64) -> bool {
    while n >= 10 && n % 10 == 0 {
        n /= 10;
    }
    n == 1
}

impl Logger {
    /// `name` stands at the start of each line.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            kinds: Mutex::new(BTreeMap::new()),
        }
    }

    /// What is to be added to a message; `None`: it is not said.
    fn remark(&self, message: &str) -> Option<String> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind = kind(message);
        let mut such = "such messages".to_owned();
        if kinds.len() >= KINDS && !kinds.contains_key(&kind) {
            kind = OTHERS;
            such = format!("messages of other kinds than the first {KINDS}");
        }
        let nth = kinds.entry(kind).or_default();
        *nth += 1;
        match *nth {
            ..SAID => Some(String::new()),
            SAID => Some(format!(" (from here on, {such} are only counted)")),
            nth => is_power_of_ten(nth).then(|| format!(" (so far {nth} {such})")),
        }
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
        if record.level() > Level::Warn {
            return self.say(record.level(), *record.args());
        }
        let message = record.args().to_string();
        if let Some(remark) = self.remark(&message) {
            self.say(record.level(), format_args!("{message}{remark}"));
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_messages_of_a_kind_a_few_are_said_and_the_others_counted() {
        let logger = Logger::new("test");
        let said = |of: &str, range: std::ops::Range<u32>| {
            let messages = range.map(|i| format!("{of} {i} at 0x{i:x} of {} bytes", i * 7));
            messages
                .filter_map(|message| logger.remark(&message))
                .collect::<Vec<_>>()
        };
        let many = said("VkBuffer", 0..100_000);
        assert_eq!(many.len(), 10 + 4);
        assert!(many[..9].iter().all(String::is_empty));
        assert!(many[9].contains("only counted"));
        assert!(many[13].contains("100000"));
        // Another kind is not hidden by that.
        assert_eq!(said("VkImage", 0..3), [""; 3]);
    }

    #[test]
    fn kinds_without_end_take_no_memory_without_end() {
        let logger = Logger::new("test");
        let name = |i: u32| format!("{}", char::from_u32(0x4e00 + i).unwrap());
        let said: Vec<_> = (0..5000).filter_map(|i| logger.remark(&name(i))).collect();
        assert_eq!(said.len(), KINDS + 10 + 2);
        assert_eq!(logger.kinds.lock().unwrap().len(), KINDS + 1);
        // From then on, what is not said may be of any kind, and that is said.
        assert!(said[..KINDS + 9].iter().all(String::is_empty));
        let of_others = "messages of other kinds than the first 1000";
        assert!(
            said[KINDS + 9..]
                .iter()
                .all(|remark| remark.contains(of_others))
        );
    }
}
