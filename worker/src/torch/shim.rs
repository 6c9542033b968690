//! The C++ shim: settings that decide bits, and what is in force.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

use crate::trainer::TrainError;

unsafe extern "C" {
    fn headstart_deterministic() -> c_int;
    fn headstart_cpu_capability(buffer: *mut c_char, size: usize);
    fn headstart_torch_version(buffer: *mut c_char, size: usize);
}

/// Switches libtorch to deterministic algorithms, for all threads.
pub(super) fn deterministic() -> Result<(), TrainError> {
    // SAFETY: takes no arguments and lets no exception out.
    match unsafe { headstart_deterministic() } {
        0 => Ok(()),
        _ => Err(TrainError::Torch("deterministic algorithms cannot be switched on".into())),
    }
}

/// Instruction set of libtorch's own kernels, such as `AVX512`.
pub(super) fn cpu_capability() -> String {
    text(headstart_cpu_capability)
}

/// libtorch's version, such as `2.11.0`.
pub(super) fn version() -> String {
    text(headstart_torch_version)
}

fn text(fill: unsafe extern "C" fn(*mut c_char, usize)) -> String {
    let mut buffer = [0; 64];
    // SAFETY: the function writes at most `size` bytes into the buffer and ends them with a zero.
    unsafe { fill(buffer.as_mut_ptr(), buffer.len()) };
    // SAFETY: the buffer is alive and ends with a zero.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned()
}
