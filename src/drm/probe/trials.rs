//! The trials themselves: a few binds each, in a scratch VM.

use super::{Outcome, ProbeError, Trial};
use crate::drm::bo::Bo;
use crate::drm::device::Device;
use crate::drm::error::IoctlError;
use crate::drm::vm::{BindMode, VmState};
use crate::lower::{OpArray, OpCounts, Ops, Strategy, unmap_op};
use crate::uapi::{self, VmBindOp, VmBindOpRepeat};
use crate::units::{BoHandle, SZ_2M, SZ_4K, SZ_64K, Va};
use rustix::io::Errno;

/// Where trials map: 2 MiB-aligned, and low enough for every address space.
const VA: u64 = 32 * SZ_2M;

/// A bind of one operation, and why it is made.
struct Step {
    op: Op,
    purpose: &'static str,
}

impl Step {
    fn ops(&self) -> Ops {
        let (array, op) = match self.op {
            Op::Plain(op) => (OpArray::Plain(vec![op]), op),
            Op::Repeat(op) => (OpArray::Repeat(vec![op]), op.op),
        };
        let counts = match op.flags & uapi::VM_BIND_OP_TYPE_MASK {
            uapi::VM_BIND_OP_TYPE_UNMAP => OpCounts {
                unmap: 1,
                ..OpCounts::default()
            },
            _ if op.flags & uapi::VM_BIND_OP_MAP_SPARSE != 0 => OpCounts {
                null: 1,
                ..OpCounts::default()
            },
            _ => OpCounts {
                map: 1,
                ..OpCounts::default()
            },
        };
        Ops {
            array,
            counts,
            ..Ops::default()
        }
    }
}

enum Op {
    Plain(VmBindOp),
    Repeat(VmBindOpRepeat),
}

fn map(bo: BoHandle, va: u64, size: u64) -> VmBindOp {
    VmBindOp {
        flags: uapi::VM_BIND_OP_TYPE_MAP | uapi::VM_BIND_OP_MAP_NOEXEC,
        bo_handle: bo.0,
        va,
        size,
        ..VmBindOp::default()
    }
}

fn map_memory(bo: BoHandle, va: u64, size: u64, purpose: &'static str) -> Step {
    Step {
        op: Op::Plain(map(bo, va, size)),
        purpose,
    }
}

fn map_repeat(bo: BoHandle, va: u64, size: u64, range: u64, purpose: &'static str) -> Step {
    let mut op = map(bo, va, size);
    op.flags |= uapi::VM_BIND_OP_MAP_REPEAT;
    Step {
        op: Op::Repeat(VmBindOpRepeat {
            op,
            bo_repeat_range: range,
        }),
        purpose,
    }
}

fn map_sparse(va: u64, size: u64, purpose: &'static str) -> Step {
    let mut op = map(BoHandle(0), va, size);
    op.flags |= uapi::VM_BIND_OP_MAP_SPARSE;
    Step {
        op: Op::Plain(op),
        purpose,
    }
}

fn unmap(va: u64, size: u64, purpose: &'static str) -> Step {
    Step {
        op: Op::Plain(unmap_op(Va(va), size)),
        purpose,
    }
}

/// How a sequence of binds ended.
enum End {
    Done,
    /// At which step, with what errno.
    Refused(&'static str, Errno),
    /// At which step.
    Unusable(&'static str),
}

/// Whether an errno says "this kernel does not do that", and not "not now".
fn is_refusal(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::INVAL | Errno::TOOBIG | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY
    )
}

/// Makes the binds one after another, in a VM of their own.
fn run_steps(device: &Device, what: &str, steps: &[Step]) -> Result<End, ProbeError> {
    let failed = |error: IoctlError| ProbeError {
        what: what.into(),
        error,
    };
    let vm = device.create_vm(0).map_err(failed)?;
    for step in steps {
        match vm.bind(&mut step.ops(), BindMode::Sync) {
            Ok(()) => {}
            Err(failure) if is_refusal(failure.errno) => {
                return Ok(End::Refused(step.purpose, failure.errno));
            }
            Err(failure) => {
                return Err(failed(IoctlError {
                    ioctl: "VM_BIND",
                    errno: failure.errno,
                }));
            }
        }
        if vm.state().map_err(failed)? == VmState::Unusable {
            return Ok(End::Unusable(step.purpose));
        }
    }
    Ok(End::Done)
}

/// A sequence of binds and what to say about it.
struct Try {
    strategy: Strategy,
    what: String,
    steps: Vec<Step>,
    /// What follows if all is accepted.
    accepted: &'static str,
    /// What follows if not.
    refused: &'static str,
}

impl Try {
    /// The trial and whether all was accepted.
    fn run(self, device: &Device) -> Result<(Trial, bool), ProbeError> {
        let (outcome, meaning) = match run_steps(device, &self.what, &self.steps)? {
            End::Done => (Outcome::Accepted, self.accepted.to_string()),
            End::Refused(_, Errno::TOOBIG) => (
                Outcome::Refused(Errno::TOOBIG),
                format!("its operations are shorter: {}", self.refused),
            ),
            End::Refused(purpose, errno) => (
                Outcome::Refused(errno),
                format!("it refused to {purpose}: {}", self.refused),
            ),
            End::Unusable(purpose) => (
                Outcome::Refused(Errno::INVAL),
                format!(
                    "the VM became unusable when it was to {purpose}: {}",
                    self.refused
                ),
            ),
        };
        let accepted = outcome == Outcome::Accepted;
        Ok((
            Trial {
                strategy: Some(self.strategy),
                what: self.what,
                outcome,
                meaning,
            },
            accepted,
        ))
    }
}

/// What the trials showed.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub tried: Vec<Trial>,
    /// Best first.
    pub strategies: Vec<Strategy>,
    /// See [`Capabilities::repeat_max_range`](super::Capabilities::repeat_max_range).
    pub repeat_max_range: u64,
}

impl Found {
    fn run(&mut self, device: &Device, trial: Try) -> Result<bool, ProbeError> {
        let (trial, accepted) = trial.run(device)?;
        self.tried.push(trial);
        Ok(accepted)
    }

    fn skip(&mut self, strategy: Strategy, what: &str, meaning: String) {
        self.tried.push(Trial {
            strategy: Some(strategy),
            what: what.into(),
            outcome: Outcome::NotTried,
            meaning,
        });
    }
}

/// Tries all strategies for which `version`, the one that the kernel announces, gives a reason. `page_sizes` has a bit
/// for each size.
pub(super) fn run(
    device: &Device,
    version: (u32, u32),
    page_sizes: u64,
) -> Result<Found, ProbeError> {
    let scratch = device
        .create_bo(SZ_2M, uapi::BO_NO_MMAP, None)
        .map_err(|error| ProbeError {
            what: "create a scratch buffer object of 2 MiB".into(),
            error,
        })?;
    let mut found = Found::default();
    let page = try_page(device, &scratch, &mut found)?;
    let chunk = try_chunk(device, &scratch, chunk_size(page_sizes), &mut found)?;
    let repeat = try_repeat(device, &scratch, version, &mut found)?;
    let sparse = try_sparse(device, &scratch, version, &mut found)?;
    found.strategies = [
        (sparse, Strategy::Sparse),
        (repeat, Strategy::Repeat),
        (chunk, Strategy::Chunk),
        (page, Strategy::Page),
    ]
    .into_iter()
    .filter_map(|(works, strategy)| works.then_some(strategy))
    .collect();
    Ok(found)
}

/// The largest page size up to 2 MiB: the size of the dummy that is mapped chunk by chunk.
pub(super) fn chunk_size(page_sizes: u64) -> u64 {
    let sizes = (page_sizes | SZ_4K) & (SZ_2M | (SZ_2M - 1));
    1 << sizes.ilog2()
}

fn try_page(device: &Device, scratch: &Bo, found: &mut Found) -> Result<bool, ProbeError> {
    let bo = scratch.handle();
    found.run(
        device,
        Try {
            strategy: Strategy::Page,
            what: "map one 4 KiB page of a buffer object at two addresses, unmap both".into(),
            steps: vec![
                map_memory(bo, VA, SZ_4K, "map a page"),
                map_memory(bo, VA + SZ_4K, SZ_4K, "map the same page again"),
                unmap(VA, 2 * SZ_4K, "unmap two pages"),
            ],
            accepted: "one map a page works",
            refused: "not even single pages can be mapped",
        },
    )
}

fn try_chunk(
    device: &Device,
    scratch: &Bo,
    chunk: u64,
    found: &mut Found,
) -> Result<bool, ProbeError> {
    let bo = scratch.handle();
    found.run(
        device,
        Try {
            strategy: Strategy::Chunk,
            what: format!(
                "map {} of a buffer object, replace a page in it, unmap all",
                super::page_size_list(chunk)
            ),
            steps: vec![
                map_memory(bo, VA, chunk, "map a chunk"),
                map_memory(bo, VA + chunk / 2, SZ_4K, "replace a page of it"),
                unmap(VA, chunk, "unmap it all"),
            ],
            accepted: "one map a chunk works",
            refused: "chunks cannot be used",
        },
    )
}

fn try_repeat(
    device: &Device,
    scratch: &Bo,
    (major, minor): (u32, u32),
    found: &mut Found,
) -> Result<bool, ProbeError> {
    let bo = scratch.handle();
    let what = "map one 4 KiB page 16 times with REPEAT (56-byte operation), replace one in the middle, unmap all";
    if !(minor == 6 || minor >= 8) {
        let reason = format!(
            "uAPI {major}.{minor}: the kernels that have REPEAT announce 1.6, or 1.8 and later"
        );
        found.skip(Strategy::Repeat, what, reason);
        return Ok(false);
    }
    let works = found.run(
        device,
        Try {
            strategy: Strategy::Repeat,
            what: what.into(),
            steps: vec![
                map_repeat(bo, VA, SZ_64K, SZ_4K, "map with a repeat range"),
                map_memory(bo, VA + 7 * SZ_4K, SZ_4K, "replace a repeated page"),
                unmap(VA, SZ_64K, "unmap a cut repeated mapping"),
            ],
            accepted: "one map a range works",
            refused: "a kernel without REPEAT",
        },
    )?;
    if !works {
        return Ok(false);
    }
    // A kernel that takes the flag and knows what it means refuses a range that does not fit. The range is whole pages
    // in any case: one that is not would get past the checks of the series' v4 and wreck the VM.
    let what = "map 12 KiB with a repeat range of 8 KiB, which must be refused";
    let steps = [map_repeat(
        bo,
        VA,
        3 * SZ_4K,
        2 * SZ_4K,
        "map a range that does not fit",
    )];
    let (outcome, meaning, works) = match run_steps(device, what, &steps)? {
        End::Refused(_, errno) => (Outcome::Refused(errno), "the flag does mean REPEAT", true),
        End::Done | End::Unusable(_) => (
            Outcome::Accepted,
            "the flag does not mean REPEAT: not used",
            false,
        ),
    };
    found.tried.push(Trial {
        strategy: Some(Strategy::Repeat),
        what: what.into(),
        outcome,
        meaning: meaning.into(),
    });
    if works
        && try_large_range(device, bo, SZ_64K, found)?
        && try_large_range(device, bo, SZ_4K, found)?
    {
        found.repeat_max_range = SZ_2M;
    }
    Ok(works)
}

/// Whether a mapping with a repeat range of 2 MiB can be cut at `distance` bytes, and torn down afterwards.
fn try_large_range(
    device: &Device,
    bo: BoHandle,
    distance: u64,
    found: &mut Found,
) -> Result<bool, ProbeError> {
    found.run(
        device,
        Try {
            strategy: Strategy::Repeat,
            what: format!(
                "map 4 MiB with a repeat range of 2 MiB, cut it at {} KiB, unmap it in pieces",
                distance >> 10
            ),
            steps: vec![
                map_repeat(bo, VA, 2 * SZ_2M, SZ_2M, "map with a repeat range of 2 MiB"),
                map_memory(bo, VA + distance, distance, "cut the repeat range by a map"),
                map_repeat(
                    bo,
                    VA + distance,
                    distance,
                    distance,
                    "close the gap with a smaller range",
                ),
                unmap(VA, 2 * distance, "unmap a piece at the start"),
                unmap(
                    VA + SZ_2M + distance,
                    distance,
                    "unmap a piece in the middle",
                ),
                unmap(VA, 2 * SZ_2M, "unmap the rest"),
            ],
            accepted: "a repeat range may be larger than the distance of later cuts",
            refused: "repeat ranges stay as small as what can be bound in them",
        },
    )
}

fn try_sparse(
    device: &Device,
    scratch: &Bo,
    (major, minor): (u32, u32),
    found: &mut Found,
) -> Result<bool, ProbeError> {
    let what =
        "map 4 MiB with SPARSE (48-byte operation, no buffer object), replace a page, unmap all";
    if minor < 9 {
        found.skip(
            Strategy::Sparse,
            what,
            format!("uAPI {major}.{minor}: SPARSE came with 1.9"),
        );
        return Ok(false);
    }
    found.run(
        device,
        Try {
            strategy: Strategy::Sparse,
            what: what.into(),
            steps: vec![
                map_sparse(VA, 2 * SZ_2M, "map without a buffer object"),
                map_memory(scratch.handle(), VA + SZ_64K, SZ_4K, "replace a page of it"),
                unmap(VA, 2 * SZ_2M, "unmap it all"),
            ],
            accepted: "one map a range works, with the kernel's own dummy",
            refused: "a kernel without SPARSE",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_the_largest_page_up_to_2_mib() {
        assert_eq!(chunk_size(SZ_4K | SZ_2M), SZ_2M);
        assert_eq!(chunk_size(SZ_4K | SZ_2M | 1 << 30), SZ_2M);
        assert_eq!(chunk_size(SZ_4K | SZ_64K | 1 << 25), SZ_64K);
        assert_eq!(chunk_size(SZ_4K), SZ_4K);
        assert_eq!(chunk_size(1 << 30), SZ_4K);
    }
}
