//! From a run back to a run file, for a coordinator that repeats it.

use serde_json::{Value, json};

use super::{DEFAULT_EVAL_STEPS, DEFAULT_SAVE_STEPS, Optimizer, RunSpec, Strategy};

impl RunSpec {
    /// A run file, in JSON (which is YAML), that parses to this run.
    pub fn to_run_file(&self) -> String {
        let mut file = serde_json::to_value(self).expect("a run is plain data");
        let keys = file.as_object_mut().expect("a run is an object");
        // Keys whose default means that they were not given, and those that exclude each other.
        keys.retain(|name, value| {
            let given = ["roles_to_train", "eot_tokens"].contains(&name.as_str());
            !value.is_null() && (given || *value != json!([]))
        });
        keys.shift_remove(if self.max_steps.is_some() { "num_train_epochs" } else { "max_steps" });
        keys.shift_remove("momentum");
        match self.update.optim {
            Optimizer::Sgd => {
                for key in ["adam_beta1", "adam_beta2", "adam_epsilon"] {
                    keys.shift_remove(key);
                }
                keys.insert("optim_args".into(), format!("momentum={}", self.update.momentum).into());
            }
            Optimizer::AdamwTorch => {}
        }
        if let Some(Value::Object(adapter)) = keys.shift_remove("adapter") {
            keys.insert("adapter".into(), "lora".into());
            keys.extend(adapter);
        }
        if self.evaluation.eval_strategy != Strategy::Steps {
            keys.shift_remove("eval_steps");
        }
        if self.saving.save_strategy != Strategy::Steps {
            keys.shift_remove("save_steps");
        }
        if self.evaluation.early_stopping_patience.is_none() {
            keys.shift_remove("early_stopping_threshold");
        }
        format!("{:#}\n", Value::Object(std::mem::take(keys)))
    }

    /// The same run without evaluations, early stopping and checkpoints, for measurements.
    pub fn without_evaluation(&self) -> RunSpec {
        let mut spec = self.clone();
        spec.eval_datasets.clear();
        spec.evaluation.eval_strategy = Strategy::No;
        spec.evaluation.eval_steps = DEFAULT_EVAL_STEPS;
        spec.evaluation.eval_on_start = false;
        spec.evaluation.load_best_model_at_end = false;
        spec.evaluation.early_stopping_patience = None;
        spec.evaluation.early_stopping_threshold = 0.0;
        spec.saving.save_strategy = Strategy::No;
        spec.saving.save_steps = DEFAULT_SAVE_STEPS;
        spec
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    const BASE: &str = "base_model: m\ntask: image-classification\ndatasets: [{path: d}]\noutput_dir: o\n";

    #[test]
    fn a_run_file_made_of_a_run_is_the_same_run() {
        let more = [
            "",
            "max_steps: 7\nseed: 18446744073709551615\nlearning_rate: 0.1\ninit: random\n",
            "num_train_epochs: 0.3\noptim: sgd\noptim_args: momentum=0.9\nfreeze: ['a.*']\n",
            "optim: sgd\nsequence_len: 5\nthreads_per_worker: 3\ncluster: {min_workers: 2, max_workers: 40}\n",
            "eval_datasets: [{path: e, label_column: l}]\neval_strategy: epoch\nload_best_model_at_end: true\n\
             metric_for_best_model: f1\nearly_stopping_patience: 2\nearly_stopping_threshold: 0.01\n",
            "lr_scheduler_type: constant\nmodel_overrides: {hidden_dropout_prob: 0.0}\nshards_per_step: 4\n",
            "save_strategy: epoch\nsave_total_limit: 3\nresume_from_checkpoint: auto\n",
            "save_steps: 0.2\nresume_from_checkpoint: false\n",
            "shuffle: blocks\nlabels: [b, a]\ndata_cache: 30MB\n",
            "adapter: lora\nlora_target: q_proj,v_proj\nlora_modules_to_save: [norm]\nlayers_to_transform: 3\n",
            "adapter: lora\nlora_model_dir: /a\nlora_alpha: 7.5\nlearning_rate: 1\nwarmup_steps: 0\n",
            "bf16: true\ngradient_checkpointing: true\n",
            "bf16: auto\nadapter: lora\npeft_use_rslora: yes\nlr_scheduler_type: constant\n",
            "task: causal-lm\nroles_to_train: []\neot_tokens: [a]\nchat_template_kwargs: {x: null}\ntrain_on_eos: none\n\
             datasets: [{path: a, type: chat_template, roles: {user: [x, y]}, message_property_mappings: {role: r}}]\n\
             chat_template: chatml\nexcess_length_strategy: raise\nadd_eos: false\nchat_template_date: 2026-01-02\n",
            "warmup_ratio: 0.1\nlr_scheduler_type: cosine\nglobal_batch_size: 48\nmicro_batch_size: 4\n",
            "layer_decay: 0.75\nl2_sp: 0.1\nunfreeze: [{step: 2, parameters: ['a.*', b]}, {step: 9, parameters: c}]\n",
        ];
        for more in more {
            let given = |line: &&str| {
                let key = line.split_once(':').map_or(*line, |(key, _)| key);
                !more.split('\n').any(|other| other.starts_with(&format!("{key}:")))
            };
            let base: String = BASE.lines().filter(given).map(|line| format!("{line}\n")).collect();
            let spec = crate::run_file::parse("run.yaml", &format!("{base}{more}"), &[]).unwrap();
            let again = crate::run_file::parse("again", &spec.to_run_file(), &[]).unwrap();
            assert_eq!(again, spec, "{more}");
            let bare = spec.without_evaluation();
            assert_eq!(crate::run_file::parse("bare", &bare.to_run_file(), &[]).unwrap(), bare, "{more}");
        }
    }
}
