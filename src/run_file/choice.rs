//! Keys whose value is one of a few names.

use super::error::{At, Problem};
use super::unsupported::suggestion;
use super::{InitFrom, Metric, NonFinite, Optimizer, Scheduler, Shuffle, Strategy, Task, Wire};

/// A set of names.
pub(super) trait Choice: Copy + 'static {
    /// Every accepted name.
    const NAMES: &'static [(&'static str, Self)];
    /// Names that other trainers know and this version refuses.
    const NOT_YET: &'static [&'static str];
}

/// Why `text` is not one of the names.
pub(super) fn refusal<T: Choice>(at: &At, key: &str, text: &str) -> Problem {
    let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
    if T::NOT_YET.contains(&text) {
        let message = format!("`{key}: {text}` is known, but not honoured yet");
        return Problem::at(at, message).help(format!("this version honours {}", names.join(", ")));
    }
    let problem = Problem::at(at, format!("`{key}` cannot be {text:?}"));
    match suggestion(text, names.iter().copied()) {
        Some(name) => problem.help(format!("did you mean {name}? It can be {}", names.join(", "))),
        None => problem.help(format!("it can be {}", names.join(", "))),
    }
}

impl Choice for Task {
    const NAMES: &'static [(&'static str, Task)] = &[
        ("sequence-classification", Task::SequenceClassification),
        ("image-classification", Task::ImageClassification),
    ];
    const NOT_YET: &'static [&'static str] =
        &["causal-lm", "masked-lm", "token-classification", "regression", "question-answering", "seq2seq-lm"];
}

impl Choice for InitFrom {
    const NAMES: &'static [(&'static str, InitFrom)] =
        &[("pretrained", InitFrom::Pretrained), ("random", InitFrom::Random)];
    const NOT_YET: &'static [&'static str] = &[];
}

impl Choice for Scheduler {
    const NAMES: &'static [(&'static str, Scheduler)] = &[
        ("linear", Scheduler::Linear),
        ("cosine", Scheduler::Cosine),
        ("constant", Scheduler::Constant),
        ("constant_with_warmup", Scheduler::ConstantWithWarmup),
    ];
    const NOT_YET: &'static [&'static str] = &[
        "cosine_with_restarts",
        "polynomial",
        "inverse_sqrt",
        "reduce_lr_on_plateau",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
        "one_cycle",
        "rex",
    ];
}

impl Choice for Optimizer {
    const NAMES: &'static [(&'static str, Optimizer)] = &[
        ("adamw_torch", Optimizer::AdamwTorch),
        ("adamw_torch_fused", Optimizer::AdamwTorch),
        ("sgd", Optimizer::Sgd),
    ];
    const NOT_YET: &'static [&'static str] = &[
        "adamw_hf",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "paged_adamw_8bit",
        "paged_adamw_32bit",
        "adamw_torch_8bit",
        "adamw_torch_4bit",
        "adafactor",
        "adagrad",
        "rmsprop",
        "lion_8bit",
        "lion_32bit",
        "galore_adamw",
        "lomo",
        "muon",
        "stable_adamw",
        "schedule_free_adamw",
    ];
}

impl Choice for Strategy {
    const NAMES: &'static [(&'static str, Strategy)] =
        &[("no", Strategy::No), ("steps", Strategy::Steps), ("epoch", Strategy::Epoch)];
    const NOT_YET: &'static [&'static str] = &[];
}

impl Choice for Metric {
    const NAMES: &'static [(&'static str, Metric)] = &[
        ("loss", Metric::Loss),
        ("accuracy", Metric::Accuracy),
        ("f1", Metric::F1),
        ("eval_loss", Metric::Loss),
        ("eval_accuracy", Metric::Accuracy),
        ("eval_f1", Metric::F1),
    ];
    const NOT_YET: &'static [&'static str] =
        &["precision", "recall", "matthews_correlation", "roc_auc", "eval_precision", "eval_recall"];
}

impl Choice for NonFinite {
    const NAMES: &'static [(&'static str, NonFinite)] =
        &[("fail", NonFinite::Fail), ("skip", NonFinite::Skip)];
    const NOT_YET: &'static [&'static str] = &[];
}

impl Choice for Shuffle {
    const NAMES: &'static [(&'static str, Shuffle)] =
        &[("global", Shuffle::Global), ("blocks", Shuffle::Blocks)];
    const NOT_YET: &'static [&'static str] = &[];
}

impl Choice for Wire {
    const NAMES: &'static [(&'static str, Wire)] = &[("f32", Wire::F32)];
    const NOT_YET: &'static [&'static str] = &["bf16", "int8"];
}
