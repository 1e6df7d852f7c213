//! The program that is recorded: its name, the time, its signals.

use std::time::{SystemTime, UNIX_EPOCH};

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
