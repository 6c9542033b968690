//! How many samples a step has, and how they are cut into shards.

use super::super::Batch;
use super::super::error::Problem;
use super::super::keys::RunFile;
use super::check::Check;

/// Largest number of samples of one step.
const LARGEST_BATCH: u32 = 1 << 20;
/// Most shards of one step.
const MOST_SHARDS: u32 = 1 << 16;

impl Check<'_> {
    pub(super) fn batch(&mut self, file: &RunFile) -> Batch {
        let eval =
            self.count("per_device_eval_batch_size", &file.per_device_eval_batch_size, 8, LARGEST_BATCH);
        let steps = &file.gradient_accumulation_steps;
        let accumulation = self.count("gradient_accumulation_steps", steps, 1, LARGEST_BATCH);
        let written = self.count("global_batch_size", &file.global_batch_size, 0, LARGEST_BATCH);
        let micro_batch = &file.per_device_train_batch_size;
        let mut per_device = self.count("per_device_train_batch_size", micro_batch, 8, LARGEST_BATCH);
        let mut global = u64::from(per_device) * u64::from(accumulation);
        if let (Some(found), 1..) = (&file.global_batch_size, written) {
            if micro_batch.is_none() && steps.is_some() && written.is_multiple_of(accumulation) {
                per_device = written / accumulation;
            }
            let product = u64::from(per_device) * u64::from(accumulation);
            if steps.is_some() && product != u64::from(written) {
                let message = format!(
                    "`global_batch_size` is {written}, but {per_device} × {accumulation} = {product}"
                );
                let help = "it is per_device_train_batch_size × gradient_accumulation_steps: remove one of the three";
                self.refuse(&found.at, message, help);
            } else if !written.is_multiple_of(per_device) {
                let message = format!(
                    "`global_batch_size` {written} is not a multiple of per_device_train_batch_size {per_device}"
                );
                self.refuse(&found.at, message, "change one of the two");
            }
            global = u64::from(written);
        }
        if global > u64::from(LARGEST_BATCH) {
            if let Some(found) = steps.as_ref().or(micro_batch.as_ref()) {
                let message = format!("a step of {global} samples is too large: at most {LARGEST_BATCH}");
                self.refuse(&found.at, message, "use a smaller batch");
            }
            global = u64::from(LARGEST_BATCH);
        }
        let global = global as u32;
        let default_shards = global.div_ceil(per_device);
        let shards =
            self.count("shards_per_step", &file.shards_per_step, default_shards, MOST_SHARDS.min(global));
        if shards > MOST_SHARDS {
            let message = format!("a step of {shards} shards is too finely cut: at most {MOST_SHARDS}");
            let problem = Problem::whole(self.source, message);
            self.findings.push(problem.help("set shards_per_step, or a larger per_device_train_batch_size"));
        }
        Batch {
            per_device_train_batch_size: per_device,
            per_device_eval_batch_size: eval,
            global_batch_size: global,
            shards_per_step: shards,
        }
    }
}
