//! Numbers and metrics as people read them.

use std::collections::BTreeMap;
use std::time::Duration;

use headstart::client::RunStatus;

/// How fast a run is: in tokens where it counts them.
pub(super) fn speed(status: &RunStatus) -> String {
    match status.tokens_per_second > 0.0 {
        true => format!("{:.0} tokens/s", status.tokens_per_second),
        false => format!("{:.0} samples/s", status.samples_per_second),
    }
}

/// How a metric is shown and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetricKind {
    /// A fraction, shown in per cent; differences are in points.
    pub(super) fraction: bool,
    /// Smaller is better.
    pub(super) lower_is_better: bool,
}

impl MetricKind {
    /// What a metric's name, without the `eval_` prefix, says about it.
    pub(super) fn of(metric: &str) -> MetricKind {
        let lower_is_better =
            ["loss", "error", "perplexity", "mse", "mae"].iter().any(|word| metric.ends_with(word));
        let fraction = ["accuracy", "f1", "precision", "recall"].iter().any(|word| metric.contains(word));
        MetricKind { fraction, lower_is_better }
    }

    /// A value: `83.1 %` or `0.4321`.
    pub(super) fn value(self, value: f64) -> String {
        match self.fraction {
            true => format!("{:.1} %", 100.0 * value),
            false => format!("{value:.4}"),
        }
    }

    /// Least and largest values: `80.1 to 83.1 %` or `0.4321 to 0.4500`.
    pub(super) fn range(self, (low, high): (f64, f64)) -> String {
        match self.fraction {
            true => format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high),
            false => format!("{low:.4} to {high:.4}"),
        }
    }

    /// A gain, positive when better: `+4.2 points`, or `0.0312 better`.
    pub(super) fn gain(self, gain: f64) -> String {
        match (self.fraction, gain < 0.0) {
            (true, _) => format!("{:+.1} points", 100.0 * gain),
            (false, false) => format!("{gain:.4} better"),
            (false, true) => format!("{:.4} worse", -gain),
        }
    }
}

/// Evaluation metrics on one line, accuracy first: `accuracy 83.1 %, f1 82.9 %, loss 0.5123`.
pub(super) fn metrics(eval: &BTreeMap<String, f64>) -> String {
    let shown = eval.iter().map(|(name, value)| {
        let name = name.strip_prefix("eval_").unwrap_or(name);
        format!("{name} {}", MetricKind::of(name).value(*value))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A loss, before the first step a dash.
pub(super) fn loss(loss: f64) -> String {
    if loss.is_finite() { format!("{loss:.4}") } else { "–".to_owned() }
}

/// A time: `4.2 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes: `512 B`, `3.4 MB`, `8.0 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A count in groups of three: `22 700 000`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(" ")
}

/// A text in lines of at most `width` characters, broken between words; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// `1 worker`, `2 workers`.
pub(super) fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_the_right_way_round() {
        assert!(MetricKind::of("loss").lower_is_better);
        assert!(!MetricKind::of("accuracy").lower_is_better);
        assert_eq!(MetricKind::of("accuracy").value(0.8312), "83.1 %");
        assert_eq!(MetricKind::of("loss").value(0.5), "0.5000");
        assert_eq!(MetricKind::of("f1").gain(-0.042), "-4.2 points");
        assert_eq!(MetricKind::of("loss").gain(-0.25), "0.2500 worse");
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!([0, 4_560, 3_400_000, 8_000_000_000].map(bytes), ["0 B", "4.6 kB", "3.4 MB", "8.0 GB"]);
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrapped("a link that is slow", 8), "a link\nthat is\nslow");
        assert_eq!(wrapped("incomprehensible words", 8), "incomprehensible\nwords");
        assert_eq!(wrapped("", 8), "");
    }

    #[test]
    fn numbers_are_grouped_and_times_are_short() {
        assert_eq!([7, 1234, 22_700_000].map(count), ["7", "1 234", "22 700 000"]);
        let shown = [4.21, 59.9, 185.0, 7800.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["4.2 s", "59 s", "3 min 5 s", "2 h 10 min"]);
    }
}
