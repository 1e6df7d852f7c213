//! What the Vulkan calls of a test ask for, page by page, and what the VM maps.
//!
//! It knows nothing of plans or operations. It learns the address of a resource from what appears when it is created (or bound
//! for the first time), and the kernel's number of a memory object from what appears when it is allocated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::gpu::Gpu;
use common::objects::Memory;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

const PAGE: u64 = 4096;

/// What a page maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Nothing,
    Dummy,
    /// By the kernel's number, which is not used again, and an offset in bytes.
    Memory(u64, u64),
}

/// A sparse resource: a page's number is its place.
#[derive(Debug)]
struct Resource {
    /// 0: not known yet.
    va: u64,
    pages: Vec<Page>,
    destroyed: bool,
}

/// VM_BIND calls and operations, if they are to be compared: the virtual node counts them.
pub type Cost = Option<(u64, u64)>;

/// What a driver is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// What is mapped, and what that costs.
    PagesAndCost,
    /// What is mapped.
    Pages,
    /// To nothing: [`Oracle::wrong_pages`] are counted.
    Nothing,
}

pub struct Oracle<'g> {
    gpu: &'g Gpu,
    resources: BTreeMap<&'static str, Resource>,
    memories: BTreeSet<u64>,
    /// What the node said last.
    seen: Seen,
    steps: u32,
    held: Held,
    wrong_pages: u64,
    /// What all steps together cost.
    total: (u64, u64),
}

/// The state of the node.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// By address: the buffer object, by a number of it, and the offset in bytes.
    pages: BTreeMap<u64, (u64, u64)>,
    all_calls: u64,
    bind_calls: u64,
    /// Of the file that has made most.
    bind_calls_of_file: u64,
    bind_ops: u64,
    refused: u64,
}

impl Seen {
    fn map(&mut self, va: u64, size: u64, bo: u64, offset: u64) {
        for at in (0..size).step_by(PAGE as usize) {
            self.pages.insert(va + at, (bo, offset + at));
        }
    }

    fn bos(&self) -> BTreeSet<u64> {
        self.pages.values().map(|(bo, _)| *bo).collect()
    }
}

fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Whether this process has a virtual node.
fn is_virtual() -> bool {
    std::env::var_os("VPANTHOR_DUMP").is_some()
}

fn look() -> Seen {
    if is_virtual() {
        look_at_the_model()
    } else {
        look_at_the_kernel()
    }
}

/// Has the virtual node write down its state, and reads it.
fn look_at_the_model() -> Seen {
    let path = PathBuf::from(std::env::var_os("VPANTHOR_DUMP").expect("a name for the dump"));
    let _ = std::fs::remove_file(&path);
    kill_process(getpid(), Signal::USR1).expect("a signal to ourselves");
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(120), "no dump");
        std::thread::sleep(Duration::from_millis(2));
    }
    let text = std::fs::read(&path).expect("a dump");
    let dump: Value = serde_json::from_slice(&text).expect("whole JSON");
    let node = &dump["nodes"][0];
    let ioctls = node["ioctls"].as_object().expect("ioctls");
    let mut seen = Seen {
        all_calls: ioctls.values().map(|of| number(of, "calls")).sum(),
        bind_calls: ioctls.get("VM_BIND").map_or(0, |of| number(of, "calls")),
        bind_ops: number(&node["vm_bind"], "ops"),
        refused: number(node, "refused"),
        ..Seen::default()
    };
    for file in node["files"].as_array().expect("files") {
        let calls = file["ioctls"]
            .get("VM_BIND")
            .map_or(0, |of| number(of, "calls"));
        seen.bind_calls_of_file = seen.bind_calls_of_file.max(calls);
        for vm in file["vms"].as_array().expect("vms") {
            assert_eq!(vm["usable"], true);
            for mapping in vm["mappings"].as_array().expect("mappings") {
                let of = |field| number(mapping, field);
                seen.map(of("va"), of("size"), of("bo"), of("offset"));
            }
        }
    }
    seen
}

/// The kernel's own list of what each VM maps, but for the one of the GPU's microcontroller. Objects have their addresses as
/// numbers.
fn look_at_the_kernel() -> Seen {
    let list = std::fs::read_to_string("/sys/kernel/debug/dri/128/gpuvas").expect("debugfs");
    let (mut seen, mut is_ours) = (Seen::default(), false);
    for line in list.lines() {
        if line.starts_with("DRM GPU VA space") {
            is_ours = !line.contains("MCU");
        }
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let hex = |at: usize| u64::from_str_radix(columns.get(at)?.strip_prefix("0x")?, 16).ok();
        if let (true, Some(va), Some(size), Some(object), Some(offset)) =
            (is_ours, hex(1), hex(2), hex(4), hex(5))
        {
            seen.map(va, size, object, offset);
        }
    }
    assert!(!seen.pages.is_empty(), "{list}");
    seen
}

/// Calls of VM_BIND so far, on the file that has made most: faults are counted for each file.
pub fn bind_calls() -> u64 {
    look().bind_calls_of_file
}

/// Calls of all ioctls so far.
pub fn all_calls() -> u64 {
    look().all_calls
}

impl<'g> Oracle<'g> {
    pub fn new(gpu: &'g Gpu, held: Held) -> Self {
        Self {
            gpu,
            held,
            wrong_pages: 0,
            resources: BTreeMap::new(),
            memories: BTreeSet::new(),
            seen: look(),
            steps: 0,
            total: (0, 0),
        }
    }

    pub fn address(&self, name: &str) -> u64 {
        self.resources[name].va
    }

    /// The kernel was told to refuse something before the next step.
    pub fn forgive(&mut self) {
        self.seen.refused = look().refused;
    }

    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Pages that were not as asked for, of all steps together.
    pub fn wrong_pages(&self) -> u64 {
        self.wrong_pages
    }

    /// Allocates memory. Gives it with its number.
    pub fn allocate(&mut self, size: u64) -> (Memory<'g>, u64) {
        let types = self.gpu.memory_properties.memory_types_as_slice();
        assert!(!types.is_empty());
        let memory = Memory::new(self.gpu, size, 0);
        let before = std::mem::replace(&mut self.seen, look());
        // panvk maps all memory at an address of its own, too.
        let new: Vec<_> = self.seen.bos().difference(&before.bos()).copied().collect();
        assert_eq!(new.len(), 1, "one buffer object is new");
        self.memories.insert(new[0]);
        (memory, new[0])
    }

    /// A resource of so many bytes is created. Gives what that cost.
    pub fn create(&mut self, name: &'static str, size: u64, resident: bool) -> Cost {
        let before = std::mem::replace(&mut self.seen, look());
        let page = if resident { Page::Dummy } else { Page::Nothing };
        let pages = vec![page; (size / PAGE) as usize];
        let va = if resident {
            self.new_pages(&before, size)
        } else {
            0
        };
        let destroyed = false;
        self.resources.insert(
            name,
            Resource {
                va,
                pages,
                destroyed,
            },
        );
        self.check(name, &before)
    }

    /// Where the `size` bytes are that map something now and did not before.
    fn new_pages(&self, before: &Seen, size: u64) -> u64 {
        let new = self.seen.pages.keys();
        let new: Vec<_> = new.filter(|va| !before.pages.contains_key(va)).collect();
        let first = *new[0];
        assert_eq!(
            (new.len() as u64, *new[new.len() - 1] - first),
            (size / PAGE, size - PAGE)
        );
        first
    }

    /// These bytes of the resource are bound to memory, or to none.
    pub fn bind(&mut self, name: &str, offset: u64, size: u64, memory: Option<(u64, u64)>) {
        let pages = &mut self.resources.get_mut(name).expect("a resource").pages;
        for at in (0..size).step_by(PAGE as usize) {
            pages[((offset + at) / PAGE) as usize] = match memory {
                None => Page::Dummy,
                Some((bo, from)) => Page::Memory(bo, from + at),
            };
        }
    }

    /// The resource is gone at the next step. Others may come to its addresses after that.
    pub fn destroy(&mut self, name: &str) {
        let resource = self.resources.get_mut(name).expect("a resource");
        resource.pages.fill(Page::Nothing);
        resource.destroyed = true;
    }

    /// Looks at the node: all pages of all resources have to be as asked for. Gives what was done since the last look.
    pub fn step(&mut self, what: &str) -> Cost {
        let before = std::mem::replace(&mut self.seen, look());
        // What was bound for the first time is the only thing that is new.
        let unknown = |(name, resource): (&&'static str, &Resource)| {
            (resource.va == 0 && resource.pages.iter().any(|page| *page != Page::Nothing))
                .then_some(*name)
        };
        if let Some(name) = self.resources.iter().find_map(unknown) {
            let size = self.resources[name].pages.len() as u64 * PAGE;
            let va = self.new_pages(&before, size);
            self.resources.get_mut(name).expect("a resource").va = va;
        }
        self.check(what, &before)
    }

    fn check(&mut self, what: &str, before: &Seen) -> Cost {
        self.steps += 1;
        for (name, resource) in &self.resources {
            for (at, wanted) in resource.pages.iter().enumerate() {
                let mapped = self.seen.pages.get(&(resource.va + at as u64 * PAGE));
                let is = match mapped {
                    None => Page::Nothing,
                    Some(&(bo, offset)) if self.memories.contains(&bo) => Page::Memory(bo, offset),
                    Some(_) => Page::Dummy,
                };
                assert!(
                    is == *wanted || self.held == Held::Nothing,
                    "{what}: page {at} of {name} at {:#x} is {is:?}, expected {wanted:?}",
                    resource.va
                );
                self.wrong_pages += u64::from(is != *wanted);
            }
        }
        self.resources.retain(|_, resource| !resource.destroyed);
        assert_eq!(
            self.seen.refused, before.refused,
            "{what}: the kernel refused something"
        );
        let (calls, ops) = (
            self.seen.bind_calls - before.bind_calls,
            self.seen.bind_ops - before.bind_ops,
        );
        self.total = (self.total.0 + calls, self.total.1 + ops);
        println!(
            "step {:2}: {what}: {calls}/{ops}, together {}/{}",
            self.steps, self.total.0, self.total.1
        );
        (is_virtual() && self.held == Held::PagesAndCost).then_some((calls, ops))
    }
}
