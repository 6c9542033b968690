//! A chart of curves over training steps: grid, axes, legend, curves, and bands that show a spread.
//!
//! Colour, dashes and markers distinguish the curves.

use std::collections::BTreeSet;

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
    /// Steps at which something happened: upright lines.
    pub marks: Vec<u64>,
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
            frame.marks(&mut svg, index, &curve.marks);
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
        Curve { name: self.name.clone(), points, band, marks: self.marks.clone() }
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

    /// Upright lines, one for each column of pixels at most.
    fn marks(&self, svg: &mut String, index: usize, steps: &[u64]) {
        let columns: BTreeSet<u64> = steps
            .iter()
            .map(|&step| self.place(step as f64, 0.0).0)
            .filter(|x| (self.format.left..=self.format.width - self.format.right).contains(x))
            .map(|x| x as u64)
            .collect();
        let (top, bottom, colour) =
            (self.top, self.top + self.format.plot_height, COLOURS[index % COLOURS.len()]);
        for x in columns {
            put(
                svg,
                format_args!(
                    "<line x1=\"{x}.5\" y1=\"{top:.1}\" x2=\"{x}.5\" y2=\"{bottom:.1}\" stroke=\"{colour}\" \
                     stroke-dasharray=\"4 3\" stroke-opacity=\"0.7\"/>\n"
                ),
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
mod tests;
