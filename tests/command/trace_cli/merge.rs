//! `trace merge`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use trace::Event;

use super::kit::*;

fn merge(folder: &Folder, out: &str, inputs: &[&Path]) -> (PathBuf, String) {
    let out = folder.path(out);
    let output = trace(&["merge", "-o", out.to_str().unwrap()], inputs);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    (out, text(&output.stderr).to_owned())
}

#[test]
fn merging_puts_recordings_on_one_time_line() {
    let folder = Folder::new();
    let later = folder.write(
        "later",
        encode(
            &header("viewer", 20, START + 1_000),
            &[
                at(0, device(DEVICE, "b")),
                at(500, present(DEVICE)),
                at(600, device(5, "c")),
                at(900, Event::DeviceDestroyed { device: DEVICE }),
            ],
        ),
    );
    let earlier = folder.write(
        "earlier",
        encode(
            &header("game", 10, START),
            &[
                at(1, device(DEVICE, "a")),
                at(1_500, present(DEVICE)),
                at(1_500, Event::Lost { events: 2 }),
                at(1_700, device(1, "d")),
            ],
        ),
    );
    let (out, notes) = merge(&folder, "out", &[&later, &earlier]);
    assert_eq!(notes, "");
    let (merged, records, clean) = decode(&out);
    assert_eq!(merged, header("viewer + game", 0, START));
    assert!(clean);
    // The device of `later` is number 1 now, so the 1 of `earlier` has to be another one.
    assert_eq!(
        records,
        [
            at(1, device(DEVICE, "a")),
            at(1_000, device(1, "b")),
            at(1_500, present(1)),
            at(1_500, present(DEVICE)),
            at(1_500, Event::Lost { events: 2 }),
            at(1_600, device(5, "c")),
            at(1_700, device(2, "d")),
            at(1_900, Event::DeviceDestroyed { device: 1 }),
        ]
    );
    // One process twice is still one process.
    let (out, _) = merge(&folder, "again", &[&earlier, &earlier]);
    assert_eq!(decode(&out).0, header("game", 10, START));
}

#[test]
fn merging_one_recording_changes_nothing() {
    let folder = Folder::new();
    let bytes = encode(&header("game", 4321, START), &records());
    let file = folder.write("a", &bytes);
    let (out, _) = merge(&folder, "out", &[&file]);
    assert_eq!(decode(&out), decode(&file));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&out), mode(&file));
}

#[test]
fn merging_notes_what_is_not_known_of_a_recording() {
    let folder = Folder::new();
    let dated = folder.write(
        "dated",
        encode(&header("a", 1, START), &[at(4, present(1))]),
    );
    let undated = folder.write(
        "undated",
        unfinished(&header("b", 1, 0), &[at(3, present(2))]),
    );
    let (out, notes) = merge(&folder, "out", &[&dated, &undated]);
    let undated = undated.display();
    assert_eq!(
        notes,
        format!(
            "panvk-sparse: note: {undated}: when it started is not known; taken for the start of the earliest\n\
             panvk-sparse: note: {undated}: its end is not marked; events may be missing\n"
        )
    );
    let (header, records, _) = decode(&out);
    assert_eq!((header.started_unix_ns, header.pid), (START, 1));
    assert_eq!(records, [at(3, present(2)), at(4, present(1))]);
}

#[test]
fn merging_refuses_to_write_over_a_recording_or_something_else_than_a_file() {
    let folder = Folder::new();
    let bytes = encode(&header("a", 1, START), &records());
    let file = folder.write("a", &bytes);
    let link = folder.path("link");
    symlink(&file, &link).unwrap();
    for out in [&file, &link] {
        let message = fail(&["merge", "-o", out.to_str().unwrap()], &[&file]);
        assert_eq!(
            message,
            format!(
                "panvk-sparse: {}: found the recording {}, expected another file to write to",
                out.display(),
                file.display()
            )
        );
    }
    let message = fail(&["merge", "-o", "/dev/null"], &[&file]);
    assert_eq!(
        message,
        "panvk-sparse: /dev/null: found something else than a file, expected a file to replace, or none"
    );
    let message = fail(
        &["merge", "-o", folder.path("no/out").to_str().unwrap()],
        &[&file],
    );
    assert!(message.contains("No such file or directory"), "{message}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(folder.names(), ["a", "link"]);
    // What is no input is replaced, through a link too.
    let other = folder.write("other", "old");
    fs::remove_file(&link).unwrap();
    symlink(&other, &link).unwrap();
    merge(&folder, "link", &[&file]);
    assert_eq!(decode(&other).1, records());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_merge_that_is_stopped_leaves_what_was_there() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let out = folder.write("out", "old");
    let child = Command::new(common::command::binary())
        .args(["trace", "merge", "-o"])
        .args([&out, &fifo])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Opens when the command does. Then it waits for the rest of the recording, with its signal handlers in place.
    let mut input = File::options().write(true).open(&fifo).unwrap();
    let bytes = encode(&header("a", 1, START), &records());
    input.write_all(&bytes[..bytes.len() / 2]).unwrap();
    let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    input.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        text(&output.stderr),
        "panvk-sparse: stopped; nothing was written\n"
    );
    assert_eq!(folder.names(), ["fifo", "out"]);
    let mut old = String::new();
    File::open(&out).unwrap().read_to_string(&mut old).unwrap();
    assert_eq!(old, "old");
}
