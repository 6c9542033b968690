//! A strict reader of Prometheus's text format 0.0.4: stricter than Prometheus, which forgives.

use std::collections::BTreeMap;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// All samples that share a name.
#[derive(Debug)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Name, labels and value of each sample.
    pub samples: Vec<(String, Labels, f64)>,
}

/// The families of a scrape by name.
#[derive(Debug)]
pub struct Scrape(pub BTreeMap<String, Family>);

impl Scrape {
    /// Reads a scrape; panics at whatever the format does not allow.
    pub fn parse(text: &str) -> Scrape {
        assert!(text.ends_with('\n'), "the last line is whole");
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help =
                line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("a family begins with HELP: {line}"));
            let (name, meaning) = help.split_once(' ').unwrap_or_else(|| panic!("nothing is said of {help}"));
            assert!(is_name(name) && !meaning.trim().is_empty(), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.unwrap_or_else(|| panic!("TYPE follows HELP: {name}")).to_owned();
            let mut family = Family { kind, samples: Vec::new() };
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                family.samples.push(read_sample(sample));
            }
            family.check(name);
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} occurs twice");
        }
        Scrape(families)
    }

    /// The value of the one sample with these labels, of a counter or gauge.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let family = self.0.get(name)?;
        family.samples.iter().find(|(_, labels, _)| *labels == wanted).map(|(_, _, value)| *value)
    }

    /// The sum over a family's samples.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.get(name).map_or(0.0, |family| family.samples.iter().map(|(_, _, value)| value).sum())
    }
}

impl Family {
    fn check(&self, name: &str) {
        assert!(!self.samples.is_empty(), "{name} has no samples");
        let mut seen = std::collections::BTreeSet::new();
        for (sample, labels, value) in &self.samples {
            assert!(seen.insert((sample, labels)), "{sample} {labels:?} occurs twice");
            match self.kind.as_str() {
                "gauge" => assert_eq!(sample, name),
                "counter" => {
                    assert!(sample == name && name.ends_with("_total"), "{sample} of {name}");
                    assert!(*value >= 0.0, "{sample} is {value}");
                }
                "histogram" => {
                    let part =
                        sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} is not of {name}"));
                    assert!(["_bucket", "_sum", "_count"].contains(&part), "{sample}");
                    assert_eq!(part == "_bucket", labels.contains_key("le"), "{sample} {labels:?}");
                }
                other => panic!("{name} is a {other}"),
            }
        }
        if self.kind == "histogram" {
            self.check_buckets(name);
        }
    }

    /// Buckets are cumulative, and the last one holds everything.
    fn check_buckets(&self, name: &str) {
        let mut last: BTreeMap<Labels, (f64, f64)> = BTreeMap::new();
        for (_, labels, count) in self.samples.iter().filter(|(sample, ..)| sample.ends_with("_bucket")) {
            let mut of = labels.clone();
            let bound = number(&of.remove("le").expect("checked above"));
            let before = last.insert(of, (bound, *count)).unwrap_or((f64::NEG_INFINITY, 0.0));
            assert!(before.0 < bound && before.1 <= *count, "{name} {labels:?}");
        }
        let counts = self.samples.iter().filter(|(sample, ..)| sample.ends_with("_count"));
        let counts: BTreeMap<Labels, f64> =
            counts.map(|(_, labels, count)| (labels.clone(), *count)).collect();
        let whole: BTreeMap<Labels, f64> = last
            .into_iter()
            .map(|(labels, (bound, count))| {
                assert_eq!(bound, f64::INFINITY, "{name} {labels:?}");
                (labels, count)
            })
            .collect();
        assert_eq!(counts, whole, "{name}");
    }
}

fn read_sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest, line),
        None => (Labels::new(), rest),
    };
    let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    (name.to_owned(), labels, number(value))
}

/// Labels up to the closing brace, and what follows it.
fn read_labels<'a>(mut rest: &'a str, line: &str) -> (Labels, &'a str) {
    let mut labels = Labels::new();
    loop {
        let (name, after) =
            rest.split_once("=\"").unwrap_or_else(|| panic!("a label without a value: {line}"));
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let (value, after) = read_quoted(after, line);
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} occurs twice: {line}");
        rest = match after.split_at(1) {
            (",", after) => after,
            ("}", after) => return (labels, after),
            _ => panic!("neither a comma nor a brace: {line}"),
        };
    }
}

fn read_quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                other => panic!("{other:?} is not escaped: {line}"),
            }),
            other => value.push(other),
        }
    }
    panic!("a quote is not closed: {line}")
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        text => {
            assert!(
                text.starts_with(|first: char| first.is_ascii_digit() || first == '-'),
                "{text} is no number"
            );
            text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
        }
    }
}

fn is_name(name: &str) -> bool {
    let good =
        |(at, c): (usize, char)| c.is_ascii_alphabetic() || "_:".contains(c) || at > 0 && c.is_ascii_digit();
    !name.is_empty() && name.char_indices().all(good)
}
