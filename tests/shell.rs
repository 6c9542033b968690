//! What a shell and `man` know of the command line.

use std::path::Path;
use std::process::{Command, Stdio};

use headstart_tests::{headstart, program, succeed, text};

/// What bash completes when these words have been typed, the last one in part.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let [.., before, last] = words else { panic!("a program and a word") };
    let ask = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; _headstart headstart '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash starts");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("headstart.bash");
    std::fs::write(&script, succeed(directory.path(), &["completions", "bash"])).expect("writable");
    let checked = Command::new("bash").arg("-n").arg(&script).output().expect("bash starts");
    assert!(checked.status.success(), "{}", text(&checked));
    assert_eq!(completed(&script, &["headstart", "tra"]), ["train"]);
    let commands = completed(&script, &["headstart", ""]);
    for command in ["train", "probe", "compare", "watch", "completions", "man"] {
        assert!(commands.iter().any(|word| word == command), "{command}: {commands:?}");
    }
    assert_eq!(completed(&script, &["headstart", "train", "--log"]), ["--log-format"]);
    assert_eq!(completed(&script, &["headstart", "train", "--log-format", "j"]), ["json"]);
}

#[test]
fn every_shell_has_a_script() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(directory.path(), &["completions", shell]);
        assert!(script.contains("headstart") && script.contains("preprocess"), "{shell}: {script}");
    }
    let output = headstart(directory.path(), &["completions", "cmd"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = Command::new(program("headstart")).arg("--help").output().expect("it starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names =
        listed.take_while(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_manual_page_that_man_can_show() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    succeed(directory.path(), &["man", "pages/man1"]);
    let pages = directory.path().join("pages/man1");
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    let names = commands.iter().map(|command| format!("headstart-{command}.1"));
    for name in names.chain(["headstart.1".to_owned()]) {
        let page = pages.join(&name);
        let source = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{name}: {error}"));
        for section in [".TH ", ".SH NAME", ".SH SYNOPSIS"] {
            assert!(source.contains(section), "{name} has no {section}");
        }
        shown_without_warnings(&page);
    }
    let page = std::fs::read_to_string(pages.join("headstart-train.1")).expect("it was read before");
    assert!(page.contains("log") && page.contains("workers"), "{page}");
    std::fs::write(directory.path().join("file"), "").expect("writable");
    let output = headstart(directory.path(), &["man", "file/below"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

/// Checks a page with groff, which `man` shows it with, if it is there.
fn shown_without_warnings(page: &Path) {
    let groff =
        Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page).stdin(Stdio::null()).output();
    if let Ok(output) = groff {
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", page.display(), text(&output));
    }
}
