//! The adapter: which keys it has, and what holds without it.

use super::super::keys::RunFile;
use super::super::lora_values::ModuleNames;
use super::super::read::Located;
use super::super::{ALL_LINEAR, Lora};
use super::check::{BELOW_1, Check, Constraint, place};

const DEFAULT_RANK: u32 = 16;
const DEFAULT_ALPHA: f64 = 32.0;
/// Largest rank: that of a whole weight matrix of the widest networks.
const LARGEST_RANK: u32 = 1 << 16;
const WITHOUT_ADAPTER: &str = "adapter is not set, so every parameter trains; write adapter: lora";

const SCALE: Constraint =
    Constraint { holds: |number| number > 0.0 && number <= 1e6, must: "above 0, and at most 1e6" };

impl Check<'_> {
    pub(super) fn adapter(&mut self, file: &RunFile) -> Option<Lora> {
        if !file.adapter.as_ref().is_some_and(|found| found.value.0) {
            self.no_adapter(file);
            return None;
        }
        if let Some(found) = file.freeze.as_ref().filter(|found| !found.value.is_empty()) {
            let message = "`freeze` and `adapter` exclude each other".to_owned();
            self.refuse(&found.at, message, "an adapter freezes all parameters but its own: remove freeze");
        }
        // An adapter that is continued has all of these itself.
        let fresh = file.lora_model_dir.is_none();
        let given = |given: bool| given || fresh;
        let rank = self.count("lora_r", &file.lora_r, DEFAULT_RANK, LARGEST_RANK);
        let alpha = self.number("lora_alpha", &file.lora_alpha, DEFAULT_ALPHA, SCALE);
        let dropout = self.number("lora_dropout", &file.lora_dropout, 0.0, BELOW_1);
        let targets = self.targets(file);
        let names = |found: &Located<ModuleNames>| found.value.0.clone();
        Some(Lora {
            lora_r: given(file.lora_r.is_some()).then_some(rank),
            lora_alpha: given(file.lora_alpha.is_some()).then_some(alpha),
            lora_dropout: given(file.lora_dropout.is_some()).then_some(dropout),
            use_rslora: given(file.use_rslora.is_some())
                .then(|| file.use_rslora.as_ref().is_some_and(|found| found.value)),
            lora_target_modules: targets.or_else(|| fresh.then(|| vec![ALL_LINEAR.to_owned()])),
            lora_modules_to_save: file
                .lora_modules_to_save
                .as_ref()
                .map(names)
                .filter(|list| !list.is_empty()),
            layers_to_transform: file.layers_to_transform.as_ref().map(|found| found.value.0.clone()),
            lora_model_dir: file.lora_model_dir.as_ref().map(|found| found.value.clone()),
        })
    }

    fn targets(&mut self, file: &RunFile) -> Option<Vec<String>> {
        let all = file.lora_target_linear.as_ref().filter(|found| found.value);
        let Some(found) = file.lora_target_modules.as_ref().filter(|found| !found.value.0.is_empty()) else {
            return all.map(|_| vec![ALL_LINEAR.to_owned()]);
        };
        let names = &found.value.0;
        let everything = names.iter().any(|name| name == ALL_LINEAR);
        if (everything && names.len() > 1) || (all.is_some() && !everything) {
            let message = "`lora_target_modules` names modules beside all-linear".to_owned();
            self.refuse(
                &found.at,
                message,
                "all-linear adapts every linear module of the layers: keep one of them",
            );
        }
        Some(names.clone())
    }

    /// Other trainers ignore these keys too; here it is said.
    fn no_adapter(&mut self, file: &RunFile) {
        let because = place(&file.adapter);
        self.without_effect("lora_r", &file.lora_r, because, WITHOUT_ADAPTER);
        self.without_effect("lora_alpha", &file.lora_alpha, because, WITHOUT_ADAPTER);
        self.without_effect("lora_dropout", &file.lora_dropout, because, WITHOUT_ADAPTER);
        let asked = |found: &Option<Located<bool>>| found.clone().filter(|found| found.value);
        self.without_effect("use_rslora", &asked(&file.use_rslora), because, WITHOUT_ADAPTER);
        self.without_effect("lora_target_linear", &asked(&file.lora_target_linear), because, WITHOUT_ADAPTER);
        let named =
            |found: &Option<Located<ModuleNames>>| found.clone().filter(|found| !found.value.0.is_empty());
        self.without_effect(
            "lora_target_modules",
            &named(&file.lora_target_modules),
            because,
            WITHOUT_ADAPTER,
        );
        self.without_effect(
            "lora_modules_to_save",
            &named(&file.lora_modules_to_save),
            because,
            WITHOUT_ADAPTER,
        );
        self.without_effect("layers_to_transform", &file.layers_to_transform, because, WITHOUT_ADAPTER);
        if let Some(found) = &file.lora_model_dir {
            let message = "`lora_model_dir` names an adapter, but `adapter` is not set".to_owned();
            self.refuse(&found.at, message, "write adapter: lora to continue it, or remove lora_model_dir");
        }
    }
}
