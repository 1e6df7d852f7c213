//! What the environment asks of the ICD: the `PANVK_SPARSE_*` variables, read once, checked whole.
//!
//! A value that is not understood is an error that names the variable, the value and the values it takes.
//! A process that runs with more rights than its user (setuid, setgid, file capabilities) gets the defaults.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use log::LevelFilter;

use panvk_sparse::lower::Strategy;
use vpanthor::KernelSpec;
pub use vulkan::environment::{BASE_ICD, variable};

/// The kernel that is asked to bind: `vpanthor:<flavour>`, the path of a render node, or `auto`.
pub const KERNEL: &str = "PANVK_SPARSE_KERNEL";
/// How unbound ranges are mapped.
pub const NULL: &str = "PANVK_SPARSE_NULL";
/// Where the counters of a VkDevice go when it is destroyed.
pub const STATS: &str = "PANVK_SPARSE_STATS";
/// What the driver says that it can do.
pub const PROFILE: &str = "PANVK_SPARSE_PROFILE";
/// What unbound ranges are on the base driver.
pub const DUMMY: &str = "PANVK_SPARSE_DUMMY";
/// How much is said on stderr.
pub const LOG: &str = "PANVK_SPARSE_LOG";

/// A strategy for unbound ranges, or the best one that the probe has seen working.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullChoice {
    #[default]
    Auto,
    Fixed(Strategy),
}

impl FromStr for NullChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "auto" {
            return Ok(Self::Auto);
        }
        Strategy::from_str(s)
            .map(Self::Fixed)
            .map_err(|_| "auto, sparse, repeat, chunk, page".into())
    }
}

/// What the driver says that it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// All that the base driver can.
    #[default]
    Base,
    /// No more than panvk can on a Mali GPU, so that an application can be tried as on a board.
    Mali,
}

/// What unbound ranges are on the base driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dummy {
    /// Not bound: they read and write as the base driver has it.
    #[default]
    Null,
    /// Bound to one piece of memory, over and over, as on a Mali GPU: what is written to one unbound place can be read
    /// at another. A bind that gets lost shows.
    Alias,
}

/// Where stats lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsSink {
    Stderr,
    /// Appended to; created when it is not there.
    File(PathBuf),
}

/// The settings of one process.
#[derive(Clone, Debug)]
pub struct Config {
    /// `None`: a panvk with sparse binding that drives a GPU of this machine, or else lavapipe, by their manifests in the usual
    /// folders.
    pub base_icd: Option<PathBuf>,
    pub kernel: KernelSpec,
    /// Whether the kernel was named. If so, nothing but that kernel is asked.
    pub names_kernel: bool,
    pub null: NullChoice,
    pub profile: Profile,
    pub dummy: Dummy,
    pub stats: Option<StatsSink>,
    pub log: LevelFilter,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_icd: None,
            kernel: KernelSpec::default(),
            names_kernel: false,
            null: NullChoice::Auto,
            profile: Profile::Base,
            dummy: Dummy::Null,
            stats: None,
            log: LevelFilter::Warn,
        }
    }
}

/// A variable whose value is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub variable: &'static str,
    pub value: String,
    /// The values that the variable takes.
    pub expected: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={:?} is not understood: expected {}",
            self.variable, self.value, self.expected
        )
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The settings of this process.
    ///
    /// # Errors
    /// The first variable, in the order of the fields, whose value is not understood.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(variable)
    }

    /// The settings that `var` gives; an empty value counts as not set.
    ///
    /// # Errors
    /// The first variable whose value is not understood.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let mut config = Self {
            base_icd: var(BASE_ICD).map(PathBuf::from),
            ..Self::default()
        };
        if let Some(value) = var(KERNEL) {
            config.names_kernel = true;
            config.kernel = parse(KERNEL, value, |s| {
                s.parse::<KernelSpec>().map_err(|_| KernelSpec::accepted())
            })?;
        }
        if let Some(value) = var(NULL) {
            config.null = parse(NULL, value, |s| s.parse())?;
        }
        if let Some(value) = var(PROFILE) {
            config.profile = parse(PROFILE, value, |s| match s {
                "base" => Ok(Profile::Base),
                "mali" => Ok(Profile::Mali),
                _ => Err("base or mali".into()),
            })?;
        }
        if let Some(value) = var(DUMMY) {
            config.dummy = parse(DUMMY, value, |s| match s {
                "null" => Ok(Dummy::Null),
                "alias" => Ok(Dummy::Alias),
                _ => Err("null or alias".into()),
            })?;
        }
        config.stats = match var(STATS) {
            Some(value) if value == "stderr" => Some(StatsSink::Stderr),
            Some(value) => Some(StatsSink::File(value.into())),
            None => None,
        };
        if let Some(value) = var(LOG) {
            config.log = parse(LOG, value, |s| match s {
                "error" => Ok(LevelFilter::Error),
                "warn" => Ok(LevelFilter::Warn),
                "info" => Ok(LevelFilter::Info),
                "debug" => Ok(LevelFilter::Debug),
                "trace" => Ok(LevelFilter::Trace),
                _ => Err("error, warn, info, debug or trace".into()),
            })?;
        }
        Ok(config)
    }
}

fn parse<T>(
    variable: &'static str,
    value: OsString,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let value = value.to_string_lossy().into_owned();
    read(&value).map_err(|expected| ConfigError {
        variable,
        value,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::from_vars(|asked| (asked == name).then(|| value.into()))
    }

    #[test]
    fn nothing_set_is_the_default() {
        let config = Config::from_vars(|_| None).unwrap();
        assert_eq!(config.kernel.to_string(), "vpanthor:1.8-repeat");
        assert_eq!(
            (config.null, config.stats, config.log),
            (NullChoice::Auto, None, LevelFilter::Warn)
        );
    }

    #[test]
    fn a_wrong_value_names_the_variable_the_value_and_what_it_takes() {
        for (name, value, expected) in [
            (KERNEL, "vpanthor:2.0", "1.8-repeat"),
            (KERNEL, "panthor", "vpanthor:"),
            (NULL, "zero", "auto, sparse, repeat, chunk, page"),
            (PROFILE, "adreno", "base or mali"),
            (DUMMY, "zero", "null or alias"),
            (LOG, "loud", "error, warn, info, debug or trace"),
        ] {
            let message = with(name, value).unwrap_err().to_string();
            for part in [name, value, expected] {
                assert!(message.contains(part), "{message:?} does not name {part:?}");
            }
        }
    }

    #[test]
    fn an_empty_value_counts_as_not_set() {
        assert_eq!(with(NULL, "").unwrap().null, NullChoice::Auto);
    }
}
