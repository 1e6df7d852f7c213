//! What an application does with one sparse buffer, as the calls that a driver gets.

use std::fmt;

use panvk_sparse::bind::{Memory, Request, Target};
use panvk_sparse::units::{SZ_64K, Va};

use super::size::thousands;

/// What is done with the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// A new buffer starts unbound
    Init,
    /// All of it is bound to memory, unbound again and bound anew: three calls
    Rebind,
    /// Every second 64 KiB piece is bound in one call, then unbound in one call
    Fragmented,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scenario::Init => "init",
            Scenario::Rebind => "rebind",
            Scenario::Fragmented => "fragmented",
        })
    }
}

/// The requests of one `vkQueueBindSparse` call, or of the creation of the buffer.
pub type Call = Vec<Request>;

impl Scenario {
    /// Bytes of memory that the calls bind from, for a buffer of `size` bytes; 0 where nothing is bound.
    pub fn memory_size(self, size: u64) -> u64 {
        match self {
            Scenario::Init => 0,
            Scenario::Rebind => size,
            Scenario::Fragmented => pieces(size).map(|(_, len)| len).sum(),
        }
    }

    /// What the buffer has been through before the measurement starts.
    pub fn before(self, va: Va, size: u64) -> Vec<Call> {
        match self {
            Scenario::Init => Vec::new(),
            Scenario::Rebind | Scenario::Fragmented => vec![vec![unbound(va, size)]],
        }
    }

    /// The measured calls, for a buffer of `size` bytes at `va`. `memory` has [`Self::memory_size`] bytes, and is
    /// only left out where that is 0. Where it has less, it is bound again and again, from its start.
    pub fn calls(self, va: Va, size: u64, memory: Option<Memory>) -> Vec<Call> {
        let memory = memory.filter(|memory| memory.size > 0);
        let bound = |va, len, offset| {
            memory
                .into_iter()
                .flat_map(move |m| pass(m, va, len, offset))
        };
        match self {
            Scenario::Init => vec![vec![unbound(va, size)]],
            Scenario::Rebind => {
                let all = || bound(va, size, 0).collect();
                vec![all(), vec![unbound(va, size)], all()]
            }
            Scenario::Fragmented => {
                let mut offset = 0;
                let mut bind = Call::new();
                let mut unbind = Call::new();
                for (start, len) in pieces(size) {
                    bind.extend(bound(Va(va.0 + start), len, offset));
                    unbind.push(unbound(Va(va.0 + start), len));
                    offset += len;
                }
                vec![bind, unbind]
            }
        }
    }

    /// A sentence that says what happens to a buffer of `bytes` bytes.
    pub fn describe(self, bytes: u64, size: u64) -> String {
        let bytes = thousands(bytes);
        match self {
            Scenario::Init => format!("A new sparse buffer of {bytes} bytes starts unbound."),
            Scenario::Rebind => {
                format!(
                    "A sparse buffer of {bytes} bytes: all of it is bound to memory, unbound, and bound anew."
                )
            }
            Scenario::Fragmented => format!(
                "A sparse buffer of {bytes} bytes: every second 64 KiB piece ({} of them) is bound in one call, \
                 then unbound in one call.",
                thousands(pieces(size).count() as u64)
            ),
        }
    }
}

pub fn unbound(va: Va, len: u64) -> Request {
    Request {
        va,
        len,
        target: Target::Null,
    }
}

/// Binds of `len` bytes from `offset` on, which goes through the memory and starts anew at its end.
fn pass(memory: Memory, va: Va, len: u64, offset: u64) -> impl Iterator<Item = Request> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let offset = (offset + done) % memory.size;
        let piece = (len - done).min(memory.size - offset);
        let request = Request {
            va: Va(va.0 + done),
            len: piece,
            target: Target::memory(memory.bo, offset),
        };
        done += piece;
        (piece > 0).then_some(request)
    })
}

/// Every second 64 KiB of `size` bytes, from the first on: offset and length. The last one may be shorter.
fn pieces(size: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size)
        .step_by(2 * SZ_64K as usize)
        .map(move |start| (start, SZ_64K.min(size - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use panvk_sparse::units::{BoHandle, BoRef};

    const VA: Va = Va(1 << 32);

    fn memory(size: u64) -> Option<Memory> {
        let bo = BoRef {
            handle: BoHandle(1),
            serial: 1,
        };
        Some(Memory { bo, size })
    }

    #[test]
    fn a_buffer_of_100e6_bytes_has_763_second_pieces_and_the_last_is_whole() {
        let all: Vec<_> = pieces(100_003_840).collect();
        assert_eq!(all.len(), 763);
        assert!(all.iter().all(|&(_, len)| len == SZ_64K));
    }

    #[test]
    fn the_last_piece_ends_where_the_buffer_ends() {
        let all: Vec<_> = pieces(2 * SZ_64K + 4096).collect();
        assert_eq!(all, [(0, SZ_64K), (2 * SZ_64K, 4096)]);
    }

    #[test]
    fn every_call_stays_inside_the_buffer_and_the_memory() {
        for scenario in [Scenario::Init, Scenario::Rebind, Scenario::Fragmented] {
            for size in [4096, SZ_64K, 3 * SZ_64K, 100_003_840] {
                for memory_size in [scenario.memory_size(size), 4096, 3 * 4096] {
                    let calls = scenario.calls(VA, size, memory(memory_size));
                    assert!(!calls.is_empty());
                    for request in calls.iter().flatten() {
                        assert!(request.va >= VA && request.len > 0);
                        assert!(request.va.0 + request.len <= VA.0 + size);
                        if let Target::Memory { offset, .. } = request.target {
                            assert!(offset + request.len <= memory_size);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn less_memory_is_bound_again_and_again_to_the_same_addresses() {
        let covered = |memory_size| -> Vec<Vec<(u64, u64)>> {
            let calls = Scenario::Fragmented.calls(VA, 7 * SZ_64K, memory(memory_size));
            // Neighbours joined: where the memory is gone through again makes no difference.
            calls
                .into_iter()
                .map(|call| {
                    let mut joined: Vec<(u64, u64)> = Vec::new();
                    for request in call {
                        match joined.last_mut() {
                            Some((va, len)) if *va + *len == request.va.0 => *len += request.len,
                            _ => joined.push((request.va.0, request.len)),
                        }
                    }
                    joined
                })
                .collect()
        };
        assert_eq!(covered(4 * SZ_64K)[0].len(), 4);
        for less in [4096, SZ_64K, SZ_64K + 4096] {
            assert_eq!(covered(less), covered(4 * SZ_64K));
        }
        let rebind = Scenario::Rebind.calls(VA, 10 * SZ_64K, memory(4 * SZ_64K));
        let lens: Vec<u64> = rebind[0].iter().map(|request| request.len).collect();
        assert_eq!(lens, [4 * SZ_64K, 4 * SZ_64K, 2 * SZ_64K]);
    }
}
