//! Where the gradients of a micro-batch go: into the trainable vector on the host, or into a tensor on a device.

use std::ops::Range;

use headstart::tree;
use tch::Tensor;

use super::host;
use super::lookup::Lookup;
use crate::trainer::TrainError;

/// Takes gradients. Every place is of one parameter, as elements of the trainable vector.
pub(super) trait Sink {
    /// Sets elements to zero.
    fn clear(&mut self, place: Range<usize>) -> Result<(), TrainError>;

    /// Overwrites elements with those of an f32 tensor, in row-major order.
    fn write(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError>;

    /// Adds the elements of an f32 tensor, in row-major order.
    fn add(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError>;

    /// Adds the gradient of looked-up sums, `[tokens, width]` f32, to the rows of each table, in the order of tokens.
    fn scatter(&mut self, lookups: Vec<Lookup<'_>>, of_input: &Tensor) -> Result<(), TrainError>;
}

/// Takes gradients that nobody needs.
pub(super) struct Dropped;

impl Sink for Dropped {
    fn clear(&mut self, _: Range<usize>) -> Result<(), TrainError> {
        Ok(())
    }

    fn write(&mut self, _: Range<usize>, _: &Tensor) -> Result<(), TrainError> {
        Ok(())
    }

    fn add(&mut self, _: Range<usize>, _: &Tensor) -> Result<(), TrainError> {
        Ok(())
    }

    fn scatter(&mut self, _: Vec<Lookup<'_>>, _: &Tensor) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The trainable vector on the host. What is written is judged while it is in a core's cache.
pub(super) struct HostGradient<'a> {
    pub(super) values: &'a mut [f32],
    /// Whether all that was changed is finite.
    pub(super) finite: bool,
}

impl<'a> HostGradient<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> HostGradient<'a> {
        HostGradient { values, finite: true }
    }
}

impl Sink for HostGradient<'_> {
    fn clear(&mut self, place: Range<usize>) -> Result<(), TrainError> {
        host::clear(&mut self.values[place])
    }

    fn write(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError> {
        let place = &mut self.values[place];
        host::copy(found, place)?;
        self.finite &= tree::all_finite(place);
        Ok(())
    }

    fn add(&mut self, place: Range<usize>, found: &Tensor) -> Result<(), TrainError> {
        let place = &mut self.values[place];
        host::elements(found, |found| tree::add(place, found))?;
        self.finite &= tree::all_finite(place);
        Ok(())
    }

    fn scatter(&mut self, lookups: Vec<Lookup<'_>>, of_input: &Tensor) -> Result<(), TrainError> {
        let width = of_input.size().last().map_or(1, |&width| width as usize);
        host::elements(of_input, |of_input| {
            for lookup in lookups {
                self.finite &= lookup.scatter(width, of_input, self.values);
            }
        })
    }
}
