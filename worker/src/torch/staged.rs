//! Weights that train, on a device: one tensor there, and its image on the host, which is what is read and written.
//!
//! An image that was written goes up before the next computation, all at once. So a version of the weights crosses once, in
//! however many pieces it came, and a replica updates the image in place. Weights that never change have no image.

use std::cell::Cell;

use headstart::trainable::Slot;
use tch::{Device, Kind, Tensor};

use super::padded::Padded;
use super::{bus, host};
use crate::trainer::TrainError;

pub(super) struct Staged {
    layout: Padded,
    /// f32, `[padded elements]`, on the device: every parameter that trains is a view of it.
    flat: Tensor,
    /// The same, in pinned memory, from the first write on.
    image: Option<Tensor>,
    /// Whether the image may differ from what is on the device.
    is_written: Cell<bool>,
}

impl Staged {
    /// Moves the parameters of `slots` into one tensor on the device: they become views of it, and leaves of graphs.
    pub(super) fn new(
        slots: &[Slot],
        parameters: &mut [Tensor],
        device: Device,
    ) -> Result<Staged, TrainError> {
        let layout = Padded::new(slots);
        let flat = Tensor::f_zeros([layout.len() as i64], (Kind::Float, device))?;
        for slot in slots {
            let parameter = &mut parameters[slot.parameter];
            let mut view = layout.view(&flat, &slot.range)?.f_view(&parameter.size()[..])?;
            view.f_copy_(&parameter.f_detach()?)?;
            *parameter = view.f_detach()?.f_set_requires_grad(true)?;
        }
        Ok(Staged { layout, flat, image: None, is_written: Cell::new(false) })
    }

    /// The layout of the trainable vector on the device.
    pub(super) fn layout(&self) -> &Padded {
        &self.layout
    }

    /// The trainable vector in pieces, each with the number of its first element, to be written.
    pub(super) fn pieces(&mut self) -> Result<Vec<(usize, &mut [f32])>, TrainError> {
        let layout = self.layout.clone();
        Ok(layout.pieces(self.image()?))
    }

    /// Overwrites elements of one parameter, from element `at` of the trainable vector on.
    pub(super) fn set(&mut self, at: usize, values: &[f32]) -> Result<(), TrainError> {
        let place = self.layout.place(&(at..at + values.len()));
        self.image()?[place].copy_from_slice(values);
        Ok(())
    }

    /// The image, to be written.
    fn image(&mut self) -> Result<&mut [f32], TrainError> {
        self.is_written.set(true);
        let image = match &mut self.image {
            Some(image) => image,
            empty => {
                let image = bus::pinned(self.layout.len(), self.flat.device())?;
                bus::download(&self.flat, &image)?;
                empty.insert(image)
            }
        };
        host::elements_mut(image)
    }

    /// Brings the device up to date with the image.
    pub(super) fn upload(&self) -> Result<(), TrainError> {
        if let Some(image) = self.image.as_ref().filter(|_| self.is_written.get()) {
            bus::upload(image, &self.flat)?;
            self.is_written.set(false);
        }
        Ok(())
    }
}
