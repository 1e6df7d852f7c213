//! Which frames are reported.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// `A..B`: from A, up to but without B. `A..` and `..B` leave one end open, `A` is one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    from: u64,
    to: Option<u64>,
}

impl Frames {
    pub fn range(&self) -> Range<u64> {
        self.from..self.to.unwrap_or(u64::MAX)
    }

    /// Of a recording of `count` steps. The error says how many there are.
    pub fn within(&self, count: u64, step: &str) -> Result<Range<u64>, String> {
        let to = self.to.unwrap_or(count);
        if self.from < to && to <= count {
            return Ok(self.from..to);
        }
        let there = match count {
            0 => format!("no {step}s"),
            1 => format!("one {step}, 0"),
            _ => format!("the {step}s 0 to {}", count - 1),
        };
        Err(format!("--frames {self}: the recording has {there}"))
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.from)?;
        self.to.map_or(Ok(()), |to| write!(f, "{to}"))
    }
}

impl FromStr for Frames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected A..B, A.., ..B or A, with A less than B".to_owned();
        let number = |text: &str| text.parse::<u64>().map_err(|_| expected());
        let frames = match text.split_once("..") {
            None => {
                let from = number(text)?;
                Self {
                    from,
                    to: Some(from.checked_add(1).ok_or_else(expected)?),
                }
            }
            Some(("", "")) => return Err(expected()),
            Some((from, to)) => Self {
                from: if from.is_empty() { 0 } else { number(from)? },
                to: (!to.is_empty()).then(|| number(to)).transpose()?,
            },
        };
        match frames.to {
            Some(to) if to <= frames.from => Err(expected()),
            _ => Ok(frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_checked_against_the_recording() {
        let within = |text: &str, count| {
            text.parse::<Frames>()
                .and_then(|f| f.within(count, "frame"))
        };
        assert_eq!(within("2..5", 9), Ok(2..5));
        assert_eq!(within("7..", 9), Ok(7..9));
        assert_eq!(within("..3", 9), Ok(0..3));
        assert_eq!(within("4", 9), Ok(4..5));
        for (text, reason) in [
            ("5..10", "the frames 0 to 8"),
            ("9..", "the frames 0 to 8"),
            ("5..5", "expected A..B"),
            ("..", "expected A..B"),
            ("a..3", "expected A..B"),
            ("-1..3", "expected A..B"),
        ] {
            let error = within(text, 9).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
