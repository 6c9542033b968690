//! Lines of metrics as trackers take them: a step, a time, and numbers by name.

use serde_json::{Map, Value};

/// Names that are no metrics: where and when the others were measured.
const NO_METRICS: [&str; 2] = ["step", "time"];
/// What only the lines of evaluations have. Their `epoch` is that of the step before.
const OF_EVALUATIONS: &str = "eval_samples";

/// One line of `metrics.jsonl`.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    /// Updates applied.
    pub(super) step: i64,
    /// Seconds since 1970.
    pub(super) time: f64,
    /// Finite numbers, by the names of `metrics.jsonl`.
    pub(super) values: Vec<(String, f64)>,
}

impl Line {
    /// Reads a line; `None` if it is not one of metrics.
    pub(super) fn parse(line: &str) -> Option<Line> {
        let line: Map<String, Value> = serde_json::from_str(line).ok()?;
        let (step, time) = (line.get("step")?.as_i64()?, line.get("time")?.as_f64()?);
        let evaluation = line.contains_key(OF_EVALUATIONS);
        let is_none = |name: &str| NO_METRICS.contains(&name) || (evaluation && name == "epoch");
        // What is not finite is null in JSON.
        let values = line.iter().filter(|(name, _)| !is_none(name));
        let values = values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        Some(Line { step, time, values: values.collect() })
    }
}

/// A place between two lines of a text that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Lines before it.
    pub(super) lines: usize,
    bytes: usize,
}

impl Cursor {
    /// The next lines, `most` at most, and the place after them. A line without its line break is none yet.
    pub(super) fn next(self, text: &str, most: usize) -> (&str, Cursor) {
        let rest = text.get(self.bytes..).unwrap_or_default();
        let mut after = self;
        for line in rest.split_inclusive('\n').take(most).filter(|line| line.ends_with('\n')) {
            after = Cursor { lines: after.lines + 1, bytes: after.bytes + line.len() };
        }
        (&rest[..after.bytes - self.bytes], after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_finite_numbers_and_an_evaluation_no_epoch() {
        let line = r#"{"step":7,"epoch":0.5,"loss":0.25,"grad_norm":null,"workers":2,"time":1.5}"#;
        let values = [("epoch", 0.5), ("loss", 0.25), ("workers", 2.0)];
        let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert_eq!(Line::parse(line), Some(Line { step: 7, time: 1.5, values }));
        let line = r#"{"step":7,"epoch":0.5,"eval_loss":0.5,"eval_samples":30,"time":2.5}"#;
        let line = Line::parse(line).expect("it is a line of metrics");
        assert_eq!(line.values, [("eval_loss".to_owned(), 0.5), ("eval_samples".to_owned(), 30.0)]);
        assert_eq!(Line::parse("{\"step\":1}"), None);
    }

    #[test]
    fn a_cursor_goes_on_where_it_stopped() {
        let (first, cursor) = Cursor::default().next("a\nb\nc\n", 2);
        assert_eq!((first, cursor.lines), ("a\nb\n", 2));
        let (rest, cursor) = cursor.next("a\nb\nc\nd\ne", 10);
        assert_eq!((rest, cursor.lines), ("c\nd\n", 4));
    }
}
