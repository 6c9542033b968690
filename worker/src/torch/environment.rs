//! Settings that libtorch and its libraries read once, when they are loaded: they must stand before the program begins.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set when the program has started itself anew, so that it does so once at most.
const MARK: &str = "HEADSTART_ENVIRONMENT";

/// Starts the program anew, in the same process, unless every setting that decides bits is in place.
///
/// The instruction set is the machine's, or a lower one that `ATEN_CPU_CAPABILITY` names: machines of different
/// generations can share a run by agreeing on it.
///
/// An error means that it could not; the numeric class tells what is in force then, so a worker that differs is refused.
pub fn fix_environment() -> std::io::Result<()> {
    let settings = settings(std::env::var("ATEN_CPU_CAPABILITY").ok().as_deref());
    let in_place =
        settings.iter().all(|(name, value)| std::env::var_os(name).is_some_and(|found| found == **value));
    if in_place || std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let arguments = std::env::args_os().skip(1);
    Err(Command::new(std::env::current_exe()?).args(arguments).envs(settings).env(MARK, "1").exec())
}

fn settings(asked: Option<&str>) -> BTreeMap<&'static str, String> {
    let instructions = match asked {
        Some(name) => name.to_ascii_lowercase(),
        None => widest().to_owned(),
    };
    // The same instruction set for MKL's matrix products and oneDNN's convolutions; `AUTO` where there is no name for it.
    let (mkl, one_dnn) = match instructions.as_str() {
        "avx512" => ("AVX512", "AVX512_CORE"),
        "avx2" => ("AVX2", "AVX2"),
        _ => ("AUTO", "ALL"),
    };
    BTreeMap::from([
        ("ATEN_CPU_CAPABILITY", instructions),
        ("MKL_CBWR", mkl.to_owned()),
        ("ONEDNN_MAX_CPU_ISA", one_dnn.to_owned()),
        // Otherwise MKL and OpenMP may use fewer threads than they were given, and split sums differently.
        ("MKL_DYNAMIC", "FALSE".to_owned()),
        ("OMP_DYNAMIC", "FALSE".to_owned()),
        // cuBLAS is deterministic only with a workspace of its own.
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8".to_owned()),
        // Memory of one pass is kept for the next rather than given back page by page. glibc allows 32 MiB at most.
        ("MALLOC_MMAP_THRESHOLD_", (32u64 << 20).to_string()),
        ("MALLOC_TRIM_THRESHOLD_", (1u64 << 30).to_string()),
        // One heap for all threads. What the threads that read a checkpoint leave free in heaps of their own would stay resident
        // until the end of the run; one thread allocates almost all of the rest.
        ("MALLOC_ARENA_MAX", "1".to_owned()),
    ])
}

#[cfg(target_arch = "x86_64")]
fn widest() -> &'static str {
    match () {
        () if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma") =>
        {
            "avx512"
        }
        () if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => "avx2",
        () => "default",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn widest() -> &'static str {
    "default"
}
