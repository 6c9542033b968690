//! The user documentation does what it says: its commands are run, and what they print is what it shows.
//!
//! Every block fenced as `sh` in README.md and docs/*.md is run by bash, page by page and block by block, in a directory that
//! looks like the repository. `sh exit N` expects that exit code, `sh untested: REASON` is not run. A `text` block that
//! follows is compared with what the block printed (see `shown.rs`). A `yaml` block with a `base_model` is a run file.

mod links;
mod names;
mod page;
mod reference;
mod sandbox;
mod shown;

use headstart_tests::repository;
use page::{Kind, Page};
use sandbox::Sandbox;

/// Runs one page from top to bottom.
fn run(path: &str) {
    let page = Page::read(path);
    let mut sandbox = Sandbox::new();
    let mut before = None;
    for block in &page.blocks {
        let place = format!("{path}:{}", block.line);
        match &block.kind {
            Kind::Shell { exit } => {
                let ran = sandbox.run(&place, &block.text);
                assert_eq!(ran.code, *exit, "{place}\n{}\nprinted\n{}", block.text, ran.output);
                before = Some(ran.output);
            }
            Kind::Shown => {
                if let Some(printed) = before.take()
                    && !shown::matches(&block.text, &printed)
                {
                    panic!("{place} shows\n{}\nprinted was\n{printed}", block.text);
                }
            }
            Kind::Untested | Kind::Other => before = None,
        }
    }
}

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        const PAGES: &[&str] = &[$($path),*];
        $(
            #[test]
            fn $name() {
                run($path);
            }
        )*
    };
}

pages! {
    readme: "README.md",
    adapters: "docs/adapters.md",
    chat: "docs/chat.md",
    dashboard: "docs/dashboard.md",
    data: "docs/data.md",
    determinism: "docs/determinism.md",
    durability: "docs/durability.md",
    errors: "docs/errors.md",
    language_models: "docs/language_models.md",
    machines: "docs/machines.md",
    metrics: "docs/metrics.md",
    predict: "docs/predict.md",
    probe: "docs/probe.md",
    report: "docs/report.md",
    resume: "docs/resume.md",
    shell: "docs/shell.md",
    tracking: "docs/tracking.md",
    transfer: "docs/transfer.md",
    troubleshooting: "docs/troubleshooting.md",
    tutorial: "docs/tutorial.md",
    watch: "docs/watch.md",
}

#[test]
fn every_page_is_run() {
    let entries = std::fs::read_dir(repository().join("docs")).expect("docs/ is there").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .map(|name| format!("docs/{name}"))
        .collect();
    found.push("README.md".to_owned());
    found.sort();
    assert_eq!(found, PAGES);
}

#[test]
fn commands_flags_and_targets_exist() {
    let mut programs = names::Programs::default();
    let problems: Vec<String> =
        PAGES.iter().flat_map(|path| names::problems(&Page::read(path), &mut programs)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn run_files_are_accepted() {
    let mut seen = 0;
    for path in PAGES {
        for text in Page::read(path).run_files() {
            seen += 1;
            if let Err(error) = headstart::run_file::parse(path, text, &[]) {
                panic!("{path}: {error}\n{text}");
            }
        }
    }
    assert!(seen > 0, "README.md shows a run file");
}
