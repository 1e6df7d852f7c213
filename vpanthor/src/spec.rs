//! Which kernel to talk to, as a user writes it.

use crate::{Flavour, Kernel, OpenOptions, device, nodes};
use panvk_sparse::drm::{Device, OpenError};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A virtual kernel of some flavour, written `vpanthor:1.8-repeat`, or a render node's path, or `auto`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KernelSpec {
    Vpanthor(Flavour),
    Node(PathBuf),
    /// The first render node that is panthor's, see [`nodes::find`].
    Auto,
}

impl Default for KernelSpec {
    /// The kernel that this project was made for: the v5 series of OP_MAP_REPEAT.
    fn default() -> Self {
        KernelSpec::Vpanthor(Flavour::V1_8Repeat)
    }
}

impl KernelSpec {
    /// Opens the device; a virtual kernel is made for it.
    ///
    /// # Errors
    /// The node cannot be opened, or is not panthor's: see [`OpenError`].
    pub fn open(&self) -> Result<Device, OpenError> {
        match self {
            KernelSpec::Vpanthor(flavour) => {
                device(Kernel::new(*flavour).open(OpenOptions::default()))
            }
            KernelSpec::Node(path) => nodes::open(path),
            KernelSpec::Auto => nodes::find().map(|(_, device)| device),
        }
    }

    /// The texts that are understood, as a message lists them.
    pub fn accepted() -> String {
        let mut list: Vec<String> = Flavour::ALL
            .map(|flavour| format!("vpanthor:{flavour}"))
            .into();
        list.push("or the path of a render node such as /dev/dri/renderD128".into());
        list.push("or auto: the first render node that is panthor's".into());
        list.join(", ")
    }
}

/// A text that is no [`KernelSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKernel(pub String);

impl fmt::Display for UnknownKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown kernel {:?}, expected {}",
            self.0,
            KernelSpec::accepted()
        )
    }
}

impl std::error::Error for UnknownKernel {}

impl FromStr for KernelSpec {
    type Err = UnknownKernel;

    fn from_str(s: &str) -> Result<Self, UnknownKernel> {
        if s.starts_with('/') {
            return Ok(KernelSpec::Node(s.into()));
        }
        if s == "auto" {
            return Ok(KernelSpec::Auto);
        }
        s.strip_prefix("vpanthor:")
            .and_then(|flavour| flavour.parse().ok())
            .map(KernelSpec::Vpanthor)
            .ok_or_else(|| UnknownKernel(s.into()))
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelSpec::Vpanthor(flavour) => write!(f, "vpanthor:{flavour}"),
            KernelSpec::Node(path) => path.display().fmt(f),
            KernelSpec::Auto => f.write_str("auto"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_understood() {
        for flavour in Flavour::ALL {
            let spec = KernelSpec::Vpanthor(flavour);
            assert_eq!(spec.to_string().parse(), Ok(spec));
        }
        let node = KernelSpec::Node("/dev/dri/renderD129".into());
        assert_eq!(node.to_string().parse(), Ok(node));
        assert_eq!(KernelSpec::Auto.to_string().parse(), Ok(KernelSpec::Auto));
    }

    #[test]
    fn what_is_not_understood_is_named_with_all_that_would_be() {
        for text in [
            "",
            "vpanthor",
            "vpanthor:",
            "vpanthor:2.0",
            "panthor:1.8",
            "renderD128",
            "vpanthor: 1.8",
        ] {
            let error = text.parse::<KernelSpec>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
            assert!(
                error.contains("vpanthor:1.8-repeat, vpanthor:1.9, or the path of a render node"),
                "{error}"
            );
        }
    }
}
