//! The model card: `README.md` of a run's final weights.

use headstart::run_file::{InitFrom, Metric, Task};

use crate::finish::{Kept, Writer};

/// A model card in Hugging Face's format.
pub fn model_card(writer: &Writer, kept: &Kept) -> String {
    let spec = &writer.spec;
    let (pipeline, class) = match spec.task {
        Task::SequenceClassification => ("text-classification", "AutoModelForSequenceClassification"),
        Task::ImageClassification => ("image-classification", "AutoModelForImageClassification"),
        Task::CausalLm => ("text-generation", "AutoModelForCausalLM"),
    };
    let origin = match spec.init {
        InitFrom::Pretrained => format!("It began as `{}`.", spec.base_model),
        InitFrom::Random => {
            format!("It was trained from random weights, in the shape of `{}`.", spec.base_model)
        }
    };
    let mut what = match spec.task {
        Task::CausalLm => "A language model.".to_owned(),
        _ => format!("A classifier for {} labels: {}.", writer.labels.len(), names(&writer.labels)),
    };
    let (library, code) = match &writer.network.adapter {
        None => (
            "transformers",
            format!("from transformers import {class}\n\nmodel = {class}.from_pretrained(\".\")"),
        ),
        Some(adapted) => {
            let (rank, alpha) = (adapted.config.rank, adapted.config.alpha);
            let modules = adapted.config.target_modules.join(", ");
            what +=
                &format!(" This is a LoRA adapter of it, of rank {rank} and alpha {alpha}, in {modules}.");
            ("peft", with_peft(class, &spec.base_model, &writer.labels))
        }
    };
    let metrics: String = Metric::of(spec.task)
        .iter()
        .filter_map(|metric| {
            let name = metric.name();
            let value = kept.eval.get(&format!("eval_{name}"))?.as_f64()?;
            Some(format!("| eval {name} | {value:.4} |\n"))
        })
        .collect();
    format!(
        "---\nlibrary_name: {library}\npipeline_tag: {pipeline}\nbase_model: {base:?}\ntags:\n- headstart\n---\n\n\
         # {name}\n\n\
         {what} {origin}\n\n\
         | | |\n|---|---|\n\
         | updates | {steps} |\n| samples an update | {batch} |\n| peak learning rate | {rate} |\n| seed | {seed} |\n\
         {metrics}\n\
         ```python\n{code}\n```\n\n\
         `run.json` holds everything that pins the run, `ledger.jsonl` what each update computed, `metrics.jsonl` how it\n\
         went, and `SHA256SUMS` the hashes of all files. The same run file, checkpoint and data give the same weights.\n",
        base = spec.base_model,
        name = spec.output_dir.trim_end_matches('/').rsplit('/').next().unwrap_or("model"),
        steps = kept.version.0,
        batch = spec.batch.global_batch_size,
        rate = spec.update.learning_rate,
        seed = spec.seed,
    )
}

/// Python code that opens an adapter.
fn with_peft(class: &str, base: &str, labels: &[String]) -> String {
    let count = if labels.is_empty() { String::new() } else { format!(", num_labels={}", labels.len()) };
    format!(
        "from peft import PeftModel\nfrom transformers import {class}\n\n\
         base = {class}.from_pretrained({base:?}{count})\nmodel = PeftModel.from_pretrained(base, \".\")"
    )
}

/// The first labels, in a sentence.
fn names(labels: &[String]) -> String {
    const FIRST: usize = 30;
    let shown: Vec<&str> = labels.iter().take(FIRST).map(String::as_str).collect();
    let rest =
        if labels.len() > FIRST { format!(" and {} more", labels.len() - FIRST) } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
