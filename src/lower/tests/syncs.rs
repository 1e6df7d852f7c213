use crate::bind::{Ranges, Run, Shadow, SparseRange, Target};
use crate::lower::{Attach, Lowering, MAX_OPS_PER_IOCTL, NullMap, Ops, PlannedBatch};
use crate::uapi::{SYNC_OP_SIGNAL, SyncOp, VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_SYNC_ONLY};
use crate::units::{BoHandle, BoRef, SZ_64K, Va};

const WAIT: SyncOp = SyncOp {
    flags: 0,
    handle: 5,
    timeline_value: 0,
};
const SIGNAL: SyncOp = SyncOp {
    flags: SYNC_OP_SIGNAL,
    handle: 6,
    timeline_value: 0,
};

/// Runs that no operation can do together.
fn runs(count: u64) -> Vec<Run> {
    let bo = BoRef {
        handle: BoHandle(2),
        serial: 0,
    };
    let run = |i| Run {
        va: Va(2 * i * SZ_64K),
        len: SZ_64K,
        target: Target::memory(bo, 0),
    };
    (0..count).map(run).collect()
}

fn lower(batches: &[PlannedBatch]) -> Vec<Ops> {
    let mut lowering = Lowering::new();
    let ranges = Ranges::default();
    let mut call = lowering.begin(&NullMap::Sparse, &ranges);
    for batch in batches {
        call.batch(batch, &Shadow::new());
    }
    call.finish().to_vec()
}

#[test]
fn a_batch_without_binds_is_one_sync_only() {
    let ioctls = lower(&[PlannedBatch {
        signals: &[SIGNAL],
        ..PlannedBatch::default()
    }]);
    assert_eq!(
        (ioctls.len(), ioctls[0].len(), ioctls[0].counts.sync),
        (1, 1, 1)
    );
    let op = ioctls[0].array.get(0).unwrap().op;
    assert_eq!(op.flags & VM_BIND_OP_TYPE_MASK, VM_BIND_OP_TYPE_SYNC_ONLY);
    assert_eq!((op.va, op.size, op.syncs.count), (0, 0, 1));
}

#[test]
fn nothing_at_all_is_no_ioctl() {
    assert!(lower(&[]).is_empty());
    assert!(lower(&[PlannedBatch::default(), PlannedBatch::default()]).is_empty());
}

#[test]
fn one_operation_waits_first_and_signals_after() {
    let ioctls = lower(&[PlannedBatch {
        waits: &[WAIT],
        signals: &[SIGNAL],
        runs: &runs(1),
        ..PlannedBatch::default()
    }]);
    assert_eq!(ioctls[0].syncs, [WAIT, SIGNAL]);
    assert_eq!(ioctls[0].attach, [Attach { op: 0, syncs: 0..2 }]);
}

#[test]
fn a_batch_of_65_537_operations_waits_in_the_first_ioctl_and_signals_in_the_second() {
    let runs = runs(MAX_OPS_PER_IOCTL as u64 + 1);
    let ioctls = lower(&[PlannedBatch {
        waits: &[WAIT],
        signals: &[SIGNAL],
        runs: &runs,
        ..PlannedBatch::default()
    }]);
    assert_eq!(
        ioctls.iter().map(Ops::len).collect::<Vec<_>>(),
        [MAX_OPS_PER_IOCTL, 1]
    );
    assert_eq!(
        (&ioctls[0].syncs[..], &ioctls[0].attach[..]),
        (&[WAIT][..], &[Attach { op: 0, syncs: 0..1 }][..])
    );
    assert_eq!(
        (&ioctls[1].syncs[..], &ioctls[1].attach[..]),
        (&[SIGNAL][..], &[Attach { op: 0, syncs: 0..1 }][..])
    );
}

#[test]
fn a_lowering_used_again_remembers_nothing() {
    let (mut lowering, none) = (Lowering::new(), Shadow::new());
    let null = Run {
        va: Va(0),
        len: 3 * SZ_64K,
        target: Target::Null,
    };
    let repeat = NullMap::Repeat {
        dummy: BoHandle(1),
        dummy_size: SZ_64K,
        max_range: 0,
    };
    let mut ranges = Ranges::default();
    let range = SparseRange::new(Va(0), 3 * SZ_64K, SZ_64K);
    ranges.add(range).unwrap();
    for _ in 0..3 {
        let mut call = lowering.begin(&repeat, &ranges);
        call.batch(
            &PlannedBatch {
                waits: &[WAIT],
                runs: &[null],
                ..PlannedBatch::default()
            },
            &none,
        );
        let ioctls = call.finish();
        assert_eq!(
            (ioctls.len(), ioctls[0].len(), ioctls[0].array.stride()),
            (1, 1, 56)
        );
        assert_eq!((ioctls[0].counts.null, ioctls[0].syncs.len()), (1, 1));
        let runs = runs(70_000);
        let mut call = lowering.begin(&repeat, &ranges);
        call.batch(
            &PlannedBatch {
                runs: &runs,
                ..PlannedBatch::default()
            },
            &none,
        );
        let ioctls = call.finish();
        assert_eq!(
            (
                ioctls.len(),
                ioctls[0].array.stride(),
                ioctls[0].syncs.len()
            ),
            (2, 48, 0)
        );
        assert_eq!(
            (ioctls[0].counts.map, ioctls[1].counts.map),
            (65_536, 4_464)
        );
    }
}
