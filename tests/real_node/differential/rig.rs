//! What the kernel of `scripts/real-kernel.sh` shows of itself: its list of mappings, and through the fake GPU the page
//! tables and how many entries of them were written.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use panvk_sparse::uapi::Plain;
use rustix::time::{ClockId, clock_gettime};
use vpanthor::page_table::PtStats;

const FAKE_GPU: &str = "/sys/kernel/debug/fakegpu";
const MAPPINGS: &str = "/sys/kernel/debug/dri/128/gpuvas";

/// CLOCK_MONOTONIC.
pub fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Page-table entries: how many were written and cleared, and the tables taken. As `PtStats` has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    map_4k: u64,
    map_2m: u64,
    clear_4k: u64,
    clear_2m_block: u64,
    clear_2m_table: u64,
    tables: u64,
}

impl Entries {
    /// What the model has written.
    pub fn of(stats: &PtStats) -> Self {
        Self {
            map_4k: stats.map_4k,
            map_2m: stats.map_2m,
            clear_4k: stats.clear_4k,
            clear_2m_block: stats.clear_2m_block,
            clear_2m_table: stats.clear_2m_table + stats.replaced_tables,
            tables: stats.table_pages,
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            map_4k: self.map_4k - before.map_4k,
            map_2m: self.map_2m - before.map_2m,
            clear_4k: self.clear_4k - before.clear_4k,
            clear_2m_block: self.clear_2m_block - before.clear_2m_block,
            clear_2m_table: self.clear_2m_table - before.clear_2m_table,
            tables: self.tables - before.tables,
        }
    }

    /// Entries of 2 MiB that were written.
    pub fn large(&self) -> u64 {
        self.map_2m
    }

    fn writes(&self) -> u64 {
        self.map_4k + self.map_2m + self.clear_4k + self.clear_2m_block + self.clear_2m_table
    }
}

pub fn sum(a: &PtStats, b: &PtStats) -> PtStats {
    PtStats {
        map_2m: a.map_2m + b.map_2m,
        map_4k: a.map_4k + b.map_4k,
        clear_2m_block: a.clear_2m_block + b.clear_2m_block,
        clear_2m_table: a.clear_2m_table + b.clear_2m_table,
        replaced_tables: a.replaced_tables + b.replaced_tables,
        clear_4k: a.clear_4k + b.clear_4k,
        table_pages: a.table_pages + b.table_pages,
        pt_calls: a.pt_calls + b.pt_calls,
        pt_repetitions: a.pt_repetitions + b.pt_repetitions,
    }
}

/// What was compared, so that a test can tell that it was something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// VM_BINDs whose entries were counted, and the entries.
    pub binds: u64,
    pub entries: u64,
    /// Those of them that are of 2 MiB and were written.
    pub blocks: u64,
    /// Mappings of the kernel's list, and pages of page tables.
    pub mappings: u64,
    pub pages: u64,
}

pub struct Rig {
    entries: Mutex<File>,
    compared: Mutex<Cell<Compared>>,
}

/// One mapping as the kernel lists it; `object` is an address in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub va: u64,
    pub size: u64,
    pub object: u64,
    pub offset: u64,
}

/// An entry of a page table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub va: u64,
    /// Bytes that it maps.
    pub size: u64,
    raw: u64,
}

impl Entry {
    /// The physical address of a page that it maps.
    pub fn pa(&self, va: u64) -> u64 {
        (self.raw & ((1 << 48) - (1 << 12))) + (va - self.va)
    }

    /// READONLY, NOEXEC and UNCACHED as the page table has them.
    pub fn flags(&self) -> u32 {
        let readonly = self.raw >> 7 & 1;
        let noexec = self.raw >> 54 & 1;
        let uncached = u64::from(self.raw >> 2 & 7 == 0);
        (readonly | noexec << 1 | uncached << 2) as u32
    }
}

/// The page table of an address space: what maps something, ascending.
#[derive(Debug, Default)]
pub struct Table(pub Vec<Entry>);

impl Table {
    pub fn at(&self, va: u64) -> Option<&Entry> {
        let after = self.0.partition_point(|entry| entry.va <= va);
        let entry = self.0.get(after.checked_sub(1)?)?;
        (va - entry.va < entry.size).then_some(entry)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

impl Rig {
    /// Where the kernel is ours: from now on it counts entries, and no memory that is new lies in a row.
    pub fn open() -> Option<Self> {
        let folder = Path::new(FAKE_GPU);
        if !folder.exists() {
            return None;
        }
        std::fs::write(folder.join("entries"), "1").expect("entries are counted");
        let rig = Self {
            entries: Mutex::new(File::open(folder.join("entries")).expect("the counters")),
            compared: Mutex::default(),
        };
        rig.scatter(true);
        Some(rig)
    }

    /// Whether no memory that is new lies in a row.
    pub fn scatter(&self, on: bool) {
        let what = if on { "1" } else { "0" };
        std::fs::write(Path::new(FAKE_GPU).join("scatter"), what).expect("memory is scattered");
    }

    /// So many blocks of 2 MiB are what memory is taken from next, each in a row.
    pub fn line_up(&self, blocks: u64) {
        let file = Path::new(FAKE_GPU).join("line_up");
        std::fs::write(file, blocks.to_string()).expect("memory lies in a row");
    }

    pub fn entries(&self) -> Entries {
        let mut text = String::new();
        {
            let mut file = self.entries.lock().expect("not poisoned");
            file.seek(SeekFrom::Start(0)).expect("the counters");
            file.read_to_string(&mut text).expect("the counters");
        }
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [
            1,
            map_4k,
            map_2m,
            clear_4k,
            clear_2m_block,
            clear_2m_table,
            tables,
            _,
            0,
        ] = numbers[..]
        else {
            panic!("not what counters look like, or a table was not known: {text}");
        };
        Entries {
            map_4k,
            map_2m,
            clear_4k,
            clear_2m_block,
            clear_2m_table,
            tables,
        }
    }

    pub fn compared_entries(&self, entries: &Entries) {
        self.count(|compared| {
            compared.binds += 1;
            compared.entries += entries.writes();
            compared.blocks += entries.map_2m;
        });
    }

    pub fn count(&self, add: impl FnOnce(&mut Compared)) {
        let cell = self.compared.lock().expect("not poisoned");
        let mut compared = cell.get();
        add(&mut compared);
        cell.set(compared);
    }

    /// Since this was asked last.
    pub fn compared(&self) -> Compared {
        self.compared.lock().expect("not poisoned").take()
    }

    /// The mappings of each VM, in the order in which the VMs were made. The firmware's own is not among them.
    pub fn mappings(&self) -> Vec<Vec<Listed>> {
        // While a VM of a closed file goes, the kernel says that there is no such device.
        let read = || std::fs::read_to_string(MAPPINGS);
        let wait = || std::thread::sleep(Duration::from_millis(2));
        let text = (0..100).find_map(|_| read().inspect_err(|_| wait()).ok());
        let text = text.expect("the kernel's list of mappings");
        let mut vms = Vec::new();
        for line in text.lines() {
            if line.starts_with("DRM GPU VA space") {
                vms.push(Vec::new());
                continue;
            }
            let fields: Vec<u64> = line.split('|').filter_map(hex).collect();
            if let ([va, size, _, object, offset], Some(vm)) = (&fields[..], vms.last_mut()) {
                vm.push(Listed {
                    va: *va,
                    size: *size,
                    object: *object,
                    offset: *offset,
                });
            }
        }
        assert!(!vms.is_empty(), "no VM in {text}");
        vms.split_off(1)
    }

    /// The page tables that the GPU has been given.
    pub fn tables(&self) -> Vec<Table> {
        let bytes = std::fs::read(Path::new(FAKE_GPU).join("pages")).expect("the page tables");
        let mut tables = Vec::new();
        for pair in bytes.chunks_exact(16) {
            let [place, raw] = [0, 8].map(|at| u64::from_prefix(&pair[at..at + 8]));
            if place == u64::MAX {
                tables.push(Table::default());
                continue;
            }
            let level = place & 3;
            let entry = Entry {
                va: place & !3,
                size: 1 << (39 - 9 * level),
                raw,
            };
            tables
                .last_mut()
                .expect("an entry belongs to an address space")
                .0
                .push(entry);
        }
        tables
    }
}

/// Which object of one list is which of the other: each stands for the same one wherever it stands.
#[derive(Default)]
pub struct Pairs {
    forth: BTreeMap<u64, u64>,
    back: BTreeMap<u64, u64>,
}

impl Pairs {
    pub fn fit(&mut self, real: u64, model: u64) -> bool {
        *self.forth.entry(real).or_insert(model) == model
            && *self.back.entry(model).or_insert(real) == real
    }
}
