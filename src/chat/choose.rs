//! Which template a run uses, chosen as transformers chooses it.

use serde_json::Value;

use super::date::Date;
use super::template::{Context, Template, object};
use super::{ChatError, ChatSettings, TemplateChoice};

/// The file beside a checkpoint that holds its template.
pub(super) const JINJA: &str = "chat_template.jinja";
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// What the probe's user and assistant say: no template contains it.
const QUESTION: &str = "Kqv7question";
const ANSWER: &str = "Zjw4answer";
const SECOND_QUESTION: &str = "Xfp2question";
const SECOND_ANSWER: &str = "Vbk9answer";

/// Names of templates in other trainers' run files, and what each makes of a question and an answer, apart from a system
/// prompt before them and an end-of-text token behind them.
const KNOWN: [(&[&str], &str); 14] = [
    (
        &["chatml", "qwen_25", "qwen2_vl", "falcon_h1"],
        "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>",
    ),
    (
        &["qwen3", "qwen3_5"],
        "<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n{a}<|im_end|>",
    ),
    (
        &["llama3"],
        "<|start_header_id|>user<|end_header_id|>\n\n{q}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n{a}<|eot_id|>",
    ),
    (
        &["llama4"],
        "<|header_start|>user<|header_end|>\n\n{q}<|eot|><|header_start|>assistant<|header_end|>\n\n{a}<|eot|>",
    ),
    (
        &["gemma", "gemma3", "gemma3n"],
        "<start_of_turn>user\n{q}<end_of_turn>\n<start_of_turn>model\n{a}<end_of_turn>",
    ),
    (&["phi_3", "phi_35"], "<|user|>\n{q}<|end|>\n<|assistant|>\n{a}<|end|>"),
    (&["phi_4"], "<|im_start|>user<|im_sep|>{q}<|im_end|><|im_start|>assistant<|im_sep|>{a}<|im_end|>"),
    (&["mistral_v1"], "[INST] {q} [/INST] {a}</s>"),
    (&["mistral_v2v3"], "[INST] {q}[/INST] {a}</s>"),
    (&["mistral_v3_tekken", "mistral_v7_tekken"], "[INST]{q}[/INST]{a}</s>"),
    (&["deepseek_v3"], "<｜User｜>{q}<｜Assistant｜>{a}<｜end▁of▁sentence｜>"),
    (
        &["cohere", "aya"],
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{q}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{a}<|END_OF_TURN_TOKEN|>",
    ),
    (&["exaone"], "[|user|]{q}\n[|assistant|]{a}[|endofturn|]"),
    (&["exaone4"], "[|user|]\n{q}[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n{a}[|endofturn|]"),
];

/// The templates of a run.
pub(super) struct Templates {
    default: Option<Template>,
    tool_use: Option<Template>,
}

/// The texts that templates are read from.
pub(super) struct Sources<'a> {
    /// `tokenizer_config.json`.
    pub config: Option<&'a str>,
    /// `chat_template.jinja`.
    pub jinja: Option<&'a str>,
    /// The file of `chat_template_path`.
    pub path: Option<&'a str>,
}

impl Templates {
    /// Chooses and compiles.
    pub(super) fn choose(
        settings: &ChatSettings,
        sources: &Sources<'_>,
        context: &Context,
        today: Option<Date>,
    ) -> Result<Templates, ChatError> {
        let mut templates = Templates::compile(settings, sources, today)?;
        for template in [&mut templates.default, &mut templates.tool_use].into_iter().flatten() {
            template.prompts = has_prompt(template, context);
        }
        let explicit = sources.path.is_some() || settings.chat_template_jinja.is_some();
        if let (TemplateChoice::Named(name), false) = (&settings.chat_template, explicit) {
            templates.check_name(name, context)?;
        }
        Ok(templates)
    }

    fn compile(
        settings: &ChatSettings,
        sources: &Sources<'_>,
        today: Option<Date>,
    ) -> Result<Templates, ChatError> {
        let one = |name: &str, source: &str| {
            Ok(Templates { default: Some(Template::new(name, source, today)?), tool_use: None })
        };
        if let Some(source) = sources.path {
            return one(settings.chat_template_path.as_deref().unwrap_or("chat_template_path"), source);
        }
        match (&settings.chat_template, &settings.chat_template_jinja) {
            (TemplateChoice::Jinja, None) => Err(ChatError::NoJinja),
            (_, Some(source)) => one("chat_template_jinja", source),
            (_, None) => match sources.jinja {
                Some(source) => one(JINJA, source),
                None => Templates::of_config(sources.config, today),
            },
        }
    }

    /// The key of `tokenizer_config.json`: a template, or a list of named ones.
    fn of_config(config: Option<&str>, today: Option<Date>) -> Result<Templates, ChatError> {
        let wrong = |reason: String| ChatError::File { file: CONFIG, reason };
        let none = Templates { default: None, tool_use: None };
        let Some(config) = config else { return Ok(none) };
        let config: Value = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
        let new = |name: &str, source: &str| {
            Template::new(&format!("{CONFIG}: chat_template{name}"), source, today)
        };
        let named: Vec<(&str, &str)> = match config.get("chat_template") {
            None | Some(Value::Null) => return Ok(none),
            Some(Value::String(source)) => {
                return Ok(Templates { default: Some(new("", source)?), tool_use: None });
            }
            Some(Value::Array(list)) => {
                let pair = |entry| {
                    pair(entry)
                        .ok_or_else(|| wrong("chat_template: each entry needs a name and a template".into()))
                };
                list.iter().map(pair).collect::<Result<_, _>>()?
            }
            Some(Value::Object(named)) => {
                named.iter().filter_map(|(name, source)| Some((name.as_str(), source.as_str()?))).collect()
            }
            Some(_) => return Err(wrong("chat_template must be a text, or a list of named ones".into())),
        };
        let find = |wanted: &str| {
            let found = named.iter().rev().find(|(name, _)| *name == wanted);
            found.map(|(name, source)| new(&format!(" {name:?}"), source)).transpose()
        };
        let templates = Templates { default: find("default")?, tool_use: find("tool_use")? };
        match templates.default {
            None => {
                let found = named.iter().map(|(name, _)| (*name).to_owned()).collect();
                Err(ChatError::NoDefaultTemplate { found })
            }
            Some(_) => Ok(templates),
        }
    }

    /// The template for a row.
    pub(super) fn get(&self, tools: bool) -> Result<&Template, ChatError> {
        let tool_use = self.tool_use.as_ref().filter(|_| tools);
        tool_use.or(self.default.as_ref()).ok_or(ChatError::NoTemplate)
    }

    /// The special token that follows every assistant turn, whatever the tokenizer calls its EOS.
    pub(super) fn end_of_turn(&self, context: &Context, special: &[String]) -> Option<String> {
        let turns = [
            ("user", QUESTION),
            ("assistant", ANSWER),
            ("user", SECOND_QUESTION),
            ("assistant", SECOND_ANSWER),
        ];
        let text = self.get(false).ok()?.render(context, &probe(&turns), false, false).ok()?;
        let after = |answer: &str| {
            let rest = text[text.find(answer)? + answer.len()..].trim_start();
            let tokens = special.iter().filter(|token| !token.is_empty() && rest.starts_with(token.as_str()));
            tokens.max_by_key(|token| token.len())
        };
        let found = after(ANSWER)?;
        (after(SECOND_ANSWER) == Some(found)).then(|| found.clone())
    }

    /// A name is accepted if the template renders what the template of that name renders.
    fn check_name(&self, name: &str, context: &Context) -> Result<(), ChatError> {
        let Some((_, form)) = KNOWN.iter().find(|(names, _)| names.contains(&name)) else {
            return Err(ChatError::UnknownTemplate { name: name.to_owned() });
        };
        let expected = form.replace("{q}", QUESTION).replace("{a}", ANSWER);
        let messages = probe(&[("user", QUESTION), ("assistant", ANSWER)]);
        let found = self.get(false)?.render(context, &messages, false, false);
        let same = found.is_ok_and(|found| {
            let Some(at) = found.find(expected.as_str()) else { return false };
            let [before, after] = [&found[..at], &found[at + expected.len()..]];
            // A system prompt may precede them, and a token may follow.
            !before.contains(QUESTION) && !after.trim().contains(char::is_whitespace)
        });
        if same { Ok(()) } else { Err(ChatError::OtherTemplate { name: name.to_owned() }) }
    }
}

/// Whether what stands before an answer can be rendered: the template adds a generation prompt, or needs none because
/// answers follow questions at once. A template that refuses the question may have a prompt all the same.
fn has_prompt(template: &Template, context: &Context) -> bool {
    let turns = probe(&[("user", QUESTION), ("assistant", ANSWER)]);
    let render = |turns: &[minijinja::Value], prompt: bool| template.render(context, turns, prompt, false);
    let [with, without] = [true, false].map(|prompt| render(&turns[..1], prompt));
    let at_once = |question: &str| {
        let whole = render(&turns, false).unwrap_or_default();
        whole.strip_prefix(question).is_some_and(|rest| rest.trim_start().starts_with(ANSWER))
    };
    match (with, without) {
        (Ok(with), Ok(without)) => with != without || at_once(&without),
        _ => true,
    }
}

fn pair(entry: &Value) -> Option<(&str, &str)> {
    Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?))
}

/// Messages of these roles and contents.
pub(super) fn probe(turns: &[(&str, &str)]) -> Vec<minijinja::Value> {
    let message = |(role, content): &(&str, &str)| {
        let json = serde_json::json!({"role": role, "content": content});
        json.as_object().map(object).unwrap_or_default()
    };
    turns.iter().map(message).collect()
}
