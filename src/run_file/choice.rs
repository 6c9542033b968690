//! Keys whose value is one of a few names.

use super::error::{At, Problem};
use super::suggest::suggestion;
use super::{InitFrom, Metric, NonFinite, Optimizer, Scheduler, Shuffle, Strategy, Task, Tracker, Wire};
use crate::chat::{ExcessLength, RowType, TrainOnEos};

/// A set of names.
pub(super) trait Choice: Copy + 'static {
    /// The names.
    const NAMES: &'static [(&'static str, Self)];
    /// Other spellings, which messages do not list.
    const ALIASES: &'static [(&'static str, Self)] = &[];
    /// Names that other trainers know and this version refuses.
    const NOT_YET: &'static [&'static str] = &[];
}

/// What `text` names. Case, `-` for `_`, and the class that Python shows before an enum's value do not matter.
pub(super) fn find<T: Choice>(text: &str) -> Option<T> {
    let text = plain(text);
    T::NAMES.iter().chain(T::ALIASES).find(|(name, _)| plain(name) == text).map(|&(_, value)| value)
}

/// A name without what does not matter: `IntervalStrategy.STEPS` is `steps`.
pub(super) fn plain(text: &str) -> String {
    let text = text.trim();
    let class = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.chars().all(|character| character.is_ascii_alphanumeric())
    };
    let value = text.split_once('.').filter(|(name, _)| class(name)).map_or(text, |(_, value)| value);
    value.to_lowercase().replace('-', "_")
}

/// Why `text` is not one of the names.
pub(super) fn refusal<T: Choice>(at: &At, key: &str, text: &str) -> Problem {
    let names: Vec<&str> = T::NAMES.iter().map(|(name, _)| *name).collect();
    let it_can_be = format!("it can be {}", names.join(", "));
    if T::NOT_YET.iter().any(|name| plain(name) == plain(text)) {
        return Problem::at(at, format!("`{key}: {text}` is not supported yet")).help(it_can_be);
    }
    let problem = Problem::at(at, format!("`{key}` cannot be {text:?}"));
    match suggestion(text, names.iter().copied()) {
        Some(name) => problem.help(format!("did you mean {name}? It can be {}", names.join(", "))),
        None => problem.help(it_can_be),
    }
}

impl Choice for Task {
    const NAMES: &'static [(&'static str, Task)] = &[
        ("sequence-classification", Task::SequenceClassification),
        ("image-classification", Task::ImageClassification),
        ("causal-lm", Task::CausalLm),
    ];
    const ALIASES: &'static [(&'static str, Task)] = &[
        ("text-classification", Task::SequenceClassification),
        ("SEQ_CLS", Task::SequenceClassification),
        ("CAUSAL_LM", Task::CausalLm),
        ("text-generation", Task::CausalLm),
    ];
    const NOT_YET: &'static [&'static str] = &[
        "masked-lm",
        "fill-mask",
        "token-classification",
        "regression",
        "question-answering",
        "multiple-choice",
        "seq2seq-lm",
        "object-detection",
        "image-segmentation",
    ];
}

impl Choice for InitFrom {
    const NAMES: &'static [(&'static str, InitFrom)] =
        &[("pretrained", InitFrom::Pretrained), ("random", InitFrom::Random)];
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
        "greedy",
        "cosine_with_min_lr",
        "cosine_warmup_with_min_lr",
        "warmup_stable_decay",
        "one_cycle",
        "rex",
    ];
}

impl Choice for Optimizer {
    const NAMES: &'static [(&'static str, Optimizer)] =
        &[("adamw_torch", Optimizer::AdamwTorch), ("sgd", Optimizer::Sgd)];
    // Programs for one definition.
    const ALIASES: &'static [(&'static str, Optimizer)] = &[
        ("adamw", Optimizer::AdamwTorch),
        ("adamw_hf", Optimizer::AdamwTorch),
        ("adamw_torch_fused", Optimizer::AdamwTorch),
        ("adamw_torch_xla", Optimizer::AdamwTorch),
        ("adamw_torch_npu_fused", Optimizer::AdamwTorch),
        ("adamw_apex_fused", Optimizer::AdamwTorch),
    ];
    const NOT_YET: &'static [&'static str] = &[
        "adam",
        "adamw_anyprecision",
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
    const ALIASES: &'static [(&'static str, Strategy)] = &[("none", Strategy::No)];
    const NOT_YET: &'static [&'static str] = &["best"];
}

impl Choice for Metric {
    const NAMES: &'static [(&'static str, Metric)] = &[
        ("loss", Metric::Loss),
        ("accuracy", Metric::Accuracy),
        ("f1", Metric::F1),
        ("perplexity", Metric::Perplexity),
        ("mean_token_accuracy", Metric::MeanTokenAccuracy),
        ("entropy", Metric::Entropy),
    ];
    const ALIASES: &'static [(&'static str, Metric)] = &[
        ("eval_loss", Metric::Loss),
        ("eval_accuracy", Metric::Accuracy),
        ("eval_f1", Metric::F1),
        ("eval_perplexity", Metric::Perplexity),
        ("eval_mean_token_accuracy", Metric::MeanTokenAccuracy),
        ("eval_entropy", Metric::Entropy),
    ];
    const NOT_YET: &'static [&'static str] =
        &["precision", "recall", "matthews_correlation", "roc_auc", "eval_precision", "eval_recall"];
}

impl Choice for NonFinite {
    const NAMES: &'static [(&'static str, NonFinite)] =
        &[("fail", NonFinite::Fail), ("skip", NonFinite::Skip)];
}

impl Choice for Shuffle {
    const NAMES: &'static [(&'static str, Shuffle)] =
        &[("global", Shuffle::Global), ("blocks", Shuffle::Blocks)];
}

impl Choice for ExcessLength {
    const NAMES: &'static [(&'static str, ExcessLength)] =
        &[("drop", ExcessLength::Drop), ("truncate", ExcessLength::Truncate), ("raise", ExcessLength::Raise)];
}

impl Choice for TrainOnEos {
    const NAMES: &'static [(&'static str, TrainOnEos)] = &[
        ("turn", TrainOnEos::Turn),
        ("all", TrainOnEos::All),
        ("last", TrainOnEos::Last),
        ("none", TrainOnEos::None),
    ];
}

impl Choice for RowType {
    const NAMES: &'static [(&'static str, RowType)] = &[
        ("chat_template", RowType::Messages),
        ("prompt_completion", RowType::PromptCompletion),
        ("alpaca", RowType::Alpaca),
        ("completion", RowType::Text),
    ];
    const ALIASES: &'static [(&'static str, RowType)] =
        &[("messages", RowType::Messages), ("sharegpt", RowType::Messages), ("text", RowType::Text)];
    const NOT_YET: &'static [&'static str] = &[
        "alpaca_chat",
        "alpaca_w_system",
        "chat",
        "input_output",
        "instruct",
        "jeopardy",
        "oasst",
        "pretraining",
        "stepwise_supervised",
    ];
}

impl Choice for Tracker {
    const NAMES: &'static [(&'static str, Tracker)] =
        &[("tensorboard", Tracker::TensorBoard), ("mlflow", Tracker::Mlflow)];
}

impl Choice for Wire {
    const NAMES: &'static [(&'static str, Wire)] =
        &[("f32", Wire::F32), ("bf16", Wire::Bf16), ("int8", Wire::Int8)];
}
