//! The border to C: errors become numbers and text, no panic crosses, and the caller's log is called without any lock.

use std::cell::RefCell;
use std::ffi::{CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use panvk_sparse::drm::{NullMapError, OpenError, ProbeError};
use panvk_sparse::vm::VmError;
use rustix::io::Errno;

use crate::types::Log;

/// An error as C sees it.
#[derive(Debug)]
pub struct Failure {
    pub errno: Errno,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl Into<String>) -> Failure {
        Failure {
            errno: Errno::INVAL,
            message: message.into(),
        }
    }
}

impl From<VmError> for Failure {
    fn from(error: VmError) -> Failure {
        let errno = match &error {
            VmError::BadRange(_) | VmError::BadRequest(_) => Errno::INVAL,
            VmError::Refused(failure) => failure.errno,
            VmError::StillMapped(_) => Errno::BUSY,
            VmError::Lost(_) => Errno::IO,
        };
        let message = error.to_string();
        Failure { errno, message }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let errno = match &error {
            OpenError::Ioctl { error, .. } => error.errno,
            OpenError::NoDevice { errno, .. } => *errno,
            _ => Errno::INVAL,
        };
        let message = error.to_string();
        Failure { errno, message }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Failure {
        let (errno, message) = (error.error.errno, error.to_string());
        Failure { errno, message }
    }
}

impl From<NullMapError> for Failure {
    fn from(error: NullMapError) -> Failure {
        let errno = match &error {
            NullMapError::CreateDummy { error, .. } => error.errno,
            _ => Errno::INVAL,
        };
        let message = error.to_string();
        Failure { errno, message }
    }
}

/// The caller's log.
#[derive(Clone, Copy, Debug)]
pub struct Logger {
    pub log: Option<Log>,
    pub data: *mut c_void,
}

// SAFETY: the header asks for a function that may be called on any thread that calls the library.
unsafe impl Send for Logger {}
// SAFETY: as above.
unsafe impl Sync for Logger {}

impl Logger {
    fn say(self, level: log::Level, message: &str) {
        let level = if level == log::Level::Error { 1 } else { 2 };
        if let (Some(log), Ok(message)) = (self.log, CString::new(message)) {
            // SAFETY: the header's contract for `log` and `log_data`.
            unsafe { log(self.data, level, message.as_ptr()) };
        }
    }
}

thread_local! {
    /// What the component has said during this thread's call.
    static SAID: RefCell<Vec<(log::Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Takes down what the component says, until its call has given back every lock.
struct Notes;

impl log::Log for Notes {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let note = (record.level(), record.args().to_string());
            // A thread that is ending has none any more.
            let _ = SAID.try_with(|said| said.borrow_mut().push(note));
        }
    }

    fn flush(&self) {}
}

/// Runs `body`, called from C. What it and the component have to say goes to `logger` afterwards. A panic is a bug, and
/// becomes -EIO.
pub fn enter(logger: Logger, body: impl FnOnce() -> Result<(), Failure>) -> c_int {
    static NOTES: Once = Once::new();
    NOTES.call_once(|| {
        // In a Rust program that has a log of its own, that one gets it.
        if log::set_logger(&Notes).is_ok() {
            log::set_max_level(log::LevelFilter::Warn);
        }
    });
    let ended = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Failure {
            errno: Errno::IO,
            message: "a bug in panvk-sparse: it panicked".to_owned(),
        })
    });
    let said = SAID.try_with(|said| std::mem::take(&mut *said.borrow_mut()));
    for (level, message) in said.unwrap_or_default() {
        logger.say(level, &message);
    }
    match ended {
        Ok(()) => 0,
        Err(failure) => {
            logger.say(log::Level::Error, &failure.message);
            -failure.errno.raw_os_error()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CStr, c_char};

    unsafe extern "C" fn note(data: *mut c_void, level: u32, message: *const c_char) {
        // SAFETY: the tests below give a Vec, and `say` a string.
        let (notes, message) = unsafe {
            (
                &mut *data.cast::<Vec<(u32, String)>>(),
                CStr::from_ptr(message),
            )
        };
        notes.push((level, message.to_str().unwrap().to_owned()));
    }

    fn entered(body: impl FnOnce() -> Result<(), Failure>) -> (c_int, Vec<(u32, String)>) {
        let mut notes: Vec<(u32, String)> = Vec::new();
        let logger = Logger {
            log: Some(note),
            data: (&raw mut notes).cast(),
        };
        let result = enter(logger, body);
        (result, notes)
    }

    #[test]
    fn a_panic_ends_at_the_border_as_eio() {
        let (result, notes) = entered(|| panic!("on purpose"));
        assert_eq!(result, -Errno::IO.raw_os_error());
        assert_eq!(
            notes,
            [(1, "a bug in panvk-sparse: it panicked".to_owned())]
        );
    }

    #[test]
    fn what_the_component_says_comes_before_the_error_of_its_call_and_only_once() {
        let (result, notes) = entered(|| {
            log::warn!("BO 3 stays open");
            log::info!("not for drivers");
            Err(Failure::invalid("size is 1, expected 4096"))
        });
        assert_eq!(result, -Errno::INVAL.raw_os_error());
        let expected = [(2, "BO 3 stays open"), (1, "size is 1, expected 4096")];
        assert_eq!(
            notes,
            expected.map(|(level, text)| (level, text.to_owned()))
        );
        assert_eq!(entered(|| Ok(())), (0, Vec::new()));
    }
}
