//! Calls that the kernel breaks off and wants to be made again.

use rustix::io::Errno;
use std::time::Duration;

/// How often a call is made again after a signal interrupted it (EINTR), without progress in between. As a signal has
/// to arrive each time, this is only reached by a process that sends itself signals faster than the kernel works.
pub const MAX_RETRIES_EINTR: u32 = 10_000;

/// How often a call is made again after EAGAIN, without progress in between. There is a pause before each, from
/// 10 microseconds, doubling up to 5 milliseconds: about half a second in all.
pub const MAX_RETRIES_EAGAIN: u32 = 100;

const FIRST_PAUSE: Duration = Duration::from_micros(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// The patience that is left for one call.
#[derive(Debug)]
pub(super) struct Retry {
    interrupted: u32,
    again: u32,
    pause: Duration,
}

impl Retry {
    pub fn new() -> Self {
        Retry {
            interrupted: 0,
            again: 0,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether to make the call again after it failed with `errno`. Pauses where that is due.
    pub fn once_more(&mut self, errno: Errno) -> bool {
        match errno {
            Errno::INTR if self.interrupted < MAX_RETRIES_EINTR => {
                self.interrupted += 1;
                true
            }
            Errno::AGAIN if self.again < MAX_RETRIES_EAGAIN => {
                self.again += 1;
                std::thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interruptions_are_borne_a_bounded_number_of_times() {
        let mut retry = Retry::new();
        assert_eq!(
            (0..).take_while(|_| retry.once_more(Errno::INTR)).count(),
            MAX_RETRIES_EINTR as usize
        );
        assert!(
            retry.once_more(Errno::AGAIN),
            "the two have bounds of their own"
        );
    }

    #[test]
    fn what_is_no_interruption_is_not_retried() {
        for errno in [Errno::INVAL, Errno::NOMEM, Errno::TOOBIG, Errno::NODEV] {
            assert!(!Retry::new().once_more(errno));
        }
    }
}
