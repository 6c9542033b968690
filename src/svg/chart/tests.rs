//! Pictures of all kinds of curves.

use super::*;
use crate::svg::well_formed::assert_well_formed;

fn curve(name: &str, points: &[(u64, f64)]) -> Curve {
    Curve { name: name.to_owned(), points: points.to_vec(), ..Curve::default() }
}

fn chart(value_name: &str, curves: &[Curve]) -> Chart {
    let title = format!("Evaluation {value_name}");
    Chart { title, value_name: value_name.to_owned(), curves: curves.to_vec(), marked: true, decades: true }
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
            draw(std::slice::from_ref(&wild));
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
    let mean = Curve { band: vec![(0, 0.0, 1.0), (10, 0.5, 0.5)], ..curve("mean", &[(0, 0.5), (10, 0.5)]) };
    let [alone, _] = drawn(&chart("loss", &[mean]));
    let band = "points=\"80.0,86.0 790.0,266.0 790.0,266.0 80.0,446.0\" fill=\"#0072B2\" fill-opacity";
    assert!(alone.contains(band), "{alone}");
}

#[test]
fn what_happened_is_an_upright_line_in_each_column_of_pixels_at_most() {
    let faults =
        Curve { marks: (0..1000).chain([5, 2000]).collect(), ..curve("faults", &[(0, 1.0), (1000, 2.0)]) };
    let [alone, card] = drawn(&chart("loss", &[faults]));
    for (svg, widest) in [(alone, 711), (card, 399)] {
        let lines = svg.matches("stroke-dasharray=\"4 3\"").count();
        assert!((300..=widest).contains(&lines), "{lines}");
    }
}

#[test]
fn values_that_span_decades_are_drawn_on_a_logarithmic_scale_that_the_title_names() {
    let perplexity = curve("perplexity", &[(0, 82_000.0), (10, 5.0)]);
    let [alone, card] = drawn(&chart("perplexity", std::slice::from_ref(&perplexity)));
    for svg in [alone, card] {
        assert!(svg.contains("perplexity, on a logarithmic scale</text>") && svg.contains(">1000<"), "{svg}");
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
