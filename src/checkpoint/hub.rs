//! Names of models on the Hugging Face Hub in the place of a path: nothing is downloaded, but the user is told how.

use std::path::Path;

use super::CheckpointError;

/// Longest part of an id.
const LONGEST_PART: usize = 96;
/// How the pages of the Hub begin.
const PAGES: [&str; 4] =
    ["https://huggingface.co/", "http://huggingface.co/", "https://hf.co/", "https://www.huggingface.co/"];

/// The id in a URL of the Hub, `hf://org/name@revision` or a model's page. Its files (`…/resolve/…`) can be read as they are.
pub(super) fn in_url(url: &str) -> Option<String> {
    let rest = url.strip_prefix("hf://").or_else(|| PAGES.iter().find_map(|page| url.strip_prefix(page)))?;
    let rest = rest.strip_prefix("models/").unwrap_or(rest);
    let mut parts: Vec<&str> = rest.trim_end_matches('/').splitn(3, '/').collect();
    match parts.get(2) {
        Some(more) if more.starts_with("resolve/") => return None,
        _ => parts.truncate(2),
    }
    if let Some(last) = parts.last_mut() {
        *last = last.split('@').next().unwrap_or(last);
    }
    let id = parts.join("/");
    is_id(&id).then_some(id)
}

/// The same error, or what says more: a name like those of the Hub that leads to nothing here.
pub(super) fn explained(error: CheckpointError, base_model: &str) -> CheckpointError {
    match error {
        CheckpointError::Missing { directory, .. }
            if is_id(base_model) && !Path::new(&directory).exists() && !is_below_a_directory(base_model) =>
        {
            CheckpointError::HubId { id: base_model.to_owned(), found: format!("there is no {directory}") }
        }
        other => other,
    }
}

/// Whether a text has the form `name` or `org/name`.
fn is_id(text: &str) -> bool {
    let part = |part: &str| {
        part.len() <= LONGEST_PART
            && part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_.".contains(sign))
    };
    text.split('/').count() <= 2 && text.split('/').all(part)
}

/// Whether the first of two parts is a directory here: then a path is meant.
fn is_below_a_directory(base_model: &str) -> bool {
    base_model.split_once('/').is_some_and(|(first, _)| Path::new(first).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_hub_are_told_from_its_files_and_from_other_servers() {
        let id = |url: &str| in_url(url);
        for url in [
            "hf://org/name",
            "hf://org/name@v2",
            "hf://models/org/name",
            "https://huggingface.co/org/name",
            "https://huggingface.co/org/name/",
            "https://huggingface.co/org/name/tree/main",
        ] {
            assert_eq!(id(url).as_deref(), Some("org/name"), "{url}");
        }
        assert_eq!(id("https://huggingface.co/bert-base-uncased").as_deref(), Some("bert-base-uncased"));
        for url in [
            "https://huggingface.co/org/name/resolve/main",
            "https://server/org/name",
            "s3://org/name",
            "hf://",
        ] {
            assert_eq!(id(url), None, "{url}");
        }
    }

    #[test]
    fn only_a_name_of_the_hubs_form_that_leads_nowhere_is_explained() {
        let missing = |directory: &str| CheckpointError::Missing {
            directory: directory.to_owned(),
            wanted: "config.json",
        };
        for name in ["bert-base-uncased", "org/name", "google/vit-base-patch16-224", "Org_1/n.2"] {
            let error = explained(missing("/no/such/place"), name);
            assert!(matches!(&error, CheckpointError::HubId { id, .. } if id == name), "{error}");
        }
        for path in
            ["./bert", "../a", "/models/a", "a/b/c", "~/a", "a b", "src/bert", "s3://b/c", "models\\a"]
        {
            let error = explained(missing("/no/such/place"), path);
            assert!(matches!(error, CheckpointError::Missing { .. }), "{path}: {error}");
        }
        let here = explained(missing("/"), "bert");
        assert!(matches!(here, CheckpointError::Missing { .. }), "a directory that is there: {here}");
    }
}
