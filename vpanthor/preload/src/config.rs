//! What `VPANTHOR` and `VPANTHOR_DUMP` say.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use panvk_sparse::drm::errno_name;
use panvk_sparse::uapi;
use rustix::io::Errno;
use vpanthor::{Fault, Flavour, Identity, OpStage};

/// Minors of render nodes are 128 to 191.
pub const MAX_NODES: usize = 64;

/// One node: which kernel, which GPU, and what goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    pub flavour: Flavour,
    pub gpu: Identity,
    /// Of each file that is opened.
    pub faults: Vec<Fault>,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            flavour: Flavour::V1_8Repeat,
            gpu: Identity::default(),
            faults: Vec::new(),
        }
    }
}

/// What a value of `VPANTHOR` may be, for messages.
const EXPECTED: &str = "nodes separated by \";\", each a kernel (1.0, 1.5, 1.8, 1.6-repeat, 1.8-repeat, 1.9), \
     gpu=g610, or both with \",\" in between, and fault=VM_BIND:N:ERRNO (any ioctl) or fault=op:N:prepare|run:ERRNO \
     as often as you like";

/// The nodes that a value asks for.
///
/// # Errors
/// A message that names the variable, the value and what is expected.
pub fn nodes(value: &str) -> Result<Vec<NodeSpec>, String> {
    let wrong = |what: String| format!("VPANTHOR={value:?}: {what}; expected {EXPECTED}");
    let mut nodes = Vec::new();
    for node in value.split(';') {
        let mut spec = NodeSpec::default();
        let (mut flavour_set, mut gpu_set) = (false, false);
        for part in node
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            if let Some(text) = part.strip_prefix("fault=") {
                let fault = fault(text).ok_or_else(|| wrong(format!("unknown fault {text:?}")))?;
                spec.faults.push(fault);
                continue;
            }
            let seen = match part.strip_prefix("gpu=") {
                Some(gpu) => {
                    spec.gpu = gpu
                        .parse()
                        .map_err(|_| wrong(format!("unknown GPU {gpu:?}")))?;
                    &mut gpu_set
                }
                None => {
                    spec.flavour =
                        (part.parse()).map_err(|_| wrong(format!("unknown kernel {part:?}")))?;
                    &mut flavour_set
                }
            };
            if std::mem::replace(seen, true) {
                return Err(wrong(format!(
                    "{part:?} says the same thing twice of one node"
                )));
            }
        }
        nodes.push(spec);
    }
    if nodes.len() > MAX_NODES {
        return Err(wrong(format!(
            "{} nodes, at most {MAX_NODES} are possible",
            nodes.len()
        )));
    }
    Ok(nodes)
}

/// `VM_BIND:3:ENODEV`: the third such ioctl of a file fails. `op:3:prepare:EINVAL`: its third VM_BIND operation does.
fn fault(text: &str) -> Option<Fault> {
    let words: Vec<&str> = text.split(':').collect();
    let errno = |name: &str| {
        (1..=133)
            .map(Errno::from_raw_os_error)
            .find(|errno| errno_name(*errno) == name)
    };
    let nth = |text: &str| text.parse().ok().filter(|nth| *nth > 0);
    Some(match words[..] {
        ["op", n, stage, name] => Fault::Op {
            nth: nth(n)?,
            stage: match stage {
                "prepare" => OpStage::Prepare,
                "run" => OpStage::Run,
                _ => return None,
            },
            errno: errno(name)?,
        },
        [ioctl, n, name] => Fault::Ioctl {
            number: uapi::ioctls()
                .find(|known| known.name == ioctl)
                .map(|known| uapi::ioctl_nr(known.code))?,
            nth: nth(n)?,
            errno: errno(name)?,
        },
        _ => return None,
    })
}

/// The file of a dump: `%p` becomes the process's id, `%%` one percent sign.
pub fn dump_path(pattern: &OsStr, pid: u32) -> PathBuf {
    let mut path = Vec::new();
    let mut bytes = pattern.as_bytes().iter().peekable();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'%', Some(b'p')) => path.extend(pid.to_string().bytes()),
            (b'%', Some(b'%')) => path.push(b'%'),
            _ => {
                path.push(byte);
                continue;
            }
        }
        bytes.next();
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_apart_by_semicolons_and_defaults_fill_in() {
        let node = |flavour| NodeSpec {
            flavour,
            gpu: Identity::G610,
            faults: Vec::new(),
        };
        assert_eq!(nodes("1.9,gpu=g610"), Ok(vec![node(Flavour::V1_9)]));
        assert_eq!(nodes("gpu=g610, 1.5"), Ok(vec![node(Flavour::V1_5)]));
        assert_eq!(nodes(""), Ok(vec![NodeSpec::default()]));
        assert_eq!(
            nodes("1.9;1.8"),
            Ok(vec![node(Flavour::V1_9), node(Flavour::V1_8)])
        );
    }

    #[test]
    fn faults_name_the_ioctl_or_the_operation_and_the_errno() {
        let faults = |value: &str| nodes(value).map(|mut nodes| nodes.remove(0).faults);
        assert_eq!(
            faults("1.9,fault=VM_BIND:3:ENODEV,fault=op:4:run:ENOMEM"),
            Ok(vec![
                Fault::Ioctl {
                    number: 0x43,
                    nth: 3,
                    errno: Errno::NODEV
                },
                Fault::Op {
                    nth: 4,
                    stage: OpStage::Run,
                    errno: Errno::NOMEM
                },
            ])
        );
        for wrong in [
            "VM_BIND",
            "VM_BIND:0:EIO",
            "VM_BIND:1:EGAD",
            "BIND:1:EIO",
            "op:1:later:EIO",
        ] {
            let message = faults(&format!("fault={wrong}")).unwrap_err();
            assert!(
                message.contains(&format!("unknown fault {wrong:?}")),
                "{message}"
            );
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_expected() {
        for (value, what) in [
            ("2.0", "unknown kernel \"2.0\""),
            ("1.9,gpu=t860", "unknown GPU \"t860\""),
            ("1.9,1.8", "\"1.8\" says the same thing twice of one node"),
        ] {
            let message = nodes(value).unwrap_err();
            assert!(
                message.starts_with(&format!("VPANTHOR={value:?}: {what}; expected nodes")),
                "{message}"
            );
        }
        assert!(nodes(&"1.9;".repeat(64)).is_err());
    }

    #[test]
    fn the_process_id_goes_into_the_path_of_a_dump() {
        assert_eq!(
            dump_path("a-%p.json".as_ref(), 12),
            PathBuf::from("a-12.json")
        );
        assert_eq!(dump_path("%%p%p%".as_ref(), 7), PathBuf::from("%p7%"));
    }
}
