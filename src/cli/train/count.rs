//! How many workers: as many as the machine can feed, within what the run file allows.

use headstart::run_file::RunSpec;

use super::StartError;

/// Why a number of workers does not fit the run file, or serves no purpose.
#[derive(Debug, PartialEq)]
pub(super) struct Chosen {
    /// Workers to start.
    pub(super) workers: u32,
    /// What the user should know.
    pub(super) warning: Option<String>,
}

/// Checks the requested number of workers, or chooses one for a machine with `cores` cores.
pub(super) fn choose(spec: &RunSpec, asked: Option<u32>, cores: usize) -> Result<Chosen, StartError> {
    let (shards, cluster) = (spec.batch.shards_per_step, &spec.cluster);
    let workers = asked.unwrap_or_else(|| by_default(spec, cores));
    if cluster.min_workers > workers {
        let cure = match asked {
            Some(_) => "",
            None => ", the default for this machine's cores",
        };
        return Err(StartError::TooFew { workers, cure, needed: cluster.min_workers });
    }
    if cluster.max_workers < workers {
        return Err(StartError::TooMany { workers, most: cluster.max_workers });
    }
    Ok(Chosen { workers, warning: idle(workers, shards) })
}

/// A warning if a step has fewer shards than there are workers.
pub(in crate::cli) fn idle(workers: u32, shards: u32) -> Option<String> {
    (workers > shards).then(|| {
        format!(
            "{workers} workers, but a step has only {shards} shards, so some will be idle: use --workers {shards}, or \
             set shards_per_step to {workers} or more (which changes the result's bits)"
        )
    })
}

/// As many as this machine's cores, or fewer where a step has fewer shards.
pub(super) fn by_default(spec: &RunSpec, cores: usize) -> u32 {
    let fed = u32::try_from(cores).unwrap_or(u32::MAX) / spec.threads_per_worker.max(1);
    fed.min(spec.batch.shards_per_step).min(spec.cluster.max_workers).max(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec(more: &str) -> RunSpec {
        let text = format!(
            "base_model: m\ntask: image-classification\ndatasets: [{{path: d}}]\noutput_dir: o\n\
             global_batch_size: 32\nper_device_train_batch_size: 4\n{more}"
        );
        headstart::run_file::parse("run.yaml", &text, &[]).unwrap()
    }

    #[test]
    fn the_default_is_cores_by_threads_within_the_shards() {
        let default = |more: &str, cores| choose(&spec(more), None, cores).unwrap().workers;
        assert_eq!(default("", 2), 2);
        assert_eq!(default("", 64), 8, "a step has 8 shards");
        assert_eq!(default("threads_per_worker: 4\n", 16), 4);
        assert_eq!(default("threads_per_worker: 4\n", 2), 1, "at least one");
        assert_eq!(default("cluster: {max_workers: 3}\n", 64), 3, "no default the run file refuses");
    }

    #[test]
    fn numbers_the_run_file_refuses_are_refused_before_anything_starts() {
        let too_few = choose(&spec("cluster: {min_workers: 3}\n"), None, 2).unwrap_err().to_string();
        assert!(too_few.contains("--workers 3"), "{too_few}");
        assert!(choose(&spec("cluster: {min_workers: 3}\n"), Some(2), 64).is_err());
        let too_many = choose(&spec("cluster: {max_workers: 3}\n"), Some(4), 2).unwrap_err().to_string();
        assert!(too_many.contains("max_workers is 3"), "{too_many}");
    }

    #[test]
    fn idle_workers_are_a_warning_with_the_cure() {
        let chosen = choose(&spec(""), Some(9), 2).unwrap();
        assert!(chosen.warning.unwrap().contains("shards_per_step to 9"));
        assert_eq!(choose(&spec(""), Some(8), 2).unwrap().warning, None);
    }
}
