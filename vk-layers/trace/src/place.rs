//! Where a recording goes: the name of its file, and a file that is no other process's.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::program;

/// Opens the file of the `nth` recording of this process, and empties it.
///
/// A second recording of a process does not overwrite the first: it gets `-2` before the name's extension. A file that
/// another process records into is left to that one: this process's number is put there then. What is no regular file, such
/// as a device or a pipe, is nobody's: it is taken as it is.
///
/// # Errors
/// The message names the file.
pub fn open(
    given: Option<&Path>,
    var: impl Fn(&str) -> Option<OsString>,
    nth: u32,
) -> io::Result<(File, PathBuf)> {
    let pid = std::process::id();
    let path = match given {
        Some(path) => expand(path, pid),
        None => in_state_folder(var, pid)?,
    };
    let shared = path.metadata().is_ok_and(|there| !there.is_file());
    let path = match nth {
        0 | 1 => path,
        _ if shared => path,
        nth => with_suffix(&path, nth),
    };
    let naming = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    if let Some(file) = claim(&path).map_err(|error| naming(&path, error))? {
        return Ok((file, path));
    }
    let own = with_suffix(&path, pid);
    log::warn!(
        "{}: another process records into it; this one records into {}",
        path.display(),
        own.display()
    );
    match claim(&own).map_err(|error| naming(&own, error))? {
        Some(file) => Ok((file, own)),
        None => Err(naming(
            &own,
            io::Error::other("another process records into it too"),
        )),
    }
}

/// The file, empty, where no other process has claimed it.
fn claim(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        // The file is emptied below, once it is known that no other process records into it.
        .truncate(false)
        // Without this, opening a pipe that nobody reads would block the application for ever.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        // Writes may block again: the thread that writes is the layer's own.
        // SAFETY: a descriptor that is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) };
        return Ok(Some(file));
    }
    // SAFETY: a descriptor that is open.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
    // A file system without locks: then nobody can claim anything there.
    if !locked && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        return Ok(None);
    }
    file.set_len(0)?;
    Ok(Some(file))
}

/// `%p` becomes the number of the process, `%%` a percent sign.
fn expand(path: &Path, pid: u32) -> PathBuf {
    let mut expanded = Vec::new();
    let mut bytes = path.as_os_str().as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'p')) => {
                expanded.extend(pid.to_string().bytes());
                bytes.next();
            }
            (b'%', Some(b'%')) => {
                expanded.push(b'%');
                bytes.next();
            }
            _ => expanded.push(byte),
        }
    }
    OsString::from_vec(expanded).into()
}

/// `folder/name-N.extension`.
fn with_suffix(path: &Path, n: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{n}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// `$XDG_STATE_HOME/panvk-sparse/<process>-<pid>-<time>.pvst`, in a folder that is made where it is not there.
fn in_state_folder(var: impl Fn(&str) -> Option<OsString>, pid: u32) -> io::Result<PathBuf> {
    let absolute = |name| {
        var(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .ok_or_else(|| {
            io::Error::other(format!(
                "there is no folder for the recording: neither XDG_STATE_HOME nor HOME is an absolute path; {} can \
                 name a file",
                crate::settings::FILE
            ))
        })?;
    let folder = state.join("panvk-sparse");
    // As the XDG base directory specification asks.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    let name = format!(
        "{}-{pid}-{}.pvst",
        file_name(&program::name()),
        program::utc_now()
    );
    Ok(folder.join(name))
}

/// A process's name as part of a file's.
fn file_name(process: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut name = String::new();
    for c in process.chars().map(|c| if kept(c) { c } else { '_' }) {
        // File systems count bytes; the number and the time need room, too.
        if name.len() + c.len_utf8() > 128 {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_the_number_of_the_process() {
        for (path, expected) in [
            ("/a/%p.pvst", "/a/7.pvst"),
            ("/a/%%p-%p-%x%", "/a/%p-7-%x%"),
            ("plain", "plain"),
        ] {
            assert_eq!(expand(Path::new(path), 7), Path::new(expected));
        }
    }

    #[test]
    fn a_suffix_comes_before_the_extension() {
        for (path, expected) in [
            ("/a.b/c.pvst", "/a.b/c-2.pvst"),
            ("/a.b/c", "/a.b/c-2"),
            ("/a/.hidden", "/a/.hidden-2"),
        ] {
            assert_eq!(with_suffix(Path::new(path), 2), Path::new(expected));
        }
    }

    #[test]
    fn the_folder_for_state_is_the_users_and_is_made() {
        let home = tempfile::tempdir().unwrap();
        let only = |name: &'static str, value: PathBuf| {
            move |asked: &str| (asked == name).then(|| value.clone().into_os_string())
        };
        let (_, path) = open(None, only("HOME", home.path().into()), 1).unwrap();
        assert_eq!(
            path.parent().unwrap(),
            home.path().join(".local/state/panvk-sparse")
        );
        let state = home.path().join("state");
        let (_, path) = open(None, only("XDG_STATE_HOME", state.clone()), 1).unwrap();
        assert_eq!(path.parent().unwrap(), state.join("panvk-sparse"));
        let name = path.file_name().unwrap().to_str().unwrap();
        let pid = std::process::id();
        assert!(name.contains(&format!("-{pid}-2")), "{name}");
        assert!(name.ends_with("Z.pvst"), "{name}");
        let error = open(None, only("XDG_STATE_HOME", "relative".into()), 1).unwrap_err();
        assert!(error.to_string().contains("HOME"), "{error}");
    }

    #[test]
    fn a_file_that_is_being_recorded_into_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("a.pvst");
        std::fs::write(&given, "old").unwrap();
        let (first, path) = open(Some(&given), |_| None, 1).unwrap();
        assert_eq!((path, first.metadata().unwrap().len()), (given.clone(), 0));
        let (_, path) = open(Some(&given), |_| None, 1).unwrap();
        let own = format!("a-{}.pvst", std::process::id());
        assert_eq!(path, folder.path().join(own));
        drop(first);
        assert_eq!(open(Some(&given), |_| None, 1).unwrap().1, given);
        let (_, path) = open(Some(&given), |_| None, 2).unwrap();
        assert_eq!(path, folder.path().join("a-2.pvst"));
    }

    #[test]
    fn a_device_is_taken_by_all_who_name_it() {
        let null = Path::new("/dev/null");
        let opened = [1, 1, 2].map(|nth| open(Some(null), |_| None, nth).unwrap());
        for (_, path) in &opened {
            assert_eq!(path, null);
        }
    }

    #[test]
    fn a_process_has_a_name_that_a_file_can_have() {
        assert_eq!(file_name("a game/x.EXE"), "a_game_x.EXE");
        assert_eq!(file_name(&"\u{20000}".repeat(64)).len(), 128);
    }
}
