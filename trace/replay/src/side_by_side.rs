//! One recording, decoded once, on several kernels at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::{Counts, Kept, Other, Replay, Residency, Steps, binds_of};
use hosted::HostedError;
use hosted::config::NullChoice;
use kernels::Kernel;
use panvk_sparse::lower::Strategy;
use trace::{Event, Record};
use vpanthor::KernelSpec;

/// A kernel, and how unbound ranges are mapped on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub kernel: KernelSpec,
    pub choice: NullChoice,
}

/// What is to be known in the end, beside the totals.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Steps that are kept one by one and summed up, from 0.
    pub steps: Range<u64>,
    /// Whether to follow what is bound.
    pub residency: bool,
    /// Kernels other than panthor that are told the same as the first way.
    pub others: Vec<Kernel>,
}

/// A recording that was replayed one way.
#[derive(Debug)]
pub struct Replayed {
    pub kernel: KernelSpec,
    pub strategy: Strategy,
    /// Of the whole recording.
    pub totals: Counts,
    pub kept: Kept,
    /// [`Replay::remarks`].
    pub remarks: Vec<String>,
    /// Of the first way only, where it was wanted: what is bound is the same on every kernel.
    pub residency: Option<Residency>,
    /// Of the first way only.
    pub others: Vec<Other>,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The records ended with an error.
    Source(E),
    /// A kernel can't be had.
    Kernel(HostedError),
    /// A thread that replays died, or could not be made.
    Thread(String),
}

/// Records that are handed on at once: until they hold so many binds, or are so many.
const CHUNK_BINDS: u64 = 1 << 14;
const CHUNK_RECORDS: usize = 1 << 12;
/// Chunks that the decoder may be ahead of a replay.
const AHEAD: usize = 4;

/// Replays what `next` gives, up to its `None`, in each way, every one in a thread of its own. The results are in the order
/// of `ways`.
///
/// `next` is given the records that all ways are done with since the last time, to make new ones of
/// ([`Reader::recycle`](trace::Reader::recycle)); what it leaves there is freed.
///
/// Memory grows with what the application has alive at a time, not with the length of the recording.
///
/// # Errors
/// `next` fails, or a kernel can't be had.
pub fn side_by_side<E>(
    ways: &[Way],
    wanted: &Wanted,
    mut next: impl FnMut(&mut Vec<Record>) -> Result<Option<Record>, E>,
) -> Result<Vec<Replayed>, Stopped<E>> {
    let mut replays = Vec::new();
    for (i, way) in ways.iter().enumerate() {
        let replay = Replay::new(&way.kernel, way.choice).map_err(Stopped::Kernel)?;
        let others = if i == 0 { &wanted.others[..] } else { &[] };
        replays.push(replay.and_kernels(others));
    }
    thread::scope(|scope| {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for (i, replay) in replays.into_iter().enumerate() {
            let (queue, chunks) = sync_channel(AHEAD);
            let residency = (wanted.residency && i == 0).then(Residency::new);
            let steps = Steps::new(wanted.steps.clone());
            let spawned = thread::Builder::new()
                .spawn_scoped(scope, move || follow(replay, steps, residency, &chunks));
            threads.push(spawned.map_err(|error| Stopped::Thread(error.to_string()))?);
            queues.push(queue);
        }
        let fed = hand_out(&queues, &mut next);
        drop(queues);
        let mut results = Vec::new();
        for thread in threads {
            let result = thread
                .join()
                .map_err(|_| Stopped::Thread("a replay panicked".to_owned()))?;
            results.push(result.map_err(Stopped::Kernel)?);
        }
        fed.map_err(Stopped::Source)?;
        Ok(results)
    })
}

type Chunk = Arc<Vec<Record>>;

fn hand_out<E>(
    queues: &[SyncSender<Chunk>],
    next: &mut impl FnMut(&mut Vec<Record>) -> Result<Option<Record>, E>,
) -> Result<(), E> {
    // Handed out and not known to be done with, oldest first.
    let mut out: VecDeque<Chunk> = VecDeque::new();
    let mut used = Vec::new();
    loop {
        used.clear();
        while let Some(oldest) = out.pop_front() {
            match Arc::try_unwrap(oldest) {
                Ok(records) => used.extend(records),
                Err(oldest) => {
                    out.push_front(oldest);
                    break;
                }
            }
        }
        let mut chunk = Vec::new();
        let mut binds = 0;
        let mut more = true;
        while binds < CHUNK_BINDS && chunk.len() < CHUNK_RECORDS {
            let Some(record) = next(&mut used)? else {
                more = false;
                break;
            };
            if let Event::BindSparse { call, .. } = &record.event {
                binds += binds_of(call);
            }
            chunk.push(record);
        }
        let chunk = Arc::new(chunk);
        for queue in queues {
            // One that has given up says why when it is joined.
            if queue.send(Arc::clone(&chunk)).is_err() {
                return Ok(());
            }
        }
        if !more {
            return Ok(());
        }
        out.push_back(chunk);
    }
}

fn follow(
    mut replay: Replay,
    mut steps: Steps,
    mut residency: Option<Residency>,
    chunks: &Receiver<Chunk>,
) -> Result<Replayed, HostedError> {
    for chunk in chunks {
        for record in chunk.iter() {
            replay.feed(record)?;
            steps.note(&record.event, || replay.totals());
            if let Some(residency) = &mut residency {
                residency.note(&record.event, &replay);
            }
        }
    }
    let totals = replay.totals();
    if let Some(residency) = &mut residency {
        residency.finish();
    }
    Ok(Replayed {
        kernel: replay.kernel.clone(),
        strategy: replay.strategy(),
        totals,
        kept: steps.finish(totals),
        remarks: replay.remarks,
        residency,
        others: replay.others,
    })
}
