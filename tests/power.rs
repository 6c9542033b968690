//! What a power cut leaves: a manifest is on the disk only after everything it names, and all of it is there when a commit
//! is made.
//!
//! A shim between the coordinator and the C library notes each file and directory that is flushed, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use headstart::manifest::Manifest;
use headstart_tests::{command, text, texts};

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int outcome = real(file);
    if (length > 0) {
        path[length] = '\n';
        int flushed = open(getenv("FLUSHED"), O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (write(flushed, path, length + 1) < 0) abort();
        close(flushed);
    }
    return outcome;
}
"#;

/// When each path was flushed first. A file is flushed under its passing name, which ends in `#` and a number.
fn flushed(file: &Path) -> BTreeMap<PathBuf, usize> {
    let mut order = BTreeMap::new();
    for (number, line) in std::fs::read_to_string(file).expect("something was flushed").lines().enumerate() {
        let name = line.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix('#').unwrap_or(line);
        order.entry(PathBuf::from(name)).or_insert(number);
    }
    order
}

#[test]
fn a_manifest_is_flushed_after_all_that_it_names() {
    let directory = texts();
    let root = directory.path().canonicalize().expect("it is there");
    let (source, shim, log) = (root.join("shim.c"), root.join("shim.so"), root.join("flushed"));
    std::fs::write(&source, SHIM).expect("writable");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&shim, &source]).output();
    let built = built.expect("a C compiler, which building needs too");
    assert!(built.status.success(), "{}", text(&built));
    let mut train = command("headstart", &root);
    train.args(["train", "run.yaml", "--set", "save_steps=5"]);
    let output = train.env("LD_PRELOAD", &shim).env("FLUSHED", &log).output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));

    let order = flushed(&log);
    let at = |path: PathBuf| *order.get(&path).unwrap_or_else(|| panic!("{} is not flushed", path.display()));
    let out = root.join("out");
    let mut named = 0;
    for entry in std::fs::read_dir(out.join("manifests")).expect("it is there").flatten() {
        let number = Manifest::number_of(entry.file_name().to_str().expect("UTF-8")).expect("its name");
        let file = std::fs::read(entry.path()).expect("readable");
        let manifest = Manifest::open(number, &file).expect("it is whole").0;
        let written = at(entry.path());
        let parts = manifest.state.parts();
        for name in parts.flat_map(|parts| {
            parts.files.iter().map(move |piece| Path::new(&parts.directory).join(&piece.name))
        }) {
            let path = out.join(&name);
            assert!(at(path.clone()) < written, "{} after manifest {number}", name.display());
            at(path.parent().expect("it has one").to_owned());
            named += 1;
        }
    }
    assert!(named > 6, "{named} objects");
    at(out.join("manifests"));
    for name in ["model.safetensors", "ledger.jsonl", "SHA256SUMS"] {
        at(out.join("final").join(name));
    }
}
