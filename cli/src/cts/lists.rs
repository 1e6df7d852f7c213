//! Lists of cases: names, and patterns in which `*` stands for any characters, dots too, as deqp-vk has them.

use std::fs;
use std::path::Path;

use super::Error;

/// The lines of a list that say something, without blanks around them. Comments start with `#`.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Reads the file of a list.
pub fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// Whether `name` is one that `pattern` stands for.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What deqp-vk is asked for, so that its answer covers `patterns`: the groups that they name, each once. A list of
/// cases is too long for a command line; its groups are not.
pub fn groups(patterns: &[&str]) -> Vec<String> {
    let mut groups: Vec<String> = patterns
        .iter()
        .map(|pattern| {
            let fixed = pattern.split('*').next().unwrap_or_default();
            match fixed.match_indices('.').nth(1) {
                Some((at, _)) => format!("{}*", &fixed[..=at]),
                None => format!("{fixed}*"),
            }
        })
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// The cases of `known` that `patterns` name, in `known`'s order, and the patterns that name none.
pub fn select<'p>(patterns: &[&'p str], known: Vec<String>) -> (Vec<String>, Vec<&'p str>) {
    let (wild, plain): (Vec<&str>, Vec<&str>) =
        patterns.iter().copied().partition(|p| p.contains('*'));
    let plain: std::collections::HashSet<&str> = plain.into_iter().collect();
    let mut found = std::collections::HashSet::new();
    let mut cases = Vec::new();
    for case in known {
        let mut named = false;
        if let Some(&pattern) = plain.get(case.as_str()) {
            found.insert(pattern);
            named = true;
        }
        for &pattern in &wild {
            if matches(pattern, &case) {
                found.insert(pattern);
                named = true;
            }
        }
        if named {
            cases.push(case);
        }
    }
    let mut unknown = patterns.to_vec();
    unknown.retain(|pattern| !found.contains(pattern));
    (cases, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.*", "a.b.c", true),
            ("a.*c", "a.b.c", true),
            ("a.*b*c", "a.c.b", false),
            ("*x*x*", "x", false),
            ("*x*x*", "axbx", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn groups_are_asked_for_once() {
        let patterns = ["a.b.c", "a.b.*", "a.d*sparse*", "a.e.*x"];
        assert_eq!(groups(&patterns), ["a.b.*", "a.d*", "a.e.*"]);
    }

    #[test]
    fn what_names_nothing_is_said() {
        let known = vec!["a.b.c".to_owned(), "a.b.d".to_owned()];
        let (cases, unknown) = select(&["a.b.d", "a.b.x", "a.*c", "q*"], known);
        assert_eq!(cases, ["a.b.c", "a.b.d"]);
        assert_eq!(unknown, ["a.b.x", "q*"]);
    }
}
