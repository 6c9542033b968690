//! A headless Chromium, driven through Node by `tests/dashboard/browser.mjs`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::repository;

/// Where Debian installs it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The browser, which ends with the test.
pub struct Browser {
    process: Child,
    /// Closed when this is dropped.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// The directory in which `tests/dashboard/package-lock.json` is installed.
pub fn driver() -> PathBuf {
    let driver = std::env::var("HEADSTART_BROWSER_DRIVER");
    driver.expect("HEADSTART_BROWSER_DRIVER names a directory: run `make test`").into()
}

impl Browser {
    /// Starts it; `None`, with a word why, where there is no Chromium.
    pub fn start() -> Option<Browser> {
        if !Path::new(CHROMIUM).exists() {
            println!("not tested: there is no {CHROMIUM} (Debian: apt-get install chromium)");
            return None;
        }
        let mut process = Command::new("node")
            .arg(repository().join("tests/dashboard/browser.mjs"))
            .arg(driver())
            .arg(CHROMIUM)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Some(Browser { process, requests, answers })
    }

    /// Asks for one thing that the script knows; its answer, or why there is none.
    pub fn ask(&mut self, call: &str, mut settings: Value) -> Result<Value, String> {
        settings["call"] = call.into();
        let requests = self.requests.as_mut().expect("it is piped");
        writeln!(requests, "{settings}").expect("the browser's script runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers in text");
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{call}: it said {line:?}"));
        match answer["error"].as_str() {
            Some(error) => Err(format!("{call} {settings}: {error}")),
            None => Ok(answer["value"].take()),
        }
    }

    fn must(&mut self, call: &str, settings: Value) -> Value {
        self.ask(call, settings).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens a page in a window of this width.
    pub fn open(&mut self, url: &str, width: u32, dark: bool) {
        self.must("open", json!({"url": url, "width": width, "dark": dark}));
    }

    /// Waits until an expression is true; how long that took, in milliseconds.
    pub fn until(&mut self, expression: &str) -> u64 {
        self.must("until", json!({"expression": expression})).as_u64().expect("a time")
    }

    /// The value of an expression.
    pub fn value(&mut self, expression: &str) -> Value {
        self.must("value", json!({"expression": expression}))
    }

    /// The text of the first element that a selector finds.
    pub fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({}).textContent", json!(selector));
        self.value(&expression).as_str().expect("a text").to_owned()
    }

    /// Does something that has no answer.
    pub fn act(&mut self, call: &str, settings: Value) {
        self.must(call, settings);
    }

    /// What the page has complained about since the last time.
    pub fn complaints(&mut self) -> Vec<String> {
        let complaints = self.must("complaints", json!({}));
        serde_json::from_value(complaints).expect("texts")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its standard input, and the browser with it. Killed, it would leave the browser behind.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}
