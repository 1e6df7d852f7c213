//! A child process with the driver in front of the small panvk, on virtual nodes.

use std::ffi::{CString, c_void};
use std::process::Command;
use std::time::Duration;

use ash::vk::{self, Handle};
use serde_json::Value;

use common::child::{CHILD, finish};
use common::{cargo, preload, stats};

/// In the child, the driver's library and the small panvk's.
const ICD: &str = "PANVK_SPARSE_TEST_ICD";
pub const SMALL: &str = "PANVK_SPARSE_TEST_SMALL";

/// The nodes' paths, separated by colons.
pub const NODES: &str = "SMALL_PANVK_NODES";

pub const PIECE: u64 = 64 << 10;

/// What a child has left.
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    /// A line of statistics for each device that was destroyed.
    pub stats: Vec<Value>,
    /// What the nodes have to tell; null if none was opened.
    pub dump: Value,
}

/// Runs `body` in a process of its own with the nodes that `vpanthor` says, and the small panvk as `small` says; gives what is
/// left of it. None in the child.
pub fn run(test: &str, vpanthor: &str, small: &str, body: impl FnOnce()) -> Option<Ran> {
    let test = test.split_once("::").map_or(test, |(_, rest)| rest);
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return None;
    }
    let icd = cargo::build(&["--package", "panvk-sparse-icd"]).join("libvulkan_panvk_sparse.so");
    let base = cargo::build(&["--package", "panvk-sparse-small-panvk"]).join("libsmall_panvk.so");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dump, lines) = (
        folder.path().join("dump.json"),
        folder.path().join("stats.jsonl"),
    );
    let nodes: Vec<String> = (0..vpanthor.split(';').count())
        .map(preload::node)
        .collect();
    let mut command = Command::new(std::env::current_exe().expect("the test knows its executable"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    preload::apply(&mut command, vpanthor, &dump);
    for name in [
        "PANVK_SPARSE_KERNEL",
        "PANVK_SPARSE_NULL",
        "PANVK_SPARSE_LOG",
    ] {
        command.env_remove(name);
    }
    command
        .env(CHILD, test)
        .env(ICD, icd)
        .env(SMALL, &base)
        .env(stats::FILE, &lines)
        .env("PANVK_SPARSE_BASE_ICD", &base)
        .env("SMALL_PANVK", small)
        .env(NODES, nodes.join(":"));
    let (status, stdout, stderr) = finish(command);
    assert!(
        status.success() && stdout.contains("1 passed"),
        "{test}: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
    );
    let text = std::fs::read_to_string(&lines).unwrap_or_default();
    let dump = std::fs::read(&dump).unwrap_or_else(|_| b"null".to_vec());
    Some(Ran {
        stats: text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect(),
        dump: serde_json::from_slice(&dump).expect("JSON"),
        stdout,
        stderr,
    })
}

impl Ran {
    /// The number behind `name` on stdout.
    pub fn told(&self, name: &str) -> u64 {
        let mut words = self.stdout.split_whitespace();
        let found = words.find(|word| *word == name).and(words.next());
        let number = found.unwrap_or_else(|| panic!("no {name} in {}", self.stdout));
        number.parse().expect("a number")
    }

    /// The mapping of an address when the process ended: its buffer object, None for a dummy, and the offset in that.
    pub fn mapping(&self, va: u64) -> Option<(Option<u64>, u64)> {
        let files = self.dump["nodes"][0]["files"].as_array().expect("files");
        files.iter().find_map(|file| {
            let vms = file["vms"].as_array().expect("VMs").iter();
            let mappings = vms.flat_map(|vm| vm["mappings"].as_array().expect("mappings"));
            let number = |of: &Value, name: &str| of[name].as_u64().unwrap_or(0);
            let mut found = mappings.filter(|mapping| {
                let from = number(mapping, "va");
                (from..from + number(mapping, "size")).contains(&va)
            });
            let mapping = found.next()?;
            let bos = file["bos"].as_array().expect("buffer objects").iter();
            let mut bos = bos.filter(|bo| bo["id"] == mapping["bo"]);
            // Only dummies are of one VM alone.
            let memory = bos.next().filter(|bo| bo["exclusive"] != true);
            let offset = number(mapping, "offset") + va - number(mapping, "va");
            Some((memory.map(|bo| number(bo, "handle")), offset))
        })
    }
}

/// A library of the driver.
pub struct Library(*mut c_void);

impl Library {
    pub fn open(path: &str) -> Self {
        let path = CString::new(path).expect("a path");
        // SAFETY: a string that ends with NUL.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{path:?} does not load");
        Library(handle)
    }

    pub fn symbol(&self, name: &std::ffi::CStr) -> *mut c_void {
        // SAFETY: an open library, a string that ends with NUL.
        unsafe { libc::dlsym(self.0, name.as_ptr()) }
    }

    pub fn close(self) {
        // SAFETY: an open library whose functions nobody calls any more.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

/// An instance of a driver that is asked without a loader.
pub struct App {
    pub instance: ash::Instance,
    pub physical: Vec<vk::PhysicalDevice>,
}

impl App {
    /// Of the driver.
    pub fn new() -> (App, Library) {
        App::of(&std::env::var(ICD).expect("the driver's path"))
    }

    pub fn of(path: &str) -> (App, Library) {
        let library = Library::open(path);
        let app = App::in_library(&library);
        (app, library)
    }

    pub fn in_library(library: &Library) -> App {
        let get = library.symbol(c"vk_icdGetInstanceProcAddr");
        assert!(!get.is_null());
        // SAFETY: the loader-driver interface gives that name this type.
        let get_instance_proc_addr =
            unsafe { std::mem::transmute::<*mut c_void, vk::PFN_vkGetInstanceProcAddr>(get) };
        let functions = ash::StaticFn {
            get_instance_proc_addr,
        };
        // SAFETY: the functions of a library that stays loaded; structs that outlive the calls.
        unsafe {
            let entry = ash::Entry::from_static_fn(functions);
            let instance = entry
                .create_instance(&vk::InstanceCreateInfo::default(), None)
                .expect("an instance");
            let physical = instance
                .enumerate_physical_devices()
                .expect("physical devices");
            App { instance, physical }
        }
    }

    pub fn destroy(self) {
        // SAFETY: nothing of it is used any more.
        unsafe { self.instance.destroy_instance(None) };
    }
}

/// A device with two queues.
pub struct Gpu {
    pub device: ash::Device,
    pub queues: [vk::Queue; 2],
}

/// Where to bind what: bytes from the start of the buffer, and bytes from the start of the memory, or none; a piece each.
pub type Bind = (u64, Option<u64>);

/// What a submission waits for and signals: a timeline semaphore and its value, or a fence.
#[derive(Clone, Copy, Default)]
pub struct Syncs {
    pub wait: Option<(vk::Semaphore, u64)>,
    pub signal: Option<(vk::Semaphore, u64)>,
    pub fence: vk::Fence,
}

impl Gpu {
    pub fn new(app: &App, physical: usize) -> Gpu {
        let features = vk::PhysicalDeviceFeatures::default()
            .sparse_binding(true)
            .sparse_residency_buffer(true);
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0, 1.0])];
        let info = vk::DeviceCreateInfo::default()
            .enabled_features(&features)
            .queue_create_infos(&queues);
        // SAFETY: structs that outlive the call; queues that the device has.
        unsafe {
            let device = app
                .instance
                .create_device(app.physical[physical], &info, None)
                .expect("a device");
            let queues = [0, 1].map(|index| device.get_device_queue(0, index));
            Gpu { device, queues }
        }
    }

    pub fn destroy(self) {
        // SAFETY: nothing of it is used any more.
        unsafe { self.device.destroy_device(None) };
    }

    pub fn buffer(&self, size: u64, resident: bool) -> vk::Buffer {
        let residency = match resident {
            true => vk::BufferCreateFlags::SPARSE_RESIDENCY,
            false => vk::BufferCreateFlags::empty(),
        };
        let info = vk::BufferCreateInfo::default()
            .flags(vk::BufferCreateFlags::SPARSE_BINDING | residency)
            .size(size);
        // SAFETY: structs that outlive the call.
        unsafe { self.device.create_buffer(&info, None) }.expect("a buffer")
    }

    pub fn memory(&self, size: u64) -> vk::DeviceMemory {
        let info = vk::MemoryAllocateInfo::default().allocation_size(size);
        // SAFETY: structs that outlive the call.
        unsafe { self.device.allocate_memory(&info, None) }.expect("memory")
    }

    pub fn fence(&self) -> vk::Fence {
        // SAFETY: structs that outlive the call.
        unsafe {
            self.device
                .create_fence(&vk::FenceCreateInfo::default(), None)
        }
        .expect("a fence")
    }

    pub fn timeline(&self) -> vk::Semaphore {
        let mut kind =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: structs that outlive the call.
        unsafe { self.device.create_semaphore(&info, None) }.expect("a semaphore")
    }

    /// One `vkQueueBindSparse`.
    pub fn bind(
        &self,
        queue: usize,
        buffer: vk::Buffer,
        memory: vk::DeviceMemory,
        binds: &[Bind],
        syncs: Syncs,
    ) -> Result<(), vk::Result> {
        let bind = |&(offset, from): &Bind| vk::SparseMemoryBind {
            resource_offset: offset,
            size: PIECE,
            memory: from.map_or(vk::DeviceMemory::null(), |_| memory),
            memory_offset: from.unwrap_or(0),
            ..vk::SparseMemoryBind::default()
        };
        let binds: Vec<_> = binds.iter().map(bind).collect();
        let lists = [vk::SparseBufferMemoryBindInfo::default()
            .buffer(buffer)
            .binds(&binds)];
        let split =
            |sync: Option<(vk::Semaphore, u64)>| -> (Vec<_>, Vec<_>) { sync.into_iter().unzip() };
        let ((waits, wait_values), (signals, signal_values)) =
            (split(syncs.wait), split(syncs.signal));
        let mut timeline = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&wait_values)
            .signal_semaphore_values(&signal_values);
        let info = vk::BindSparseInfo::default()
            .buffer_binds(&lists)
            .wait_semaphores(&waits)
            .signal_semaphores(&signals)
            .push_next(&mut timeline);
        // SAFETY: structs that outlive the call, and objects of the device.
        unsafe {
            self.device
                .queue_bind_sparse(self.queues[queue], &[info], syncs.fence)
        }
    }

    /// Binds, and waits until it has happened.
    pub fn bind_and_wait(
        &self,
        queue: usize,
        buffer: vk::Buffer,
        memory: vk::DeviceMemory,
        binds: &[Bind],
    ) {
        let fence = self.fence();
        let syncs = Syncs {
            fence,
            ..Syncs::default()
        };
        self.bind(queue, buffer, memory, binds, syncs)
            .expect("it is bound");
        self.wait(fence).expect("it is done");
        // SAFETY: nobody uses it.
        unsafe { self.device.destroy_fence(fence, None) };
    }

    pub fn wait(&self, fence: vk::Fence) -> Result<(), vk::Result> {
        let forever = Duration::from_secs(100).as_nanos() as u64;
        // SAFETY: a fence of the device.
        unsafe { self.device.wait_for_fences(&[fence], true, forever) }
    }
}

/// The small panvk's address of a buffer.
pub fn va(buffer: vk::Buffer) -> u64 {
    // SAFETY: the handle is the address of a struct that begins with it.
    unsafe { *(buffer.as_raw() as *const u64) }
}

/// The small panvk's buffer object of a memory.
pub fn bo(memory: vk::DeviceMemory) -> u64 {
    // SAFETY: as above.
    u64::from(unsafe { *(memory.as_raw() as *const u32) })
}

/// Every second piece of a buffer, to memory that is not contiguous.
pub fn scattered(pieces: u64) -> Vec<Bind> {
    (0..pieces)
        .map(|i| (2 * i * PIECE, Some((pieces - 1 - i) * PIECE)))
        .collect()
}
