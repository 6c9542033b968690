//! A shard's gradient on a device, over its micro-batches: one tensor, to which everything is added where it is found.
//!
//! Nothing here makes the host wait but [`DeviceGradient::read`], once a micro-batch, and [`DeviceGradient::give`], once a
//! shard. Additions have one order: kernels that add atomically are switched off (`shim.cpp`). Of rows of a table, libtorch sorts
//! the numbers, stably, and adds equal ones one after the other (`index_put_` that accumulates).

use std::ops::Range;

use rayon::ThreadPool;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::gradient::Sink;
use super::lookup::Lookup;
use super::padded::Padded;
use super::{bus, host};
use crate::trainer::TrainError;

/// Rows of a table up to which scattering is a product with a matrix of zeros and ones: with more tokens than rows, adding one
/// after the other would leave most of a device idle.
const FEW: i64 = 16;

pub(super) struct DeviceGradient {
    layout: Padded,
    device: Device,
    /// f32, `[padded elements]`, on the device; padding is zero.
    sum: Tensor,
    /// The same, in pinned memory.
    image: Tensor,
}

impl DeviceGradient {
    /// Room for a gradient of this layout; the first micro-batch of a shard overwrites what is in it.
    pub(super) fn new(layout: Padded, device: Device) -> Result<DeviceGradient, TrainError> {
        let sum = Tensor::f_zeros([layout.len() as i64], (Kind::Float, device))?;
        let image = bus::pinned(layout.len(), device)?;
        Ok(DeviceGradient { layout, device, sum, image })
    }

    /// The numbers of a micro-batch, f64, `[numbers]`, and whether all of the gradient is finite. The one wait of a micro-batch.
    pub(super) fn read(&self, numbers: &Tensor) -> Result<(Vec<f64>, bool), TrainError> {
        // Both are NaN as soon as one element is.
        let (least, most) = self.sum.f_aminmax(None, false)?;
        let bounds = Tensor::f_stack(&[least, most], 0)?.f_to_kind(Kind::Double)?;
        let mut numbers = bus::read(&Tensor::f_cat(&[numbers, &bounds], 0)?)?;
        let bounds = numbers.split_off(numbers.len() - 2);
        Ok((numbers, bounds.into_iter().all(f64::is_finite)))
    }

    /// Copies the gradient into the trainable vector's place on the host, with the threads of `pool`.
    pub(super) fn give(&mut self, pool: &ThreadPool, gradient: &mut [f32]) -> Result<(), TrainError> {
        bus::download(&self.sum, &self.image)?;
        let (mut pairs, mut rest) = (Vec::new(), gradient);
        for (_, piece) in self.layout.pieces(host::elements_mut(&mut self.image)?) {
            let (place, after) = rest.split_at_mut_checked(piece.len()).ok_or_else(too_short)?;
            rest = after;
            pairs.push((place, piece));
        }
        pool.install(|| pairs.into_par_iter().for_each(|(place, piece)| place.copy_from_slice(piece)));
        Ok(())
    }

    fn view(&self, place: &Range<usize>) -> Result<Tensor, TrainError> {
        self.layout.view(&self.sum, place)
    }
}

fn too_short() -> TrainError {
    TrainError::Torch("the place of a gradient is shorter than the gradient".into())
}

impl Sink for DeviceGradient {
    fn clear(&mut self, place: Range<usize>) -> Result<(), TrainError> {
        let _ = self.view(&place)?.f_zero_()?;
        Ok(())
    }

    fn write(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError> {
        Ok(self.view(&place)?.f_view(&found.size()[..])?.f_copy_(&found.f_detach()?)?)
    }

    fn add(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError> {
        let _ = self.view(&place)?.f_view(&found.size()[..])?.f_add_(&found.f_detach()?)?;
        Ok(())
    }

    fn scatter(&mut self, lookups: Vec<Lookup<'_>>, of_input: &Tensor) -> Result<(), TrainError> {
        let of_input = of_input.f_detach()?;
        let (tokens, width) = of_input.size2()?;
        for Lookup { place, rows } in lookups {
            let (kept, rows): (Vec<i64>, Vec<i64>) =
                (0..).zip(rows).filter_map(|(token, row)| Some((token, row? as i64))).unzip();
            let mut table = self.view(&place)?.f_view([-1, width])?;
            let found = match kept.len() as i64 == tokens {
                true => of_input.shallow_clone(),
                false => of_input.f_index_select(0, &bus::input(&kept, self.device)?)?,
            };
            let (rows, of_table) = (bus::input(&rows, self.device)?, table.size()[0]);
            if of_table <= FEW {
                let all = Tensor::f_arange(of_table, (Kind::Int64, self.device))?.f_unsqueeze(1)?;
                let chosen = all.f_eq_tensor(&rows.f_unsqueeze(0)?)?.f_to_kind(Kind::Float)?;
                let _ = table.f_add_(&chosen.f_mm(&found)?)?;
            } else {
                let _ = table.f_index_put_(&[Some(rows)], &found, true)?;
            }
        }
        Ok(())
    }
}
