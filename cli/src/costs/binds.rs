//! The binds whose times are taken: 52, each of which has more of one part of the work than others have.

use panvk_sparse::bind::{Request, Target};
use panvk_sparse::units::{BoRef, SZ_2M, SZ_4K, SZ_64K, Va};

use crate::scenario::{Call, unbound};

/// The buffer that is bound, in bytes: whole slots of 2 MiB.
pub const BUFFER_SIZE: u64 = 96 << 20;
/// The memory that it is bound to, in bytes.
pub const MEMORY_SIZE: u64 = 96 << 20;

pub struct Bind {
    pub what: String,
    /// What the buffer has been through before. At first nothing is mapped.
    pub before: Vec<Call>,
    /// The call that is measured.
    pub call: Call,
    pub way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Synchronously, with the operations that the component makes.
    Ours,
    /// Synchronously, with the requests as they are, an operation each, as other drivers do it.
    AsItIs,
    /// As [`Way::Ours`], but asynchronously, until the signal.
    Asynchronously,
    /// As [`Way::AsItIs`], but asynchronously, until the signal, 16 operations an ioctl, as Mesa's panvk 26 does it.
    AsPanvk,
}

/// All of them, for a buffer at `va`.
pub fn all(va: Va, memory: BoRef) -> Vec<Bind> {
    let buffer = Buffer { va, memory };
    let all_unbound = || buffer.null(0, BUFFER_SIZE);
    let mut binds = Vec::new();
    let mut add = |what: String, before: Vec<Call>, call: Call| {
        binds.push(Bind {
            what,
            before,
            call,
            way: Way::Ours,
        });
    };

    for size in [SZ_4K, SZ_64K, SZ_2M, 16 << 20, BUFFER_SIZE] {
        add(
            format!("{} unbound, new", name(size)),
            Vec::new(),
            vec![buffer.null(0, size)],
        );
    }
    for size in [SZ_4K, SZ_64K, 1 << 20, 8 << 20, BUFFER_SIZE] {
        let bound = vec![buffer.map(0, size, 0)];
        add(
            format!("{} bound, new", name(size)),
            Vec::new(),
            bound.clone(),
        );
        add(
            format!("{} bound", name(size)),
            vec![vec![all_unbound()]],
            bound,
        );
    }
    for (size, count) in [
        (SZ_4K, 256),
        (SZ_4K, 2048),
        (4 * SZ_4K, 512),
        (SZ_64K, 64),
        (SZ_64K, 512),
        (4 * SZ_64K, 64),
        (16 * SZ_64K, 16),
    ] {
        let bound = buffer.every_second(size, count);
        let what = format!("{count} pieces of {}", name(size));
        add(
            format!("{what}, bound"),
            vec![vec![all_unbound()]],
            bound.clone(),
        );
        if count != 64 {
            let again = vec![vec![all_unbound()], bound];
            add(
                format!("{what}, unbound as a whole"),
                again,
                vec![all_unbound()],
            );
        }
    }
    for count in [64, 512] {
        let pieces = buffer.every_second(SZ_64K, count);
        let unbind = pieces
            .iter()
            .map(|piece| buffer.null(piece.va.0 - va.0, piece.len));
        add(
            format!("{count} pieces of {}, unbound amid memory", name(SZ_64K)),
            vec![vec![buffer.map(0, BUFFER_SIZE, 0)]],
            unbind.collect(),
        );
    }
    for count in [64, 1024] {
        add(
            format!("{count} pieces of {} in reverse, bound", name(SZ_64K)),
            vec![vec![all_unbound()]],
            buffer.in_reverse(count),
        );
    }
    for size in [8 << 20, BUFFER_SIZE] {
        // Behind it by a page, so that the new mapping has no large entries.
        let (len, before) = (size - SZ_4K, vec![vec![buffer.map(0, size, 0)]]);
        add(
            format!("{} bound anew", name(size)),
            before,
            vec![buffer.map(0, len, SZ_4K)],
        );
    }
    let asynchronously = |bind: &Bind| Bind {
        what: format!("{}, asynchronously", bind.what),
        before: bind.before.clone(),
        call: bind.call.clone(),
        way: Way::Asynchronously,
    };
    let ours = binds.iter().filter(|bind| bind.way == Way::Ours);
    let again: Vec<Bind> = ours.step_by(3).map(asynchronously).collect();
    binds.extend(again);
    // Those of docs/performance.md: every second piece of a buffer of 100,000,000 bytes, and all of them with memory in reverse.
    let half = buffer.every_second(SZ_64K, 763);
    let reversed = buffer.in_reverse(1525);
    for (what, call) in [
        ("763 pieces of 64 KiB", half),
        ("1525 pieces of 64 KiB in reverse", reversed),
    ] {
        for (how, way) in [
            ("", Way::Ours),
            (", in ascending order", Way::AsItIs),
            (", asynchronously", Way::Asynchronously),
            (", as panvk does", Way::AsPanvk),
        ] {
            binds.push(Bind {
                what: format!("{what}, bound{how}"),
                before: vec![vec![all_unbound()]],
                call: call.clone(),
                way,
            });
        }
    }
    binds
}

struct Buffer {
    va: Va,
    memory: BoRef,
}

impl Buffer {
    fn null(&self, at: u64, len: u64) -> Request {
        unbound(Va(self.va.0 + at), len)
    }

    fn map(&self, at: u64, len: u64, offset: u64) -> Request {
        Request {
            target: Target::memory(self.memory, offset),
            ..self.null(at, len)
        }
    }

    /// `count` pieces of `size` bytes with as much between them.
    fn every_second(&self, size: u64, count: u64) -> Call {
        let piece = |i| self.map(2 * i * size, size, i * size);
        (0..count).map(piece).collect()
    }

    /// `count` pieces of 64 KiB side by side, with their memory in reverse.
    fn in_reverse(&self, count: u64) -> Call {
        let piece = |i| self.map(i * SZ_64K, SZ_64K, (count - 1 - i) * SZ_64K);
        (0..count).map(piece).collect()
    }
}

fn name(size: u64) -> String {
    crate::size::binary(size)
}
