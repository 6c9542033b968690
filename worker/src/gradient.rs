//! Gradient vectors in memory that a coordinator on this machine can read, used again and again.

use std::sync::{Arc, Mutex, PoisonError};

use headstart::shared_memory::{self, Address, Region, Values};

use crate::trainer::TrainError;

/// A vector as long as the trainable one, in memory that a coordinator on this machine can read.
#[derive(Debug)]
pub struct Gradient {
    pub(crate) values: Values,
    region: Option<Region>,
}

impl Gradient {
    fn new(len: usize) -> std::io::Result<Gradient> {
        let (region, mut values) = shared_memory::create(&[len])?;
        Ok(Gradient { values: values.pop().expect("one part was asked for"), region })
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Where another process finds them.
    pub fn address(&self) -> Option<Address> {
        self.region.as_ref().map(Region::address)
    }
}

/// Gradient vectors between two uses, so that fresh ones need not be mapped and cleared for every shard.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Arc<Mutex<Vec<Gradient>>>);

impl Buffers {
    /// A vector of `len` elements of unspecified value.
    pub(crate) fn take(&self, len: usize) -> Result<Gradient, TrainError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let kept = kept.filter(|gradient| gradient.values.len() == len);
        kept.map_or_else(|| Gradient::new(len).map_err(|error| TrainError::Memory { len, error }), Ok)
    }

    /// Keeps a vector for later.
    pub fn put(&self, gradient: Gradient) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(gradient);
    }
}
