//! What a probe found, as an SVG picture: a bar for each checkpoint, with a mark where its zero line is.

use super::report::{Measure, Probed};
use super::table::{end_of, shown};
use super::verdict::Verdict;
use crate::svg::axis::Axis;
use crate::svg::{COLOURS, WIDTH, bar, escaped, line, page, text};

const LEFT: f64 = 80.0;
const RIGHT: f64 = 40.0;
/// Below the title, for the legend.
const TOP: f64 = 92.0;
/// From one checkpoint to the next: its name, its bar and a gap.
const ROW: f64 = 62.0;
const BAR: f64 = 20.0;
/// From a row's top to its bar.
const NAME: f64 = 26.0;
/// Below the bars: tick labels and the axis' name.
const BELOW: f64 = 62.0;
/// Width of a zero line's mark, and how far it stands out of its bar.
const MARK: f64 = 4.0;
const OUT: f64 = 5.0;
/// Characters of a name; of longer ones the end is shown.
const WIDEST_NAME: usize = 44;

/// Parts of the axis.
const MOST_TICKS: u32 = 8;

const ZERO_LINE: &str = COLOURS[1];

/// Draws the checkpoints in the order given.
pub fn svg(probed: &[Probed]) -> String {
    let bits = matches!(probed.first().map(|first| first.own.measure), Some(Measure::BitsPerByte(_)));
    let values = probed.iter().flat_map(|entry| [value(entry.own.measure), value(entry.zero_line())]);
    let values: Vec<f64> = std::iter::once(0.0).chain(values).collect();
    let axis = Axis::around(values.iter().copied(), MOST_TICKS);
    let bottom = TOP + ROW * probed.len() as f64;
    let mut svg = page((WIDTH, bottom + BELOW), "What each checkpoint knows of the task");
    legend(&mut svg);
    frame(&mut svg, &axis, bottom);
    for (place, entry) in probed.iter().enumerate() {
        row(&mut svg, &axis, TOP + ROW * place as f64, entry);
    }
    let name = match bits {
        true => "bits per byte of text: shorter is better",
        false => "accuracy of a linear classifier on held-out rows (%): longer is better",
    };
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, bottom + 46.0, "text-anchor=\"middle\"", name);
    svg.push_str("</svg>\n");
    svg
}

fn value(measure: Measure) -> f64 {
    match measure {
        Measure::Accuracy(share) => 100.0 * share,
        Measure::BitsPerByte(bits) => bits,
    }
}

fn place(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)
}

fn legend(svg: &mut String) {
    let middle = TOP - 34.0;
    let mut x = LEFT;
    for verdict in [Verdict::HeadStart, Verdict::Small, Verdict::None] {
        bar(svg, (x, middle - 6.0), (18.0, 12.0), colour(verdict));
        text(svg, x + 24.0, middle + 4.5, "", verdict.short());
        x += 44.0 + 8.0 * verdict.short().len() as f64;
    }
    bar(svg, (x + 6.0, middle - 9.0), (MARK, 18.0), ZERO_LINE);
    text(svg, x + 18.0, middle + 4.5, "", "zero line: what is known without the checkpoint");
}

fn frame(svg: &mut String, axis: &Axis, bottom: f64) {
    for (tick, label) in axis.ticks() {
        let x = place(axis, tick);
        line(svg, (x, TOP), (x, bottom), "#dddddd");
        line(svg, (x, bottom), (x, bottom + 5.0), "#444444");
        text(svg, x, bottom + 20.0, "text-anchor=\"middle\"", &label);
    }
    line(svg, (LEFT, bottom), (WIDTH - RIGHT, bottom), "#444444");
    line(svg, (LEFT, TOP), (LEFT, bottom), "#444444");
}

/// Name and verdict above the bar, numbers within it or beside it.
fn row(svg: &mut String, axis: &Axis, top: f64, entry: &Probed) {
    let name = match &entry.name.adapter {
        Some(adapter) => {
            format!(
                "{} on {}",
                end_of(adapter, WIDEST_NAME / 2),
                end_of(&entry.name.checkpoint, WIDEST_NAME / 2)
            )
        }
        None => end_of(&entry.name.checkpoint, WIDEST_NAME),
    };
    let (own, zero) = (place(axis, value(entry.own.measure)), place(axis, value(entry.zero_line())));
    text(svg, LEFT + 6.0, top + 16.0, "font-weight=\"bold\"", &escaped(&name));
    let summary = format!(
        "{} (zero line {}): {}",
        shown(entry.own.measure),
        shown(entry.zero_line()),
        entry.verdict.short()
    );
    text(svg, WIDTH - RIGHT, top + 16.0, "text-anchor=\"end\"", &escaped(&summary));
    bar(svg, (LEFT, top + NAME), (own - LEFT, BAR), colour(entry.verdict));
    bar(svg, (zero - MARK / 2.0, top + NAME - OUT), (MARK, BAR + 2.0 * OUT), ZERO_LINE);
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::HeadStart => COLOURS[0],
        Verdict::Small => COLOURS[5],
        Verdict::None => "#999999",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::report::tests::{classifiers, language_model};
    use crate::svg::well_formed::assert_well_formed;

    #[test]
    fn a_picture_has_a_bar_and_a_mark_for_each_checkpoint() {
        let probed = classifiers();
        let drawn = svg(&probed);
        assert_well_formed(&drawn);
        assert_eq!(drawn.matches(ZERO_LINE).count(), probed.len() + 1, "one is in the legend");
        assert!(drawn.contains("75.0 % (zero line 25.0 %): a head start"), "{drawn}");
        assert!(drawn.contains("a&lt;b&gt; &amp; &quot;c&quot;"), "{drawn}");
        assert!(drawn.contains("longer is better"), "{drawn}");
    }

    #[test]
    fn odd_values_are_drawn_too() {
        assert_well_formed(&svg(&[]));
        let mut zero = classifiers();
        for entry in &mut zero {
            (entry.own.measure, entry.random.measure) = (Measure::Accuracy(0.0), Measure::Accuracy(0.0));
        }
        assert_well_formed(&svg(&zero));
        let language = [language_model(&"long/".repeat(60), 1.0), language_model("b", 2000.0)];
        let drawn = svg(&language);
        assert_well_formed(&drawn);
        assert!(drawn.contains("shorter is better"), "{drawn}");
    }
}
