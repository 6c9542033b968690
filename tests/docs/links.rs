//! Links of the documentation, and the site that is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use headstart_tests::{repository, text};

/// Directories with pages, beside the root.
const DIRECTORIES: [&str; 7] =
    ["docs", "docs/decisions", "docs/reference", "deploy", "bench", "examples/digits", "examples/assistant"];

/// All pages that people read.
fn pages() -> Vec<PathBuf> {
    let directories = DIRECTORIES.iter().map(|name| repository().join(name)).chain([repository()]);
    let entries =
        directories.flat_map(|directory| std::fs::read_dir(directory).expect("it is there").flatten());
    let mut pages: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.sort();
    pages
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The names that a page's headings have in links, as GitHub and mdBook make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    let titles = prose(&text).filter(|line| line.starts_with('#'));
    let mut seen = BTreeMap::new();
    let name = |title: &str| {
        let title = title.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    let numbered = titles.map(name).map(move |name| {
        let count = seen.entry(name.clone()).and_modify(|count| *count += 1).or_insert(0);
        if *count == 0 { name } else { format!("{name}-{count}") }
    });
    numbered.collect()
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = read(&page);
        let prose = prose(&text).collect::<Vec<_>>().join("\n");
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let target =
                if file.is_empty() { page.clone() } else { page.parent().expect("a directory").join(file) };
            let anchored = || anchor.is_empty() || anchors(&target).contains(anchor);
            if !target.exists() || !anchored() {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn the_book_has_every_page_of_docs() {
    let summary = read(&repository().join("docs/SUMMARY.md"));
    for directory in ["docs", "docs/decisions", "docs/reference"] {
        let entries = std::fs::read_dir(repository().join(directory)).expect("it is there").flatten();
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            let inside = directory.strip_prefix("docs").unwrap_or_default().trim_start_matches('/');
            let path = if inside.is_empty() { name.clone() } else { format!("{inside}/{name}") };
            let listed =
                !name.ends_with(".md") || name == "SUMMARY.md" || summary.contains(&format!("]({path})"));
            assert!(listed, "docs/SUMMARY.md does not list {path}");
        }
    }
}

/// `make test` sets HEADSTART_MDBOOK.
#[test]
fn the_site_is_built_without_a_dead_link() {
    let mdbook = std::env::var("HEADSTART_MDBOOK").expect("HEADSTART_MDBOOK is not set: run `make test`");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let built = directory.path().join("book");
    let mut book = Command::new("python3");
    let output =
        book.arg(repository().join("scripts/book.py")).arg(mdbook).arg(&built).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    let tutorial = read(&built.join("html/tutorial.html"));
    assert!(tutorial.contains("headstart train"), "it has the tutorial");
    let start = read(&built.join("html/index.html"));
    assert!(start.contains("Not run by the tests: builds."), "what is not run says so");
}
