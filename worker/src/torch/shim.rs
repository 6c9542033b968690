//! The C++ shim: settings that decide bits, and what is in force.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::Tensor;

use crate::trainer::TrainError;

unsafe extern "C" {
    fn headstart_deterministic() -> c_int;
    fn headstart_give_back_memory();
    fn headstart_cpu_capability(buffer: *mut c_char, size: usize);
    fn headstart_torch_version(buffer: *mut c_char, size: usize);
    fn headstart_frozen_linear(
        input: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        reason: *mut c_char,
        size: usize,
    ) -> *mut c_void;
}

/// Switches libtorch to deterministic algorithms, for all threads.
pub(super) fn deterministic() -> Result<(), TrainError> {
    // SAFETY: takes no arguments and lets no exception out.
    match unsafe { headstart_deterministic() } {
        0 => Ok(()),
        _ => Err(TrainError::Torch("deterministic algorithms cannot be switched on".into())),
    }
}

/// Gives memory that is free back to the system. The allocator keeps it otherwise, and each thread can use only what it freed
/// itself: of a checkpoint's first values, read on other threads, nothing.
pub(super) fn give_back_memory() {
    // SAFETY: takes no arguments; glibc lets threads allocate meanwhile.
    unsafe { headstart_give_back_memory() }
}

/// Instruction set of libtorch's own kernels, such as `AVX512`.
pub(super) fn cpu_capability() -> String {
    text(headstart_cpu_capability)
}

/// libtorch's version, such as `2.11.0`.
pub(super) fn version() -> String {
    text(headstart_torch_version)
}

/// `input · weightᵀ + bias` in the input's number format, for a weight that does not train: `[…, from]` in, `[…, to]` out.
///
/// The graph keeps the weight as it is stored, and widens it again in the backward pass.
pub(super) fn frozen_linear(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor, TrainError> {
    let mut reason = [0; 256];
    let bias = bias.map_or(std::ptr::null(), |bias| bias.as_ptr().cast());
    let (input, weight) = (input.as_ptr().cast(), weight.as_ptr().cast());
    // SAFETY: the pointers are of live tensors, or null for the bias; the function writes at most `size` bytes of a reason,
    // ends them with a zero, and lets no exception out.
    let output = unsafe { headstart_frozen_linear(input, weight, bias, reason.as_mut_ptr(), reason.len()) };
    if output.is_null() {
        // SAFETY: the buffer is alive and ends with a zero.
        let reason = unsafe { CStr::from_ptr(reason.as_ptr()) }.to_string_lossy().into_owned();
        return Err(TrainError::Torch(reason.lines().next().unwrap_or_default().to_owned()));
    }
    // SAFETY: a new tensor, which nothing else owns.
    Ok(unsafe { Tensor::from_ptr(output.cast()) })
}

fn text(fill: unsafe extern "C" fn(*mut c_char, usize)) -> String {
    let mut buffer = [0; 64];
    // SAFETY: the function writes at most `size` bytes into the buffer and ends them with a zero.
    unsafe { fill(buffer.as_mut_ptr(), buffer.len()) };
    // SAFETY: the buffer is alive and ends with a zero.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned()
}
