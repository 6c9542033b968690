//! SVG pictures: a white page, lines, bars, texts, axes, and charts of curves.
//!
//! Pictures have their own white background, so that they are readable on light and dark pages.

pub mod axis;
pub mod chart;
mod thin;

use std::fmt::Write;

/// Width of a picture that stands alone.
pub const WIDTH: f64 = 820.0;
/// Narrower pictures have a smaller title.
const NARROW: f64 = 600.0;

/// Okabe and Ito's colours ("Color Universal Design", 2008), which people with any colour vision tell apart; yellow is
/// left out, for it does not show on white.
pub const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];

/// The start of a picture of this width and height, up to its title. `</svg>` ends it.
pub fn page((width, height): (f64, f64), title: &str) -> String {
    let title = escaped(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" \
         fill=\"#222222\">\n<title>{title}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let (x, y, size) = if width < NARROW { (14.0, 25.0, 15) } else { (80.0, 32.0, 18) };
    text(&mut svg, x, y, &format!("font-size=\"{size}\" font-weight=\"bold\""), &title);
    svg
}

/// A line one pixel wide.
pub fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    put(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>\n"
        ),
    );
}

/// A filled rectangle from its upper left corner.
pub fn bar(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
    put(
        svg,
        format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n"
        ),
    );
}

/// A text. `content` is escaped already.
pub fn text(svg: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    put(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>\n"));
}

/// Anything else.
pub fn put(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("a String takes everything");
}

/// An estimate on the wide side: fonts differ.
pub fn text_width(text: &str) -> f64 {
    text.chars().map(|character| if character.is_ascii() { 7.6 } else { 13.0 }).sum()
}

/// A name that is cut where it is wider than this.
pub fn shortened(name: &str, widest: f64) -> String {
    let cut = name.char_indices().map(|(at, _)| at).find(|at| text_width(&name[..*at]) > widest);
    cut.map_or_else(|| name.to_owned(), |cut| format!("{}…", &name[..cut]))
}

/// Safe inside an element or a quoted attribute, of XML and of HTML. Control characters and what Unicode keeps free are
/// left out: they may not be there.
pub fn escaped(text: &str) -> String {
    let is_free = |character: char| {
        let code = u32::from(character);
        code & 0xFFFE == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code)
    };
    let clean: String =
        text.chars().filter(|character| !character.is_control() && !is_free(*character)).collect();
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
pub(crate) mod well_formed;
