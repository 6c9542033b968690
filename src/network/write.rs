//! A network as a directory: a whole model that transformers opens, or an adapter that PEFT opens.

use half::{bf16, f16};

use super::Network;
use super::rows::TEMPLATE;
use crate::adapter::{Adapted, Written};
use crate::checkpoint::{
    self, CheckpointError, Content, Dtype, HashedFile, SHARD_BYTES, ToWrite, WrittenFile, config_text,
};
use crate::model::Parameter;
use crate::run_file::{RunSpec, Task};
use crate::store::Location;
use crate::trainable::{SEGMENT, Slot};

impl Network {
    /// Writes weights, configuration, and the files that training does not change. `trained` gives the values of the
    /// parameter at an index of the table, if it trains; others are copied from the checkpoint.
    ///
    /// A language model is written in the checkpoint's dtypes, tensor by tensor; a classifier and an adapter in F32.
    pub async fn write<E, F>(
        &self,
        directory: &Location,
        spec: &RunSpec,
        mut trained: impl FnMut(usize) -> F,
    ) -> Result<Vec<WrittenFile>, E>
    where
        E: From<CheckpointError>,
        F: Future<Output = Result<Vec<f32>, E>>,
    {
        let mut written = match &self.adapter {
            Some(adapted) => self.write_adapter(adapted, directory, spec, trained).await?,
            None => {
                let places = self.trainable.places(self.table.len());
                let tensors = self.tensors(spec.task);
                let contents = |index: usize| {
                    let values = places[index].is_some().then(|| trained(index));
                    let dtype = tensors[index].dtype;
                    async move {
                        match values {
                            Some(values) => Ok::<_, E>(Content::Values(values.await?)),
                            None => Ok(self.frozen(index, dtype).await?),
                        }
                    }
                };
                let mut written =
                    checkpoint::write_model(directory, "model", &tensors, SHARD_BYTES, contents).await?;
                written.push(put(directory, "config.json", self.config_text()).await?);
                written
            }
        };
        written.extend(checkpoint::copy_files(self.directory(), directory).await?);
        if let Some(template) = self.rows.as_ref().and_then(|rows| rows.template.clone()) {
            written.retain(|file| file.name != TEMPLATE);
            written.push(put(directory, TEMPLATE, template).await?);
        }
        Ok(written)
    }

    /// Rounds the trainable vector, held in segments, to the numbers that its tensors are written in.
    pub fn round_as_stored(&self, task: Task, segments: &mut [Vec<f32>]) {
        if self.adapter.is_some() {
            return;
        }
        let tensors = self.tensors(task);
        for slot in self.trainable.slots() {
            let round: fn(f32) -> f32 = match tensors[slot.parameter].dtype {
                Dtype::BF16 => |value| bf16::from_f32(value).to_f32(),
                Dtype::F16 => |value| f16::from_f32(value).to_f32(),
                _ => continue,
            };
            for element in slot.range.clone() {
                let value = &mut segments[element / SEGMENT][element % SEGMENT];
                *value = round(*value);
            }
        }
    }

    /// The table as it is written.
    fn tensors(&self, task: Task) -> Vec<ToWrite> {
        let dtype = |index: usize| match self.checkpoint.stored(&self.resolution, index) {
            Some((_, entry)) if task == Task::CausalLm => entry.dtype,
            _ => Dtype::F32,
        };
        let tensor = |(index, parameter): (usize, &Parameter)| ToWrite {
            name: parameter.name.clone(),
            shape: parameter.shape.clone(),
            dtype: dtype(index),
        };
        self.table.iter().enumerate().map(tensor).collect()
    }

    /// The values of a parameter that does not train: where they lie, if they need no conversion.
    async fn frozen(&self, index: usize, dtype: Dtype) -> Result<Content, CheckpointError> {
        match self.checkpoint.stored(&self.resolution, index) {
            Some((file, entry)) if entry.dtype == dtype => Ok(Content::Stored(file, entry.range.clone())),
            _ => Ok(Content::Values(self.load_one(index).await?)),
        }
    }

    async fn write_adapter<E, F>(
        &self,
        adapted: &Adapted,
        directory: &Location,
        spec: &RunSpec,
        mut trained: impl FnMut(usize) -> F,
    ) -> Result<Vec<WrittenFile>, E>
    where
        E: From<CheckpointError>,
        F: Future<Output = Result<Vec<f32>, E>>,
    {
        let written = adapted.tensors(&self.table);
        let parameters: Vec<usize> = written.iter().map(|tensor| tensor.parameter).collect();
        let tensor = |Written { name, shape, .. }| ToWrite::from((name, shape));
        let tensors: Vec<ToWrite> = written.into_iter().map(tensor).collect();
        let contents = |index: usize| trained(parameters[index]);
        let mut written =
            checkpoint::write_model(directory, "adapter_model", &tensors, u64::MAX, contents).await?;
        // Whoever opens the adapter may stand in another directory.
        let base = self.directory().local_path().map(|path| path.display().to_string());
        let config = adapted.config.to_json(base.as_deref().unwrap_or(&spec.base_model), spec.task);
        written.push(put(directory, "adapter_config.json", format!("{config:#}\n")).await?);
        Ok(written)
    }

    /// `config.json` with the run's changes; everything else as the checkpoint has it.
    fn config_text(&self) -> String {
        let changes = config_text::difference(&self.checkpoint.config, &self.config);
        let text = config_text::change(&self.checkpoint.config_text, &changes);
        text.unwrap_or_else(|| format!("{:#}\n", self.config))
    }

    /// Names of the tensors of `adapter_model.safetensors` that make up the trainable vector, in its order;
    /// empty without an adapter.
    pub fn adapter_order(&self) -> Vec<String> {
        match &self.adapter {
            Some(adapted) => {
                let name = |slot: &Slot| adapted.peft_name(&self.table[slot.parameter].name);
                self.trainable.slots().iter().map(name).collect()
            }
            None => Vec::new(),
        }
    }
}

async fn put(directory: &Location, name: &str, text: String) -> Result<WrittenFile, CheckpointError> {
    let mut file = HashedFile::create(directory, name.to_owned())?;
    file.put(text).await?;
    file.finish().await
}
