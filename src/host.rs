//! How much memory this machine has, or the container that it is divided into; and names of machines.

use std::fs::read_to_string;
use std::path::Path;

const MEMINFO: &str = "/proc/meminfo";
const GROUPS: &str = "/sys/fs/cgroup";
/// Longest name, as DNS has it.
const LONGEST_NAME: usize = 253;

/// Bytes of memory in all; `None` where nothing tells.
pub fn total_memory() -> Option<u64> {
    total(&read_to_string(MEMINFO).unwrap_or_default(), Path::new(GROUPS))
}

/// Bytes of memory that are free now; `None` where nothing tells.
pub fn free_memory() -> Option<u64> {
    free(&read_to_string(MEMINFO).unwrap_or_default(), Path::new(GROUPS))
}

fn total(meminfo: &str, groups: &Path) -> Option<u64> {
    let group = limit_and_use(groups).map(|(limit, _)| limit);
    [field(meminfo, "MemTotal:"), group].into_iter().flatten().min()
}

fn free(meminfo: &str, groups: &Path) -> Option<u64> {
    let group = limit_and_use(groups).map(|(limit, used)| limit.saturating_sub(used));
    [field(meminfo, "MemAvailable:"), group].into_iter().flatten().min()
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The control group's limit and what is used of it, in its first or second version; `None` without a limit.
fn limit_and_use(groups: &Path) -> Option<(u64, u64)> {
    let read = |name: &str| read_to_string(groups.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = match read("memory.max") {
        Some(limit) => (limit, read("memory.current")),
        None => (read("memory/memory.limit_in_bytes")?, read("memory/memory.usage_in_bytes")),
    };
    // What files were read is kept in memory only as long as nobody needs that.
    let stat =
        ["memory.stat", "memory/memory.stat"].iter().find_map(|name| read_to_string(groups.join(name)).ok());
    let kept = stat.as_deref().and_then(|stat| {
        let value = |name: &str| {
            stat.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
        };
        value("total_inactive_file").or_else(|| value("inactive_file"))
    });
    Some((limit, used.unwrap_or(0).saturating_sub(kept.unwrap_or(0))))
}

/// This machine's name.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().to_owned() }
}

/// A host's name as a user gives it: of letters, digits, dots, hyphens and underscores, without a port. In small letters.
pub fn parse_name(name: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    match !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fits) {
        true => Ok(name.trim_end_matches('.').to_ascii_lowercase()),
        false => Err("expected the name of a host, without a port".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MACHINE: &str = "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n";

    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("memory")).unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    fn both(groups: &Path) -> [Option<u64>; 2] {
        [total(MACHINE, groups), free(MACHINE, groups)]
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        let machine = [Some(16_000 << 10), Some(8000 << 10)];
        assert_eq!(both(Path::new("/nowhere")), machine);
        assert_eq!(both(groups(&[("memory.max", "max\n")]).path()), machine);
        let endless = groups(&[("memory/memory.limit_in_bytes", "9223372036854771712\n")]);
        assert_eq!(both(endless.path()), machine);
    }

    #[test]
    fn a_container_s_limit_counts_where_it_is_lower() {
        let second = groups(&[("memory.max", "4096000\n"), ("memory.current", "96000\n")]);
        assert_eq!(both(second.path()), [Some(4_096_000), Some(4_000_000)]);
        let reads = groups(&[
            ("memory.max", "4096000\n"),
            ("memory.current", "4000000\n"),
            ("memory.stat", "anon 96000\ninactive_file 3904000\nactive_file 0\n"),
        ]);
        assert_eq!(both(reads.path()), [Some(4_096_000), Some(4_000_000)], "files that were read can go");
        let first = groups(&[
            ("memory/memory.limit_in_bytes", "4096000\n"),
            ("memory/memory.usage_in_bytes", "96000\n"),
        ]);
        assert_eq!(both(first.path()), [Some(4_096_000), Some(4_000_000)]);
        let full = groups(&[("memory.max", "4096\n"), ("memory.current", "5000\n")]);
        assert_eq!(both(full.path()), [Some(4096), Some(0)]);
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        assert_eq!([total("", Path::new("/nowhere")), free("", Path::new("/nowhere"))], [None, None]);
        assert!(
            total_memory().is_some_and(|bytes| bytes > 1 << 20),
            "a machine that runs tests has a megabyte"
        );
    }

    #[test]
    fn a_name_is_a_name() {
        assert_eq!(parse_name("Box-1.lan."), Ok("box-1.lan".to_owned()));
        for name in ["", "a:80", "a/b", "*", "a b", &"a".repeat(300)] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
