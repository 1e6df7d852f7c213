//! `trace info` and `trace dump`, of recordings whole and damaged; command lines that make no sense.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use trace::Record;

use super::kit::*;

#[test]
fn info_says_what_a_recording_is_of() {
    let folder = Folder::new();
    let bytes = encode(&header("game\u{7}", 4321, START), &records());
    let file = folder.write("a.trace", &bytes);
    let out = succeed(&["info"], &[&file]);
    let size = bytes.len();
    let per_bind = size as f64 / 7.0;
    let expected = format!(
        "Process     game\\u{{7}}, process id 4321\n\
         Format      1.0, recorded by version 0.1.0\n\
         Started     2023-11-14T22:13:20Z\n\
         Duration    2.000900000 s\n\
         Frames      1, 1 queue submits\n\
         Resources   1 sparse buffers, 1 sparse images\n\
         Memory      1 allocations, 1,048,576 bytes\n\
         Calls       2 of vkQueueBindSparse, 1 failed\n\
         Binds       5 of bytes, 2 of image regions; 2 of them unbind\n\
         Size        {size} bytes, {per_bind:.2} a bind\n\
         Missing     7 events that the recorder had no room for\n\
         End         clean\n\
         \n\
         device  name                   driver                Vulkan   sparseBinding\n\
         0x1000  llvmpipe (256 bits)\\n  llvmpipe Mesa 25.0.7  1.4.305  yes\n"
    );
    assert_eq!(out, expected);
    let report: Value = serde_json::from_str(&succeed(&["info", "--json"], &[&file])).unwrap();
    let per_bind = report["bytes_per_bind"].as_f64().unwrap();
    assert!((per_bind * 7.0 - size as f64).abs() < 1e-6);
    for (name, value) in [
        ("process", json!("game\u{7}")),
        ("pid", json!(4321)),
        ("started_unix_ns", json!(START)),
        ("duration_ns", json!(2_000_900_000_u64)),
        ("frames", json!(1)),
        ("binds", json!(5)),
        ("image_binds", json!(2)),
        ("unbinds", json!(2)),
        ("failed_calls", json!(1)),
        ("records", json!(15)),
        ("lost_events", json!(7)),
        ("bytes", json!(size)),
        ("clean_end", json!(true)),
        ("damage", json!(null)),
    ] {
        assert_eq!(report[name], value, "{name}");
    }
    assert_eq!(report["devices"][0]["device"], "0x1000");
    assert_eq!(report["devices"][0]["name"], "llvmpipe (256 bits)\n");
}

#[test]
fn info_says_that_a_process_ended_before_its_recording() {
    let folder = Folder::new();
    let file = folder.write("a.trace", unfinished(&header("game", 1, START), &records()));
    assert!(succeed(&["info"], &[&file]).contains("End         not marked: the process ended"));
}

#[test]
fn dump_prints_a_line_for_each_event() {
    let folder = Folder::new();
    let file = folder.write("a.trace", encode(&header("game", 1, START), &records()));
    let out = succeed(&["dump"], &[&file]);
    let expected = "     0.000001000  device_created       0x1000  llvmpipe (256 bits)\\n, driver llvmpipe Mesa 25.0.7, Vulkan 1.4.305, with sparseBinding
     0.000002000  memory_allocated     0x1000  VkDeviceMemory 0x3000, 1048576 bytes, type 1
     0.000003000  buffer_created       0x1000  VkBuffer 0x4000, 1000000 bytes, flags 0x1, usage 0x20; takes 1048576 bytes in steps of 65536
     0.000004000  image_created        0x1000  VkImage 0x5000, TYPE_2D R8G8B8A8_UNORM 512x512x1, 3 levels, 1 layers, 1 samples, flags 0x3, usage 0x6; takes 1048576 bytes in steps of 65536; aspect 0x1: blocks of 128x128x1, mip tail from level 3, 0 bytes
     0.000005000  timeline_created     0x1000  VkSemaphore 0x7000
     2.000000000  bind_sparse          0x1000  queue 0x2000; info, waits 0x7000=4, VkBuffer 0x4000: 0x0+0x10000->none 0x10000+0x10000->0x3000+0x0 0x20000+0x10000->0x3000+0x0 0x30000+0x10000->0x3000+0x0 and 1 more; info (joins the one before), VkImage 0x5000: 2.0(0,0,0)+(128,128,1)->0x3000+0x30000 2.0(128,0,0)+(128,128,1)->none, signals 0x7000=5; fence 0x8000; SUCCESS after 83211 ns
     2.000100000  submit               0x1000  queue 0x2000, 2 VkSubmitInfo
     2.000200000  present              0x1000  queue 0x2000
     2.000300000  lost                 7 events are missing here
     2.000400000  bind_sparse          0x1000  queue 0x2000; ERROR_OUT_OF_DEVICE_MEMORY after 5 ns
     2.000500000  resource_destroyed   0x1000  VkImage 0x5000
     2.000600000  semaphore_destroyed  0x1000  VkSemaphore 0x7000
     2.000700000  fence_destroyed      0x1000  VkFence 0x8000
     2.000800000  memory_freed         0x1000  VkDeviceMemory 0x3000
     2.000900000  device_destroyed     0x1000
";
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        expected.lines().collect::<Vec<_>>()
    );
}

#[test]
fn dump_as_json_has_every_bind() {
    let folder = Folder::new();
    let file = folder.write("a.trace", encode(&header("game", 1, START), &records()));
    let out = succeed(&["dump", "--json"], &[&file]);
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 15);
    assert_eq!(
        lines[3]["sparse_requirements"][0],
        json!({"aspect_mask": 1, "granularity": [128, 128, 1], "flags": 0, "mip_tail_first_lod": 3,
               "mip_tail_size": 0, "mip_tail_offset": 0, "mip_tail_stride": 0})
    );
    assert_eq!(
        lines[8],
        json!({"time_ns": 2_000_300_000_u64, "event": "lost", "events": 7})
    );
    let bind = |n: u64, memory: Value| json!({"resource_offset": n << 16, "size": 65536, "memory": memory, "memory_offset": 0, "metadata": n == 4});
    let tile = |x, memory: Value| {
        json!({"aspect": 1, "level": 2, "layer": 0, "offset": [x, 0, 0], "extent": [128, 128, 1],
               "memory": memory, "memory_offset": 0x30000})
    };
    assert_eq!(
        lines[5],
        json!({
            "time_ns": 2_000_000_000_u64, "event": "bind_sparse", "device": "0x1000", "queue": "0x2000",
            "fence": "0x8000", "result": 0, "duration_ns": 83211,
            "infos": [
                {"joins_previous": false, "waits": [{"semaphore": "0x7000", "value": 4}], "signals": [],
                 "binds": [{"buffer": "0x4000", "binds": [
                     bind(0, json!(null)), bind(1, json!("0x3000")), bind(2, json!("0x3000")),
                     bind(3, json!("0x3000")), bind(4, json!("0x3000"))]}],
                 "image_binds": []},
                {"joins_previous": true, "waits": [], "signals": [{"semaphore": "0x7000", "value": 5}], "binds": [],
                 "image_binds": [{"image": "0x5000", "binds": [tile(0, json!("0x3000")), tile(128, json!(null))]}]}
            ]
        })
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let folder = Folder::new();
    // Much more than a pipe holds.
    let records: Vec<Record> = (0..20_000).map(|time| at(time, present(DEVICE))).collect();
    let file = folder.write("a.trace", encode(&header("game", 1, START), &records));
    let mut child = Command::new(common::command::binary())
        .args(["trace", "dump"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("present"));
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_is_no_recording_is_named() {
    let folder = Folder::new();
    let foreign = folder.write("foreign", "#!/bin/sh\n");
    let empty = folder.write("empty", "");
    let mut newer = encode(&header("game", 1, START), &records());
    newer[8] = 9;
    let newer = folder.write("newer", newer);
    let missing = folder.path("missing");
    let output = folder.path("out");
    let merge = ["merge", "-o", output.to_str().unwrap()];
    for command in [
        &["info"][..],
        &["dump"],
        &["dump", "--json", "--salvage"],
        &merge,
    ] {
        let message = |path: &Path| {
            let message = fail(command, &[path]);
            let start = format!("panvk-sparse: {}: ", path.display());
            assert!(message.starts_with(&start), "{message}");
            message[start.len()..].to_owned()
        };
        assert_eq!(message(&missing), "No such file or directory (os error 2)");
        assert_eq!(
            message(folder.0.path()),
            "found a directory, expected a recording"
        );
        assert_eq!(
            message(&foreign),
            "at offset 0: found 23 21 2f 62 69 6e 2f 73, expected a recording, which begins with 89 50 56 53 54 0d 0a 1a"
        );
        assert_eq!(
            message(&empty),
            "at offset 0: the file is empty, expected a recording"
        );
        assert_eq!(
            message(&newer),
            "at offset 8: found version 9.0 of the format, expected 1.x: a newer panvk-sparse made it"
        );
    }
    assert_eq!(folder.names(), ["empty", "foreign", "newer"]);
}

#[test]
fn damage_is_named_and_what_is_before_it_can_be_salvaged() {
    let folder = Folder::new();
    let whole = encode(&header("game", 1, START), &records());
    let mut changed = whole.clone();
    let last = unfinished(&header("game", 1, START), &records()).len() - 1;
    changed[last] ^= 1;
    let changed = folder.write("changed", changed);
    let cut = folder.write("cut", &whole[..last]);
    let fourteen = unfinished(&header("game", 1, START), &records()[..14]).len();

    for (path, what) in [
        (&changed, "found bytes with the checksum 0x"),
        (&cut, "the file is cut off"),
    ] {
        let place = format!("{}: at offset {fourteen}: ", path.display());
        for command in [&["info"][..], &["dump"]] {
            let output = trace(command, &[path]);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1));
            assert!(
                message.starts_with(&format!("panvk-sparse: {place}")),
                "{message}"
            );
            assert!(message.contains(what), "{message}");
            assert!(
                message.ends_with(" (--salvage takes what is before it)\n"),
                "{message}"
            );
        }
        assert_eq!(text(&trace(&["dump"], &[path]).stdout).lines().count(), 14);

        let output = trace(&["dump", "--salvage"], &[path]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout).lines().count(), 14);
        assert!(text(&output.stderr).starts_with(&format!("panvk-sparse: note: {place}")));
        let output = trace(&["info", "--salvage", "--json"], &[path]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["records"], 14);
        assert_eq!(report["bytes"], fourteen);
        assert_eq!(report["clean_end"], false);
        assert!(
            report["damage"]
                .as_str()
                .unwrap()
                .starts_with(&format!("at offset {fourteen}: "))
        );
    }

    let out = folder.path("out");
    let merge = |extra: &[&'static str]| {
        let mut args = vec!["merge", "-o", out.to_str().unwrap()];
        args.extend(extra);
        trace(&args, &[&cut])
    };
    assert_eq!(merge(&[]).status.code(), Some(1));
    assert_eq!(folder.names(), ["changed", "cut"]);
    assert_eq!(merge(&["--salvage"]).status.code(), Some(0));
    assert_eq!(decode(&out).1, records()[..14]);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for args in [
        &[][..],
        &["info"],
        &["dump"],
        &["merge", "-o", "x"],
        &["merge", "x"],
        &["show", "x"],
    ] {
        assert_eq!(trace(args, &[]).status.code(), Some(2), "{args:?}");
    }
}
