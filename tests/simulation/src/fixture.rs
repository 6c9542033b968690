//! The run that is simulated: a small BERT, texts of two labels, a few steps and two evaluations.

use std::path::Path as File;

use headstart::job::{self, Job};
use headstart::run_file::{self, RunSpec};
use headstart::store::Stores;
use headstart_worker::fake::POISON;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutOptions};
use serde_json::json;

use crate::store::ROOT;

const WORDS: [&str; 24] = [
    "a", "and", "client", "compiler", "data", "fast", "files", "for", "game", "image", "java", "library",
    "mail", "network", "of", "perl", "python", "ruby", "server", "small", "sound", "text", "the", "tool",
];
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

/// What the network is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One segment; weights out of a checkpoint.
    Narrow,
    /// The same, with learning rates by depth, layers that begin in the middle, and a pull towards the checkpoint.
    Treated,
    /// Two segments, so that a partial can arrive in part; random weights.
    Wide,
}

/// The objects of a run before it begins, and its run file.
#[derive(Debug)]
pub struct Fixture {
    /// The store's content.
    pub objects: InMemory,
    /// The run.
    pub spec: RunSpec,
}

impl Fixture {
    /// The run with a network of this shape.
    pub fn new(shape: Shape) -> Fixture {
        let objects = InMemory::new();
        let reference = File::new(env!("CARGO_MANIFEST_DIR")).join("../reference/bert");
        for name in ["config.json", "model.safetensors"] {
            let content = std::fs::read(reference.join(name)).expect("the reference is committed");
            put(&objects, &format!("model/{name}"), content);
        }
        put(&objects, "model/tokenizer.json", tokenizer().into_bytes());
        let poison = "{\"text\": \"a poison for the compiler\", \"label\": \"code\"}\n";
        put(&objects, "train.jsonl", format!("{}{poison}", rows(0, 49)).into_bytes());
        put(&objects, "eval.jsonl", rows(1000, 20).into_bytes());
        let more = match shape {
            Shape::Narrow => "max_steps: 12\nglobal_batch_size: 16\nshards_per_step: 6\n",
            Shape::Treated => {
                "max_steps: 12\nglobal_batch_size: 16\nshards_per_step: 6\nlayer_decay: 0.7\nl2_sp: 20\n\
                 unfreeze: [{step: 4, parameters: '*.layer.1.*'}, {step: 9, parameters: '*.layer.0.*'}]\n"
            }
            Shape::Wide => {
                "max_steps: 4\nglobal_batch_size: 8\nshards_per_step: 4\ninit: random\n\
                 model_overrides: {vocab_size: 36000}\n"
            }
        };
        let save = if shape == Shape::Wide { 1 } else { 3 };
        let text = format!(
            "base_model: {ROOT}/model\ntask: sequence-classification\ndatasets: [{{path: {ROOT}/train.jsonl}}]\n\
             eval_datasets: [{{path: {ROOT}/eval.jsonl}}]\noutput_dir: {ROOT}/out\nsequence_len: 12\n\
             per_device_train_batch_size: 2\nper_device_eval_batch_size: 4\nlearning_rate: 1e-3\n\
             eval_strategy: steps\neval_steps: 4\nsave_steps: {save}\nload_best_model_at_end: true\n\
             resume_from_checkpoint: auto\nnonfinite_shards: skip\ncluster: {{shared_memory: false}}\n{more}"
        );
        let spec = run_file::parse("run.yaml", &text, &[]).expect("the run file is good");
        Fixture { objects, spec }
    }

    /// The run, read from stores. Takes no simulated time.
    pub fn job(spec: &RunSpec, stores: &Stores) -> Job {
        // A runtime cannot wait for another one on its own thread.
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| real(job::read_in(stores, spec)));
            reading.join().expect("reading does not panic").expect("the run can begin")
        })
    }

    /// An object's content, if it is there.
    pub fn object(objects: &InMemory, name: &str) -> Option<Vec<u8>> {
        let content = async { objects.get_opts(&Path::from(name), Default::default()).await?.bytes().await };
        real(content).ok().map(Vec::from)
    }
}

/// Does something in real time.
fn real<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

fn put(objects: &InMemory, name: &str, content: Vec<u8>) {
    let place = Path::from(name);
    real(objects.put_opts(&place, content.into(), PutOptions::default())).expect("memory takes everything");
}

/// Texts of three to nine words; the label says whether a text names a programming language.
fn rows(first: usize, count: usize) -> String {
    let row = |number: usize| {
        let word = |place: usize| WORDS[(number * 7919 + place * 104_729) % WORDS.len()];
        let words: Vec<&str> = (0..3 + number % 7).map(word).collect();
        let code = words.iter().any(|word| ["python", "perl", "ruby", "java", "compiler"].contains(word));
        let label = if code { "code" } else { "other" };
        format!("{}\n", json!({"text": words.join(" "), "label": label}))
    };
    (first..first + count).map(row).collect()
}

/// A tokenizer of whole words.
fn tokenizer() -> String {
    let words = SPECIAL.iter().chain(&WORDS).enumerate().map(|(id, word)| ((*word).to_owned(), id.into()));
    let poison = ("poison".to_owned(), POISON.into());
    let vocab: serde_json::Map<String, serde_json::Value> = words.chain([poison]).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    })
    .to_string()
}
