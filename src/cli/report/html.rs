//! HTML as text. It is XML too: every element is closed, and every attribute is quoted.

use headstart::svg::escaped;

/// A text from elsewhere, safe anywhere on the page. Line breaks become spaces.
pub(super) fn text(text: &str) -> String {
    escaped(&text.replace(['\n', '\t'], " "))
}

/// Lines of text as they are, in a box.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(escaped).collect();
    format!("<pre tabindex=\"0\">{}</pre>\n", lines.join("\n"))
}

/// A number that is shown in few digits, and there in all of them; a dash for what is no number.
pub(super) fn number(value: f64, shown: &str) -> String {
    match value.is_finite() {
        true => format!("<data value=\"{value:?}\">{}</data>", text(shown)),
        false => "–".to_owned(),
    }
}

/// Whole, or in as many digits as are worth reading.
pub(super) fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 1e-3 || size == 0.0 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    }
}

/// A part of the page.
pub(super) fn section(id: &str, title: &str, content: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{}</h2>\n{content}</section>\n", text(title))
}

/// What is there for those who open it.
pub(super) fn details(summary: &str, open: bool, content: &str) -> String {
    let open = if open { " open=\"open\"" } else { "" };
    format!("<details{open}>\n<summary>{}</summary>\n{content}</details>\n", text(summary))
}

/// A paragraph.
pub(super) fn paragraph(content: &str) -> String {
    format!("<p>{}</p>\n", text(content))
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column<'a> {
    Text(&'a str),
    Number(&'a str),
}

/// A table. The first column names the rows. Cells are HTML.
#[derive(Debug)]
pub(super) struct Table<'a> {
    caption: &'a str,
    columns: Vec<Column<'a>>,
    rows: String,
}

impl<'a> Table<'a> {
    /// An empty one.
    pub(super) fn new(caption: &'a str, columns: &[Column<'a>]) -> Table<'a> {
        Table { caption, columns: columns.to_vec(), rows: String::new() }
    }

    /// Adds a row; `class` is empty, or one of the page's style.
    pub(super) fn row(&mut self, class: &str, cells: &[String]) {
        self.rows.push_str(&format!("<tr class=\"{class}\">"));
        for (place, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
            let cell = match (place, column) {
                (0, _) => format!("<th scope=\"row\">{cell}</th>"),
                (_, Column::Text(_)) => format!("<td>{cell}</td>"),
                (_, Column::Number(_)) => format!("<td class=\"number\">{cell}</td>"),
            };
            self.rows.push_str(&cell);
        }
        self.rows.push_str("</tr>\n");
    }

    /// The table, which scrolls sideways where it is wider than the page.
    pub(super) fn html(&self) -> String {
        let head: String = self
            .columns
            .iter()
            .map(|column| match column {
                Column::Text(name) => format!("<th scope=\"col\">{}</th>", text(name)),
                Column::Number(name) => format!("<th scope=\"col\" class=\"number\">{}</th>", text(name)),
            })
            .collect();
        let caption = text(self.caption);
        format!(
            "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table>\n<caption>{caption}</caption>\n\
             <thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
            self.rows
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_text() {
        assert_eq!(text("<b onclick=\"x\">&\n\u{0}\u{ffff}"), "&lt;b onclick=&quot;x&quot;&gt;&amp; ");
        assert_eq!(lines("a: <1>\nb"), "<pre tabindex=\"0\">a: &lt;1&gt;\nb</pre>\n");
        assert_eq!(section("x", "a & b", ""), "<section id=\"x\">\n<h2>a &amp; b</h2>\n</section>\n");
    }

    #[test]
    fn numbers_have_all_their_digits() {
        assert_eq!(number(0.1 + 0.2, "0.30"), "<data value=\"0.30000000000000004\">0.30</data>");
        assert_eq!(number(f64::NAN, "NaN"), "–");
        let shown = [1e300, 12345.6, 2.345, 0.01234, 0.0, 2e-5, -0.5].map(plain);
        assert_eq!(shown, ["1.00e300", "12346", "2.35", "0.0123", "0.0000", "2.00e-5", "-0.5000"]);
    }
}
