//! A network's tensors, and their places in the flat trainable vector.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

use headstart::model::{Block, Parameter};
use headstart::network::Network;
use headstart::trainable::{Slot, Trainable};
use tch::{Device, Kind, Tensor};

use crate::trainer::TrainError;

/// The parameters of a network, on one device, in f32.
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
        values: Vec<Vec<f32>>,
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
            tensors.push(Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_device(device)?);
        }
        for (tensor, place) in tensors.iter_mut().zip(&places) {
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
        })
    }

    /// The parameters of a network with these first values.
    pub(super) fn of(
        network: &Network,
        values: Vec<Vec<f32>>,
        device: Device,
    ) -> Result<Parameters, TrainError> {
        Parameters::new(&network.table, &network.trainable, values, device)
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
            write(&self.tensors[slot.parameter], from - slot.range.start, part)?;
        }
        Ok(())
    }
}

/// Overwrites elements of a contiguous f32 tensor, in row-major order from number `start` on.
fn write(tensor: &Tensor, start: usize, values: &[f32]) -> Result<(), TrainError> {
    if tensor.device() != Device::Cpu {
        let flat = tensor.f_detach()?.f_view([-1])?;
        let mut place = flat.f_narrow(0, start as i64, values.len() as i64)?;
        place.f_copy_(&Tensor::f_from_slice(values)?)?;
        return Ok(());
    }
    assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float && start + values.len() <= tensor.numel());
    // SAFETY: the tensor is contiguous f32 in host memory with room for the values, as just checked. Its storage is shared
    // with the network's blocks, but only this thread, which is here, reads or writes it.
    unsafe {
        let place = tensor.data_ptr().cast::<f32>().add(start);
        std::ptr::copy_nonoverlapping(values.as_ptr(), place, values.len());
    }
    Ok(())
}

/// Gives the elements of an f32 tensor, in row-major order, to `read`; copies only what is elsewhere or strided.
pub(super) fn elements<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T, TrainError> {
    let here = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    if here.f_kind()? != Kind::Float {
        return Err(TrainError::Torch(format!("expected f32, found {:?}", here.kind())));
    }
    let pointer = here.data_ptr().cast::<f32>();
    if here.numel() == 0 {
        return Ok(read(&[]));
    }
    // SAFETY: the tensor is contiguous f32 in host memory, so its storage has this many elements from `pointer` on, aligned
    // and initialised; `here` keeps it alive, and nothing writes to it, until `read` has returned.
    Ok(read(unsafe { std::slice::from_raw_parts(pointer, here.numel()) }))
}
