//! The comparison in words and as a table.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};

use super::curve::Line;
use super::worth::{Gain, Saved, Verdict, Worth};
use crate::cli::format::MetricKind;

/// One row per evaluated step, one column per run or group of runs.
pub(super) fn table(metric: &str, kind: MetricKind, lines: &[Line]) -> String {
    let steps: BTreeSet<u64> = lines.iter().flat_map(|line| &line.curve).map(|(step, _)| *step).collect();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(std::iter::once("step".to_owned()).chain(lines.iter().map(Line::title)));
    for step in steps {
        let values = lines.iter().map(|line| match line.at(step) {
            Some((mean, Some(range))) => format!("{} ({})", kind.value(mean), kind.range(range)),
            Some((value, None)) => kind.value(value),
            None => "–".to_owned(),
        });
        table.add_row(std::iter::once(step.to_string()).chain(values));
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let seeds = match lines.iter().any(|line| !line.range.is_empty()) {
        true => "; of several seeds, their mean and range",
        false => "",
    };
    format!("{metric} by training step{seeds}\n{table}")
}

/// What the first run's start was worth against one other's.
pub(in crate::cli) fn summary(kind: MetricKind, first: &Line, other: &Line, worth: &Worth) -> String {
    let mut lines =
        vec![format!("\nWhat was the head start worth? {} against {}:", first.title(), other.title())];
    match &worth.third {
        Some(third) => {
            lines.push(format!("  at step {} of {}: {}", third.step, first.total_steps, gain(kind, third)));
        }
        None => lines.push("  no step was evaluated in both runs".to_owned()),
    }
    lines.push(format!("  at the end: {}", gain(kind, &worth.end)));
    lines.extend(ranges(kind, first, other));
    lines.push(reached(kind, first, other, "final", &worth.to_final));
    if worth.to_best.other_step != worth.to_final.other_step {
        lines.push(reached(kind, first, other, "best", &worth.to_best));
    }
    lines.extend(warning(kind, first, other, worth));
    lines.join("\n")
}

fn gain(kind: MetricKind, gain: &Gain) -> String {
    format!("{} against {}: {}", kind.value(gain.first), kind.value(gain.other), kind.gain(gain.gain))
}

/// Whether the seeds' last values overlap.
fn ranges(kind: MetricKind, first: &Line, other: &Line) -> Option<String> {
    let of = |line: &Line| line.range.last().copied().unwrap_or((line.last().1, line.last().1));
    let (one, two) = (of(first), of(other));
    if first.range.is_empty() && other.range.is_empty() {
        return None;
    }
    let apart = one.0 > two.1 || one.1 < two.0;
    let words = if apart { "the ranges are apart" } else { "the ranges overlap" };
    Some(format!("  over seeds, at the end: {} against {}: {words}", kind.range(one), kind.range(two)))
}

/// `head start reaches from scratch's final 91.2 % at step 30 of 90: 60 steps (67 %) saved`.
fn reached(kind: MetricKind, first: &Line, other: &Line, what: &str, saved: &Saved) -> String {
    let value = format!("{}'s {what} {}", other.name, kind.value(saved.value));
    let (Some(reached), Some(steps)) = (saved.reached, saved.steps()) else {
        return format!("  {} never reaches {value} (step {})", first.name, saved.other_step);
    };
    let outcome = match (steps, saved.share()) {
        (1.., Some(share)) => format!("{} ({:.0} %) saved", plural(steps), 100.0 * share),
        (0, _) | (_, None) => "no steps saved".to_owned(),
        (_, Some(_)) => format!("{} later", plural(-steps)),
    };
    format!(
        "  {} reaches {value} (step {}) at step {reached} of {}: {outcome}",
        first.name, saved.other_step, first.total_steps
    )
}

fn plural(steps: i64) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

fn warning(kind: MetricKind, first: &Line, other: &Line, worth: &Worth) -> Option<String> {
    let (name, against, mean) = (&first.name, &other.name, kind.gain(worth.mean_gain));
    match worth.verdict {
        Verdict::Ahead => None,
        Verdict::Nothing => Some(format!(
            "  warning: {name}'s start was worth nothing here: on average over the run it is where {against} is \
             ({mean}). The task it was trained on may be too far from this one"
        )),
        Verdict::Negative => Some(format!(
            "  warning: negative transfer: on average over the run {name} is behind {against} ({mean}). \
             The task it was trained on is too far from this one to help; start from other weights"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, curve: &[(u64, f64)]) -> Line {
        Line { name: name.to_owned(), total_steps: 90, curve: curve.to_vec(), ..Line::default() }
    }

    #[test]
    fn seeds_are_shown_with_their_range() {
        let kind = MetricKind::of("accuracy");
        let first = Line {
            seeds: Some(3),
            range: vec![(0.5, 0.7), (0.9, 0.95)],
            ..run("a", &[(30, 0.6), (90, 0.92)])
        };
        let other = Line {
            seeds: Some(3),
            range: vec![(0.4, 0.5), (0.8, 0.91)],
            ..run("b", &[(30, 0.45), (90, 0.85)])
        };
        let shown = table("accuracy", kind, &[first.clone(), run("c", &[(30, 0.1)])]);
        assert!(shown.contains("60.0 % (50.0 to 70.0 %)") && shown.contains("mean and range"), "{shown}");
        let text = summary(kind, &first, &other, &Worth::of(kind, &first, &other));
        let overlap = "over seeds, at the end: 90.0 to 95.0 % against 80.0 to 91.0 %: the ranges overlap";
        assert!(text.contains(overlap), "{text}");
        assert!(
            text.contains("a (3 seeds) against b (3 seeds):") && text.contains("  a reaches b's final"),
            "{text}"
        );
        let alone = run("c", &[(90, 0.5)]);
        let text = summary(kind, &first, &alone, &Worth::of(kind, &first, &alone));
        assert!(text.contains("90.0 to 95.0 % against 50.0 to 50.0 %: the ranges are apart"), "{text}");
    }

    #[test]
    fn the_summary_answers_what_the_head_start_was_worth() {
        let kind = MetricKind::of("accuracy");
        let first = run("head start", &[(30, 0.912), (60, 0.95), (90, 0.954)]);
        let other = run("from scratch", &[(30, 0.41), (60, 0.8), (90, 0.912)]);
        let text = summary(kind, &first, &other, &Worth::of(kind, &first, &other));
        let saved = "head start reaches from scratch's final 91.2 % (step 90) at step 30 of 90: 60 steps (67 %) saved";
        assert!(text.contains(saved), "{text}");
        assert!(text.contains("at step 30 of 90: 91.2 % against 41.0 %: +50.2 points"), "{text}");
        assert!(!text.contains("warning"), "{text}");
        let back = summary(kind, &other, &first, &Worth::of(kind, &other, &first));
        assert!(back.contains("negative transfer"), "{back}");
        assert!(back.contains("from scratch never reaches head start's final 95.4 %"), "{back}");
    }

    #[test]
    fn every_evaluated_step_has_a_row() {
        let text = table(
            "accuracy",
            MetricKind::of("accuracy"),
            &[run("a", &[(0, 0.1), (90, 0.5)]), run("b", &[(45, 0.25)])],
        );
        for part in ["│    0 ┆ 10.0 %", "–", "│   45 ┆", "25.0 %", "│   90 ┆"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
