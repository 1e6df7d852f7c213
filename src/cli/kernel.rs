//! Which kernel a command talks to.

use std::env;

use panvk_sparse::config::{self, Config};
use panvk_sparse::drm::{Device, KernelSpec};

use super::Failure;

/// The kernel of the option `--kernel` where it is given, else that of PANVK_SPARSE_KERNEL, else the default.
pub fn choose(option: Option<&KernelSpec>) -> Result<KernelSpec, Failure> {
    match option {
        Some(kernel) => Ok(kernel.clone()),
        // The other variables are the driver's; what they say is no matter here.
        None => {
            let only_kernel = |name: &str| env::var_os(name).filter(|_| name == config::KERNEL);
            let config = Config::from_vars(only_kernel).map_err(|error| error.to_string())?;
            Ok(config.kernel)
        }
    }
}

/// Opens the kernel: a file of its own, with no VM yet.
pub fn open(kernel: &KernelSpec) -> Result<Device, Failure> {
    // The error of a node names it already.
    Device::open(kernel).map_err(|error| error.to_string())
}
