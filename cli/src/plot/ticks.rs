//! What axes write.

/// 10 to the power of `decade` as a count: `1`, `10`, `1k`, `1M`, as short as an axis needs it.
pub fn count_tick(decade: i32) -> String {
    prefixed(decade, ["", "k", "M", "G"], "")
}

/// 10 to the power of `decade` nanoseconds: `1 ns`, `10 µs`, `1 s`.
pub fn nanoseconds_tick(decade: i32) -> String {
    prefixed(decade, [" ns", " µs", " ms", " s"], " s")
}

fn prefixed(decade: i32, units: [&str; 4], last: &str) -> String {
    match usize::try_from(decade) {
        Ok(decade @ 0..12) => format!("{}{}", 10u64.pow(decade as u32 % 3), units[decade / 3]),
        Ok(decade) => format!(
            "1e{}{last}",
            if last.is_empty() { decade } else { decade - 9 }
        ),
        Err(_) => format!("{}{}", 10f64.powi(decade), units[0]),
    }
}

/// Round numbers from `first` to `last`, at most `most` + 1 of them: multiples of 1, 2 or 5 and a power of ten.
pub fn whole_steps(first: u64, last: u64, most: u64) -> Vec<u64> {
    let least = last.saturating_sub(first).div_ceil(most.max(1)).max(1);
    let power = 10u64.pow(least.ilog10());
    let step = [1, 2, 5, 10].map(|n| n * power);
    let step = step
        .into_iter()
        .find(|&step| step >= least)
        .unwrap_or(least);
    let begin = first.div_ceil(step);
    (begin..=last / step).map(|n| n * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_write_powers_of_ten_in_their_units() {
        assert_eq!(
            [0, 2, 4, 6, 13].map(count_tick),
            ["1", "100", "10k", "1M", "1e13"]
        );
        assert_eq!(
            [1, 4, 8, 9, 12].map(nanoseconds_tick),
            ["10 ns", "10 µs", "100 ms", "1 s", "1e3 s"]
        );
    }

    #[test]
    fn steps_of_an_axis_are_round_and_few() {
        assert_eq!(whole_steps(0, 60, 9), [0, 10, 20, 30, 40, 50, 60]);
        assert_eq!(whole_steps(3, 7, 9), [3, 4, 5, 6, 7]);
        assert_eq!(whole_steps(0, 0, 9), [0]);
        for last in [1, 17, 999, 123_456_789] {
            let steps = whole_steps(0, last, 9);
            assert!((2..=10).contains(&steps.len()), "{last}: {steps:?}");
        }
    }
}
