//! What a run file says about rows of language-model data: the run's settings, and those of one dataset entry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of a run. [`Default`] holds the documented defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatSettings {
    /// Every token but a row's first is trained, prompts included.
    pub train_on_inputs: bool,
    /// Roles whose turns are trained.
    pub roles_to_train: Vec<String>,
    /// Which end tokens are trained.
    pub train_on_eos: TrainOnEos,
    /// Texts of the tokens that end a turn. `None`: the EOS tokens of the tokenizer and of `generation_config.json`.
    pub eot_tokens: Option<Vec<String>>,
    /// Texts and string completions end with the tokenizer's EOS.
    pub add_eos: bool,
    /// Where the chat template comes from.
    pub chat_template: TemplateChoice,
    /// The template, for `chat_template: jinja`.
    pub chat_template_jinja: Option<String>,
    /// URL of a file that holds the template. The caller reads it into [`super::EncoderParts::template`].
    pub chat_template_path: Option<String>,
    /// Variables for the template. Those of a dataset entry override them, and those of a row override both.
    pub chat_template_kwargs: Map<String, Value>,
    /// The date that a template sees as today, `YYYY-MM-DD`. `None` until planning: the UTC day of planning.
    pub chat_template_date: Option<String>,
    /// What happens to rows that are longer than `sequence_len` tokens.
    pub excess_length_strategy: ExcessLength,
}

impl Default for ChatSettings {
    fn default() -> ChatSettings {
        ChatSettings {
            train_on_inputs: false,
            roles_to_train: vec!["assistant".into()],
            train_on_eos: TrainOnEos::Turn,
            eot_tokens: None,
            add_eos: true,
            chat_template: TemplateChoice::TokenizerDefault,
            chat_template_jinja: None,
            chat_template_path: None,
            chat_template_kwargs: Map::new(),
            chat_template_date: None,
            excess_length_strategy: ExcessLength::Drop,
        }
    }
}

/// Which end tokens are trained, as axolotl defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainOnEos {
    /// Those of trained turns.
    #[default]
    Turn,
    /// Those of all turns.
    All,
    /// That of the last trained turn.
    Last,
    /// None.
    None,
}

/// What happens to rows that are longer than `sequence_len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExcessLength {
    /// They leave the data, and are counted.
    #[default]
    Drop,
    /// Their first `sequence_len` tokens stay.
    Truncate,
    /// The run does not start.
    Raise,
}

/// Where the chat template comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TemplateChoice {
    /// From the checkpoint.
    #[default]
    TokenizerDefault,
    /// From `chat_template_jinja`.
    Jinja,
    /// A name of another trainer's template, such as `chatml`. The checkpoint's template must be that one.
    Named(String),
}

impl From<String> for TemplateChoice {
    fn from(name: String) -> TemplateChoice {
        match name.as_str() {
            "tokenizer_default" => TemplateChoice::TokenizerDefault,
            "jinja" => TemplateChoice::Jinja,
            _ => TemplateChoice::Named(name),
        }
    }
}

impl From<TemplateChoice> for String {
    fn from(choice: TemplateChoice) -> String {
        match choice {
            TemplateChoice::TokenizerDefault => "tokenizer_default".into(),
            TemplateChoice::Jinja => "jinja".into(),
            TemplateChoice::Named(name) => name,
        }
    }
}

/// The format of a dataset entry's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowType {
    /// One text: all of it is trained.
    #[serde(rename = "completion", alias = "text")]
    Text,
    /// A prompt and its completion: texts, or lists of messages.
    #[serde(rename = "prompt_completion")]
    PromptCompletion,
    /// A conversation.
    #[serde(rename = "chat_template", alias = "messages", alias = "sharegpt")]
    Messages,
    /// An instruction, maybe an input, and an output.
    #[serde(rename = "alpaca")]
    Alpaca,
}

/// Settings of one dataset entry. What is absent follows the run's settings, or the names that rows usually have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RowFormat {
    /// The format. `None`: the first of the known formats whose columns a row has.
    #[serde(rename = "type")]
    pub kind: Option<RowType>,
    /// Column of a text. Default: `text`. It is a key of every dataset, so that it is not serialized here.
    #[serde(skip_serializing)]
    pub text_column: Option<String>,
    /// Column of a prompt. Default: `prompt`.
    pub field_prompt: Option<String>,
    /// Column of a completion. Default: `completion`.
    pub field_completion: Option<String>,
    /// Column of the messages. Default: `messages`, else `conversations`.
    pub field_messages: Option<String>,
    /// Column of a system prompt, which precedes messages that have none. Default: `system`.
    pub field_system: Option<String>,
    /// Column of the tools. Default: `tools`.
    pub field_tools: Option<String>,
    /// Column of an instruction. Default: `instruction`.
    pub field_instruction: Option<String>,
    /// Column of an instruction's input. Default: `input`.
    pub field_input: Option<String>,
    /// Column of the answer to an instruction. Default: `output`.
    pub field_output: Option<String>,
    /// Names of a message's keys: from the template's name to the data's. Default: `role` is `role` or `from`, `content`
    /// is `content` or `value`.
    pub message_property_mappings: BTreeMap<String, String>,
    /// Key of a message that says whether it is trained, whatever its role. Default: `train`.
    pub message_field_training: Option<String>,
    /// Names of roles: from the template's name to those of the data. Default: `user` is `human`, `assistant` is `gpt`.
    pub roles: Option<BTreeMap<String, Vec<String>>>,
    /// Overrides the run's key.
    pub roles_to_train: Option<Vec<String>>,
    /// Overrides the run's key.
    pub train_on_eos: Option<TrainOnEos>,
    /// Overrides single variables of the run's key.
    pub chat_template_kwargs: Map<String, Value>,
}
