//! `~` at the beginning of a local path is the user's home directory, as in a shell.

use std::path::PathBuf;

use super::Environment;

/// The path that `written` means. `~name` and paths of a process without a home are left as they are.
pub(super) fn expanded(written: &str, environment: &Environment) -> PathBuf {
    let below = written.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match below.zip(environment.get("HOME")) {
        Some((below, home)) => PathBuf::from(format!("{}{below}", home.trim_end_matches('/'))),
        None => PathBuf::from(written),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Stores;

    #[test]
    fn a_leading_tilde_is_the_home_directory_wherever_a_path_is_accepted() {
        let environment = |home: &str| Environment::new([("HOME".to_owned(), home.to_owned())]);
        let stores = Stores::new(environment("/home/me"), Duration::from_secs(1));
        let path = |written: &str| stores.locate(written).expect("a path").local_path();
        assert_eq!(path("~/models/x"), Some(PathBuf::from("/home/me/models/x")));
        assert_eq!(path("~"), Some(PathBuf::from("/home/me")));
        let here = std::env::current_dir().expect("a directory");
        for literal in ["./~/x", "a/~/x", "~other/x", "x~"] {
            assert_eq!(path(literal), std::path::absolute(here.join(literal)).ok(), "{literal}");
        }
        assert_eq!(expanded("~/x", &environment("/")), PathBuf::from("/x"));
        assert_eq!(expanded("~/x", &environment("")), PathBuf::from("~/x"));
    }

    #[tokio::test]
    async fn patterns_are_found_below_the_home_directory() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join("data")).expect("a directory");
        std::fs::write(home.path().join("data/a.jsonl"), "{}").expect("a file");
        let variable = ("HOME".to_owned(), home.path().to_string_lossy().into_owned());
        let stores = Stores::new(Environment::new([variable]), Duration::from_secs(1));
        let found = stores.glob("~/data/*.jsonl").await.expect("one file");
        assert_eq!(found.len(), 1);
    }
}
