//! The way between the host and a device, and how often it is taken.
//!
//! A copy out of ordinary memory makes the host wait for the device; one out of pinned memory only joins the device's queue. So
//! what a batch needs goes up from pinned memory, and the host waits for one small tensor of numbers a micro-batch, for the
//! weights once a version, and for a gradient once a shard. Everything that crosses goes through here, and is counted here.

use std::cell::Cell;

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::trainer::TrainError;

/// Copies between host and device that this thread has made. Where the device is the host nothing crosses, but all is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crossings {
    /// Parts of a batch: they join the device's queue, and the host does not wait.
    pub(super) inputs: u64,
    /// Tensors of numbers that the host waited for.
    pub(super) reads: u64,
    /// The weights that train, at once; the host waits.
    pub(super) uploads: u64,
    /// A shard's gradient, at once, and once the first weights; the host waits.
    pub(super) downloads: u64,
}

thread_local! {
    static CROSSINGS: Cell<Crossings> = const { Cell::new(Crossings { inputs: 0, reads: 0, uploads: 0, downloads: 0 }) };
}

/// What has crossed since this was last asked, on this thread: one thread owns libtorch.
#[cfg(test)]
pub(super) fn take_crossings() -> Crossings {
    CROSSINGS.take()
}

fn count(crossed: impl FnOnce(&mut Crossings)) {
    let mut crossings = CROSSINGS.get();
    crossed(&mut crossings);
    CROSSINGS.set(crossings);
}

/// A part of a batch, on its device.
pub(super) fn input<T: Element>(values: &[T], device: Device) -> Result<Tensor, TrainError> {
    if values.is_empty() {
        return Ok(Tensor::f_zeros([0], (T::KIND, device))?);
    }
    count(|crossings| crossings.inputs += 1);
    let here = Tensor::f_from_slice(values)?;
    match device {
        Device::Cpu => Ok(here),
        // libtorch keeps pinned memory from its next use until the copy is done.
        _ => Ok(here.f_internal_pin_memory(device)?.f_to_device_(device, T::KIND, true, false)?),
    }
}

/// Numbers, f64, `[numbers]`. The host waits until all that was asked of the device before is done.
pub(super) fn read(numbers: &Tensor) -> Result<Vec<f64>, TrainError> {
    count(|crossings| crossings.reads += 1);
    Ok(Vec::try_from(numbers.f_to_device(Device::Cpu)?)?)
}

/// Zeros in host memory, f32, `[len]`, that copies from and to a device need no other memory for.
pub(super) fn pinned(len: usize, device: Device) -> Result<Tensor, TrainError> {
    let plain = Tensor::f_zeros([len as i64], (Kind::Float, Device::Cpu))?;
    match device {
        Device::Cpu => Ok(plain),
        _ => Ok(plain.f_internal_pin_memory(device)?),
    }
}

/// Copies the weights that train from host memory to the device. The host waits, so that it may write there again.
pub(super) fn upload(here: &Tensor, there: &Tensor) -> Result<(), TrainError> {
    count(|crossings| crossings.uploads += 1);
    Ok(there.shallow_clone().f_copy_(here)?)
}

/// Copies a gradient, or weights, from the device to host memory, and waits for it.
pub(super) fn download(there: &Tensor, here: &Tensor) -> Result<(), TrainError> {
    count(|crossings| crossings.downloads += 1);
    Ok(here.shallow_clone().f_copy_(there)?)
}
