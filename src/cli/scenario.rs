//! What an application does with one sparse buffer, as the calls that a driver gets.

use std::fmt;

use panvk_sparse::bind::{Request, Target};
use panvk_sparse::units::{BoRef, SZ_64K, Va};

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
    /// only left out where that is 0.
    pub fn calls(self, va: Va, size: u64, memory: Option<BoRef>) -> Vec<Call> {
        let bound = |va, len, offset| {
            memory.map(|bo| Request {
                va,
                len,
                target: Target::Memory { bo, offset },
            })
        };
        match self {
            Scenario::Init => vec![vec![unbound(va, size)]],
            Scenario::Rebind => {
                let all = || bound(va, size, 0).into_iter().collect();
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

fn unbound(va: Va, len: u64) -> Request {
    Request {
        va,
        len,
        target: Target::Null,
    }
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
    use panvk_sparse::units::BoHandle;

    const VA: Va = Va(1 << 32);

    fn memory() -> Option<BoRef> {
        Some(BoRef {
            handle: BoHandle(1),
            serial: 1,
        })
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
                let calls = scenario.calls(VA, size, memory());
                assert!(!calls.is_empty());
                for request in calls.iter().flatten() {
                    assert!(request.va >= VA && request.len > 0);
                    assert!(request.va.0 + request.len <= VA.0 + size);
                    if let Target::Memory { offset, .. } = request.target {
                        assert!(offset + request.len <= scenario.memory_size(size));
                    }
                }
            }
        }
    }
}
