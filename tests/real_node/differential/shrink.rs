//! Makes a sequence that shows a difference as small as can be: without calls, without ops, with zeros in place of words.

use std::time::{Duration, Instant};

use panvk_sparse::uapi::*;

use super::Judge;
use super::call::Call;
use super::sides::Difference;

/// So long it may take.
const TIME: Duration = Duration::from_secs(60);

pub fn shrink(judge: &Judge, mut calls: Vec<Call>, first: &Difference) -> (Vec<Call>, Difference) {
    calls.truncate(first.at + 1);
    let mut difference = judge.run(&calls).err().unwrap_or_else(|| Difference {
        at: first.at,
        what: format!("{} (not every time)", first.what),
    });
    let end = Instant::now() + TIME;
    let mut attempt = |calls: &mut Vec<Call>, tried: Vec<Call>| {
        let differs = if Instant::now() < end {
            judge.run(&tried).err()
        } else {
            None
        };
        let smaller = differs.is_some();
        if let Some(now) = differs {
            *calls = tried;
            calls.truncate(now.at + 1);
            difference = now;
        }
        smaller
    };
    remove_calls(&mut calls, &mut attempt);
    // Fewer ops.
    for at in (0..calls.len()).rev() {
        let mut op = 0;
        while let Some(tried) = calls.get(at).and_then(|call| without_op(call, op)) {
            let mut all = calls.clone();
            all[at] = tried;
            if !attempt(&mut calls, all) {
                op += 1;
            }
        }
    }
    // Fewer words that say something.
    for at in (0..calls.len()).rev() {
        for word in (0..LEN_IN_WORDS).rev() {
            let Some(call) = calls.get(at) else { break };
            let bytes = word * 4..word * 4 + 4;
            if !call
                .memory
                .get(bytes.clone())
                .is_some_and(|word| word.iter().any(|byte| *byte != 0))
            {
                continue;
            }
            let mut tried = calls.clone();
            tried[at].memory[bytes].fill(0);
            attempt(&mut calls, tried);
        }
    }
    remove_calls(&mut calls, &mut attempt);
    (calls, difference)
}

/// Leaves out calls that `attempt` does not need: halves first.
fn remove_calls(
    calls: &mut Vec<Call>,
    attempt: &mut impl FnMut(&mut Vec<Call>, Vec<Call>) -> bool,
) {
    let mut part = calls.len() / 2;
    while part > 0 {
        let mut from = 0;
        while from < calls.len() {
            let mut tried = calls.clone();
            tried.drain(from..(from + part).min(calls.len()));
            if tried.is_empty() || !attempt(calls, tried) {
                from += part;
            }
        }
        part /= 2;
    }
}

const LEN_IN_WORDS: usize = super::call::LEN / 4;

/// The VM_BIND without one of its ops, if it has more than one.
fn without_op(call: &Call, op: u32) -> Option<Call> {
    let mut bind = call.bind()?;
    let mut ops = call.array::<VmBindOp>(&bind.ops)?;
    if bind.ops.stride != 48 || ops.len() < 2 || op as usize >= ops.len() {
        return None;
    }
    ops.remove(op as usize);
    let start = (bind.ops.array - super::call::BASE) as usize;
    let mut shorter = call.clone();
    let bytes = VmBindOp::slice_as_bytes(&ops);
    shorter
        .memory
        .get_mut(start..start + bytes.len())?
        .copy_from_slice(bytes);
    bind.ops.count -= 1;
    shorter.set_args(&bind);
    Some(shorter)
}
