//! A chart of curves over training steps: grid, axes, legend, curves, and bands that show a spread.
//!
//! Colour, dashes and markers distinguish the curves.

use super::axis::{Axis, is_drawn};
use super::thin::{thin, thin_band};
use super::{COLOURS, WIDTH, escaped, line, page, put, shortened, text, text_width};

const LEGEND_ROW: f64 = 24.0;
const LEGEND_MARK: f64 = 34.0;
const LEGEND_GAP: f64 = 26.0;
/// Width of a name in the legend; longer ones are cut.
const WIDEST_NAME: f64 = 500.0;
/// Markers on one curve; between them only the line is drawn.
const MOST_MARKERS: usize = 40;

const DASHES: [&str; 3] = ["", "9 4", "2 4"];

/// What to draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// What the values are, with their unit.
    pub value_name: String,
    /// In the order of the legend, which decides their colours.
    pub curves: Vec<Curve>,
    /// Whether values have markers, as those of evaluations, which are few.
    pub marked: bool,
    /// Whether the axis of values may be logarithmic, where they span decades.
    pub decades: bool,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// In the legend.
    pub name: String,
    /// Steps and values, in order of steps. A value that is no number leaves a gap.
    pub points: Vec<(u64, f64)>,
    /// Steps, least and largest values, where the curve is a mean; else empty.
    pub band: Vec<(u64, f64, f64)>,
}

/// Sizes of a chart, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    width: f64,
    plot_height: f64,
    left: f64,
    right: f64,
    title_height: f64,
    below: f64,
    /// Parts of the axis of steps, and of values.
    ticks: (u32, u32),
    /// Whether there are a legend, and names of the axes.
    named: bool,
}

impl Format {
    /// A picture that stands alone.
    pub const ALONE: Format = Format {
        width: WIDTH,
        plot_height: 360.0,
        left: 80.0,
        right: 30.0,
        title_height: 52.0,
        below: 62.0,
        ticks: (8, 8),
        named: true,
    };
    /// One of several that share a legend; still readable where it is 350 pixels wide.
    pub const CARD: Format = Format {
        width: 480.0,
        plot_height: 220.0,
        left: 64.0,
        right: 18.0,
        title_height: 34.0,
        below: 32.0,
        ticks: (5, 5),
        named: false,
    };

    fn plot_width(&self) -> f64 {
        self.width - self.left - self.right
    }
}

impl Chart {
    /// Draws it.
    pub fn svg(&self, format: &Format) -> String {
        let legend = format.named.then(|| Legend::lay_out(&self.curves, format));
        let top = format.title_height + legend.as_ref().map_or(0.0, |legend| legend.height) + 10.0;
        let columns = format.plot_width() as usize;
        let thinned: Vec<Curve> = self.curves.iter().map(|curve| curve.thinned(columns)).collect();
        let frame = Frame { format, top, x: self.steps(format), y: self.values(&thinned, format) };
        let scale = if frame.y.is_logarithmic() { ", on a logarithmic scale" } else { "" };
        let title = format!("{}{scale}", self.title);
        let mut svg = page((format.width, top + format.plot_height + format.below), &title);
        if let Some(legend) = legend {
            legend.draw(&mut svg, self.marked);
        }
        frame.draw(&mut svg, &escaped(&self.value_name));
        for (index, curve) in thinned.iter().enumerate() {
            frame.band(&mut svg, index, &curve.band);
        }
        for (index, (curve, whole)) in thinned.iter().zip(&self.curves).enumerate() {
            frame.curve(&mut svg, index, &curve.points, self.marked);
            if self.marked {
                frame.markers(&mut svg, index, &whole.points);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn steps(&self, format: &Format) -> Axis {
        let last = self.curves.iter().filter_map(|curve| curve.points.last()).map(|point| point.0).max();
        Axis::of_steps(last.unwrap_or(0), format.ticks.0)
    }

    fn values(&self, curves: &[Curve], format: &Format) -> Axis {
        let points = curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
        let bands = curves.iter().flat_map(|curve| curve.band.iter().flat_map(|point| [point.1, point.2]));
        match self.decades {
            true => Axis::around_decades(points.chain(bands), format.ticks.1),
            false => Axis::around(points.chain(bands), format.ticks.1),
        }
    }
}

impl Curve {
    fn thinned(&self, columns: usize) -> Curve {
        let (points, band) = (thin(&self.points, columns), thin_band(&self.band, columns));
        Curve { name: self.name.clone(), points, band }
    }
}

/// The rectangle that curves are drawn in.
struct Frame<'a> {
    format: &'a Format,
    top: f64,
    x: Axis,
    y: Axis,
}

impl Frame<'_> {
    fn place(&self, step: f64, value: f64) -> (f64, f64) {
        let x = self.format.left + self.x.place(step) * self.format.plot_width();
        (x, self.top + (1.0 - self.y.place(value)) * self.format.plot_height)
    }

    fn draw(&self, svg: &mut String, value_name: &str) {
        let (left, right) = (self.format.left, self.format.width - self.format.right);
        let bottom = self.top + self.format.plot_height;
        for (tick, label) in self.y.ticks() {
            let (_, y) = self.place(0.0, tick);
            line(svg, (left, y), (right, y), "#dddddd");
            text(svg, left - 10.0, y + 4.5, "text-anchor=\"end\"", &label);
        }
        for (tick, label) in self.x.ticks() {
            let (x, _) = self.place(tick, 0.0);
            line(svg, (x, self.top), (x, bottom), "#eeeeee");
            line(svg, (x, bottom), (x, bottom + 5.0), "#444444");
            text(svg, x, bottom + 20.0, "text-anchor=\"middle\"", &label);
        }
        line(svg, (left, self.top), (left, bottom), "#444444");
        line(svg, (left, bottom), (right, bottom), "#444444");
        if self.format.named {
            text(svg, (left + right) / 2.0, bottom + 46.0, "text-anchor=\"middle\"", "training step");
            let middle = self.top + self.format.plot_height / 2.0;
            let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 22 {middle:.1})\"");
            text(svg, 22.0, middle, &turned, value_name);
        }
    }

    /// From the least to the largest values.
    fn band(&self, svg: &mut String, index: usize, band: &[(u64, f64, f64)]) {
        let drawn = || band.iter().filter(|point| is_drawn(point.1) && is_drawn(point.2));
        let upper = drawn().map(|&(step, _, high)| self.place(step as f64, high));
        let lower = drawn().rev().map(|&(step, low, _)| self.place(step as f64, low));
        let corners: Vec<(f64, f64)> = upper.chain(lower).collect();
        if !corners.is_empty() {
            let colour = COLOURS[index % COLOURS.len()];
            let corners = places(&corners);
            put(
                svg,
                format_args!("<polygon points=\"{corners}\" fill=\"{colour}\" fill-opacity=\"0.18\"/>\n"),
            );
        }
    }

    /// Lines between values; a value without neighbours is a dot.
    fn curve(&self, svg: &mut String, index: usize, points: &[(u64, f64)], marked: bool) {
        for part in points.split(|point| !is_drawn(point.1)).filter(|part| !part.is_empty()) {
            let part: Vec<(f64, f64)> =
                part.iter().map(|&(step, value)| self.place(step as f64, value)).collect();
            match part.as_slice() {
                [point] if !marked => dot(svg, index, *point, 2.5),
                [_] => {}
                line => stroke(svg, index, line, if marked { 2.2 } else { 1.4 }),
            }
        }
    }

    fn markers(&self, svg: &mut String, index: usize, points: &[(u64, f64)]) {
        let drawn: Vec<&(u64, f64)> = points.iter().filter(|point| is_drawn(point.1)).collect();
        let every = drawn.len().div_ceil(MOST_MARKERS).max(1);
        for (step, value) in drawn.into_iter().step_by(every) {
            marker(svg, index, self.place(*step as f64, *value));
        }
    }
}

/// Names with their line and marker, in as many rows as they need.
struct Legend {
    entries: Vec<(f64, f64, String)>,
    height: f64,
}

impl Legend {
    fn lay_out(curves: &[Curve], format: &Format) -> Legend {
        let (mut x, mut row) = (format.left, 0.0);
        let mut entries = Vec::new();
        for curve in curves {
            let name = shortened(&curve.name, WIDEST_NAME);
            let width = LEGEND_MARK + text_width(&name);
            if x > format.left && x + width > format.width - format.right {
                (x, row) = (format.left, row + 1.0);
            }
            entries.push((x, format.title_height + row * LEGEND_ROW + LEGEND_ROW / 2.0, name));
            x += width + LEGEND_GAP;
        }
        Legend { entries, height: (row + 1.0) * LEGEND_ROW }
    }

    fn draw(&self, svg: &mut String, marked: bool) {
        for (index, (x, y, name)) in self.entries.iter().enumerate() {
            swatch(svg, index, (*x, *y), marked);
            text(svg, x + LEGEND_MARK, y + 4.5, "", &escaped(name));
        }
    }
}

/// How the curve with this index looks: a piece of it, 26 pixels wide, from `x` on.
pub fn swatch(svg: &mut String, index: usize, (x, y): (f64, f64), marked: bool) {
    stroke(svg, index, &[(x, y), (x + LEGEND_MARK - 8.0, y)], 2.2);
    if marked {
        marker(svg, index, (x + LEGEND_MARK / 2.0 - 4.0, y));
    }
}

fn places(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

fn stroke(svg: &mut String, index: usize, points: &[(f64, f64)], width: f64) {
    let (colour, dashes) = (COLOURS[index % COLOURS.len()], DASHES[index / COLOURS.len() % DASHES.len()]);
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
             stroke-linejoin=\"round\" stroke-dasharray=\"{}\"/>\n",
            places(points),
            if dashes.is_empty() { "none" } else { dashes }
        ),
    );
}

fn dot(svg: &mut String, index: usize, (x, y): (f64, f64), radius: f64) {
    let colour = COLOURS[index % COLOURS.len()];
    put(svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\"/>\n"));
}

/// A circle, square, triangle, diamond or a triangle on its tip.
fn marker(svg: &mut String, index: usize, (x, y): (f64, f64)) {
    let corners: &[(f64, f64)] = match index % 5 {
        0 => return dot(svg, index, (x, y), 4.0),
        1 => &[(-3.8, -3.8), (3.8, -3.8), (3.8, 3.8), (-3.8, 3.8)],
        2 => &[(0.0, -5.2), (4.7, 3.4), (-4.7, 3.4)],
        3 => &[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)],
        _ => &[(0.0, 5.2), (4.7, -3.4), (-4.7, -3.4)],
    };
    let corners: Vec<(f64, f64)> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    let colour = COLOURS[index % COLOURS.len()];
    put(svg, format_args!("<polygon points=\"{}\" fill=\"{colour}\"/>\n", places(&corners)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::well_formed::assert_well_formed;

    fn curve(name: &str, points: &[(u64, f64)]) -> Curve {
        Curve { name: name.to_owned(), points: points.to_vec(), band: Vec::new() }
    }

    fn chart(value_name: &str, curves: &[Curve]) -> Chart {
        let title = format!("Evaluation {value_name}");
        Chart {
            title,
            value_name: value_name.to_owned(),
            curves: curves.to_vec(),
            marked: true,
            decades: true,
        }
    }

    fn drawn(chart: &Chart) -> [String; 2] {
        [Format::ALONE, Format::CARD].map(|format| {
            let svg = chart.svg(&format);
            assert_well_formed(&svg);
            svg
        })
    }

    #[test]
    fn a_picture_is_well_formed_whatever_the_curves() {
        let ordinary = curve("head start", &[(0, 0.2), (30, 0.8), (90, 0.95)]);
        let odd_name = curve("a<b> & \"c\"\u{1b}", &[(0, 0.1), (90, 0.9)]);
        let point = curve("point", &[(0, 0.0)]);
        let flat = curve("flat", &[(10, 1.0), (20, 1.0)]);
        let wild =
            curve("wild", &[(1, f64::NAN), (2, f64::INFINITY), (3, f64::MAX), (4, 1e-310), (u64::MAX, 5.0)]);
        for marked in [true, false] {
            for value_name in ["accuracy", "<odd>"] {
                let draw = |curves: &[Curve]| drawn(&Chart { marked, ..chart(value_name, curves) });
                draw(&[ordinary.clone(), odd_name.clone()]);
                draw(&[point.clone(), point.clone()]);
                draw(&[flat.clone(), ordinary.clone()]);
                draw(&[wild.clone()]);
                draw(&[curve("none", &[])]);
                draw(&[]);
            }
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_a_gap_and_a_lone_value_a_dot() {
        let gaps =
            curve("gaps", &[(1, 3.0), (2, 2.0), (3, f64::NAN), (4, 1.0), (5, f64::NAN), (6, 1.0), (7, 1.5)]);
        let [_, card] = drawn(&Chart { marked: false, ..chart("loss", &[gaps]) });
        assert_eq!((card.matches("<polyline").count(), card.matches("<circle").count()), (2, 1), "{card}");
    }

    #[test]
    fn a_mean_has_a_band_as_wide_as_its_spread() {
        let mean =
            Curve { band: vec![(0, 0.0, 1.0), (10, 0.5, 0.5)], ..curve("mean", &[(0, 0.5), (10, 0.5)]) };
        let [alone, _] = drawn(&chart("loss", &[mean]));
        let band = "points=\"80.0,86.0 790.0,266.0 790.0,266.0 80.0,446.0\" fill=\"#0072B2\" fill-opacity";
        assert!(alone.contains(band), "{alone}");
    }

    #[test]
    fn values_that_span_decades_are_drawn_on_a_logarithmic_scale_that_the_title_names() {
        let perplexity = curve("perplexity", &[(0, 82_000.0), (10, 5.0)]);
        let [alone, card] = drawn(&chart("perplexity", &[perplexity.clone()]));
        for svg in [alone, card] {
            assert!(
                svg.contains("perplexity, on a logarithmic scale</text>") && svg.contains(">1000<"),
                "{svg}"
            );
        }
        let [linear, _] = drawn(&Chart { decades: false, ..chart("perplexity", &[perplexity]) });
        assert!(!linear.contains("logarithmic"), "{linear}");
    }

    #[test]
    fn a_hundred_thousand_steps_of_twenty_runs_are_a_picture_of_less_than_a_megabyte() {
        let noisy = |run: u64| (0..100_000).map(|step| (step, ((step * 7919 + run) % 1000) as f64)).collect();
        let curves: Vec<Curve> =
            (0..20).map(|run| Curve { points: noisy(run), ..curve(&run.to_string(), &[]) }).collect();
        let [alone, card] = drawn(&Chart { marked: false, ..chart("loss", &curves) });
        assert!(alone.len() < 1_000_000 && card.len() < 600_000, "{} {}", alone.len(), card.len());
    }

    #[test]
    fn long_names_have_rows_of_their_own() {
        let curves: Vec<Curve> = (0..3)
            .map(|index| curve(&format!("{index} {}", "name ".repeat(30)), &[(0, 0.5), (1, 0.6)]))
            .collect();
        let legend = Legend::lay_out(&curves, &Format::ALONE);
        let rows: Vec<f64> = legend.entries.iter().map(|(_, y, _)| *y).collect();
        assert!(rows[0] < rows[1] && rows[1] < rows[2], "{rows:?}");
        assert!(legend.entries.iter().all(|(x, _, name)| x + LEGEND_MARK + text_width(name) < WIDTH));
    }
}
