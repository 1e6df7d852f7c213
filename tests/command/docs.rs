//! What README.md, CONTRIBUTING.md and docs/ name is there: commands and their options, variables, files, tests, pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::cargo::ROOT;
use common::command::{command, text};

/// The pages, by their path in the repository.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = Path::new(ROOT);
    let named = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ]
    .map(PathBuf::from);
    let docs = fs::read_dir(root.join("docs")).expect("docs/");
    let docs = docs.map(|entry| Path::new("docs").join(entry.expect("a file").file_name()));
    (named.into_iter().chain(docs))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = fs::read_to_string(root.join(&path)).expect("a text");
            (path, text)
        })
        .collect()
}

/// The code of a page: the lines of its indented blocks, continued ones as one, and what stands between backticks.
fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut continued = String::new();
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(block) => {
                continued.push_str(block.trim_end_matches('\\'));
                if !block.ends_with('\\') {
                    found.push(std::mem::take(&mut continued));
                }
            }
            None => found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned)),
        }
    }
    found
}

/// Of every page: the page's path and a piece of its code.
fn all_code() -> Vec<(PathBuf, String)> {
    (pages().iter())
        .flat_map(|(path, page)| code(page).into_iter().map(|code| (path.clone(), code)))
        .collect()
}

/// The options in a command line, and in a synopsis.
fn options(words: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (words.split(|c| !is_part(c)))
        .filter(|word| word.len() > 2 && word.starts_with("--"))
        .collect()
}

#[test]
fn every_subcommand_and_option_in_the_docs_is_in_its_help() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut checked = 0;
    for (page, code) in all_code() {
        // Up to a pipe that is not between words of a synopsis.
        let code = code.split(" | ").next().unwrap_or_default();
        let Some((_, call)) = code.split_once("panvk-sparse ") else {
            continue;
        };
        // Not what is called so but the command: packages, folders, images.
        let before = code
            .split_once("panvk-sparse ")
            .map_or("", |(before, _)| before);
        if !before.is_empty() && !before.ends_with([' ', '/'])
            || before.contains("apt")
            || before.contains("package")
        {
            continue;
        }
        let is_name =
            |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
        let mut path: Vec<Vec<String>> = vec![vec![]];
        // `trace info|dump` names two.
        for part in call.split(' ').take(2) {
            let names: Vec<&str> = part.split('|').collect();
            if !names.iter().all(is_name) || path[0].first().is_some_and(|first| first != "trace") {
                break;
            }
            path = (names.iter())
                .flat_map(|name| {
                    path.iter()
                        .map(move |path| [&path[..], &[(*name).to_owned()]].concat())
                })
                .collect();
        }
        for path in path {
            let help = helps.entry(path.clone()).or_insert_with(|| {
                let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
                let output = command(&words).output().expect("the command starts");
                assert!(
                    output.status.success(),
                    "{}: {code:?}: {}",
                    page.display(),
                    text(&output.stderr)
                );
                text(&output.stdout).to_owned()
            });
            for option in options(call) {
                assert!(
                    options(help).contains(option),
                    "{}: {code:?}: {option} is not in {help}",
                    page.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}

/// What in `text` begins with `prefix` and goes on with capitals, digits and underscores.
fn variables<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).filter_map(move |(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let name = &rest[..end.unwrap_or(rest.len())];
        let inside = text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        (!inside && !name.ends_with('_') && name != "PANVK_SPARSE").then_some(name)
    })
}

/// The texts of all source files under these folders.
fn sources(folders: &[&str]) -> String {
    let mut all = String::new();
    let mut folders: Vec<PathBuf> = folders
        .iter()
        .map(|folder| Path::new(ROOT).join(folder))
        .collect();
    while let Some(next) = folders.pop() {
        if next.is_file() {
            all.push_str(&fs::read_to_string(&next).unwrap_or_default());
            continue;
        }
        folders.extend(
            fs::read_dir(&next)
                .expect("a folder")
                .map(|entry| entry.expect("a file").path()),
        );
    }
    all
}

#[test]
fn every_variable_in_the_docs_is_one_that_something_reads_and_every_one_is_in_the_docs() {
    let read = sources(&[
        "cli/src",
        "icd",
        "vulkan/src",
        "vk-layers",
        "vpanthor",
        "tests",
        "scripts",
        "mesa",
    ]);
    let known: BTreeSet<&str> = variables(&read, "PANVK_SPARSE_")
        .chain(variables(&read, "VPANTHOR"))
        .collect();
    let pages = pages();
    for (path, page) in &pages {
        for name in variables(page, "PANVK_SPARSE_").chain(variables(page, "VPANTHOR")) {
            assert!(
                known.contains(name),
                "{}: nothing reads {name}",
                path.display()
            );
        }
    }
    let page = |name: &str| &pages[Path::new(name)];
    for (source, page) in [
        ("icd/hosted/src/config.rs", page("docs/environment.md")),
        ("vulkan/src/environment.rs", page("docs/environment.md")),
        ("vk-layers/trace/src/settings.rs", page("docs/layer.md")),
    ] {
        let source_text = sources(&[source]);
        let mut names = variables(&source_text, "PANVK_SPARSE_").peekable();
        assert!(names.peek().is_some(), "{source}");
        for name in names {
            assert!(
                page.contains(&format!("`{name}`")),
                "{name} of {source} is in no table"
            );
        }
    }
}

#[test]
fn every_file_in_the_docs_is_there() {
    let root = Path::new(ROOT);
    let folders: BTreeSet<String> = (fs::read_dir(root).expect("the root"))
        .map(|entry| {
            entry
                .expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !["target", "build", ".git"].contains(&name.as_str()))
        .collect();
    let mut checked = 0;
    for (page, code) in all_code() {
        for word in code.split([' ', '=', ':', '(', ')', ',', ';', '"']) {
            let word = word.trim_start_matches("./").trim_end_matches('/');
            let (first, rest) = word.split_once('/').unwrap_or((word, ""));
            let literal = !word.contains(['*', '<', '{', '$', '%']);
            if literal
                && !rest.is_empty()
                && folders.contains(first)
                && !word.starts_with("debian/vendor")
            {
                assert!(
                    root.join(word).exists(),
                    "{}: {code:?}: no {word}",
                    page.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
    for (path, page) in pages() {
        for (at, _) in page.match_indices("](") {
            let link = page[at + 2..].split(')').next().unwrap_or_default();
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                let target = root.join(&path).with_file_name(file);
                assert!(
                    target.exists(),
                    "{}: the link to {link} leads nowhere",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_test_benchmark_example_and_script_option_in_the_docs_is_there() {
    let manifest = sources(&["tests/Cargo.toml"]);
    let mut checked = 0;
    for (page, code) in all_code() {
        let words: Vec<&str> = code.split_whitespace().collect();
        for pair in words.windows(2) {
            let kind = match pair[0] {
                "--test" => "test",
                "--bench" => "bench",
                "--example" => "example",
                script if script.starts_with("scripts/") => {
                    let text = sources(&[script]);
                    let own = words.iter().skip_while(|word| **word != script).skip(1);
                    // What comes after a program's name is the program's.
                    let own = own.take_while(|word| !word.contains('/') && **word != "run");
                    for option in own.filter(|word| word.starts_with("--")) {
                        assert!(
                            text.contains(option),
                            "{}: {code:?}: {script} has no {option}",
                            page.display()
                        );
                        checked += 1;
                    }
                    continue;
                }
                _ => continue,
            };
            let name = pair[1];
            if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                let entry = format!("[[{kind}]]\nname = \"{name}\"");
                assert!(
                    manifest.contains(&entry),
                    "{}: {code:?}: there is no {kind} {name}",
                    page.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
}

#[test]
fn every_page_says_first_who_it_is_for_and_the_readme_leads_to_it() {
    let pages = pages();
    let readme = &pages[Path::new("README.md")];
    assert!(
        readme.lines().count() <= 150,
        "README.md has {} lines",
        readme.lines().count()
    );
    for (path, page) in pages.iter().filter(|(path, _)| path.starts_with("docs")) {
        let first = page
            .lines()
            .skip(1)
            .find(|line| !line.is_empty())
            .unwrap_or_default();
        assert!(
            first.starts_with("This page is for "),
            "{}: {first}",
            path.display()
        );
        assert!(
            readme.contains(&format!("]({}", path.display())),
            "README.md does not name {}",
            path.display()
        );
    }
}

#[test]
fn the_pictures_of_the_comparison_are_those_that_the_command_draws() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, kernel) in [
        ("compare.svg", "vpanthor:1.8-repeat"),
        ("compare-1.9.svg", "vpanthor:1.9"),
    ] {
        let drawn = folder.path().join(name);
        let path = drawn.to_str().expect("text");
        let output = command(&["compare", "--kernel", kernel, "--plot", path])
            .output()
            .expect("the command starts");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown = fs::read(Path::new(ROOT).join("docs").join(name)).expect("a picture");
        assert!(
            fs::read(&drawn).expect("a picture") == shown,
            "docs/{name} is another picture: panvk-sparse compare --kernel {kernel} --plot docs/{name}"
        );
    }
}
