//! An adapter as PEFT writes it: names of tensors, and what programs that read it make of it.

use super::{Adapted, AdapterConfig, modules};
use crate::model::{Parameter, Part};
use crate::run_file::Task;

/// What PEFT puts before the names of the network.
const PREFIX: &str = "base_model.model.";
/// Largest rank that vLLM takes unless it is told otherwise (`--max-lora-rank`).
const VLLM_RANK: u64 = 16;

/// A tensor of `adapter_model.safetensors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub name: String,
    pub shape: Vec<u64>,
    /// Index of the parameter in the network's table.
    pub parameter: usize,
}

impl Adapted {
    /// The name that PEFT gives to a parameter in files.
    pub fn peft_name(&self, parameter: &str) -> String {
        format!("{PREFIX}{}", modules::in_memory(&self.blueprint.identity, parameter))
    }

    /// The name of older versions, after the checkpoint's names.
    pub(super) fn older_name(&self, parameter: &str) -> String {
        format!("{PREFIX}{parameter}")
    }
}

impl Adapted {
    /// Whether a parameter of the table trains: the adapter's matrices, and the modules that are saved whole.
    pub fn trains(&self, parameter: &Parameter) -> bool {
        parameter.part == Part::Adapter || self.saved.contains(&parameter.name)
    }

    /// The tensors of `adapter_model.safetensors`, sorted by name. A tied embedding is written as the head's weight too.
    pub fn tensors(&self, table: &[Parameter]) -> Vec<Written> {
        let tokens = self.blueprint.text().map(|text| text.tokens.weight());
        let mut tensors = Vec::new();
        for (index, parameter) in table.iter().enumerate().filter(|(_, parameter)| self.trains(parameter)) {
            let (name, shape) = (self.peft_name(&parameter.name), parameter.shape.clone());
            if self.config.tied && Some(&parameter.name) == tokens.as_ref() {
                let name = self.peft_name("lm_head.weight");
                tensors.push(Written { name, shape: shape.clone(), parameter: index });
            }
            tensors.push(Written { name, shape, parameter: index });
        }
        tensors.sort_by(|left, right| left.name.cmp(&right.name));
        tensors
    }
}

/// What programs that serve adapters refuse or misread, in sentences.
pub fn consumer_warnings(config: &AdapterConfig, task: Task) -> Vec<String> {
    let mut warnings = Vec::new();
    if task != Task::CausalLm {
        return warnings;
    }
    if !config.modules_to_save.is_empty() {
        let names = config.modules_to_save.join(", ");
        warnings.push(format!(
            "vLLM refuses adapters with modules that are saved whole (lora_modules_to_save: {names}); PEFT opens them"
        ));
    }
    if config.rslora {
        warnings.push(
            "llama.cpp's converter ignores use_rslora and scales the adapter by lora_alpha ÷ lora_r: it would be too weak there"
                .to_owned(),
        );
    }
    if config.rank > VLLM_RANK {
        warnings.push(format!(
            "vLLM takes adapters up to rank {VLLM_RANK}; start it with --max-lora-rank {}",
            config.rank.next_power_of_two()
        ));
    }
    warnings
}
