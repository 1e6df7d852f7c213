//! What to record, and where to: the layer's environment variables, then what the application gives by
//! VK_EXT_layer_settings, then the defaults.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use panvk_sparse::units::parse_bytes;

use crate::layer_settings::{Given, Value};

/// `0`: nothing is recorded. `1`, the default: it is.
pub const ENABLE: &str = "PANVK_SPARSE_TRACE";
/// The file; `%p` in it is the number of the process.
pub const FILE: &str = "PANVK_SPARSE_TRACE_FILE";
/// Bytes of the file at which recording stops, as `500M` or `1GiB`.
pub const LIMIT: &str = "PANVK_SPARSE_TRACE_LIMIT";

/// How an instance shall be recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// As it was given, with its `%p`; `None`: a new file in the folder for state.
    pub file: Option<PathBuf>,
    /// Bytes; `None`: no limit.
    pub limit: Option<u64>,
}

/// A value that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The variable, or the setting in `VkLayerSettingsCreateInfoEXT`.
    what: String,
    value: String,
    expected: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={:?} is not understood: expected {}",
            self.what, self.value, self.expected
        )
    }
}

/// One setting, from wherever it comes.
struct Found {
    what: String,
    value: Value,
    /// Of a text from the environment: a path need not be UTF-8.
    raw: Option<OsString>,
}

impl Found {
    fn wrong(&self, expected: impl Into<String>) -> SettingsError {
        SettingsError {
            what: self.what.clone(),
            value: match &self.value {
                Value::Bool(value) => value.to_string(),
                Value::Number(value) => value.to_string(),
                Value::Text(value) => value.clone(),
                Value::Other => "a value of another type".into(),
            },
            expected: expected.into(),
        }
    }

    fn switch(&self) -> Result<bool, SettingsError> {
        match &self.value {
            Value::Bool(on) => Ok(*on),
            Value::Number(0) => Ok(false),
            Value::Number(1) => Ok(true),
            Value::Text(text) if text == "0" => Ok(false),
            Value::Text(text) if text == "1" => Ok(true),
            _ => Err(self.wrong("0 or 1")),
        }
    }

    fn path(&self) -> Result<PathBuf, SettingsError> {
        match (&self.raw, &self.value) {
            (Some(raw), _) => Ok(raw.into()),
            (None, Value::Text(text)) if !text.is_empty() => Ok(text.into()),
            _ => Err(self.wrong("the path of a file")),
        }
    }

    fn bytes(&self) -> Result<u64, SettingsError> {
        const EXPECTED: &str = "a number of bytes that is not 0, such as 500M or 1GiB";
        let bytes = match &self.value {
            Value::Number(bytes) => u64::try_from(*bytes).ok(),
            Value::Text(text) => match parse_bytes(text) {
                Ok(bytes) => Some(bytes),
                Err(Some(reason)) => return Err(self.wrong(format!("{EXPECTED} ({reason})"))),
                Err(None) => None,
            },
            Value::Bool(_) | Value::Other => None,
        };
        bytes
            .filter(|&bytes| bytes != 0)
            .ok_or_else(|| self.wrong(EXPECTED))
    }
}

impl Settings {
    /// The settings that the environment `var` and the application's `given` make; `None` where recording is
    /// switched off. An empty variable counts as not set, and of a setting that is given twice the last one counts.
    ///
    /// # Errors
    /// The first value that is not understood.
    pub fn read(
        var: impl Fn(&str) -> Option<OsString>,
        given: &[Given],
    ) -> Result<Option<Self>, SettingsError> {
        const NAMES: [&str; 3] = ["enable", "file", "size_limit"];
        let find = |variable: &str, name: &str| {
            if let Some(raw) = var(variable).filter(|value| !value.is_empty()) {
                return Some(Found {
                    what: variable.into(),
                    value: Value::Text(raw.to_string_lossy().into_owned()),
                    raw: Some(raw),
                });
            }
            let given = given.iter().rfind(|given| given.name == name)?;
            Some(Found {
                what: setting(name),
                value: given.value.clone(),
                raw: None,
            })
        };
        let [enable, file, limit] = NAMES;
        if let Some(on) = find(ENABLE, enable) {
            if !on.switch()? {
                return Ok(None);
            }
        }
        let file = find(FILE, file).map(|file| file.path()).transpose()?;
        let limit = find(LIMIT, limit).map(|limit| limit.bytes()).transpose()?;
        if let Some(unknown) = given
            .iter()
            .find(|given| !NAMES.contains(&given.name.as_str()))
        {
            return Err(SettingsError {
                what: "VkLayerSettingEXT::pSettingName".into(),
                value: unknown.name.clone(),
                expected: NAMES.join(", "),
            });
        }
        Ok(Some(Self { file, limit }))
    }
}

fn setting(name: &str) -> String {
    format!("VkLayerSettingsCreateInfoEXT: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        environment: &[(&str, &str)],
        given: &[(&str, Value)],
    ) -> Result<Option<Settings>, String> {
        let var = |asked: &str| {
            let found = environment.iter().find(|(name, _)| *name == asked);
            found.map(|(_, value)| value.into())
        };
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| Given {
                name: (*name).into(),
                value: value.clone(),
            })
            .collect();
        Settings::read(var, &given).map_err(|error| error.to_string())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn nothing_set_records_without_a_limit() {
        assert_eq!(read(&[], &[]), Ok(Some(Settings::default())));
        assert_eq!(read(&[(ENABLE, ""), (LIMIT, "")], &[]), read(&[], &[]));
    }

    #[test]
    fn the_environment_comes_before_the_application() {
        let given = [
            ("enable", Value::Bool(false)),
            ("file", text("/a")),
            ("size_limit", Value::Number(5)),
        ];
        assert_eq!(read(&[], &given), Ok(None));
        let environment = [(ENABLE, "1"), (FILE, "/b"), (LIMIT, "2KiB")];
        let expected = Settings {
            file: Some("/b".into()),
            limit: Some(2048),
        };
        assert_eq!(read(&environment, &given), Ok(Some(expected)));
        let expected = Settings {
            file: Some("/a".into()),
            limit: Some(5),
        };
        assert_eq!(read(&environment[..1], &given), Ok(Some(expected)));
        assert_eq!(read(&[(ENABLE, "0")], &given[1..]), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is_expected() {
        let given = |name, value| read(&[], &[(name, value)]);
        for (result, parts) in [
            (read(&[(ENABLE, "yes")], &[]), [ENABLE, "\"yes\"", "0 or 1"]),
            (read(&[(LIMIT, "lots")], &[]), [LIMIT, "lots", "1GiB"]),
            (read(&[(LIMIT, "0")], &[]), [LIMIT, "\"0\"", "not 0"]),
            (
                read(&[(LIMIT, "5 parsecs")], &[]),
                [LIMIT, "parsecs", "suffix"],
            ),
            (
                given("size_limit", Value::Number(-1)),
                ["size_limit", "-1", "bytes"],
            ),
            (
                given("file", Value::Bool(true)),
                ["file", "true", "path of a file"],
            ),
            (given("file", text("")), ["file", "\"\"", "path of a file"]),
            (given("enable", Value::Other), ["enable", "type", "0 or 1"]),
            (
                given("limit", Value::Number(1)),
                ["\"limit\"", "enable", "size_limit"],
            ),
        ] {
            let message = result.unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{message:?} does not name {part:?}");
            }
        }
    }
}
