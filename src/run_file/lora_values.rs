//! Values of the adapter's keys, in the spellings of other trainers.

use super::ALL_LINEAR;
use super::choice::plain;
use super::error::Problem;
use super::findings::Findings;
use super::lora::Precision;
use super::node::{Node, Value};
use super::read::FromNode;
use super::values::wrong_type;

/// Most layers of a network, and most names of a list.
const MOST: usize = 4096;

/// Whether an adapter is trained: `lora`, or what says that all parameters are.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdapterChoice(pub(super) bool);

/// Names of modules: a list, or a text with commas.
#[derive(Debug, Clone)]
pub(super) struct ModuleNames(pub(super) Vec<String>);

/// Numbers of layers: a list, or one number.
#[derive(Debug, Clone)]
pub(super) struct LayerNumbers(pub(super) Vec<u32>);

impl FromNode for AdapterChoice {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<AdapterChoice> {
        let text = match &node.value {
            Value::Bool(truth) => return Some(AdapterChoice(*truth)),
            Value::Text(text) => plain(text),
            _ => return wrong_type(node, key, "lora", findings),
        };
        match text.as_str() {
            "lora" | "true" => return Some(AdapterChoice(true)),
            "full" | "none" | "no" | "false" => return Some(AdapterChoice(false)),
            _ => {}
        }
        let cure = match text.as_str() {
            "qlora" => {
                "write adapter: lora; the checkpoint's weights are used as they are stored, not quantised"
            }
            "freeze" => {
                "write freeze: [PATTERN], with patterns (* and ?) of parameter names that do not train"
            }
            _ => "it can be lora; without it, every parameter trains",
        };
        findings.push(Problem::at(&node.at, format!("`{key}: {text}` is not supported yet")).help(cure));
        None
    }
}

impl FromNode for ModuleNames {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<ModuleNames> {
        let names: Vec<String> = match &node.value {
            Value::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
            Value::List(_) => Vec::from_node(node, key, findings)?,
            _ => return wrong_type(node, key, "a list of names of modules", findings),
        };
        let mut names: Vec<String> = names
            .into_iter()
            .map(|name| if is_all_linear(&name) { ALL_LINEAR.into() } else { name })
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MOST {
            let message = format!("`{key}` has {} names, more than the {MOST} allowed", names.len());
            findings.push(Problem::at(&node.at, message));
            return None;
        }
        let odd = |name: &&String| {
            name.is_empty()
                || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
        };
        if let Some(name) = names.iter().find(odd) {
            let problem = Problem::at(&node.at, format!("`{key}`: {name:?} is not the name of a module"));
            findings.push(
                problem.help("list names, or the ends of names; regular expressions are not supported yet"),
            );
            return None;
        }
        Some(ModuleNames(names))
    }
}

/// `all-linear` as PEFT spells it, and `all` as LLaMA-Factory does.
fn is_all_linear(name: &str) -> bool {
    matches!(plain(name).as_str(), "all_linear" | "all")
}

impl FromNode for LayerNumbers {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<LayerNumbers> {
        let mut numbers = match &node.value {
            Value::List(_) => Vec::from_node(node, key, findings)?,
            _ => vec![u32::from_node(node, key, findings)?],
        };
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() || numbers.len() > MOST {
            let message = format!("`{key}` must list 1 to {MOST} layers, found {}", numbers.len());
            findings.push(Problem::at(&node.at, message).help("layers count from 0"));
            return None;
        }
        Some(LayerNumbers(numbers))
    }
}

impl FromNode for Precision {
    fn from_node(node: &Node, key: &str, findings: &mut Findings) -> Option<Precision> {
        match &node.value {
            Value::Text(text) if plain(text) == "auto" => Some(Precision::Auto),
            Value::Text(text) if ["true", "yes"].contains(&plain(text).as_str()) => Some(Precision::Bf16),
            Value::Bool(true) => Some(Precision::Bf16),
            _ => bool::from_node(node, key, findings).map(|bf16| match bf16 {
                true => Precision::Bf16,
                false => Precision::F32,
            }),
        }
    }
}
