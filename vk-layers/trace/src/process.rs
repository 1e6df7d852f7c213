//! The process that is recorded: its one recording, its forks, its end, its name.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, TryLockError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use trace::Header;
use vulkan::environment::variable;
use vulkan::guard::guard;

use crate::generation::{self, Generation};
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::writer::{self, Target};
use crate::{place, program};

/// Recordings that this process has begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// The recording of all instances that are alive. The layer's functions get handles, and the end of the process gives
/// nothing at all, so it has to be found here.
static CURRENT: Mutex<Weak<Recorder>> = Mutex::new(Weak::new());

unsafe extern "C" {
    /// Of POSIX; the `libc` crate does not have it for Linux.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

extern "C" fn in_child() {
    generation::forked();
    BEGUN.store(0, Ordering::Relaxed);
}

/// What a process that ends without vkDestroyInstance has not written yet is written now.
extern "C" fn at_exit() {
    guard((), || {
        // A thread that holds the lock may never come to let it go: others still run, or do not exist after a fork.
        if let Some(recorder) = CURRENT
            .try_lock()
            .ok()
            .and_then(|current| current.upgrade())
        {
            recorder.end();
        }
    });
}

fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: functions that live as long as the process: the library is not unloaded (see build.rs).
        unsafe {
            pthread_atfork(None, None, Some(in_child));
            libc::atexit(at_exit);
        }
    });
}

/// The recording of this process, begun where there is none. `None`, with a message on stderr, where that can't be.
///
/// All instances that are alive at a time share one, with the settings of the first.
pub fn recording(settings: &Settings) -> Option<Arc<Recorder>> {
    watch();
    let generation = Generation::of_this();
    let mut current = match CURRENT.try_lock() {
        Ok(current) => current,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) if generation.is_first() => {
            CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
        }
        Err(TryLockError::WouldBlock) => {
            log::error!("the process was forked while a recording began; nothing is recorded");
            return None;
        }
    };
    if let Some(recorder) = current.upgrade() {
        if recorder.is_own() {
            return Some(recorder);
        }
    }
    match begin(settings, generation) {
        Ok(recorder) => {
            let recorder = Arc::new(recorder);
            *current = Arc::downgrade(&recorder);
            Some(recorder)
        }
        Err(error) => {
            log::error!("{error}; nothing is recorded");
            None
        }
    }
}

fn begin(settings: &Settings, generation: Generation) -> std::io::Result<Recorder> {
    let nth = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
    let (file, path) = place::open(settings.file.as_deref(), variable, nth)?;
    let mut header = Header::new(program::name(), std::process::id());
    header.started_unix_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    let target = Target {
        file,
        path,
        limit: settings.limit,
    };
    Recorder::begin(generation, |shared| writer::spawn(shared, target, header))
}
