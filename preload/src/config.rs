//! What `VPANTHOR` and `VPANTHOR_DUMP` say.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use panvk_sparse::vpanthor::{Flavour, Identity};

/// Minors of render nodes are 128 to 191.
pub const MAX_NODES: usize = 64;

/// One node: which kernel, which GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    pub flavour: Flavour,
    pub gpu: Identity,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            flavour: Flavour::V1_8Repeat,
            gpu: Identity::default(),
        }
    }
}

/// What a value of `VPANTHOR` may be, for messages.
const EXPECTED: &str = "nodes separated by \";\", each a kernel (1.5, 1.8, 1.6-repeat, 1.8-repeat, 1.9), \
     gpu=g610, or both with \",\" in between";

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
