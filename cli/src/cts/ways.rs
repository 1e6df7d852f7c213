//! The kernels and the strategies for unbound ranges that the cases run with: one run each.

use std::env;
use std::ffi::OsString;
use std::fmt;

use hosted::config;
use panvk_sparse::lower::Strategy;
use vpanthor::{Flavour, KernelSpec};

use super::Args;
use crate::replay::ways::FIELD;

/// A kernel and a strategy, as the driver's variables have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub kernel: OsString,
    pub strategy: OsString,
}

impl Way {
    /// All that the command line asks for: each kernel with each strategy. What it does not name, the environment does.
    pub fn all(args: &Args) -> Vec<Self> {
        if args.all_kernels {
            let way = |(flavour, strategy): (Flavour, Strategy)| Self {
                kernel: KernelSpec::Vpanthor(flavour).to_string().into(),
                strategy: strategy.name().into(),
            };
            return FIELD.map(way).into();
        }
        let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let mut kernels: Vec<OsString> = args.kernel.iter().map(|k| k.to_string().into()).collect();
        if kernels.is_empty() {
            let default = || KernelSpec::default().to_string().into();
            kernels.push(named(config::KERNEL).unwrap_or_else(default));
        }
        let mut strategies: Vec<OsString> = args.null.iter().map(OsString::from).collect();
        if strategies.is_empty() {
            strategies.push(named(config::NULL).unwrap_or_else(|| "auto".into()));
        }
        kernels
            .iter()
            .flat_map(|kernel| {
                strategies.iter().map(|strategy| Self {
                    kernel: kernel.clone(),
                    strategy: strategy.clone(),
                })
            })
            .collect()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kernel, strategy) = (
            self.kernel.to_string_lossy(),
            self.strategy.to_string_lossy(),
        );
        write!(f, "{kernel} {strategy}")
    }
}
