//! Which kernel a command talks to.

use std::env;

use panvk_sparse::drm::{Device, KernelSpec};

use super::Failure;

const VARIABLE: &str = "PANVK_SPARSE_KERNEL";
const DEFAULT: &str = "vpanthor:1.8-repeat";

/// A kernel as it was asked for: the text is kept, because output names the kernel as the user did.
#[derive(Clone, Debug)]
pub struct Kernel {
    name: String,
    spec: KernelSpec,
}

impl Kernel {
    /// The kernel of the option `--kernel` where it is given, else that of PANVK_SPARSE_KERNEL, else the default.
    pub fn choose(option: Option<&Kernel>) -> Result<Kernel, Failure> {
        if let Some(kernel) = option {
            return Ok(kernel.clone());
        }
        match env::var_os(VARIABLE) {
            None => DEFAULT.parse(),
            Some(value) => {
                let text = value
                    .to_str()
                    .ok_or_else(|| format!("{VARIABLE}: {value:?} is not UTF-8"))?;
                text.parse()
                    .map_err(|error| format!("{VARIABLE}={text}: {error}"))
            }
        }
    }

    /// The name as the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens the kernel: a file of its own, with no VM yet.
    pub fn open(&self) -> Result<Device, Failure> {
        Device::open(&self.spec).map_err(|error| format!("{}: {error}", self.name))
    }
}

impl std::str::FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Kernel, String> {
        let spec = text
            .parse::<KernelSpec>()
            .map_err(|error| error.to_string())?;
        Ok(Kernel {
            name: text.to_owned(),
            spec,
        })
    }
}
