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
    let metrics: String = Metric::of(spec.task)
        .iter()
        .filter_map(|metric| {
            let name = metric.name();
            let value = kept.eval.get(&format!("eval_{name}"))?.as_f64()?;
            Some(format!("| eval {name} | {value:.4} |\n"))
        })
        .collect();
    format!(
        "---\nlibrary_name: transformers\npipeline_tag: {pipeline}\nbase_model: {base:?}\ntags:\n- headstart\n---\n\n\
         # {name}\n\n\
         A classifier for {count} labels: {labels}. {origin}\n\n\
         | | |\n|---|---|\n\
         | updates | {steps} |\n| samples an update | {batch} |\n| peak learning rate | {rate} |\n| seed | {seed} |\n\
         {metrics}\n\
         ```python\nfrom transformers import {class}\n\nmodel = {class}.from_pretrained(\".\")\n```\n\n\
         `run.json` holds everything that pins the run, `ledger.jsonl` what each update computed, `metrics.jsonl` how it\n\
         went, and `SHA256SUMS` the hashes of all files. The same run file, checkpoint and data give the same weights.\n",
        base = spec.base_model,
        name = spec.output_dir.trim_end_matches('/').rsplit('/').next().unwrap_or("model"),
        count = writer.labels.len(),
        labels = names(&writer.labels),
        steps = kept.version.0,
        batch = spec.batch.global_batch_size,
        rate = spec.update.learning_rate,
        seed = spec.seed,
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
