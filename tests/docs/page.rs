//! A page of documentation: its fenced blocks and its other code.

use headstart_tests::repository;

/// Why a block may go untested.
const REASONS: [&str; 6] =
    ["builds", "takes minutes", "needs root", "needs a cluster", "needs the internet", "needs a tracker"];

/// What a block is.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    /// Run, and must end with this code.
    Shell { exit: i32 },
    /// Not run, for one of the reasons.
    Untested,
    /// What the block before it prints.
    Shown,
    /// Of no interest here.
    Other,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: String,
    language: String,
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) blocks: Vec<Block>,
    /// Code within sentences, and the line where it ends.
    pub(crate) spans: Vec<(usize, String)>,
}

impl Page {
    /// Reads a page; panics at a fence that is not closed or not understood.
    pub(crate) fn read(path: &str) -> Page {
        let text = std::fs::read_to_string(repository().join(path)).expect("the page is there");
        let mut page = Page { path: path.to_owned(), blocks: Vec::new(), spans: Vec::new() };
        let mut lines = text.lines().enumerate();
        let mut prose = String::new();
        while let Some((at, line)) = lines.next() {
            let Some(info) = line.strip_prefix("```") else {
                assert!(!line.starts_with("    "), "{path}:{}: fence this block", at + 1);
                prose.push_str(line);
                prose.push('\n');
                continue;
            };
            let kind = kind_of(info).unwrap_or_else(|why| panic!("{path}:{}: {why}", at + 1));
            let mut block = Block { line: at + 1, kind, text: String::new(), language: info.to_owned() };
            loop {
                let (_, line) =
                    lines.next().unwrap_or_else(|| panic!("{path}:{}: the block has no end", at + 1));
                if line == "```" {
                    break;
                }
                block.text.push_str(line);
                block.text.push('\n');
            }
            // Lines stay countable.
            prose.push_str(&"\n".repeat(block.text.lines().count() + 2));
            page.blocks.push(block);
        }
        page.spans = spans(&prose);
        page
    }

    /// Run files that are shown.
    pub(crate) fn run_files(&self) -> impl Iterator<Item = &str> {
        let files =
            self.blocks.iter().filter(|block| block.language == "yaml" && block.text.contains("base_model"));
        files.map(|block| block.text.as_str())
    }

    /// Commands that are shown, run or not: one a line, and the line of the page.
    pub(crate) fn commands(&self) -> Vec<(usize, String)> {
        let shell = self.blocks.iter().filter(|block| block.language.starts_with("sh"));
        let lines = shell.flat_map(|block| {
            let joined = block.text.replace("\\\n", " ");
            let lines: Vec<String> = joined.lines().map(|line| without_comment(line).to_owned()).collect();
            lines.into_iter().map(|line| (block.line, line))
        });
        lines.chain(self.spans.iter().cloned()).collect()
    }
}

fn kind_of(info: &str) -> Result<Kind, String> {
    match info.split_once(' ').unwrap_or((info, "")) {
        ("sh", "") => Ok(Kind::Shell { exit: 0 }),
        ("sh", rest) => match (rest.strip_prefix("exit "), rest.strip_prefix("untested: ")) {
            (Some(code), _) => {
                code.parse().map(|exit| Kind::Shell { exit }).map_err(|error| format!("{code:?}: {error}"))
            }
            (_, Some(reason)) if REASONS.contains(&reason) => Ok(Kind::Untested),
            (_, Some(reason)) => Err(format!("{reason:?} is none of {REASONS:?}")),
            (None, None) => Err(format!("{info:?} is neither `sh exit N` nor `sh untested: REASON`")),
        },
        ("text", "") => Ok(Kind::Shown),
        // Of data or a machine that a test does not have.
        ("text", "sample") => Ok(Kind::Other),
        ("", _) => Err("name the block's language".to_owned()),
        _ => Ok(Kind::Other),
    }
}

fn without_comment(line: &str) -> &str {
    match line.starts_with('#') {
        true => "",
        false => line.split_once(" #").map_or(line, |(command, _)| command),
    }
}

/// Code between backticks, which may go over the end of a line.
fn spans(prose: &str) -> Vec<(usize, String)> {
    let mut line = 1;
    let mut found = Vec::new();
    for (number, part) in prose.split('`').enumerate() {
        line += part.matches('\n').count();
        if number % 2 == 1 {
            found.push((line, part.replace('\n', " ")));
        }
    }
    found
}
