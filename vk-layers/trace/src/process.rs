//! The process that is recorded: its one recording, its forks, its end, its name.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, TryLockError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use trace::Header;
use vulkan::environment::variable;
use vulkan::guard::guard;

use crate::place;
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::writer::{self, Target};

/// How many forks lie between the process that began the first recording and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Recordings that this process has begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// The recording of all instances that are alive. The layer's functions get handles, and the end of the process gives
/// nothing at all, so it has to be found here.
static CURRENT: Mutex<Weak<Recorder>> = Mutex::new(Weak::new());

/// A process, told from those that are forks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u32);

impl Generation {
    fn of_this() -> Self {
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// One load of memory: a system call would be most of what a record costs.
    pub fn is_this(self) -> bool {
        self == Self::of_this()
    }
}

unsafe extern "C" {
    /// Of POSIX; the `libc` crate does not have it for Linux.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
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
        Err(TryLockError::WouldBlock) if generation == Generation(0) => {
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
    let mut header = Header::new(name(), std::process::id());
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

/// The name of the program, as it was started: of a Windows program under Wine the program's, not Wine's.
pub fn name() -> String {
    let command = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let program = command.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = program
        .rsplit(|&byte| matches!(byte, b'/' | b'\\'))
        .next()
        .unwrap_or_default();
    match name {
        [] => "unknown".into(),
        name => String::from_utf8_lossy(name).into_owned(),
    }
}

/// The time as `20261122T201500Z`.
pub fn utc_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs()) as libc::time_t;
    // SAFETY: all zeros are a valid value of this struct of numbers; the function writes to it.
    let time = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::gmtime_r(&seconds, &mut time);
        time
    };
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

/// Runs `start` so that a thread that it starts gets no signals: the application's handlers run on its own threads.
pub fn without_signals<R>(start: impl FnOnce() -> R) -> R {
    // SAFETY: sets that the functions write to; the mask is this thread's, and is put back.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        let changed = libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old) == 0;
        let result = start();
        if changed {
            libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        }
        result
    }
}
