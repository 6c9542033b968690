//! A network's tensors, and their places in the flat trainable vector.

use std::collections::BTreeMap;
use std::ops::Range;

use headstart::checkpoint::Values;
use headstart::model::{Block, Parameter};
use headstart::network::Network;
use headstart::trainable::{Slot, Trainable};
use tch::{Device, Kind, Tensor};

use super::host;
use super::padded::Padded;
use super::staged::Staged;
use crate::trainer::{PIECE, TrainError};

/// The parameters of a network, on one device: f32, but matrices that do not train as the checkpoint stores them.
pub(super) struct Parameters {
    tensors: Vec<Tensor>,
    /// By the name transformers gives them.
    index: BTreeMap<String, usize>,
    slots: Vec<Slot>,
    /// Per parameter, its place in the trainable vector; `None` for frozen ones.
    places: Vec<Option<Range<usize>>>,
    blocks: Vec<Block>,
    len: usize,
    device: Device,
    /// Numbers of the forward and backward pass between the blocks.
    compute: Kind,
    /// What the tensors that train are views of; `None`: they have memory of their own, on the host.
    staged: Option<Staged>,
}

/// A trainable parameter of a block.
pub(super) struct Trained<'a> {
    /// Its values: the leaf that gradients are taken with respect to.
    pub(super) tensor: &'a Tensor,
    /// Elements of the trainable vector.
    pub(super) place: Range<usize>,
}

impl Parameters {
    /// Takes over first values, in the order of `table`; those of them that `layout` trains get gradients.
    pub(super) fn new(
        table: &[Parameter],
        layout: &Trainable,
        values: Vec<Values>,
        device: Device,
    ) -> Result<Parameters, TrainError> {
        let mut places = vec![None; table.len()];
        for slot in layout.slots() {
            places[slot.parameter] = Some(slot.range.clone());
        }
        let mut tensors = Vec::with_capacity(table.len());
        for (parameter, values) in table.iter().zip(values) {
            if values.len() != parameter.len() {
                let text =
                    format!("{} has {} values, expected {}", parameter.name, values.len(), parameter.len());
                return Err(TrainError::Torch(text));
            }
            let shape: Vec<i64> = parameter.shape.iter().map(|&side| side as i64).collect();
            let stored = match values {
                Values::F32(values) => Tensor::f_from_slice(&values)?,
                Values::F16(values) => Tensor::f_from_slice(&values)?,
                // tch takes them for f16.
                Values::Bf16(values) => Tensor::f_from_slice(bytemuck::cast_slice::<_, i16>(&values))?
                    .f_view_dtype(Kind::BFloat16)?,
            };
            tensors.push(stored.f_reshape(shape)?.f_to_device(device)?);
        }
        for (tensor, place) in tensors.iter_mut().zip(&places) {
            // Widened at each use: the same values, so storage changes no bits.
            let narrow = place.is_none() && tensor.dim() == 2;
            if !narrow {
                *tensor = tensor.f_to_kind(Kind::Float)?;
            }
            *tensor = tensor.f_set_requires_grad(place.is_some())?;
        }
        Ok(Parameters {
            tensors,
            index: table
                .iter()
                .enumerate()
                .map(|(index, parameter)| (parameter.name.clone(), index))
                .collect(),
            slots: layout.slots().to_vec(),
            places,
            blocks: table.iter().map(|parameter| parameter.block).collect(),
            len: layout.len(),
            device,
            compute: Kind::Float,
            staged: None,
        })
    }

    /// The parameters of a network with these first values.
    pub(super) fn of(
        network: &Network,
        values: Vec<Values>,
        device: Device,
    ) -> Result<Parameters, TrainError> {
        Parameters::new(&network.table, &network.trainable, values, device)
    }

    /// The same, for passes that compute in this number format.
    pub(super) fn computing(self, compute: Kind) -> Parameters {
        Parameters { compute, ..self }
    }

    /// The same, with one tensor on the device for all that trains, and its image on the host.
    pub(super) fn staged(mut self) -> Result<Parameters, TrainError> {
        self.staged = Some(Staged::new(&self.slots, &mut self.tensors, self.device)?);
        Ok(self)
    }

    /// The layout of the trainable vector on a device; `None` where it is on the host alone.
    pub(super) fn layout(&self) -> Option<&Padded> {
        self.staged.as_ref().map(Staged::layout)
    }

    /// Makes what was written since the last computation be what the next one uses.
    pub(super) fn upload(&self) -> Result<(), TrainError> {
        self.staged.as_ref().map_or(Ok(()), Staged::upload)
    }

    /// Numbers of the forward and backward pass between the blocks. Norms, losses and all that trains are f32 always.
    pub(super) fn compute(&self) -> Kind {
        self.compute
    }

    /// Where they are.
    pub(super) fn device(&self) -> Device {
        self.device
    }

    /// Elements of the trainable vector.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A parameter by name, sharing its storage: later [`Parameters::set`] shows through.
    pub(super) fn tensor(&self, name: &str) -> Tensor {
        let index =
            self.index.get(name).unwrap_or_else(|| panic!("the table of this architecture has no {name}"));
        self.tensors[*index].shallow_clone()
    }

    /// A parameter's place in the trainable vector; `None` when it is frozen.
    pub(super) fn place(&self, name: &str) -> Option<Range<usize>> {
        self.places[*self.index.get(name)?].clone()
    }

    /// The trainable parameters of a block, in the vector's order.
    pub(super) fn trained(&self, block: Block) -> impl Iterator<Item = Trained<'_>> {
        let of_block = self.slots.iter().filter(move |slot| self.blocks[slot.parameter] == block);
        of_block.map(|slot| Trained { tensor: &self.tensors[slot.parameter], place: slot.range.clone() })
    }

    /// Places of the parameters that a step (from 0) does not train yet.
    pub(super) fn not_yet(&self, step: u64) -> Vec<Range<usize>> {
        let later = self.slots.iter().filter(|slot| slot.treatment.own_number(step + 1).is_none());
        later.map(|slot| slot.range.clone()).collect()
    }

    /// First element of a block in the trainable vector, if anything of it trains.
    pub(super) fn start(&self, block: Block) -> Option<usize> {
        self.trained(block).map(|parameter| parameter.place.start).next()
    }

    /// The trainable vector on the host, in pieces, each with the number of its first element.
    pub(super) fn pieces(&mut self) -> Result<Vec<(usize, &mut [f32])>, TrainError> {
        if let Some(staged) = &mut self.staged {
            return staged.pieces();
        }
        let mut pieces = Vec::new();
        for (tensor, place) in self.tensors.iter_mut().zip(&self.places) {
            let Some(place) = place else { continue };
            pieces.extend(place.clone().step_by(PIECE).zip(host::elements_mut(tensor)?.chunks_mut(PIECE)));
        }
        Ok(pieces)
    }

    /// Overwrites the trainable vector from element `offset` on.
    pub(super) fn set(&mut self, offset: usize, values: &[f32]) -> Result<(), TrainError> {
        let end = offset + values.len();
        if end > self.len {
            return Err(TrainError::Torch(format!("elements {offset}..{end} of a vector of {}", self.len)));
        }
        let first = self.slots.partition_point(|slot| slot.range.end <= offset);
        for slot in self.slots[first..].iter().take_while(|slot| slot.range.start < end) {
            let (from, to) = (slot.range.start.max(offset), slot.range.end.min(end));
            let part = &values[from - offset..to - offset];
            if let Some(staged) = &mut self.staged {
                staged.set(from, part)?;
                continue;
            }
            let start = from - slot.range.start;
            let tensor = &mut self.tensors[slot.parameter];
            host::elements_mut(tensor)?[start..start + part.len()].copy_from_slice(part);
        }
        Ok(())
    }
}
