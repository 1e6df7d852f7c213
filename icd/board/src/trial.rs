//! The trial of a base driver: whether it binds as this crate expects, seen at the border while the driver in front makes a
//! scratch buffer, binds it once and destroys it.

use std::fmt;

use panvk_sparse::units::{BoHandle, SZ_2M, SZ_64K, Va};

use crate::calls::Look;
use crate::op::{Kind, Op};

/// Bytes of the scratch buffer.
pub const BUFFER: u64 = 4 * SZ_2M;
/// Where memory is bound to the scratch buffer: bytes from its start, and length in bytes.
pub const MEMORY_BIND: (u64, u64) = (SZ_64K, SZ_64K);
/// Where the scratch buffer is unbound. Longer than a dummy, so that every piece of it is seen.
pub const NULL_BIND: (u64, u64) = (SZ_2M + SZ_64K, SZ_2M + 2 * SZ_64K);

/// What the base driver makes of a bind of no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// It maps its dummy where the bind says.
    Right,
    /// It maps its dummy elsewhere, as Mesa 26.1 does.
    Stray,
}

/// In what the base driver differs from what is expected, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected(pub String);

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unexpected<T>(what: impl Into<String>) -> Result<T, Unexpected> {
    Err(Unexpected(what.into()))
}

/// What the creation of the scratch buffer has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    pub va: Va,
    /// The base driver's dummy; `None` if it leaves that to the kernel.
    pub dummy: Option<BoHandle>,
}

/// Reads the creation of the scratch buffer.
///
/// # Errors
/// It is not mapped to one dummy from end to end.
pub fn creation(look: &Look) -> Result<Created, Unexpected> {
    let Some(first) = look.now.first() else {
        return unexpected("creating a sparse buffer maps nothing");
    };
    let dummy = match first.kind {
        Kind::Sparse => None,
        Kind::Memory { bo, .. } => Some(bo),
        other => return unexpected(format!("creating a sparse buffer begins with {other:?}")),
    };
    let va = look.now.iter().map(|op| op.va).min().unwrap_or(first.va);
    if look.is_strange
        || !look.later.is_empty()
        || !look.now.iter().all(|op| target(op) == Some(dummy))
    {
        return unexpected("creating a sparse buffer does more than to map one dummy");
    }
    if !covers(&look.now, va, BUFFER) {
        return unexpected(format!(
            "creating a sparse buffer of {BUFFER} bytes maps other addresses than so many from {va}"
        ));
    }
    Ok(Created { va, dummy })
}

/// Reads a bind of [`MEMORY_BIND`] to the buffer object `memory` and of [`NULL_BIND`] to none.
///
/// # Errors
/// The memory is not where it belongs, or what is unbound is not mapped to the dummy.
pub fn bind(look: &Look, created: Created, memory: BoHandle) -> Result<Nulls, Unexpected> {
    if look.is_strange || !look.now.is_empty() || look.later.is_empty() {
        return unexpected(format!(
            "vkQueueBindSparse comes as {} asynchronous and {} synchronous operations{}",
            look.later.len(),
            look.now.len(),
            if look.is_strange { ", and others" } else { "" }
        ));
    }
    let is_memory = |op: &&Op| target(op) == Some(Some(memory));
    let (memories, nulls): (Vec<Op>, Vec<Op>) = look.later.iter().partition(is_memory);
    memory_bind(&memories, created, MEMORY_BIND)?;
    if nulls.is_empty() || !nulls.iter().all(|op| target(op) == Some(created.dummy)) {
        return unexpected("a bind of no memory does not map the dummy");
    }
    let (offset, len) = NULL_BIND;
    Ok(match covers(&nulls, Va(created.va.0 + offset), len) {
        true => Nulls::Right,
        false => Nulls::Stray,
    })
}

/// Reads a bind of `place` (bytes from the start, length) to the buffer object `memory`.
///
/// # Errors
/// It is not where it belongs.
pub fn stand_in_bind(
    look: &Look,
    created: Created,
    memory: BoHandle,
    place: (u64, u64),
) -> Result<(), Unexpected> {
    if look.is_strange
        || !look.now.is_empty()
        || !look.later.iter().all(|op| target(op) == Some(Some(memory)))
    {
        return unexpected("a bind of memory comes as something else");
    }
    memory_bind(&look.later, created, place)
}

fn memory_bind(ops: &[Op], created: Created, (offset, len): (u64, u64)) -> Result<(), Unexpected> {
    let is_right = |op: &Op| {
        let Kind::Memory {
            offset: in_memory, ..
        } = op.kind
        else {
            return false;
        };
        in_memory == op.va.0.wrapping_sub(created.va.0 + offset)
    };
    if ops.iter().all(is_right) && covers(ops, Va(created.va.0 + offset), len) {
        return Ok(());
    }
    unexpected("a bind of memory maps it elsewhere")
}

/// Reads the destruction of the scratch buffer.
///
/// # Errors
/// Its addresses are not unmapped as a whole.
pub fn destruction(look: &Look, created: Created) -> Result<(), Unexpected> {
    let unmaps = look.now.iter().all(|op| op.kind == Kind::Unmap);
    if look.is_strange
        || !look.later.is_empty()
        || !unmaps
        || !covers(&look.now, created.va, BUFFER)
    {
        return unexpected("destroying a sparse buffer does not unmap all of it");
    }
    Ok(())
}

/// The buffer object that an operation maps, `Some(None)` for the kernel's dummy; `None` if it maps nothing.
fn target(op: &Op) -> Option<Option<BoHandle>> {
    match op.kind {
        Kind::Sparse => Some(None),
        Kind::Memory { bo, .. } => Some(Some(bo)),
        Kind::Unmap | Kind::SyncOnly => None,
    }
}

/// Whether the operations name `len` bytes from `va`, each once, and no others.
fn covers(ops: &[Op], va: Va, len: u64) -> bool {
    let mut ops: Vec<&Op> = ops.iter().collect();
    ops.sort_by_key(|op| op.va);
    let end = ops
        .iter()
        .try_fold(va, |end, op| (op.va == end).then(|| op.end()));
    end == Some(Va(va.0 + len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use panvk_sparse::bind::BindFlags;

    const VA: u64 = 1 << 32;
    const MEMORY: BoHandle = BoHandle(7);
    const DUMMY: BoHandle = BoHandle(3);

    fn op(va: u64, len: u64, kind: Kind) -> Op {
        Op {
            va: Va(va),
            len,
            kind,
        }
    }

    fn memory(va: u64, len: u64, bo: BoHandle, offset: u64) -> Op {
        let flags = BindFlags::NONE;
        op(va, len, Kind::Memory { bo, offset, flags })
    }

    #[test]
    fn a_new_buffer_is_one_dummy_from_end_to_end() {
        let pieces = |bo, count| (0..count).map(move |i| memory(VA + i * SZ_2M, SZ_2M, bo, 0));
        let now = |now: Vec<Op>| Look {
            now,
            ..Look::default()
        };
        let whole = creation(&now(pieces(DUMMY, 4).rev().collect()));
        let (va, dummy) = (Va(VA), Some(DUMMY));
        assert_eq!(whole, Ok(Created { va, dummy }));
        let of_kernel = creation(&now(vec![op(VA, BUFFER, Kind::Sparse)]));
        assert_eq!(of_kernel, Ok(Created { va, dummy: None }));
        for strange in [
            vec![],
            pieces(DUMMY, 3).collect(),
            pieces(DUMMY, 5).collect(),
            pieces(DUMMY, 3)
                .chain([memory(VA + 3 * SZ_2M, SZ_2M, MEMORY, 0)])
                .collect(),
            vec![op(VA, BUFFER, Kind::Unmap)],
        ] {
            assert!(creation(&now(strange.clone())).is_err(), "{strange:?}");
        }
    }

    #[test]
    fn where_a_bind_of_nothing_maps_the_dummy_tells_the_versions_apart() {
        let created = Created {
            va: Va(VA),
            dummy: Some(DUMMY),
        };
        let bound = memory(VA + MEMORY_BIND.0, MEMORY_BIND.1, MEMORY, 0);
        let read = |later: Vec<Op>| {
            let look = Look {
                later,
                ..Look::default()
            };
            bind(&look, created, MEMORY)
        };
        let at = VA + NULL_BIND.0;
        let first = SZ_2M - at % SZ_2M;
        let right = vec![
            memory(at, first, DUMMY, at % SZ_2M),
            bound,
            memory(at + first, NULL_BIND.1 - first, DUMMY, 0),
        ];
        assert_eq!(read(right), Ok(Nulls::Right));
        assert_eq!(
            read(vec![bound, memory(VA, SZ_2M, DUMMY, 0)]),
            Ok(Nulls::Stray)
        );
        for strange in [
            vec![],
            vec![bound],
            vec![
                memory(VA, SZ_64K, MEMORY, 0),
                memory(at, NULL_BIND.1, DUMMY, 0),
            ],
            vec![bound, memory(at, NULL_BIND.1, BoHandle(9), 0)],
            vec![bound, op(at, NULL_BIND.1, Kind::Sparse)],
        ] {
            assert!(read(strange.clone()).is_err(), "{strange:?}");
        }
    }
}
