//! Tensors' memory on the host, as slices.

#![allow(unsafe_code)]

use tch::{Device, Kind, Tensor};

use crate::trainer::TrainError;

/// Gives the elements of an f32 tensor, in row-major order, to `read`; copies only what is elsewhere or strided.
pub(super) fn elements<T>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> T) -> Result<T, TrainError> {
    let here = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let place = place(&here)?;
    if here.numel() == 0 {
        return Ok(read(&[]));
    }
    // SAFETY: `place` has checked that the tensor's storage has this many f32 from there on. `here` keeps it alive, and
    // nothing writes to it, until `read` has returned.
    Ok(read(unsafe { std::slice::from_raw_parts(place, here.numel()) }))
}

/// A new f32 tensor on the host whose elements, in row-major order, `fill` sets.
pub(super) fn filled(shape: &[i64], fill: impl FnOnce(&mut [f32])) -> Result<Tensor, TrainError> {
    let mut tensor =
        Tensor::f_zeros(0, (Kind::Float, Device::Cpu))?.f_new_empty(shape, (Kind::Float, Device::Cpu))?;
    fill(elements_mut(&mut tensor)?);
    Ok(tensor)
}

/// The elements of a contiguous f32 tensor on the host, whose storage no other tensor is using meanwhile.
pub(super) fn elements_mut(tensor: &mut Tensor) -> Result<&mut [f32], TrainError> {
    let place = place(tensor)?;
    match tensor.numel() {
        0 => Ok(&mut []),
        // SAFETY: `place` has checked that the tensor's storage has this many f32 from there on, and the tensor lives as
        // long as the slice. Tensors are used by one thread, which is here.
        len => Ok(unsafe { std::slice::from_raw_parts_mut(place, len) }),
    }
}

/// Copies the elements of an f32 tensor, in row-major order, with libtorch's threads.
pub(super) fn copy(tensor: &Tensor, to: &mut [f32]) -> Result<(), TrainError> {
    view(to, &tensor.size())?.f_copy_(&tensor.f_detach()?)?;
    Ok(())
}

/// Sets all to zero with libtorch's threads.
pub(super) fn clear(values: &mut [f32]) -> Result<(), TrainError> {
    let _ = view(values, &[values.len() as i64])?.f_zero_()?;
    Ok(())
}

/// A tensor over memory that is not libtorch's. It is only written to: kernels that compute read aligned memory.
fn view(values: &mut [f32], shape: &[i64]) -> Result<Tensor, TrainError> {
    let len: i64 = shape.iter().product();
    if len != values.len() as i64 {
        return Err(TrainError::Torch(format!("{len} elements for a place of {}", values.len())));
    }
    let mut strides = vec![1; shape.len()];
    for side in (1..shape.len()).rev() {
        strides[side - 1] = strides[side] * shape[side];
    }
    let data = values.as_mut_ptr().cast_const().cast::<u8>();
    // SAFETY: shape and strides cover exactly the slice, and the tensor is dropped before the caller's borrow ends.
    Ok(unsafe { Tensor::f_from_blob(data, shape, &strides, Kind::Float, Device::Cpu)? })
}

/// Where the elements of a contiguous f32 tensor on the host begin.
fn place(tensor: &Tensor) -> Result<*mut f32, TrainError> {
    let (device, kind) = (tensor.device(), tensor.f_kind()?);
    if device != Device::Cpu || kind != Kind::Float || !tensor.is_contiguous() {
        return Err(TrainError::Torch(format!(
            "expected contiguous f32 on the host, found {kind:?} on {device:?}"
        )));
    }
    Ok(tensor.data_ptr().cast::<f32>())
}
