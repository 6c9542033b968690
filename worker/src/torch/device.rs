//! What to compute on. One program serves CPU and CUDA: libtorch's CUDA part is loaded when a GPU is asked for.

#![allow(unsafe_code)]

use tch::{Cuda, Device};

use crate::trainer::TrainError;

/// libtorch's CUDA part, as the loader finds it (LD_LIBRARY_PATH, or beside the libtorch of this build).
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Resolves `auto`, `cpu`, `cuda` or `cuda:N` to `cpu` or `cuda:N`. Must be called before the first tensor.
pub fn choose_device(asked: &str) -> Result<String, TrainError> {
    match asked {
        "cpu" => Ok("cpu".to_owned()),
        "auto" => {
            Ok(if load_cuda().is_ok() && Cuda::device_count() > 0 { "cuda:0" } else { "cpu" }.to_owned())
        }
        _ => {
            let refuse = |reason: String| TrainError::Device(format!("--device {asked}: {reason}"));
            let index = match asked.strip_prefix("cuda") {
                Some("") => Some(0),
                Some(rest) => rest.strip_prefix(':').and_then(|number| number.parse::<i64>().ok()),
                None => None,
            };
            let index =
                index.ok_or_else(|| refuse("not a device; write auto, cpu, cuda or cuda:N".into()))?;
            load_cuda().map_err(|error| {
                refuse(format!("{CUDA_LIBRARY} cannot be loaded ({error}); put the lib folder of a torch with CUDA on LD_LIBRARY_PATH"))
            })?;
            match Cuda::device_count() {
                0 => Err(refuse("no GPU was found; look at nvidia-smi".into())),
                count if index >= count => {
                    Err(refuse(format!("this machine has {count} GPUs, counted from 0")))
                }
                _ => Ok(format!("cuda:{index}")),
            }
        }
    }
}

/// The device of a name that [`choose_device`] returned.
pub(super) fn device(name: &str) -> Device {
    match name.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
        Some(index) => Device::Cuda(index),
        None => Device::Cpu,
    }
}

/// The device's kind: `cpu`, or the GPU's product name.
pub(super) fn kind(device: Device) -> String {
    let Device::Cuda(index) = device else { return "cpu".to_owned() };
    let mut gpus: Vec<_> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .map(|entries| entries.filter_map(|entry| entry.ok()).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    gpus.sort();
    let information = gpus.get(index).and_then(|gpu| std::fs::read_to_string(gpu.join("information")).ok());
    let model =
        information.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("Model:")));
    model.map_or_else(|| "cuda".to_owned(), |name| name.trim().to_owned())
}

fn load_cuda() -> Result<(), libloading::Error> {
    let flags = libloading::os::unix::RTLD_GLOBAL | libloading::os::unix::RTLD_NOW;
    // SAFETY: libtorch's CUDA part only registers its kernels when it is loaded, and no tensor exists yet.
    let library = unsafe { libloading::os::unix::Library::open(Some(CUDA_LIBRARY), flags) }?;
    // It stays loaded for the life of the process: kernels point into it.
    std::mem::forget(library);
    Ok(())
}
