//! Sizes as people write them on a command line, and numbers as people read them.

use panvk_sparse::units::{self, SZ_4K};

/// The largest buffer that `compare` accepts, in bytes: 16 GiB.
///
/// With one operation a page this is 4,194,304 operations and as many mappings in the virtual kernel, which
/// still fits the memory of a small machine.
pub const MAX_BYTES: u64 = 16 << 30;

/// Reads a size in bytes, as [`units::parse_bytes`] does, and as large as a buffer may be.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    match units::parse_bytes(text) {
        Ok(0) => Err("a sparse buffer has at least 1 byte".to_owned()),
        Ok(bytes) if bytes <= MAX_BYTES => Ok(bytes),
        Err(Some(reason)) => Err(reason),
        Ok(_) | Err(None) => Err(format!(
            "more than the {} bytes (16 GiB) that are compared at most",
            thousands(MAX_BYTES)
        )),
    }
}

/// `bytes` rounded up to whole 4 KiB pages: what a driver maps for a buffer of that size.
pub fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(SZ_4K)
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size in the largest binary unit that divides it: `2 MiB`, `4 KiB`, `100 B`.
pub fn binary(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", thousands(bytes >> shift));
        }
    }
    format!("{} B", thousands(bytes))
}

/// A time with three significant digits and its unit: `812 ns`, `12.3 µs`, `7.95 ms`, `1.20 s`.
pub fn duration(ns: u64) -> String {
    // Rounding must not leave "1000 µs": the unit is chosen by the rounded number.
    for (scale, unit) in [(1e0, "ns"), (1e3, "µs"), (1e6, "ms")] {
        let value = ns as f64 / scale;
        if value < 999.5 {
            return format!("{} {unit}", three_digits(value, scale == 1e0));
        }
    }
    format!("{} s", three_digits(ns as f64 / 1e9, false))
}

fn three_digits(value: f64, whole: bool) -> String {
    if whole || value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_suffix() {
        for (text, bytes) in [
            ("1", 1),
            ("100000000", 100_000_000),
            ("100_000_000", 100_000_000),
            ("100M", 100_000_000),
            ("100mb", 100_000_000),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("2MiB", 2 << 20),
            ("1g", 1_000_000_000),
            ("16GiB", MAX_BYTES),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_reason() {
        for (text, reason) in [
            ("0", "at least 1 byte"),
            ("0GiB", "at least 1 byte"),
            ("", "whole number"),
            ("_", "whole number"),
            ("-5", "whole number"),
            ("M", "whole number"),
            ("1.5G", "suffix \".5G\" is unknown"),
            ("5 parsecs", "suffix \"parsecs\" is unknown"),
            ("17GiB", "17,179,869,184"),
            ("18446744073709551616", "17,179,869,184"),
            ("18446744073709551615GiB", "17,179,869,184"),
        ] {
            let error = parse_bytes(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_grouped_and_times_have_three_digits() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(100_003_840), "100,003,840");
        assert_eq!(binary(2 << 20), "2 MiB");
        assert_eq!(binary(4096), "4 KiB");
        assert_eq!(binary(100), "100 B");
        assert_eq!(duration(0), "0 ns");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_234), "1.23 µs");
        assert_eq!(duration(12_345), "12.3 µs");
        assert_eq!(duration(999_600), "1.00 ms");
        assert_eq!(duration(7_950_000), "7.95 ms");
        assert_eq!(duration(1_204_000_000), "1.20 s");
    }
}
