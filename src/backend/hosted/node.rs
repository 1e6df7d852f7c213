//! A real kernel beside the virtual one: a render node that is asked whatever the model is asked.
//!
//! The application lives on the model: what it binds is what the model's page tables say. The node gets the same
//! operations, and what it answers is held against the model's answer. So an application, or the conformance tests, run
//! on a board shows whether the board's kernel takes every operation that this driver makes, and where it does not, which.
//!
//! The operations are the same to the byte but for their handles: a VM, buffer objects and syncobjs of the node stand
//! for the model's. The buffer objects are as large as the model's; panthor takes their memory when it first maps them.
//! Semaphores that the base driver signals never reach the node, so what an operation waits for is signalled before, unless
//! an operation before it signals it: the node waits for its own binds in their order, and for nothing else. And each
//! asynchronous bind signals one syncobj more: a synchronous one does not wait for those before it, so this driver does.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use super::differences::{Answer, Differences, Said, Shown, TOOK};
use crate::drm::uapi::{
    ObjArray, SYNC_OP_HANDLE_TYPE_MASK, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ, SYNC_OP_SIGNAL,
    SyncOp,
};
use crate::drm::{
    self, BindFailure, BindMode, Capabilities, Counters, IoctlError, NullBacking, Syncobj, VmState,
};
use crate::lower::{Attach, OpArray, Ops, Strategy};
use crate::units::{BoHandle, SyncobjHandle};
use crate::vpanthor::Flavour;

/// How long to wait for binds that wait for nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The virtual kernel that does what a real one was seen to do.
pub fn model_of(capabilities: &Capabilities) -> Flavour {
    let does = |strategy| capabilities.strategies.contains(&strategy);
    if does(Strategy::Sparse) {
        Flavour::V1_9
    } else if does(Strategy::Repeat) && capabilities.repeat_max_range > 0 {
        Flavour::V1_6Repeat
    } else if does(Strategy::Repeat) {
        Flavour::V1_8Repeat
    } else if capabilities.version >= Flavour::V1_8.version() {
        Flavour::V1_8
    } else {
        Flavour::V1_5
    }
}

/// The node's side of one VkDevice.
#[derive(Debug)]
pub(super) struct Node {
    vm: drm::Vm,
    /// Holds the dummy.
    _null: NullBacking,
    /// What opening and probing it cost.
    before: Counters,
    /// The node's buffer objects, by the model's handles.
    bos: HashMap<BoHandle, BoHandle>,
    /// The node's syncobjs, by the model's handles.
    syncobjs: HashMap<u32, StandIn>,
    /// What the latest asynchronous bind signals, once there was one.
    latest: Option<Syncobj>,
    /// Whether it may not have run yet.
    running: bool,
    differences: Differences,
    /// The model refused something that the node has done.
    ahead: bool,
    /// Whether it is still asked.
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Asked,
    /// Its VM takes no maps any more.
    Unusable,
    /// Its device is gone, as the text says.
    Gone(String),
}

#[derive(Debug)]
struct StandIn {
    syncobj: Syncobj,
    /// Whether there is a fence in it.
    filled: bool,
    /// The largest point that is signalled, or will be.
    point: u64,
}

impl StandIn {
    /// Puts a signalled fence into it where nothing else will be there to wait for.
    fn make_waitable(&mut self, sync: &SyncOp) -> Result<(), IoctlError> {
        if is_timeline(sync) && sync.timeline_value > self.point {
            self.syncobj.signal_point(sync.timeline_value)?;
            self.point = sync.timeline_value;
            self.filled = true;
        } else if !self.filled {
            self.syncobj.signal()?;
            self.filled = true;
        }
        Ok(())
    }
}

fn is_signal(sync: &SyncOp) -> bool {
    sync.flags & SYNC_OP_SIGNAL != 0
}

fn is_timeline(sync: &SyncOp) -> bool {
    sync.flags & SYNC_OP_HANDLE_TYPE_MASK == SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ
}

/// The syncs of operation `index`.
fn syncs_of(ops: &Ops, index: usize) -> &[SyncOp] {
    (ops.attach.iter().find(|attach| attach.op == index))
        .and_then(|attach| ops.syncs.get(attach.syncs.clone()))
        .unwrap_or_default()
}

/// Adds a sync op to the last operation.
fn add_sync(ops: &mut Ops, sync: SyncOp) {
    let Some(last) = ops.array.len().checked_sub(1) else {
        return;
    };
    let at = ops.syncs.len();
    ops.syncs.push(sync);
    // The syncs of the last operation are the last ones.
    match ops.attach.last_mut() {
        Some(attach) if attach.op == last => attach.syncs.end = at + 1,
        _ => ops.attach.push(Attach {
            op: last,
            syncs: at..at + 1,
        }),
    }
}

/// Takes back what [`add_sync`] has added.
fn remove_sync(ops: &mut Ops) {
    ops.syncs.pop();
    if let Some(attach) = ops.attach.last_mut() {
        attach.syncs.end = ops.syncs.len();
        if attach.syncs.is_empty() {
            ops.attach.pop();
        }
    }
}

/// Operation `index` alone.
fn single(ops: &Ops, index: usize) -> Option<Ops> {
    let mut op = ops.array.get(index)?;
    // Where there are some, they get another address.
    op.op.syncs = ObjArray::default();
    let syncs = syncs_of(ops, index).to_vec();
    let attach = Attach {
        op: 0,
        syncs: 0..syncs.len(),
    };
    Some(Ops {
        array: match ops.array {
            OpArray::Plain(_) => OpArray::Plain(vec![op.op]),
            OpArray::Repeat(_) => OpArray::Repeat(vec![op]),
        },
        attach: if syncs.is_empty() {
            Vec::new()
        } else {
            vec![attach]
        },
        syncs,
        ..Ops::default()
    })
}

impl Node {
    /// The node called `name`, with a VM of it and its way to map unbound ranges. `null` is the model's.
    pub fn new(
        vm: drm::Vm,
        own_null: NullBacking,
        null: &NullBacking,
        name: String,
        model: Flavour,
    ) -> Node {
        let dummies = null.dummy().zip(own_null.dummy());
        Node {
            before: vm.device().counters(),
            bos: (dummies.into_iter())
                .map(|(model, node)| (model.handle(), node.handle()))
                .collect(),
            _null: own_null,
            vm,
            syncobjs: HashMap::new(),
            latest: None,
            running: false,
            differences: Differences {
                node: name,
                model: format!("vpanthor:{model}"),
                count: 0,
            },
            ahead: false,
            state: State::Asked,
        }
    }

    pub fn device(&self) -> &drm::Device {
        self.vm.device()
    }

    pub fn vm(&self) -> &drm::Vm {
        &self.vm
    }

    /// Such as `vpanthor:1.9`.
    pub fn model(&self) -> &str {
        &self.differences.model
    }

    /// What it was asked to do since it was made.
    pub fn counters(&self) -> Counters {
        self.vm.device().counters().since(&self.before)
    }

    /// How often it was not what its model is.
    pub fn differences(&self) -> u64 {
        self.differences.count
    }

    /// Why nothing can be asked of it any more: its device is gone.
    pub fn gone(&self) -> Option<&str> {
        match &self.state {
            State::Gone(why) => Some(why),
            State::Asked | State::Unusable => None,
        }
    }

    /// Whether it has done what the model refused, since this was asked last.
    pub fn was_ahead(&mut self) -> bool {
        std::mem::take(&mut self.ahead)
    }

    /// A buffer object as large as the model's, which stands for it.
    ///
    /// # Errors
    /// Of BO_CREATE.
    pub fn add_bo(&mut self, model: &drm::Bo) -> Result<drm::Bo, IoctlError> {
        let bo = (self.vm.device().create_bo(model.size(), 0, None)).inspect_err(|error| {
            self.notice(error);
        })?;
        self.bos.insert(model.handle(), bo.handle());
        Ok(bo)
    }

    /// The model's syncobj is gone, and its handle may be that of another one from now on.
    pub fn forget_syncobj(&mut self, model: SyncobjHandle) {
        self.syncobjs.remove(&model.0);
    }

    /// Asks the node what the model was asked, and holds its answer against `model`, the model's.
    pub fn follow(&mut self, ops: &Ops, mode: BindMode, model: Answer) {
        if mode == BindMode::Sync {
            self.finish();
        }
        if self.state != State::Asked {
            return;
        }
        let answer = match self.translate(ops) {
            Ok(mut own) => {
                let answer = self.ask(&mut own, mode);
                match (answer, model) {
                    (Err(failure), _) if failure.errno == Errno::NODEV => {
                        return self.leave(&failure);
                    }
                    (Err(failure), Ok(())) => {
                        if mode == BindMode::Async {
                            remove_sync(&mut own);
                        }
                        return self.find_refused(ops, &own, mode, failure);
                    }
                    _ => answer,
                }
            }
            Err(error) => {
                if !self.notice(&error) {
                    self.differences
                        .say(format_args!("there is no syncobj for a bind: {error}"));
                }
                return;
            }
        };
        if answer.is_ok() {
            self.signalled(&ops.syncs);
        }
        let Err(refusal) = model else { return };
        if answer == model {
            return;
        }
        let done = answer.map_or_else(|failure| failure.applied, |()| ops.array.len() as u64);
        self.ahead |= done > refusal.applied;
        // A synchronous bind says how far it came, an asynchronous one is all or nothing.
        let index = refusal.applied as usize;
        match mode {
            BindMode::Sync => {
                let shown = Shown { ops, index };
                self.differences.answers(shown, answer.into(), model.into());
            }
            BindMode::Async => {
                let whole = format!("a bind of {} operations", ops.array.len());
                self.differences.answers(whole, answer.into(), model.into());
            }
        }
    }

    /// Finds out which operations the node refused that its model took, and has it do the others: so it stays as
    /// close to its model as it can. `own` is what it was asked in one, `failure` its answer.
    fn find_refused(&mut self, ops: &Ops, own: &Ops, mode: BindMode, failure: BindFailure) {
        let mut found = false;
        for index in failure.applied as usize..ops.array.len() {
            let syncs = syncs_of(ops, index);
            let Some(mut single) = single(own, index) else {
                continue;
            };
            // What an operation before it should have signalled may have been refused.
            let waitable = self.make_waitable(syncs);
            let refusal = match waitable {
                Err(error) => error.errno,
                Ok(()) => match self.ask(&mut single, mode) {
                    Err(refusal) => refusal.errno,
                    Ok(()) => {
                        self.signalled(syncs);
                        continue;
                    }
                },
            };
            if refusal == Errno::NODEV {
                return self.leave(&failure);
            }
            found = true;
            self.differences
                .answers(Shown { ops, index }, Said(Some(refusal)), TOOK);
        }
        if !found {
            let what = format!(
                "a bind of {} operations, which one by one it took",
                ops.array.len()
            );
            self.differences
                .answers(what, Said(Some(failure.errno)), TOOK);
        }
    }

    /// One bind. An asynchronous one signals that it has run.
    fn ask(&mut self, own: &mut Ops, mode: BindMode) -> Answer {
        if mode == BindMode::Sync {
            return self.vm.bind(own, mode);
        }
        let signal = match &self.latest {
            Some(syncobj) => syncobj.signal_op(),
            None => {
                let created = self.vm.device().create_syncobj(false);
                let syncobj = created.map_err(|error| BindFailure {
                    errno: error.errno,
                    applied: 0,
                })?;
                self.latest.insert(syncobj).signal_op()
            }
        };
        add_sync(own, signal);
        let answer = self.vm.bind(own, mode);
        self.running |= answer.is_ok();
        answer
    }

    /// Waits until all asynchronous binds have run. Their failures show in the state of the VM then.
    pub fn finish(&mut self) {
        if self.state != State::Asked || !std::mem::take(&mut self.running) {
            return;
        }
        let waited = self
            .latest
            .as_ref()
            .map(|latest| latest.wait(Some(PATIENCE)));
        match waited {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => self.differences.say(format_args!(
                "a bind that waits for nothing has not run after {PATIENCE:?}"
            )),
            Some(Err(error)) => {
                if !self.notice(&error) {
                    self.differences
                        .say(format_args!("binds can't be waited for: {error}"));
                }
            }
        }
        self.check();
    }

    /// Finds out whether an operation has failed since: an asynchronous one does after its bind was taken.
    pub fn check(&mut self) {
        if self.state != State::Asked {
            return;
        }
        match self.vm.state() {
            Ok(VmState::Usable) => {}
            Ok(VmState::Unusable) => {
                self.state = State::Unusable;
                self.differences.say(
                    "an operation failed when the kernel ran it, and its VM takes no more: it is not asked any more",
                );
            }
            Err(error) => {
                if !self.notice(&error) {
                    self.differences
                        .say(format_args!("the state of the VM is not known: {error}"));
                }
            }
        }
    }

    /// Whether the error says that the device is gone.
    fn notice(&mut self, error: &IoctlError) -> bool {
        let gone = error.errno == Errno::NODEV;
        if gone {
            self.leave(error);
        }
        gone
    }

    fn leave(&mut self, why: &dyn fmt::Display) {
        self.state = State::Gone(format!("{}: {why}", self.differences.node));
    }

    /// The operations with the node's handles in place of the model's. All that they wait for can be waited for.
    fn translate(&mut self, ops: &Ops) -> Result<Ops, IoctlError> {
        let mut own = ops.clone();
        for index in 0..own.array.len() {
            if let Some(op) = own.array.op_mut(index).filter(|op| op.bo_handle != 0) {
                // A handle that nobody has makes the node refuse what can't be translated.
                let known = self.bos.get(&BoHandle(op.bo_handle));
                op.bo_handle = known.map_or(u32::MAX, |bo| bo.0);
            }
        }
        // What an operation signals, one behind it waits for: the kernel sees to that where it is the same point.
        let mut to_come = HashSet::new();
        for attach in &ops.attach {
            let syncs = ops.syncs.get(attach.syncs.clone()).unwrap_or_default();
            let point = |sync: &SyncOp| (sync.handle, sync.timeline_value);
            let unmet: Vec<SyncOp> = (syncs.iter().copied())
                .filter(|sync| !to_come.contains(&point(sync)))
                .collect();
            self.make_waitable(&unmet)?;
            to_come.extend(syncs.iter().filter(|sync| is_signal(sync)).map(point));
        }
        for sync in &mut own.syncs {
            sync.handle = self.stand_in(sync.handle)?.syncobj.handle().0;
        }
        Ok(own)
    }

    /// The node's syncobj for a handle of the model.
    fn stand_in(&mut self, model: u32) -> Result<&mut StandIn, IoctlError> {
        Ok(match self.syncobjs.entry(model) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(StandIn {
                syncobj: self.vm.device().create_syncobj(false)?,
                filled: false,
                point: 0,
            }),
        })
    }

    /// Sees to it that the waits among these syncs of the model find a fence.
    fn make_waitable(&mut self, syncs: &[SyncOp]) -> Result<(), IoctlError> {
        for sync in syncs.iter().filter(|sync| !is_signal(sync)) {
            self.stand_in(sync.handle)?.make_waitable(sync)?;
        }
        Ok(())
    }

    /// The node has taken the signals among these syncs of the model.
    fn signalled(&mut self, syncs: &[SyncOp]) {
        for sync in syncs.iter().filter(|sync| is_signal(sync)) {
            if let Some(stand_in) = self.syncobjs.get_mut(&sync.handle) {
                stand_in.filled = true;
                stand_in.point = stand_in.point.max(sync.timeline_value);
            }
        }
    }
}
