//! How much memory this worker may plan with.

use std::path::Path;

/// When nothing tells.
const FALLBACK: u64 = 1 << 30;

/// Bytes for accumulators: half of what is free now, on the machine and under the limit of the container.
pub fn for_accumulators() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    half_of_free(&meminfo, Path::new("/sys/fs/cgroup"))
}

fn half_of_free(meminfo: &str, groups: &Path) -> u64 {
    let free = [free_on_machine(meminfo), free_in_group(groups)];
    free.into_iter().flatten().min().map_or(FALLBACK, |bytes| bytes / 2)
}

fn free_on_machine(meminfo: &str) -> Option<u64> {
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    available.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control group's limit leaves, in its first or second version; `None` without a limit.
fn free_in_group(groups: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(groups.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = match read("memory.max") {
        Some(limit) => (limit, read("memory.current")),
        None => (read("memory/memory.limit_in_bytes")?, read("memory/memory.usage_in_bytes")),
    };
    Some(limit.saturating_sub(used.unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n";

    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("memory")).unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        assert_eq!(half_of_free(MEMINFO, Path::new("/nowhere")), 4000 << 10);
        assert_eq!(half_of_free(MEMINFO, groups(&[("memory.max", "max\n")]).path()), 4000 << 10);
        let endless = groups(&[("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(half_of_free(MEMINFO, endless.path()), 4000 << 10);
    }

    #[test]
    fn a_container_s_limit_counts_where_it_is_lower() {
        let second = groups(&[("memory.max", "4096000\n"), ("memory.current", "96000\n")]);
        assert_eq!(half_of_free(MEMINFO, second.path()), 2_000_000);
        let first = groups(&[
            ("memory/memory.limit_in_bytes", "4096000\n"),
            ("memory/memory.usage_in_bytes", "96000\n"),
        ]);
        assert_eq!(half_of_free(MEMINFO, first.path()), 2_000_000);
        let full = groups(&[("memory.max", "4096\n"), ("memory.current", "5000\n")]);
        assert_eq!(half_of_free(MEMINFO, full.path()), 0);
    }

    #[test]
    fn nothing_known_is_a_gibibyte() {
        assert_eq!(half_of_free("", Path::new("/nowhere")), FALLBACK);
    }
}
