//! Labels become class ids.

use std::collections::{HashMap, HashSet};

use super::RowProblem;
use super::cell::Cell;

/// Different labels of a run; more are a sign of a wrong column.
const MOST_LABELS: usize = 100_000;
const LONGEST_LABEL: usize = 1024;
/// Largest whole number below which every whole number is a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The labels met so far, or the only ones allowed.
pub(super) struct Labels {
    /// From names, and from other spellings of the same number, to places in `names`.
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    allowed: Allowed,
}

/// Which labels may occur, and which order they have in the end.
enum Allowed {
    /// Any; they are sorted.
    Any,
    /// Those given to [`Labels::new`], in their order.
    Given,
    /// Those that a file declares, in its order.
    Declared { url: String, names: Vec<String> },
}

/// What is wrong with the classes that a file declares.
#[derive(Debug, PartialEq)]
pub(super) enum Undeclarable {
    /// They cannot be classes.
    Names(RowProblem),
    /// Another file declares others.
    Differ { other: String, names: Vec<String> },
    /// An earlier row has a label that is none of them.
    Occurs { label: String },
}

impl Labels {
    /// Collects labels when `known` is `None`, allows only those of `known` otherwise.
    pub(super) fn new(known: Option<&[String]>) -> Labels {
        let names = known.unwrap_or_default().to_vec();
        let mut numbers: HashMap<String, u32> =
            (0..).zip(&names).map(|(at, name)| (name.clone(), at)).collect();
        // `labels: [0.0, 1.0]` are the numbers 0 and 1.
        for (at, name) in (0..).zip(&names) {
            if let Field::Whole(number) = Field::of(name) {
                numbers.entry(number).or_insert(at);
            }
        }
        Labels { numbers, names, allowed: if known.is_some() { Allowed::Given } else { Allowed::Any } }
    }

    /// Takes the classes that a file declares as the labels, in their order, unless they were given.
    pub(super) fn declare(
        &mut self,
        url: &str,
        column: &str,
        declared: &[String],
    ) -> Result<(), Undeclarable> {
        check(declared, column).map_err(Undeclarable::Names)?;
        match &self.allowed {
            Allowed::Given => return Ok(()),
            Allowed::Declared { url, names } => {
                let [first, second]: [HashSet<&String>; 2] =
                    [names, declared].map(|names| names.iter().collect());
                let differ = || Undeclarable::Differ { other: url.clone(), names: names.clone() };
                return if first == second { Ok(()) } else { Err(differ()) };
            }
            Allowed::Any => {}
        }
        let set: HashSet<&String> = declared.iter().collect();
        if let Some(label) = self.names.iter().find(|name| !set.contains(name)) {
            return Err(Undeclarable::Occurs { label: label.clone() });
        }
        for name in declared {
            self.add(name);
        }
        self.allowed = Allowed::Declared { url: url.to_owned(), names: declared.to_vec() };
        Ok(())
    }

    /// The class id of a typed value, for now: [`Labels::finish`] says which ids are final.
    pub(super) fn of_cell(&mut self, cell: Cell, column: &str) -> Result<u32, RowProblem> {
        match cell {
            Cell::Text(label) if label.is_empty() => {
                Err(RowProblem::EmptyValue { column: column.to_owned() })
            }
            Cell::Text(label) | Cell::Integer(label) => self.of_name(&label, column),
            Cell::Bool(label) => self.of_name(&label.to_string(), column),
            // Columns of numbers in which one is missing become floats in other tools.
            Cell::Float(label) if label.fract() == 0.0 && label.abs() < EXACT => {
                self.of_name(&(label as i64).to_string(), column)
            }
            Cell::Float(label) => {
                let text = label.to_string();
                match self.numbers.get(&text) {
                    Some(&number) => Ok(number),
                    None => Err(no_class(text, label.is_nan(), column)),
                }
            }
            other => Err(other.wrong_kind(column, "a string, an integer or a boolean")),
        }
    }

    /// As [`Labels::of_cell`], for a field of a CSV file, which has no type: `1.0` is the number 1.
    pub(super) fn of_field(&mut self, field: &str, column: &str) -> Result<u32, RowProblem> {
        if let Some(&number) = self.numbers.get(field) {
            return Ok(number);
        }
        match Field::of(field) {
            Field::Whole(number) => self.of_name(&number, column),
            Field::Fraction => Err(no_class(field.to_owned(), false, column)),
            Field::NotANumber => Err(no_class(field.to_owned(), true, column)),
            Field::Name => self.of_name(field, column),
        }
    }

    /// The class id of a name that is taken as it is.
    pub(super) fn of_name(&mut self, label: &str, column: &str) -> Result<u32, RowProblem> {
        if let Some(&number) = self.numbers.get(label) {
            return Ok(number);
        }
        if label.len() > LONGEST_LABEL {
            return Err(RowProblem::LongLabel { limit: LONGEST_LABEL, column: column.to_owned() });
        }
        if integer(label).is_some_and(|value| value < 0) {
            return Err(RowProblem::NegativeLabel { label: label.to_owned(), column: column.to_owned() });
        }
        match &self.allowed {
            Allowed::Any if self.names.len() == MOST_LABELS => {
                Err(RowProblem::TooManyLabels { limit: MOST_LABELS, column: column.to_owned() })
            }
            Allowed::Any => Ok(self.add(label)),
            Allowed::Given => {
                Err(RowProblem::UnknownLabel { label: label.to_owned(), known: self.names.clone() })
            }
            Allowed::Declared { names, .. } => {
                Err(RowProblem::UnknownLabel { label: label.to_owned(), known: names.clone() })
            }
        }
    }

    fn add(&mut self, label: &str) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(label.to_owned()).or_insert(next);
        if number == next {
            self.names.push(label.to_owned());
        }
        number
    }

    /// The labels in their final order, and the final class id of each id given so far.
    ///
    /// Collected labels are sorted: by value when all are integers, as strings otherwise.
    pub(super) fn finish(self) -> (Vec<String>, Vec<u32>) {
        let Labels { numbers, names, allowed } = self;
        let mut order: Vec<usize> = (0..names.len()).collect();
        match allowed {
            Allowed::Given => {}
            Allowed::Declared { names: declared, .. } => {
                order = declared.iter().map(|name| numbers[name] as usize).collect();
            }
            Allowed::Any => match names.iter().map(|name| integer(name)).collect::<Option<Vec<i128>>>() {
                Some(values) => order.sort_by_key(|&place| values[place]),
                None => order.sort_by_key(|&place| &names[place]),
            },
        }
        let mut renumbered = vec![0; order.len()];
        for (number, &place) in order.iter().enumerate() {
            renumbered[place] = number as u32;
        }
        (order.into_iter().map(|place| names[place].clone()).collect(), renumbered)
    }
}

/// Whether names can be the classes of a run.
fn check(names: &[String], column: &str) -> Result<(), RowProblem> {
    let column = column.to_owned();
    if names.len() > MOST_LABELS {
        return Err(RowProblem::TooManyLabels { limit: MOST_LABELS, column });
    }
    if names.iter().any(|name| name.len() > LONGEST_LABEL) {
        return Err(RowProblem::LongLabel { limit: LONGEST_LABEL, column });
    }
    let mut met = HashSet::new();
    match names.iter().find(|name| !met.insert(*name)) {
        Some(label) => Err(RowProblem::TwoClasses { label: label.clone(), column }),
        None => Ok(()),
    }
}

fn no_class(label: String, missing: bool, column: &str) -> RowProblem {
    let column = column.to_owned();
    if missing { RowProblem::NoLabel { label, column } } else { RowProblem::Fraction { label, column } }
}

/// The value of an integer in its usual spelling; `007` and `+7` are names.
fn integer(name: &str) -> Option<i128> {
    name.parse::<i128>().ok().filter(|value| value.to_string() == name)
}

/// What a text says where numbers are written as text.
enum Field {
    /// A whole number that is spelt as a float, `1.0`; in its usual spelling.
    Whole(String),
    /// A number with a fraction, `1.5`.
    Fraction,
    /// `nan`, which stands for a value that is missing.
    NotANumber,
    /// Anything else, and integers.
    Name,
}

impl Field {
    fn of(text: &str) -> Field {
        if matches!(text, "nan" | "NaN" | "NAN") {
            return Field::NotANumber;
        }
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let Some((whole, fraction)) = text.split_once('.') else { return Field::Name };
        let unsigned = whole.strip_prefix('-').unwrap_or(whole);
        match whole {
            // As floats have it: minus nothing is nothing.
            "-0" if digits(fraction) && fraction.bytes().all(|byte| byte == b'0') => {
                Field::Whole("0".to_owned())
            }
            _ if !digits(fraction) || !digits(unsigned) || integer(whole).is_none() && whole != "-0" => {
                Field::Name
            }
            _ if fraction.bytes().all(|byte| byte == b'0') => Field::Whole(whole.to_owned()),
            _ => Field::Fraction,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn numbers_written_as_floats_are_the_same_numbers() {
        let mut labels = Labels::new(None);
        let one = labels.of_cell(Cell::Integer("1".to_owned()), "label");
        assert_eq!(labels.of_cell(Cell::Float(1.0), "label"), one);
        assert_eq!(labels.of_field("1.0", "label"), one);
        assert_eq!(labels.of_field("1.00", "label"), one);
        let ten = labels.of_field("10", "label");
        assert_eq!(labels.of_cell(Cell::Float(10.0), "label"), ten);
        assert_eq!(labels.of_field("-0.0", "label"), labels.of_cell(Cell::Float(-0.0), "label"));
        labels.of_field("9.0", "label").unwrap();
        assert_eq!(labels.finish().0, ["0", "1", "9", "10"]);
    }

    #[test]
    fn what_is_no_class_is_refused_unless_it_is_named() {
        let mut labels = Labels::new(None);
        for refused in ["1.5", "-1.5", "-0.5", "nan", "NaN", "-1", "-100", "-1.0"] {
            assert!(labels.of_field(refused, "label").is_err(), "{refused}");
        }
        for cell in [Cell::Float(0.5), Cell::Float(f64::NAN), Cell::Float(1e300), Cell::Float(-1.0)] {
            assert!(labels.of_cell(cell.clone(), "label").is_err(), "{cell:?}");
        }
        assert!(labels.of_cell(Cell::Text("-1".to_owned()), "label").is_err());
        // Names that only begin like numbers are names.
        for name in ["1.2.3", "v1.5", "1.", ".5", "007", "01.0", "1e3"] {
            labels.of_field(name, "label").unwrap();
        }
        let mut given = Labels::new(Some(&names(&["-1", "0.0", "1.5", "nan"])));
        let found =
            ["-1", "-1.0", "0", "0.0", "1.5", "nan"].map(|field| given.of_field(field, "label").unwrap());
        assert_eq!(found, [0, 0, 1, 1, 2, 3]);
        assert_eq!(given.of_cell(Cell::Float(1.5), "label"), Ok(2));
    }

    #[test]
    fn declared_classes_have_their_order_and_exist_without_rows() {
        let mut labels = Labels::new(None);
        labels.of_name("b", "label").unwrap();
        labels.declare("first", "label", &names(&["c", "b", "a"])).unwrap();
        assert_eq!(labels.of_name("a", "label"), Ok(2));
        labels.declare("second", "label", &names(&["a", "b", "c"])).unwrap();
        assert!(labels.of_name("d", "label").is_err());
        let differ = labels.declare("third", "label", &names(&["a", "b"])).unwrap_err();
        assert_eq!(
            differ,
            Undeclarable::Differ { other: "first".to_owned(), names: names(&["c", "b", "a"]) }
        );
        assert_eq!(labels.finish(), (names(&["c", "b", "a"]), vec![1, 0, 2]));

        let mut labels = Labels::new(None);
        labels.of_name("x", "label").unwrap();
        let occurs = labels.declare("first", "label", &names(&["a", "b"])).unwrap_err();
        assert_eq!(occurs, Undeclarable::Occurs { label: "x".to_owned() });
        assert!(matches!(
            labels.declare("first", "label", &names(&["a", "a"])),
            Err(Undeclarable::Names(RowProblem::TwoClasses { .. }))
        ));
    }
}
