//! A small chat model and conversations for it, for runs of language models.

use std::path::Path;

use headstart::model::{Blueprint, Init, Parameter, initial_values};
use headstart::run_file::Task;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A template as chatml has it.
pub const TEMPLATE: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}\
                        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Makes an adapter of every linear layer, with dropout.
pub const LORA: [&str; 5] =
    ["adapter=lora", "lora_r=4", "lora_alpha=8", "lora_dropout=0.1", "learning_rate=1e-2"];

/// Writes a file, and the directories above it.
pub fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
    std::fs::write(path, content).expect("writable");
}

/// The `config.json` of a llama of two layers, whose head is tied.
pub fn config(vocabulary: u64, positions: u64) -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary, "hidden_size": 16,
        "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": positions, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true,
    })
}

/// Writes `model/` without weights: `config.json`, a tokenizer of bytes and the chat template.
pub fn model(directory: &Path, config: &Value) {
    write(directory, "model/config.json", config.to_string());
    write(directory, "model/tokenizer.json", tokenizer().to_string());
    let settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"});
    write(directory, "model/tokenizer_config.json", settings.to_string());
    write(directory, "model/chat_template.jinja", TEMPLATE);
}

/// Writes `model/model.safetensors`: noise that 16 bits hold, stored as BF16 or F32.
pub fn weights(directory: &Path, config: &Value, dtype: Dtype) {
    let blueprint = Blueprint::from_config(config, Task::CausalLm, 0).expect("a llama");
    let tensor = |parameter: &Parameter| {
        let noisy = Parameter { init: Init::Normal { std: 0.3 }, ..parameter.clone() };
        let bits = initial_values(&noisy, 7).into_iter().map(|value| value.to_bits() & 0xffff_0000);
        let stored: Vec<u8> = match dtype {
            Dtype::BF16 => bits.flat_map(|bits| ((bits >> 16) as u16).to_le_bytes()).collect(),
            _ => bits.flat_map(u32::to_le_bytes).collect(),
        };
        let shape = parameter.shape.iter().map(|&side| side as usize).collect();
        (parameter.name.clone(), shape, stored)
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = blueprint.parameters().iter().map(tensor).collect();
    let views = tensors.iter().map(|(name, shape, stored)| {
        (name, TensorView::new(dtype, shape.clone(), stored).expect("the shape has that size"))
    });
    let format = [("format".to_owned(), "pt".to_owned())].into();
    write(
        directory,
        "model/model.safetensors",
        safetensors::serialize(views, Some(format)).expect("sizes fit"),
    );
}

/// A line of a question and its answer.
pub fn chat(question: &str, answer: &str) -> String {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    format!("{}\n", json!({"messages": [turn("user", question), turn("assistant", answer)]}))
}

/// A directory with a small model in BF16, conversations of several lengths and a run file `run.yaml` of a few steps.
pub fn chats() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = config(258, 1024);
    model(directory.path(), &config);
    weights(directory.path(), &config, Dtype::BF16);
    let rows = |numbers: std::ops::Range<usize>| -> String {
        numbers.map(|row| chat(&format!("q{row}?"), &"Grüße ".repeat(1 + row % 5))).collect()
    };
    write(directory.path(), "train.jsonl", rows(0..50));
    write(directory.path(), "eval.jsonl", rows(100..110));
    write(
        directory.path(),
        "run.yaml",
        "base_model: model\ntask: causal-lm\ndatasets: [{path: train.jsonl}]\neval_datasets: [{path: eval.jsonl}]\n\
         output_dir: out\nper_device_train_batch_size: 2\nper_device_eval_batch_size: 4\nglobal_batch_size: 12\n\
         shards_per_step: 6\nmax_steps: 8\nlearning_rate: 1e-3\nwarmup_steps: 0\neval_strategy: steps\neval_steps: 4\n",
    );
    directory
}

/// Each byte is a token, and two special ones open and close a turn.
fn tokenizer() -> Value {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256..;
    let mut vocabulary = Map::new();
    for byte in 0..256u32 {
        let point = if printable(byte) { byte } else { others.next().expect("endless") };
        vocabulary.insert(char::from_u32(point).expect("a letter").to_string(), byte.into());
    }
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true})
    };
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<|im_start|>"), special(257, "<|im_end|>")],
        "pre_tokenizer": level, "decoder": level, "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}
