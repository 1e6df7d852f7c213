//! What deqp-vk says on stdout while it runs, line by line.

use super::status::{CaseResult, Status};

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begin(String),
    End(CaseResult),
    /// All is run.
    Done,
}

/// Reads lines in order. A reason may have several lines; it ends with the line that closes its bracket.
#[derive(Debug, Default)]
pub struct Parser {
    open: Option<CaseResult>,
}

impl Parser {
    /// What `line` tells, if anything.
    pub fn line(&mut self, line: &str) -> Option<Event> {
        if let Some(name) = line
            .strip_prefix("Test case '")
            .and_then(|rest| rest.strip_suffix("'.."))
        {
            self.open = None;
            return Some(Event::Begin(name.to_owned()));
        }
        if line == "DONE!" {
            return Some(Event::Done);
        }
        let (mut result, part) = match self.open.take() {
            Some(mut result) => {
                result.reason.push(' ');
                (result, line.trim())
            }
            None => {
                let (word, reason) = line.strip_prefix("  ")?.split_once(" (")?;
                let status = Status::from_deqp(word)?;
                (CaseResult::new(status, ""), reason)
            }
        };
        match part.strip_suffix(')') {
            Some(end) => {
                result.reason.push_str(end);
                Some(Event::End(result))
            }
            None => {
                result.reason.push_str(part);
                self.open = Some(result);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let mut parser = Parser::default();
        text.lines().filter_map(|line| parser.line(line)).collect()
    }

    fn end(status: Status, reason: &str) -> Event {
        Event::End(CaseResult::new(status, reason))
    }

    #[test]
    fn cases_begin_and_end() {
        let said = "Writing test log into x\n\nTest case 'a.b'..\n  Info (nothing)\n  Fail (got (1) at x.cpp:3)\n\n\
                    Test case 'a.c'..\n  NotSupported (two\nlines at y.cpp:3)\nDONE!\n  Passed:  0/2 (0.0%)\n";
        assert_eq!(
            events(said),
            [
                Event::Begin("a.b".into()),
                end(Status::Fail, "got (1) at x.cpp:3"),
                Event::Begin("a.c".into()),
                end(Status::Skip, "two lines at y.cpp:3"),
                Event::Done,
            ]
        );
    }

    #[test]
    fn an_open_reason_ends_with_its_bracket() {
        assert_eq!(
            events("Test case 'a'..\n  Pass (one\ntwo\nthree)\n")[1],
            end(Status::Pass, "one two three")
        );
    }
}
