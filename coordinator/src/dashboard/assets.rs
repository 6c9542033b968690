//! The files of the page, which are part of the program.

/// Content type and content of a path.
pub(super) fn find(path: &str) -> Option<(&'static str, &'static [u8])> {
    ASSETS.iter().find(|(name, ..)| *name == path).map(|(_, kind, content)| (*kind, *content))
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! asset {
    ($file:literal, $kind:ident) => {
        (concat!("/dashboard/", $file), $kind, include_bytes!(concat!("../../dashboard/", $file)))
    };
}

/// uPlot's files are as its package has them.
macro_rules! uplot {
    ($file:literal, $kind:ident) => {
        (
            concat!("/dashboard/", $file),
            $kind,
            include_bytes!(concat!("../../../third_party/uplot/dist/", $file)),
        )
    };
}

const ASSETS: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("../../dashboard/index.html")),
    asset!("page.css", CSS),
    asset!("charts.css", CSS),
    asset!("icon.svg", SVG),
    asset!("app.js", JS),
    asset!("charts.js", JS),
    asset!("compare.js", JS),
    asset!("dom.js", JS),
    asset!("events.js", JS),
    asset!("format.js", JS),
    asset!("live.js", JS),
    asset!("marks.js", JS),
    asset!("overview.js", JS),
    asset!("panels.js", JS),
    asset!("series.js", JS),
    asset!("workers.js", JS),
    asset!("yaml.js", JS),
    uplot!("uPlot.iife.min.js", JS),
    uplot!("uPlot.min.css", CSS),
    ("/dashboard/uPlot.LICENSE.txt", TEXT, include_bytes!("../../../third_party/uplot/LICENSE")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_page_and_its_scripts_name_is_there() {
        let mut seen = 0;
        for (name, kind, content) in ASSETS.iter().filter(|(name, ..)| !name.contains("uPlot")) {
            let text = str::from_utf8(content).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut named: Vec<String> = Vec::new();
            for start in ["src=\"", "href=\""] {
                named.extend(
                    text.split(start).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned),
                );
            }
            let imports = text.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next());
            named.extend(imports.map(|file| format!("/dashboard/{file}")));
            for path in named.iter().filter(|path| path.starts_with('/')) {
                assert!(find(path).is_some(), "{name} names {path}");
                seen += 1;
            }
            assert!(
                *kind != HTML || !text.contains("<style") && !text.contains(" style="),
                "{name}: the policy forbids it"
            );
            assert!(
                !text.contains("://") || *kind == SVG || text.contains("http://www.w3.org/"),
                "{name}: nothing from elsewhere"
            );
        }
        assert!(seen > 10, "{seen} files are named");
    }
}
