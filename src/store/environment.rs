//! The variables that say how stores are reached: endpoints, regions, credentials.

use std::collections::BTreeMap;
use std::fmt;

/// Environment variables, as they were when they were read. Empty ones count as absent.
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Environment {
        let text = std::env::vars_os().filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value)));
        Environment::new(text.filter_map(|(name, value)| Some((name, value.to_str()?.to_owned()))))
    }

    /// These and no others.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Environment {
        Environment(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The first of these variables that is set.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.0.contains_key(*name))
    }

    /// The variables whose names begin with `prefix`.
    pub(super) fn beginning(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (&**name, &**value))
    }
}

/// Names only: values can be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
