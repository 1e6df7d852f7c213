//! A transport that tees: a model and a real kernel side by side, asked the same.
//!
//! Whoever uses the device lives on the model: what it answers is the answer. The node gets the same operations, and what
//! the node says is held against what the model said. So an application, or the conformance tests, run on a board shows
//! whether the board's kernel takes every operation that is made, and which it does not take.
//!
//! The operations are the same to the byte but for their handles: VMs, buffer objects and syncobjs of the node stand for
//! those of the model. The buffer objects are as large as the model's; panthor takes their memory when it first maps them.
//! What an operation waits for may be signalled by somebody who never speaks to the node. So it is signalled on the node
//! before, unless an operation before it signals it: the node waits for its own binds in their order, and for nothing
//! else. Each asynchronous bind also signals a syncobj of the tee, one for each VM: a synchronous bind does not wait for the asynchronous ones before
//! it, so the tee does.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use panvk_sparse::drm::{
    BindFailure, BindMode, Bo, Buffer, CallMemory, Capabilities, Counters, Device, IoctlError,
    OpenError, Syncobj, Transport, Vm, VmState,
};
use panvk_sparse::lower::{Attach, OpArray, Ops, Strategy};
use panvk_sparse::uapi::{
    self, ObjArray, Plain, SYNC_OP_HANDLE_TYPE_MASK, SYNC_OP_HANDLE_TYPE_TIMELINE_SYNCOBJ,
    SYNC_OP_SIGNAL, SyncOp, VmBindOp, VmBindOpRepeat,
};
use panvk_sparse::units::VmId;
use rustix::io::Errno;

use crate::differences::{Answer, Differences, Said, Shown, TOOK};
use crate::shared::lock;
use crate::{File, Flavour, Kernel, OpenOptions};

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
    } else if capabilities.version == Flavour::V1_0.version() {
        Flavour::V1_0
    } else {
        Flavour::V1_5
    }
}

/// A model with a node beside it.
#[derive(Debug)]
pub struct Tee {
    model: File,
    node: Mutex<RealKernel>,
}

/// What the node was asked, and how often its answer was not its model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeeCounts {
    /// Such as `vpanthor:1.9`.
    pub model: String,
    pub node: Counters,
    pub differences: u64,
}

impl Tee {
    /// The device whose kernel is a model of that flavour, with `node`, called `name`, beside it.
    ///
    /// # Errors
    /// The model does not say its version, which only fault injection makes happen.
    pub fn beside(
        node: Device,
        name: &str,
        flavour: Flavour,
        options: OpenOptions,
    ) -> Result<Device, OpenError> {
        let node = RealKernel {
            before: node.counters(),
            device: node,
            vms: HashMap::new(),
            bos: HashMap::new(),
            syncobjs: HashMap::new(),
            differences: Differences {
                node: name.to_owned(),
                model: format!("vpanthor:{flavour}"),
                count: 0,
            },
            gone: false,
        };
        let tee = Tee {
            model: Kernel::new(flavour).open(options),
            node: Mutex::new(node),
        };
        Device::new(Box::new(tee), Path::new(name))
    }

    pub fn model(&self) -> &File {
        &self.model
    }

    /// What has happened so far. Waits for the node's binds first, since the last ones may fail yet.
    pub fn counts(&self) -> TeeCounts {
        let mut node = lock(&self.node);
        let mut vms = std::mem::take(&mut node.vms);
        for vm in vms.values_mut() {
            node.finish(vm);
            node.check(vm);
        }
        node.vms = vms;
        TeeCounts {
            model: node.differences.model.clone(),
            node: node.device.counters().since(&node.before),
            differences: node.differences.count,
        }
    }

    /// The node, for a look at it.
    pub fn node(&self) -> Device {
        lock(&self.node).device.clone()
    }
}

impl Transport for Tee {
    fn ioctl(&self, request: u32, arg: Buffer<'_>, buffers: &[Buffer<'_>]) -> Result<u32, Errno> {
        let call = Call {
            request,
            addr: arg.addr(),
            memory: CallMemory { arg: &arg, buffers },
        };
        let mut node = lock(&self.node);
        if node.gone {
            return Err(Errno::NODEV);
        }
        let answer = match request {
            uapi::IOCTL_VM_BIND => node.bind(&self.model, &call),
            uapi::IOCTL_VM_CREATE => node.create_vm(&self.model, &call),
            uapi::IOCTL_BO_CREATE => node.create_bo(&self.model, &call),
            uapi::IOCTL_VM_GET_STATE => {
                node.with_vm(
                    call.argument::<uapi::VmGetState>()?.vm_id,
                    RealKernel::check,
                );
                call.ask(&self.model)
            }
            uapi::IOCTL_VM_DESTROY => {
                let id = call.argument::<uapi::VmDestroy>()?.id;
                node.with_vm(id, RealKernel::finish);
                node.vms.remove(&id);
                call.ask(&self.model)
            }
            uapi::IOCTL_GEM_CLOSE => {
                node.bos.remove(&call.argument::<uapi::GemClose>()?.handle);
                call.ask(&self.model)
            }
            uapi::IOCTL_SYNCOBJ_DESTROY => {
                node.syncobjs
                    .remove(&call.argument::<uapi::SyncobjDestroy>()?.handle);
                call.ask(&self.model)
            }
            _ => call.ask(&self.model),
        };
        if node.gone { Err(Errno::NODEV) } else { answer }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// One ioctl.
struct Call<'a> {
    request: u32,
    addr: u64,
    memory: CallMemory<'a>,
}

impl Call<'_> {
    fn ask(&self, model: &File) -> Result<u32, Errno> {
        model.ioctl(self.request, self.addr, &self.memory)
    }

    fn argument<T: Plain>(&self) -> Result<T, Errno> {
        self.read(self.addr)
    }

    fn read<T: Plain>(&self, addr: u64) -> Result<T, Errno> {
        let mut value = T::default();
        self.memory.read(addr, value.as_bytes_mut())?;
        Ok(value)
    }

    fn list<T: Plain>(&self, array: &ObjArray) -> Result<Vec<T>, Errno> {
        (0..u64::from(array.count))
            .map(|i| self.read(array.array.wrapping_add(i * u64::from(array.stride))))
            .collect()
    }

    /// The operations of a VM_BIND. Their sync ops are out of the caller's arrays.
    fn operations(&self, bind: &uapi::VmBind) -> Result<Ops, Errno> {
        let mut ops = Ops::default();
        ops.array = if bind.ops.stride as usize == size_of::<VmBindOpRepeat>() {
            OpArray::Repeat(self.list(&bind.ops)?)
        } else {
            OpArray::Plain(self.list::<VmBindOp>(&bind.ops)?)
        };
        for index in 0..ops.array.len() {
            let Some(op) = ops.array.op_mut(index).filter(|op| op.syncs.count > 0) else {
                continue;
            };
            let start = ops.syncs.len();
            ops.syncs.extend(self.list::<SyncOp>(&op.syncs)?);
            ops.attach.push(Attach {
                op: index,
                syncs: start..ops.syncs.len(),
            });
        }
        Ok(ops)
    }
}

/// The real kernel's side of a [`Tee`].
#[derive(Debug)]
struct RealKernel {
    device: Device,
    /// What opening and probing it cost.
    before: Counters,
    /// The node's VMs, by the model's ids.
    vms: HashMap<u32, RealVm>,
    /// The node's buffer objects, by the model's handles.
    bos: HashMap<u32, Bo>,
    /// The node's syncobjs, by the model's handles.
    syncobjs: HashMap<u32, StandIn>,
    differences: Differences,
    /// The device behind the node is gone, and so is the one in front of it.
    gone: bool,
}

#[derive(Debug)]
struct RealVm {
    vm: Vm,
    /// What the latest asynchronous bind signals, once there was one.
    latest: Option<Syncobj>,
    /// Whether it may not have run yet.
    running: bool,
    /// Whether it is still asked: not once it is unusable, or maps what the model does not.
    asked: bool,
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

/// The first `count` operations.
fn leading(ops: &Ops, count: usize) -> Ops {
    let mut leading = ops.clone();
    match &mut leading.array {
        OpArray::Plain(list) => list.truncate(count),
        OpArray::Repeat(list) => list.truncate(count),
    }
    leading.attach.retain(|attach| attach.op < count);
    // The syncs of operations stand in the order of the operations.
    let syncs = leading.attach.last().map_or(0, |attach| attach.syncs.end);
    leading.syncs.truncate(syncs);
    leading
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

impl RealKernel {
    /// Does something with the VM that stands for the model's VM `id`, if there is one.
    fn with_vm(&mut self, id: u32, act: impl FnOnce(&mut RealKernel, &mut RealVm)) {
        // Taken out, so that the node can be changed as well.
        if let Some(mut vm) = self.vms.remove(&id) {
            act(self, &mut vm);
            self.vms.insert(id, vm);
        }
    }

    /// A VM here and there. Its user addresses are those that both have.
    fn create_vm(&mut self, model: &File, call: &Call<'_>) -> Result<u32, Errno> {
        let mut wanted: uapi::VmCreate = call.argument()?;
        let vm = self.on_node(|device| device.create_vm(wanted.user_va_range))?;
        let range = vm.user_va_range();
        let answer = call.ask(model)?;
        wanted = call.argument()?;
        wanted.user_va_range = wanted.user_va_range.min(range);
        call.memory.write(call.addr, wanted.as_bytes())?;
        self.vms.insert(
            wanted.id,
            RealVm {
                vm,
                latest: None,
                running: false,
                asked: true,
            },
        );
        Ok(answer)
    }

    /// A buffer object here, and one as large there, which stands for it.
    fn create_bo(&mut self, model: &File, call: &Call<'_>) -> Result<u32, Errno> {
        let wanted: uapi::BoCreate = call.argument()?;
        let exclusive: Option<VmId> = self.vms.get(&wanted.exclusive_vm_id).map(|vm| vm.vm.id());
        let bo = self.on_node(|device| device.create_bo(wanted.size, wanted.flags, exclusive))?;
        let answer = call.ask(model)?;
        let made: uapi::BoCreate = call.argument()?;
        self.bos.insert(made.handle, bo);
        Ok(answer)
    }

    fn on_node<T>(
        &mut self,
        make: impl FnOnce(&Device) -> Result<T, IoctlError>,
    ) -> Result<T, Errno> {
        make(&self.device).map_err(|error| {
            self.notice(&error);
            error.errno
        })
    }

    fn bind(&mut self, model: &File, call: &Call<'_>) -> Result<u32, Errno> {
        let asked: uapi::VmBind = call.argument()?;
        let mode = if asked.flags & uapi::VM_BIND_ASYNC == 0 {
            BindMode::Sync
        } else {
            BindMode::Async
        };
        let ops = call.operations(&asked);
        let answer = call.ask(model);
        let (Ok(mut ops), false) = (ops, asked.ops.count == 0) else {
            return answer;
        };
        let left: uapi::VmBind = call.argument()?;
        // A synchronous bind that fails says how far it came, an asynchronous one is all or nothing.
        let applied = match mode {
            BindMode::Sync if left.ops.count < asked.ops.count => left.ops.count,
            _ => 0,
        };
        let model = match answer {
            Ok(_) => Ok(()),
            // It will be asked again, from where it stopped.
            Err(Errno::INTR | Errno::AGAIN) => {
                ops = leading(&ops, applied as usize);
                Ok(())
            }
            Err(errno) => Err(BindFailure {
                errno,
                applied: applied.into(),
            }),
        };
        if !ops.is_empty() {
            self.with_vm(asked.vm_id, |node, vm| node.follow(vm, &ops, mode, model));
        }
        answer
    }

    /// Asks the node what the model was asked, and holds its answer against `model`, the model's.
    fn follow(&mut self, vm: &mut RealVm, ops: &Ops, mode: BindMode, model: Answer) {
        if mode == BindMode::Sync {
            self.finish(vm);
        }
        if !vm.asked || self.gone {
            return;
        }
        let answer = match self.translate(ops) {
            Ok(mut own) => {
                let answer = self.ask(vm, &mut own, mode);
                match (answer, model) {
                    (Err(failure), _) if failure.errno == Errno::NODEV => {
                        return self.leave(&failure);
                    }
                    (Err(failure), Ok(())) => {
                        return self.find_refused(vm, ops, &own, mode, failure);
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
        match mode {
            BindMode::Sync => {
                let index = refusal.applied as usize;
                let shown = Shown { ops, index };
                self.differences.answers(shown, answer.into(), model.into());
            }
            BindMode::Async => {
                let whole = format!("a bind of {} operations", ops.array.len());
                self.differences.answers(whole, answer.into(), model.into());
            }
        }
        if done > refusal.applied {
            // What it maps now, nobody has asked for. Every answer from here on could be another one's.
            vm.asked = false;
            log::error!(
                "{} has done what its model refused: it is not asked any more",
                self.differences.node
            );
        }
    }

    /// Finds out which operations the node refused that its model took, and has it do the others: so it stays as
    /// close to its model as it can. `own` is what it was asked in one, `failure` its answer.
    fn find_refused(
        &mut self,
        vm: &mut RealVm,
        ops: &Ops,
        own: &Ops,
        mode: BindMode,
        failure: BindFailure,
    ) {
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
                Ok(()) => match self.ask(vm, &mut single, mode) {
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
    fn ask(&mut self, vm: &mut RealVm, own: &mut Ops, mode: BindMode) -> Answer {
        if mode == BindMode::Sync {
            return vm.vm.bind(own, mode);
        }
        let signal = match &vm.latest {
            Some(syncobj) => syncobj.signal_op(),
            None => {
                let created = self.device.create_syncobj(false);
                let syncobj = created.map_err(|error| BindFailure {
                    errno: error.errno,
                    applied: 0,
                })?;
                vm.latest.insert(syncobj).signal_op()
            }
        };
        add_sync(own, signal);
        let answer = vm.vm.bind(own, mode);
        remove_sync(own);
        vm.running |= answer.is_ok();
        answer
    }

    /// Waits until all asynchronous binds have run. Their failures show in the state of the VM then.
    fn finish(&mut self, vm: &mut RealVm) {
        if !vm.asked || self.gone || !std::mem::take(&mut vm.running) {
            return;
        }
        let waited = vm.latest.as_ref().map(|latest| latest.wait(Some(PATIENCE)));
        match waited {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => {
                vm.asked = false;
                self.differences.say(format_args!(
                    "a bind that waits for nothing has not run after {PATIENCE:?}: its VM is not asked any more"
                ));
            }
            Some(Err(error)) => {
                if !self.notice(&error) {
                    self.differences
                        .say(format_args!("binds can't be waited for: {error}"));
                }
            }
        }
        self.check(vm);
    }

    /// Finds out whether an operation has failed since: an asynchronous one does after its bind was taken.
    fn check(&mut self, vm: &mut RealVm) {
        if !vm.asked || self.gone {
            return;
        }
        match vm.vm.state() {
            Ok(VmState::Usable) => {}
            Ok(VmState::Unusable) => {
                vm.asked = false;
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
        if error.errno == Errno::NODEV {
            self.leave(error);
        }
        self.gone
    }

    /// Nothing can be asked of the node any more.
    fn leave(&mut self, why: &dyn fmt::Display) {
        self.gone = true;
        log::error!("{}: {why}", self.differences.node);
    }

    /// The operations with the node's handles in place of the model's. All that they wait for can be waited for.
    fn translate(&mut self, ops: &Ops) -> Result<Ops, IoctlError> {
        let mut own = ops.clone();
        for index in 0..own.array.len() {
            if let Some(op) = own.array.op_mut(index).filter(|op| op.bo_handle != 0) {
                // A handle that nobody has makes the node refuse what can't be translated.
                let known = self.bos.get(&op.bo_handle);
                op.bo_handle = known.map_or(u32::MAX, |bo| bo.handle().0);
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
                syncobj: self.device.create_syncobj(false)?,
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
