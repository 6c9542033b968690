//! What the whole-system tests share: programs as a user starts them, data of their own, and hashes of what comes out.

pub mod browser;
pub mod exposition;
pub mod language;
pub mod line;
pub mod lives;
pub mod processes;
pub mod reference;
pub mod refused;
pub mod server;
pub mod terminal;
pub mod trap;
pub mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use headstart::run_file::{self, RunSpec};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ lies in the repository").to_owned()
}

/// A program of this workspace, built before the tests by `make test`.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let path = test.ancestors().nth(2).expect("tests lie in target/release/deps").join(name);
    assert!(path.is_file(), "{} is missing: run `make build`", path.display());
    path
}

/// A command that starts one of the programs in a directory, without what the caller's environment may say.
pub fn command(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(directory).stdin(Stdio::null()).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Runs `headstart` to its end.
pub fn headstart(directory: &Path, arguments: &[&str]) -> Output {
    command("headstart", directory).args(arguments).output().expect("headstart starts")
}

/// Runs `headstart`, which must succeed; returns its standard output.
pub fn succeed(directory: &Path, arguments: &[&str]) -> String {
    let output = headstart(directory, arguments);
    assert!(output.status.success(), "headstart {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Exit code and both outputs, for messages.
pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("exit code {:?}\n{out}{err}", output.status.code())
}

/// A directory with the digits example's images and a run file `run.yaml` of a few steps, dropout on.
pub fn digits() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = repository().join("examples/digits");
    if !data.join("data").is_dir() {
        let prepared = Command::new("python3").arg(data.join("prepare.py")).status().expect("python3 starts");
        assert!(prepared.success(), "examples/digits/prepare.py failed");
    }
    let run_file = format!(
        "base_model: {base}/model\ntask: image-classification\ninit: random\n\
         datasets: [{{path: {base}/data/five_to_nine/train}}]\n\
         eval_datasets: [{{path: {base}/data/five_to_nine/eval}}]\n\
         output_dir: out\nper_device_train_batch_size: 4\nper_device_eval_batch_size: 32\nglobal_batch_size: 32\n\
         shards_per_step: 8\nmax_steps: 24\nlearning_rate: 1e-3\nwarmup_steps: 4\nweight_decay: 0.01\n\
         eval_strategy: steps\neval_steps: 12\n",
        base = data.display()
    );
    std::fs::write(directory.path().join("run.yaml"), run_file).expect("the directory is writable");
    directory
}

const WORDS: [&str; 58] = [
    "a",
    "library",
    "for",
    "the",
    "game",
    "python",
    "of",
    "and",
    "tool",
    "data",
    "files",
    "with",
    "to",
    "in",
    "shared",
    "development",
    "fast",
    "small",
    "server",
    "client",
    "network",
    "image",
    "sound",
    "text",
    "editor",
    "web",
    "module",
    "perl",
    "ruby",
    "java",
    "font",
    "driver",
    "kernel",
    "graph",
    "math",
    "video",
    "player",
    "plugin",
    "theme",
    "desktop",
    "common",
    "documentation",
    "headers",
    "bindings",
    "parser",
    "compiler",
    "debug",
    "symbols",
    "test",
    "suite",
    "mail",
    "database",
    "simple",
    "command",
    "line",
    "interface",
    "system",
    "monitor",
];

/// A directory with a small BERT, texts of two labels and a run file `run.yaml` of a few steps, dropout on.
pub fn texts() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    let write =
        |name: &str, content: String| std::fs::write(at(name), content).expect("the directory is writable");
    std::fs::create_dir(at("model")).expect("the directory is writable");
    for name in ["config.json", "model.safetensors"] {
        let from = repository().join("tests/reference/bert").join(name);
        std::fs::copy(from, at("model").join(name)).expect("the reference is committed");
    }
    write("model/tokenizer.json", tokenizer().to_string());
    write("train.jsonl", rows(0, 90));
    write("eval.jsonl", rows(1000, 30));
    write(
        "run.yaml",
        "base_model: model\ntask: sequence-classification\ndatasets: [{path: train.jsonl}]\n\
         eval_datasets: [{path: eval.jsonl}]\noutput_dir: out\nsequence_len: 12\nper_device_train_batch_size: 2\n\
         per_device_eval_batch_size: 8\nglobal_batch_size: 16\nshards_per_step: 6\nmax_steps: 14\nlearning_rate: 1e-3\n\
         eval_strategy: steps\neval_steps: 7\n\
         model_overrides: {hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1}\n"
            .to_owned(),
    );
    directory
}

/// Texts of three to nine words; the label says whether a text names a programming language.
fn rows(first: usize, count: usize) -> String {
    let row = |number: usize| {
        let words: Vec<&str> =
            (0..3 + number % 7).map(|word| WORDS[(number * 7919 + word * 104_729) % 58]).collect();
        let code = words.iter().any(|word| ["python", "perl", "ruby", "java", "compiler"].contains(word));
        let label = if code { "code" } else { "other" };
        format!("{}\n", serde_json::json!({"text": words.join(" "), "label": label}))
    };
    (first..first + count).map(row).collect()
}

/// A tokenizer of whole words.
fn tokenizer() -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
    let vocab: BTreeMap<&str, usize> =
        special.iter().chain(&WORDS).enumerate().map(|(id, word)| (*word, id)).collect();
    let piece = |id: usize| serde_json::json!({"SpecialToken": {"id": special[id], "type_id": 0}});
    let token = |id: usize| {
        (special[id].to_owned(), serde_json::json!({"id": special[id], "ids": [id], "tokens": [special[id]]}))
    };
    let tokens: serde_json::Map<String, Value> = [token(2), token(3)].into_iter().collect();
    let sequence = |name: &str, kind: usize| serde_json::json!({"Sequence": {"id": name, "type_id": kind}});
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece(2), sequence("A", 0), piece(3)],
            "pair": [piece(2), sequence("A", 0), piece(3), sequence("B", 1), piece(3)],
            "special_tokens": tokens,
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
}

/// The run file in a directory, parsed.
pub fn load(directory: &Path, sets: &[&str]) -> RunSpec {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    run_file::load(&directory.join("run.yaml"), &sets).expect("the run file is good")
}

/// SHA-256 of a file, in hex.
pub fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes of what must be equal for equal runs: weights and ledger.
pub fn outcome(output: &Path) -> [String; 2] {
    ["final/model.safetensors", "final/ledger.jsonl"].map(|file| sha256(&output.join(file)))
}

/// Shards that each worker of a finished run delivered.
pub fn delivered(output: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(output.join("final/workers.json")).expect("the run is finished");
    let remembered: Value = serde_json::from_str(&text).expect("it is JSON");
    let workers = remembered["workers"].as_array().expect("a list");
    workers.iter().map(|worker| worker["shards"].as_u64().expect("a number")).collect()
}

/// Process ids of the running children of `parent` with this program name.
pub fn children(parent: u32, name: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<i32> = numbers
        .filter(|process| {
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
            let Some((start, rest)) = stat.rsplit_once(") ") else { return false };
            let mut fields = rest.split(' ');
            let (state, parent_of) = (fields.next(), fields.next());
            // The kernel keeps 15 characters of a program's name.
            let same =
                start.split_once(" (").is_some_and(|(_, program)| program == &name[..name.len().min(15)]);
            same && state != Some("Z") && parent_of == Some(&parent.to_string())
        })
        .collect();
    found.sort_unstable();
    found
}

/// Random numbers of a seed (SplitMix64: Steele, Lea, Flood, 2014).
#[derive(Debug)]
pub struct Draws(u64);

impl Draws {
    /// Seeded; equal seeds, equal numbers.
    pub fn new(seed: u64) -> Draws {
        Draws(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}
