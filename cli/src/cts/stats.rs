//! What the kernel was asked to do, summed over all devices of a run: the lines of `PANVK_SPARSE_STATS`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

/// The sums of one kernel and strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub kernel: String,
    pub strategy: String,
    /// VkDevices that were destroyed; one that crashed has no line.
    pub devices: u64,
    /// Every counter that the lines have, by its name there.
    #[serde(flatten)]
    pub counters: BTreeMap<String, u64>,
}

impl Sum {
    /// The sum of the counter `name`; 0 where the driver has no such counter.
    pub fn of(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

/// Sums up the lines of `file`; a file that is not there has none. Lines that are cut off count for nothing.
pub fn sum(file: &Path) -> Vec<Sum> {
    sum_lines(&String::from_utf8_lossy(
        &fs::read(file).unwrap_or_default(),
    ))
}

fn sum_lines(text: &str) -> Vec<Sum> {
    let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
    for line in text.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        let name = |key| {
            line.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kernel, strategy) = (name("kernel"), name("strategy"));
        let sum = sums
            .entry((kernel.clone(), strategy.clone()))
            .or_insert_with(|| Sum {
                kernel,
                strategy,
                ..Sum::default()
            });
        sum.devices += 1;
        for (name, value) in &line {
            if let Some(value) = value.as_u64() {
                *sum.counters.entry(name.clone()).or_default() += value;
            }
        }
    }
    sums.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosted::Stats;

    #[test]
    fn every_counter_of_a_line_is_summed_and_a_line_that_is_cut_off_is_not() {
        let line = r#"{"kernel":"k","strategy":"page","binds":2,"one_day":5,"device":"d"}"#;
        let other = r#"{"kernel":"k","strategy":"chunk","binds":1}"#;
        let sums = sum_lines(&format!("{line}\n{other}\n{line}\n{}", &line[..40]));
        assert_eq!(sums.len(), 2);
        assert_eq!((sums[1].devices, sums[1].of("binds")), (2, 4));
        assert_eq!((sums[1].of("one_day"), sums[0].of("one_day")), (10, 0));
        assert_eq!(sums[1].counters.len(), 2);
    }

    #[test]
    fn the_driver_has_the_counters_that_are_shown() {
        let Ok(line) = serde_json::to_string(&Stats::default()) else {
            panic!("no JSON");
        };
        for name in super::super::report::SHOWN {
            assert!(line.contains(&format!("\"{name}\":")), "{name} in {line}");
        }
    }
}
