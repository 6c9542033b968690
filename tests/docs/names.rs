//! Programs, subcommands, flags and `make` targets that a page names.

use std::collections::BTreeMap;
use std::path::Path;

use headstart_tests::{command, repository};

use super::page::Page;

const PROGRAMS: [&str; 3] = ["headstart", "headstart-coordinator", "headstart-worker"];
/// What ends a command within a line.
const ENDS: [&str; 8] = ["|", "||", "&", "&&", ";", ">", "2>", ">>"];

/// What `--help` says, by program and subcommand.
#[derive(Default)]
pub(crate) struct Programs(BTreeMap<String, Option<String>>);

impl Programs {
    /// Help of a program or a subcommand; `None` when there is no such thing.
    fn help(&mut self, words: &[&str]) -> Option<&str> {
        let ask = || {
            let (program, rest) = words.split_first()?;
            let output = command(program, Path::new(".")).args(rest).arg("--help").output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        self.0.entry(words.join(" ")).or_insert_with(ask).as_deref()
    }
}

/// What a page names that does not exist.
pub(crate) fn problems(page: &Page, programs: &mut Programs) -> Vec<String> {
    let makefile = std::fs::read_to_string(repository().join("Makefile")).expect("it is there");
    let mut problems = Vec::new();
    for (line, text) in page.commands() {
        let words: Vec<&str> =
            text.split_whitespace().map(|word| word.trim_matches(['(', ')', '"'])).collect();
        for at in 0..words.len() {
            let end =
                words[at..].iter().position(|word| ENDS.contains(word)).map_or(words.len(), |end| at + end);
            let rest = &words[at + 1..end.max(at + 1)];
            let found = match words[at] {
                "make" => unknown_target(rest, &makefile),
                name if PROGRAMS.contains(&name) => unknown_name(name, rest, programs),
                _ => None,
            };
            problems.extend(found.map(|what| format!("{}:{line}: `{text}`: {what}", page.path)));
        }
    }
    problems
}

/// The first target that the Makefile does not have.
fn unknown_target(words: &[&str], makefile: &str) -> Option<String> {
    let is_target = |word: &&&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let missing = |word: &&&str| !makefile.lines().any(|line| line.starts_with(&format!("{word}:")));
    words.iter().filter(is_target).find(missing).map(|word| format!("there is no target {word}"))
}

/// The first subcommand or flag that `--help` does not list.
fn unknown_name(program: &str, words: &[&str], programs: &mut Programs) -> Option<String> {
    let mut asked = vec![program];
    match words.first() {
        Some(word) if program == "headstart" && word.starts_with(|c: char| c.is_ascii_lowercase()) => {
            asked.push(word);
        }
        _ => {}
    }
    let Some(help) = programs.help(&asked) else { return Some(format!("there is no `{}`", asked.join(" "))) };
    let listed = |flag: &str| help.split([' ', ',', '\n']).any(|word| word == flag);
    let flags = words.iter().filter(|word| word.starts_with("--")).filter_map(|word| word.split('=').next());
    flags.filter(|flag| !listed(flag)).map(|flag| format!("`{}` has no {flag}", asked.join(" "))).next()
}
