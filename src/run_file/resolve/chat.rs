//! Keys of language models: how their rows become tokens, for the run and for single datasets.

use super::super::Task;
use super::super::keys::{DatasetBlock, RunFile};
use super::super::read::{Located, TextLists};
use super::check::{Check, place, value_or};
use crate::chat::{ChatSettings, RowFormat, TemplateChoice};
use crate::run_file::error::At;

/// Why a key cannot be given for other tasks.
const REMOVE: &str = "only language models have use for it: remove it, or set task: causal-lm";

impl Check<'_> {
    /// The settings of the run.
    pub(super) fn chat(&mut self, file: &RunFile) -> ChatSettings {
        let task = file.task.as_ref().map(|found| found.value.0);
        if task.is_some_and(|task| task != Task::CausalLm) {
            self.no_keys_of_rows(file);
        } else if task.is_some() {
            self.no_keys_of_labels(file);
        }
        let defaults = ChatSettings::default();
        let text = |found: &Option<Located<String>>| found.as_ref().map(|found| found.value.clone());
        let chat_template = text(&file.chat_template).map_or(defaults.chat_template, TemplateChoice::from);
        let settings = ChatSettings {
            train_on_inputs: value_or(&file.train_on_inputs, defaults.train_on_inputs),
            roles_to_train: list(&file.roles_to_train).unwrap_or(defaults.roles_to_train),
            train_on_eos: file.train_on_eos.as_ref().map_or(defaults.train_on_eos, |found| found.value.0),
            eot_tokens: list(&file.eot_tokens),
            add_eos: value_or(&file.add_eos, defaults.add_eos),
            chat_template,
            chat_template_jinja: text(&file.chat_template_jinja),
            chat_template_path: text(&file.chat_template_path),
            chat_template_kwargs: file
                .chat_template_kwargs
                .as_ref()
                .map(|found| found.value.0.clone().into_iter().collect())
                .unwrap_or_default(),
            chat_template_date: text(&file.chat_template_date),
            excess_length_strategy: file
                .excess_length_strategy
                .as_ref()
                .map_or(defaults.excess_length_strategy, |found| found.value.0),
        };
        for (key, found) in [
            ("assistant_only_loss", &file.assistant_only_loss),
            ("completion_only_loss", &file.completion_only_loss),
        ] {
            if let Some(found) = found.as_ref().filter(|found| found.value == settings.train_on_inputs) {
                let message = format!("`{key}` means the opposite of train_on_inputs");
                let cure =
                    "only answers are trained by default; to train prompts too, write train_on_inputs: true";
                self.refuse(&found.key, message, cure);
            }
        }
        self.one_template(file, &settings.chat_template);
        settings
    }

    /// The format of a dataset's rows, apart from its column of texts.
    pub(super) fn row_format(&mut self, block: &DatasetBlock) -> RowFormat {
        let text = |found: &Option<Located<String>>| found.as_ref().map(|found| found.value.clone());
        let lists = |found: &Option<Located<TextLists>>| found.as_ref().map(|found| found.value.0.clone());
        if let Some(found) = &block.message_property_mappings
            && let Some((name, _)) = found.value.0.iter().find(|(_, names)| names.len() != 1)
        {
            let message = format!("`message_property_mappings.{name}` must be one name");
            self.refuse(&found.at, message, "write it as {role: from, content: value}");
        }
        let mappings = lists(&block.message_property_mappings).unwrap_or_default();
        RowFormat {
            kind: block.r#type.as_ref().map(|found| found.value.0),
            text_column: None,
            field_prompt: text(&block.field_prompt),
            field_completion: text(&block.field_completion),
            field_messages: text(&block.field_messages),
            field_system: text(&block.field_system),
            field_tools: text(&block.field_tools),
            field_instruction: text(&block.field_instruction),
            field_input: text(&block.field_input),
            field_output: text(&block.field_output),
            message_property_mappings: mappings
                .into_iter()
                .filter_map(|(name, names)| Some((name, names.into_iter().next()?)))
                .collect(),
            message_field_training: text(&block.message_field_training),
            roles: lists(&block.roles),
            roles_to_train: list(&block.roles_to_train),
            train_on_eos: block.train_on_eos.as_ref().map(|found| found.value.0),
            chat_template_kwargs: block
                .chat_template_kwargs
                .as_ref()
                .map(|found| found.value.0.clone().into_iter().collect())
                .unwrap_or_default(),
        }
    }

    /// A template comes from one place.
    fn one_template(&mut self, file: &RunFile, chosen: &TemplateChoice) {
        let [jinja, path] = [&file.chat_template_jinja, &file.chat_template_path];
        if let (Some(path), Some(_)) = (path, jinja) {
            let message = "`chat_template_path` and chat_template_jinja both give the template".to_owned();
            self.refuse(&path.key, message, "keep one of them");
        }
        let given = path.as_ref().or(jinja.as_ref());
        if let (Some(given), TemplateChoice::Named(name)) = (given, chosen) {
            let message = format!("`chat_template: {name}` and another key both give the template");
            self.refuse(&given.key, message, "write chat_template: jinja, or remove one of them");
        }
        if let (None, None, TemplateChoice::Jinja, Some(found)) = (path, jinja, chosen, &file.chat_template) {
            let message = "`chat_template: jinja` needs the template".to_owned();
            self.refuse(&found.at, message, "write it as chat_template_jinja");
        }
    }

    /// Refuses keys of language models, for other tasks.
    fn no_keys_of_rows(&mut self, file: &RunFile) {
        let run: [(&str, Option<&At>); 13] = [
            ("train_on_inputs", place(&file.train_on_inputs)),
            ("assistant_only_loss", place(&file.assistant_only_loss)),
            ("completion_only_loss", place(&file.completion_only_loss)),
            ("roles_to_train", place(&file.roles_to_train)),
            ("train_on_eos", place(&file.train_on_eos)),
            ("eot_tokens", place(&file.eot_tokens)),
            ("add_eos", place(&file.add_eos)),
            ("chat_template", place(&file.chat_template)),
            ("chat_template_jinja", place(&file.chat_template_jinja)),
            ("chat_template_path", place(&file.chat_template_path)),
            ("chat_template_kwargs", place(&file.chat_template_kwargs)),
            ("chat_template_date", place(&file.chat_template_date)),
            ("excess_length_strategy", place(&file.excess_length_strategy)),
        ];
        let mut given: Vec<(&str, At)> =
            run.into_iter().filter_map(|(key, at)| Some((key, at?.clone()))).collect();
        let sources = [&file.datasets, &file.eval_datasets].into_iter().flatten();
        for source in sources.flat_map(|found| &found.value.0) {
            given
                .extend(keys_of_rows(&source.0).into_iter().filter_map(|(key, at)| Some((key, at?.clone()))));
        }
        for (key, at) in given {
            self.refuse(&at, format!("`{key}` is for language models"), REMOVE);
        }
    }

    /// Refuses or ignores keys of labels, for language models.
    fn no_keys_of_labels(&mut self, file: &RunFile) {
        let mut pairs: Vec<&Located<String>> = file.text_pair_column.iter().collect();
        let sources = [&file.datasets, &file.eval_datasets].into_iter().flatten();
        pairs.extend(sources.flat_map(|found| &found.value.0).filter_map(|s| s.0.text_pair_column.as_ref()));
        for found in pairs {
            let message = "`text_pair_column` is for classification: language models learn from single texts, prompts and \
                           completions, or messages"
                .to_owned();
            self.refuse(&found.key, message, "remove it");
        }
        if let Some(found) = &file.labels {
            let message = "`labels` is for classification: language models have none".to_owned();
            self.refuse(&found.key, message, "remove it");
        }
        for (key, given) in
            [("label_column", place(&file.label_column)), ("image_column", place(&file.image_column))]
        {
            if given.is_some() {
                self.findings.ignore(key, "language models read text and messages");
            }
        }
    }
}

/// The keys of a dataset that only language models have use for, and their places.
fn keys_of_rows(block: &DatasetBlock) -> [(&'static str, Option<&At>); 15] {
    [
        ("type", place(&block.r#type)),
        ("field_prompt", place(&block.field_prompt)),
        ("field_completion", place(&block.field_completion)),
        ("field_messages", place(&block.field_messages)),
        ("field_system", place(&block.field_system)),
        ("field_tools", place(&block.field_tools)),
        ("field_instruction", place(&block.field_instruction)),
        ("field_input", place(&block.field_input)),
        ("field_output", place(&block.field_output)),
        ("message_property_mappings", place(&block.message_property_mappings)),
        ("message_field_training", place(&block.message_field_training)),
        ("roles", place(&block.roles)),
        ("roles_to_train", place(&block.roles_to_train)),
        ("train_on_eos", place(&block.train_on_eos)),
        ("chat_template_kwargs", place(&block.chat_template_kwargs)),
    ]
}

fn list(found: &Option<Located<Vec<String>>>) -> Option<Vec<String>> {
    found.as_ref().map(|found| found.value.clone())
}
