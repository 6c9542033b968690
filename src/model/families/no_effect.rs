//! Keys of decoders' configurations that change nothing a decoder computes, and keys that would and are not supported.

use crate::model::ModelError;
use crate::model::keys::Keys;

/// What the file says of itself, of code, and of how a network is run.
const ABOUT: &[&str] = &[
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "dtype",
    "finetuning_task",
    "is_llama_config",
    "model_type",
    "name_or_path",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];
/// How a matrix is cut into pieces, which adds up to the same.
const PIECES: &[&str] = &["chunk_size_feed_forward", "pretraining_tp"];
/// Of other heads and tasks.
const HEADS: &[&str] = &["id2label", "label2id", "num_labels", "problem_type", "classifier_dropout"];
/// Special tokens.
const TOKENS: &[&str] = &[
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "prefix",
    "sep_token_id",
];
/// What is returned beside the logits, and how texts are generated.
const GENERATION: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];
/// Keys that change nothing while they are off: `false`, `null`, or empty.
const OFF: &[&str] = &[
    "add_cross_attention",
    "cross_attention_hidden_size",
    "is_decoder",
    "is_encoder_decoder",
    "pruned_heads",
    "rope_interleaved",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "use_mrope",
];
/// What would change the result where it is set.
const REFUSED: &[&str] = &[
    "attn_logit_softcapping",
    "compression_config",
    "final_logit_softcapping",
    "logit_softcapping",
    "quantization_config",
];

/// Refuses what would change the result; the keys that neither the family nor these lists know.
pub(super) fn unknown(keys: &Keys<'_>) -> Result<Vec<String>, ModelError> {
    for key in REFUSED {
        if let Some(value) = keys.get(key) {
            let value: String = value.to_string().chars().take(80).collect();
            return Err(ModelError::NotSupported { what: format!("{key} {value}") });
        }
    }
    for (key, value) in keys.all() {
        let is_off = value.is_null()
            || value == false
            || value.as_object().is_some_and(|map| map.is_empty())
            || value.as_array().is_some_and(|list| list.is_empty());
        if let Some(known) = OFF.iter().find(|known| is_off && *known == key) {
            keys.settle(known);
        }
    }
    for list in [ABOUT, PIECES, HEADS, TOKENS, GENERATION] {
        list.iter().for_each(|key| keys.settle(key));
    }
    Ok(keys.unknown())
}
