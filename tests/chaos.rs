//! `make chaos` in short: processes of a real run are killed, paused and ended, and its bits are those of an undisturbed one.

use headstart_tests::{program, repository, text};

#[test]
fn a_disturbed_run_gives_the_bits_of_an_undisturbed_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let programs = program("headstart").parent().expect("it lies somewhere").to_owned();
    let path = std::env::var("PATH").expect("there is one");
    let mut chaos = std::process::Command::new("python3");
    chaos.arg(repository().join("scripts/chaos.py")).env("PATH", format!("{}:{path}", programs.display()));
    chaos.env("RUNS", directory.path()).env_remove("RUST_LOG");
    for (name, value) in [("SECONDS", "20"), ("EVERY", "1.5"), ("STEPS", "250"), ("SAVE_STEPS", "10")] {
        chaos.env(name, value);
    }
    let output = chaos.output().expect("python3 starts");
    let said = text(&output);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let faults = said.lines().find_map(|line| line.split_once(" faults in ")?.0.parse::<u32>().ok());
    assert!(said.contains("byte for byte") && faults.is_some_and(|faults| faults >= 5), "{said}");
}
