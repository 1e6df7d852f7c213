//! Which kernel a command talks to, and what it was asked to do in all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::str::FromStr;

use hosted::config::{self, Config};
use panvk_sparse::drm::probe::Capabilities;
use panvk_sparse::drm::{self, Counters, Device, Tally};
use serde::{Serialize, Serializer};
use vpanthor::KernelSpec;

use super::Failure;
use super::size::{duration, thousands};
use super::table::render;

/// A kernel as `--kernel` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The kernel with panthor, real or virtual.
    Panthor(KernelSpec),
    /// Another driver, which is only counted for.
    Other(kernels::Kernel),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if let Ok(other) = s.parse() {
            return Ok(Named::Other(other));
        }
        s.parse().map(Named::Panthor).map_err(|error| {
            let others = kernels::Kernel::ALL.map(kernels::Kernel::name).join(", ");
            format!("{error}, or another driver to count for: {others}")
        })
    }
}

/// Those that are panthor's, and the others.
pub fn sort(named: &[Named]) -> (Vec<KernelSpec>, Vec<kernels::Kernel>) {
    let mut sorted = (Vec::new(), Vec::new());
    for kernel in named {
        match kernel {
            Named::Panthor(spec) => sorted.0.push(spec.clone()),
            Named::Other(other) => sorted.1.push(*other),
        }
    }
    sorted
}

/// The kernel of this run.
#[derive(Debug)]
pub struct Kernel {
    /// Never `auto`: that was looked up.
    spec: KernelSpec,
    /// Of every file that was opened.
    tallies: RefCell<Vec<Tally>>,
}

impl Kernel {
    /// The kernel of the option `--kernel` where it is given, else that of PANVK_SPARSE_KERNEL, else the default.
    pub fn choose(option: Option<&KernelSpec>) -> Result<Kernel, Failure> {
        let spec = match option {
            Some(kernel) => kernel.clone(),
            // The other variables are the driver's; what they say is no matter here.
            None => {
                let only_kernel = |name: &str| env::var_os(name).filter(|_| name == config::KERNEL);
                let config = Config::from_vars(only_kernel).map_err(|error| error.to_string())?;
                config.kernel
            }
        };
        let mut tallies = Vec::new();
        let spec = match spec {
            KernelSpec::Auto => {
                let (path, device) = vpanthor::nodes::find().map_err(|error| error.to_string())?;
                tallies.push(device.tally());
                KernelSpec::Node(path)
            }
            spec => spec,
        };
        Ok(Kernel {
            spec,
            tallies: RefCell::new(tallies),
        })
    }

    /// The model of a kernel that can do this.
    pub fn model_of(capabilities: &Capabilities) -> Kernel {
        Kernel {
            spec: KernelSpec::Vpanthor(vpanthor::model_of(capabilities)),
            tallies: RefCell::default(),
        }
    }

    /// Whether it is a real one: a node, with memory and time of its own.
    pub fn is_node(&self) -> bool {
        matches!(self.spec, KernelSpec::Node(_))
    }

    /// Opens the kernel: a file of its own, with no VM yet.
    pub fn open(&self) -> Result<Device, Failure> {
        // The error of a node names it already.
        let device = self.spec.open().map_err(|error| error.to_string())?;
        self.tallies.borrow_mut().push(device.tally());
        Ok(device)
    }

    /// What the kernel was asked to do since the command started, by all files.
    pub fn asked(&self) -> Asked {
        let mut counters = Counters::default();
        let mut nanoseconds = BTreeMap::new();
        for tally in self.tallies.borrow().iter() {
            counters.add(&tally.counters());
            for (nr, took) in tally.nanoseconds() {
                *nanoseconds.entry(nr).or_default() += took;
            }
        }
        Asked {
            ioctls: counters.ioctls,
            ioctl_ns: nanoseconds,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

/// All ioctls of a run, set-up and clean-up among them.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// Calls by ioctl number, failed ones included: what the kernel itself would count.
    #[serde(serialize_with = "by_name")]
    ioctls: BTreeMap<u8, u64>,
    /// Nanoseconds in them.
    #[serde(serialize_with = "by_name")]
    ioctl_ns: BTreeMap<u8, u64>,
}

/// Serializes numbers by ioctl as an object, with the names of the ioctls.
fn by_name<S: Serializer>(ioctls: &BTreeMap<u8, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map((ioctls.iter()).map(|(nr, count)| (drm::ioctl_name(*nr), count)))
}

impl Asked {
    /// A table: how many calls, and how long each took on average.
    pub fn table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .ioctls
            .iter()
            .map(|(nr, &calls)| {
                let took = self.ioctl_ns.get(nr).copied().unwrap_or(0);
                vec![
                    drm::ioctl_name(*nr),
                    thousands(calls),
                    duration(took / calls.max(1)),
                ]
            })
            .collect();
        render("ioctl|>calls|>mean time", &rows)
    }
}
