//! What of the component is public, as `docs/rust-api.txt` lists it: whoever changes it sees that, and what it becomes.
//!
//! rustdoc knows what can be reached, re-exports and macros included. The list is read from its pages: the declaration of each item, its methods,
//! and the traits that it implements, but for those that every type has.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::cargo::{ROOT, target_dir};

const LIST: &str = "docs/rust-api.txt";
/// Set to anything, this variable makes the test write the list.
const WRITE: &str = "PANVK_SPARSE_TEST_WRITE";

/// What stands between `from` and the next `to`, for each `from` in `html`.
fn between<'a>(html: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    (html.split(from).skip(1)).map(move |rest| rest.split(to).next().unwrap_or_default())
}

/// The part of a page behind the first `from` and before the first `to` after it.
fn part<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
    let rest = html.split_once(from).map_or("", |(_, rest)| rest);
    rest.split_once(to).map_or(rest, |(part, _)| part)
}

/// Code as rustdoc shows it, on one line.
fn code(html: &str) -> String {
    let mut text = String::new();
    // "Show 13 fields" is no part of a declaration.
    let shown = html
        .split("<summary")
        .enumerate()
        .map(|(i, piece)| match i {
            0 => piece,
            _ => piece.split_once("</summary>").map_or("", |(_, rest)| rest),
        });
    let mut in_tag = false;
    for c in shown.flat_map(str::chars) {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, c);
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Lines are broken otherwise from version to version.
    [
        ("( ", "("),
        (", )", ")"),
        (" )", ")"),
        ("< ", "<"),
        (", >", ">"),
    ]
    .iter()
    .fold(text, |text, (broken, whole)| text.replace(broken, whole))
}

/// The lines of an item's page: its declaration, its methods, its traits.
fn item(path: &str, html: &str) -> String {
    let mut out = format!("\n{path}\n");
    let declaration = between(html, "<pre class=\"rust item-decl\">", "</pre>").next();
    let own = part(
        html,
        "id=\"implementations-list\"",
        "id=\"trait-implementations",
    );
    let methods = between(own, "<h4 class=\"code-header\">", "</h4>");
    let traits = part(
        html,
        "id=\"trait-implementations-list\"",
        "id=\"synthetic-implementations",
    );
    let mut traits: Vec<String> = between(traits, "<h3 class=\"code-header\">", "</h3>")
        .map(code)
        .collect();
    traits.sort_unstable();
    for line in declaration
        .into_iter()
        .chain(methods)
        .map(code)
        .chain(traits)
    {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "    {line}");
    }
    out
}

#[test]
fn the_public_api_is_the_one_that_is_listed() {
    let status = Command::new(env!("CARGO"))
        .current_dir(ROOT)
        .args([
            "doc",
            "--quiet",
            "--locked",
            "--no-deps",
            "--package",
            "panvk-sparse",
        ])
        // As test.sh has it, so that nothing is made twice.
        .env("RUSTDOCFLAGS", "-D warnings")
        .status();
    assert!(status.expect("cargo starts").success());
    let folder = target_dir().join("doc/panvk_sparse");
    let all = fs::read_to_string(folder.join("all.html")).expect("rustdoc's list of all items");
    let mut list = String::from(
        "What of the crate panvk-sparse is public: items with their declarations, methods and traits. tests/component/api.rs holds it.\n",
    );
    let mut links: Vec<(&str, &str)> = between(&all, "<li><a href=\"", "</a>")
        .filter_map(|link| link.split_once("\">"))
        // Not the headings of the page itself.
        .filter(|(link, _)| !link.starts_with('#'))
        .collect();
    links.sort_unstable_by_key(|(link, path)| (*path, *link));
    for (link, path) in &links {
        let html =
            fs::read_to_string(folder.join(link)).unwrap_or_else(|error| panic!("{link}: {error}"));
        list.push_str(&item(path, &html));
    }
    assert!(links.len() > 100, "{links:?}");
    let file = Path::new(ROOT).join(LIST);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &list).expect("written");
    }
    let listed = fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| {
        text.lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (is, was) = (lines(&list), lines(&listed));
    assert!(
        list == listed,
        "the public API is another one; with {WRITE}=1 this test writes {LIST}. New: {:#?} Gone: {:#?}",
        is.difference(&was),
        was.difference(&is)
    );
}
