//! libtorch, the processor or GPU, and room on the disk.

use std::path::{Path, PathBuf};

use headstart::exit::Exit;
use nix::sys::statvfs::statvfs;

use super::Check;
use super::worker_check::{self, Checked};

/// Room below which a cache of remote data is likely to fill the disk, in bytes.
const LITTLE: u64 = 1 << 30;

/// libtorch as the worker finds it, and what it computes on.
pub(super) async fn libtorch(device: &str, threads: u32) -> Vec<Check> {
    match worker_check::ask(device, threads).await {
        Ok(probed) => {
            let class = &probed.class;
            let said = format!("{}, with headstart-worker {}", class.libtorch, class.headstart);
            vec![Check::ok("libtorch", said), kind(&probed)]
        }
        Err(error) => {
            let cure = "run make build, or look at LD_LIBRARY_PATH when a library is missing";
            vec![Check::fail("libtorch", error.exit(), format!("{error}; {cure}"))]
        }
    }
}

fn kind(Checked { class, gpus }: &Checked) -> Check {
    let driver = Path::new("/proc/driver/nvidia").is_dir();
    match (class.device.as_str(), class.instructions.as_str()) {
        ("cpu", _) if driver && *gpus == 0 => Check::warn(
            "device",
            "cpu, though there is an NVIDIA driver: put the lib folder of a torch with CUDA on LD_LIBRARY_PATH",
        ),
        ("cpu", instructions @ ("AVX2" | "AVX512")) => Check::ok("device", format!("cpu, {instructions}")),
        ("cpu", instructions) => Check::warn(
            "device",
            format!(
                "cpu, {instructions}: without AVX2 it is several times slower; use another machine if you can"
            ),
        ),
        (gpu, _) => Check::ok("device", format!("{gpu}, {gpus} visible")),
    }
}

/// Whether the processor has the threads that a worker is given.
pub(super) fn threads(wanted: u32) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match wanted as usize > cores {
        true => Check::warn(
            "threads",
            format!(
                "threads_per_worker is {wanted}, but this machine has {cores} cores: lower it before the run begins"
            ),
        ),
        false => Check::ok("threads", format!("{wanted} a worker, {cores} cores")),
    }
}

/// Room where workers keep remote data.
pub(super) fn disk() -> Check {
    let cache = std::env::var_os("HEADSTART_CACHE").map_or_else(std::env::temp_dir, PathBuf::from);
    let shown = cache.display();
    match free(&cache) {
        Ok(bytes) if bytes < LITTLE => Check::warn(
            "disk",
            format!("{} MiB free in {shown}: free some, or point HEADSTART_CACHE elsewhere", bytes >> 20),
        ),
        Ok(bytes) => {
            Check::ok("disk", format!("{:.1} GiB free in {shown}", bytes as f64 / (1u64 << 30) as f64))
        }
        Err(error) => {
            let cure = "point HEADSTART_CACHE at a directory that can be read";
            Check::fail("disk", Exit::Internal, format!("{shown}: {error}; {cure}"))
        }
    }
}

/// Bytes free where `path` is, or would be made.
fn free(path: &Path) -> nix::Result<u64> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(path);
    let room = statvfs(there)?;
    Ok(room.blocks_available() * room.fragment_size())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn room_is_that_of_the_directory_a_path_would_be_in() {
        let directory = tempfile::tempdir().unwrap();
        let room = free(&directory.path().join("not/there/yet")).unwrap();
        assert!(room > 0);
    }

    #[test]
    fn more_threads_than_cores_are_a_warning() {
        assert!(threads(1).to_string().starts_with("ok "));
        let said = threads(100_000).to_string();
        assert!(said.starts_with("warn ") && said.contains("threads_per_worker is 100000"), "{said}");
    }
}
