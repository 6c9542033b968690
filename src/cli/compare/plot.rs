//! Curves as an SVG picture: white background, grid, axes, legend. Colour, dashes and markers distinguish the curves.

use headstart::svg::axis::Axis;
use headstart::svg::{COLOURS, WIDTH, escaped, line, page, put, shortened, text, text_width};

use super::read::Run;
use crate::cli::format::MetricKind;

const PLOT_HEIGHT: f64 = 360.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TITLE_HEIGHT: f64 = 52.0;
const LEGEND_ROW: f64 = 24.0;
const LEGEND_MARK: f64 = 34.0;
const LEGEND_GAP: f64 = 26.0;
/// Below the plot: tick labels and the axis' name.
const BELOW: f64 = 62.0;
/// Width of a name in the legend; longer ones are cut.
const WIDEST_NAME: f64 = 500.0;
/// Markers on one curve; between them only the line is drawn.
const MOST_MARKERS: usize = 40;

const DASHES: [&str; 3] = ["", "9 4", "2 4"];

/// Draws the runs' curves of one metric.
pub(super) fn svg(metric: &str, kind: MetricKind, runs: &[Run]) -> String {
    let scale = if kind.fraction { 100.0 } else { 1.0 };
    let values = runs.iter().flat_map(|run| &run.curve).map(|(_, value)| scale * value);
    let last = runs.iter().map(|run| run.last().0).max().unwrap_or(0);
    let legend = Legend::lay_out(runs);
    let frame =
        Frame { top: TITLE_HEIGHT + legend.height + 10.0, x: Axis::of_steps(last), y: Axis::around(values) };
    let height = frame.top + PLOT_HEIGHT + BELOW;
    let mut svg = page(height, &format!("Evaluation {metric} by training step"));
    let metric = escaped(metric);
    legend.draw(&mut svg);
    frame.draw(&mut svg, &if kind.fraction { format!("{metric} (%)") } else { metric });
    for (index, run) in runs.iter().enumerate() {
        let points: Vec<(f64, f64)> =
            run.curve.iter().map(|&(step, value)| frame.place(step as f64, scale * value)).collect();
        curve(&mut svg, index, &points);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The rectangle that curves are drawn in.
struct Frame {
    top: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn place(&self, step: f64, value: f64) -> (f64, f64) {
        let x = LEFT + self.x.place(step) * (WIDTH - LEFT - RIGHT);
        (x, self.top + (1.0 - self.y.place(value)) * PLOT_HEIGHT)
    }

    fn draw(&self, svg: &mut String, value_name: &str) {
        let (right, bottom) = (WIDTH - RIGHT, self.top + PLOT_HEIGHT);
        for (tick, label) in self.y.ticks() {
            let (_, y) = self.place(0.0, tick);
            line(svg, (LEFT, y), (right, y), "#dddddd");
            text(svg, LEFT - 10.0, y + 4.5, "text-anchor=\"end\"", &label);
        }
        for (tick, label) in self.x.ticks() {
            let (x, _) = self.place(tick, 0.0);
            line(svg, (x, self.top), (x, bottom), "#eeeeee");
            line(svg, (x, bottom), (x, bottom + 5.0), "#444444");
            text(svg, x, bottom + 20.0, "text-anchor=\"middle\"", &label);
        }
        line(svg, (LEFT, self.top), (LEFT, bottom), "#444444");
        line(svg, (LEFT, bottom), (right, bottom), "#444444");
        text(svg, (LEFT + right) / 2.0, bottom + 46.0, "text-anchor=\"middle\"", "training step");
        let middle = self.top + PLOT_HEIGHT / 2.0;
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 22 {middle:.1})\"");
        text(svg, 22.0, middle, &turned, value_name);
    }
}

/// Names with their line and marker, in as many rows as they need.
struct Legend {
    entries: Vec<(f64, f64, String)>,
    height: f64,
}

impl Legend {
    fn lay_out(runs: &[Run]) -> Legend {
        let (mut x, mut row) = (LEFT, 0.0);
        let mut entries = Vec::new();
        for run in runs {
            let name = shortened(&run.name, WIDEST_NAME);
            let width = LEGEND_MARK + text_width(&name);
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, row) = (LEFT, row + 1.0);
            }
            entries.push((x, TITLE_HEIGHT + row * LEGEND_ROW + LEGEND_ROW / 2.0, name));
            x += width + LEGEND_GAP;
        }
        Legend { entries, height: (row + 1.0) * LEGEND_ROW }
    }

    fn draw(&self, svg: &mut String) {
        for (index, (x, y, name)) in self.entries.iter().enumerate() {
            stroke(svg, index, &[(*x, *y), (x + LEGEND_MARK - 8.0, *y)]);
            marker(svg, index, (x + LEGEND_MARK / 2.0 - 4.0, *y));
            text(svg, x + LEGEND_MARK, y + 4.5, "", &escaped(name));
        }
    }
}

fn curve(svg: &mut String, index: usize, points: &[(f64, f64)]) {
    stroke(svg, index, points);
    let every = points.len().div_ceil(MOST_MARKERS).max(1);
    for &point in points.iter().step_by(every) {
        marker(svg, index, point);
    }
}

fn stroke(svg: &mut String, index: usize, points: &[(f64, f64)]) {
    let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let (colour, dashes) = (COLOURS[index % COLOURS.len()], DASHES[index / COLOURS.len() % DASHES.len()]);
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\" \
             stroke-linejoin=\"round\" stroke-dasharray=\"{}\"/>\n",
            places.join(" "),
            if dashes.is_empty() { "none" } else { dashes }
        ),
    );
}

/// A circle, square, triangle, diamond or a triangle on its tip.
fn marker(svg: &mut String, index: usize, (x, y): (f64, f64)) {
    let colour = COLOURS[index % COLOURS.len()];
    let corners: &[(f64, f64)] = match index % 5 {
        0 => {
            let circle = format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\n");
            return put(svg, circle);
        }
        1 => &[(-3.8, -3.8), (3.8, -3.8), (3.8, 3.8), (-3.8, 3.8)],
        2 => &[(0.0, -5.2), (4.7, 3.4), (-4.7, 3.4)],
        3 => &[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)],
        _ => &[(0.0, 5.2), (4.7, -3.4), (-4.7, -3.4)],
    };
    let places: Vec<String> = corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy)).collect();
    put(svg, format_args!("<polygon points=\"{}\" fill=\"{colour}\"/>\n", places.join(" ")));
}

#[cfg(test)]
#[path = "../../svg/well_formed.rs"]
mod well_formed;

#[cfg(test)]
mod tests {
    use super::well_formed::assert_well_formed;
    use super::*;

    fn run(name: &str, curve: &[(u64, f64)]) -> Run {
        Run { name: name.to_owned(), total_steps: 90, curve: curve.to_vec() }
    }

    fn drawn(metric: &str, runs: &[Run]) -> String {
        svg(metric, MetricKind::of(metric), runs)
    }

    #[test]
    fn a_picture_is_well_formed_whatever_the_curves() {
        let ordinary = run("head start", &[(0, 0.2), (30, 0.8), (90, 0.95)]);
        let odd_name = run("a<b> & \"c\"\u{1b}", &[(0, 0.1), (90, 0.9)]);
        let point = run("point", &[(0, 0.0)]);
        let flat = run("flat", &[(10, 1.0), (20, 1.0)]);
        for metric in ["accuracy", "loss", "<odd>"] {
            assert_well_formed(&drawn(metric, &[ordinary.clone(), odd_name.clone()]));
            assert_well_formed(&drawn(metric, &[point.clone(), point.clone()]));
            assert_well_formed(&drawn(metric, &[flat.clone(), ordinary.clone()]));
        }
    }

    #[test]
    fn long_names_have_rows_of_their_own() {
        let runs: Vec<Run> = (0..3)
            .map(|index| run(&format!("{index} {}", "name ".repeat(30)), &[(0, 0.5), (1, 0.6)]))
            .collect();
        let legend = Legend::lay_out(&runs);
        let rows: Vec<f64> = legend.entries.iter().map(|(_, y, _)| *y).collect();
        assert!(rows[0] < rows[1] && rows[1] < rows[2], "{rows:?}");
        assert!(legend.entries.iter().all(|(x, _, name)| x + LEGEND_MARK + text_width(name) < WIDTH));
    }
}
