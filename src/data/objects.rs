//! Objects of a JSON array, or one after another, in a file that passes by.

use super::RowProblem;

/// Finds where objects begin and end; what they hold is read by others.
#[derive(Default)]
pub(super) struct Objects {
    place: Place,
    /// Whether they stand in an array.
    array: bool,
    /// Bytes of the object at the front that were looked at already.
    searched: usize,
    depth: usize,
    string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Before anything.
    #[default]
    Start,
    /// Where an object must begin; an array may end only if it has none.
    First,
    /// Where an object must begin.
    Before,
    /// Within an object.
    Inside,
    /// After an object.
    After,
    /// Behind the array.
    End,
}

impl Objects {
    /// Looks at what is left of the file, as far as it is here: the bytes before the next object and, if it is whole, its
    /// length. `bytes` begin where the last call's bytes began, plus what it returned.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<(usize, Option<usize>), RowProblem> {
        let mut skipped = 0;
        while self.place != Place::Inside {
            skipped += bytes[skipped..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let Some(&byte) = bytes.get(skipped) else { return Ok((skipped, None)) };
            self.place = match (self.place, byte) {
                (Place::Start, b'[') => {
                    self.array = true;
                    Place::First
                }
                (Place::First, b']') | (Place::After, b']') if self.array => Place::End,
                (Place::After, b',') if self.array => Place::Before,
                (Place::Start | Place::First | Place::Before, b'{') => Place::Inside,
                (Place::After, b'{') if !self.array => Place::Inside,
                (Place::First | Place::Before, _) => return Err(RowProblem::NotAnObject),
                (Place::End, _) => return Err(broken("something follows the array")),
                _ if self.array => {
                    return Err(broken("expected a comma or the end of the array after an object"));
                }
                _ => return Err(broken("expected an object")),
            };
            if self.place != Place::Inside {
                skipped += 1;
            }
        }
        let length = self.end_of_object(&bytes[skipped..]);
        if length.is_some() {
            (self.place, self.searched) = (Place::After, 0);
        }
        Ok((skipped, length))
    }

    /// The length of the object at the front, if its end is here.
    fn end_of_object(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate().skip(self.searched) {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.string => self.escaped = true,
                b'"' => self.string = !self.string,
                _ if self.string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        self.searched = bytes.len();
        None
    }

    /// What is wrong when the file ends here.
    pub(super) fn end(&self) -> Result<(), RowProblem> {
        match self.place {
            Place::Inside => Err(broken("the file ends within an object")),
            Place::First | Place::Before => Err(broken("the file ends within the array")),
            Place::After if self.array => Err(broken("the file ends within the array")),
            Place::Start | Place::After | Place::End => Ok(()),
        }
    }
}

fn broken(reason: &str) -> RowProblem {
    RowProblem::Json(reason.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The objects of a file that comes in pieces of `step` bytes.
    fn objects(file: &[u8], step: usize) -> Result<Vec<String>, RowProblem> {
        let (mut objects, mut found) = (Objects::default(), Vec::new());
        let (mut from, mut to) = (0, 0);
        loop {
            let (skipped, length) = objects.next(&file[from..to])?;
            from += skipped;
            match length {
                Some(length) => {
                    found.push(String::from_utf8_lossy(&file[from..from + length]).into_owned());
                    from += length;
                }
                None if to == file.len() => return objects.end().map(|()| found),
                None => to = (to + step).min(file.len()),
            }
        }
    }

    #[test]
    fn files_that_are_no_sequence_of_objects_are_refused() {
        assert_eq!(objects(b" [ ]\n", 1), Ok(vec![]));
        assert_eq!(objects(b"{\n}\n{\"a\": [1]}", 1), Ok(vec!["{\n}".to_owned(), "{\"a\": [1]}".to_owned()]));
        for file in [
            "[{}",
            "[{},]",
            "[{} {}]",
            "[{}]]",
            "[1]",
            "[",
            "[{\"a\": \"}]",
            "{} x",
            "{},{}",
            "[,]",
            "[{},,{}]",
        ] {
            assert!(objects(file.as_bytes(), 3).is_err(), "{file}");
        }
    }

    proptest! {
        /// However the file is cut into pieces, its objects are found whole.
        #[test]
        fn objects_are_found(texts in prop::collection::vec("[a-z{}\\[\\]\",\\\\]{0,9}", 0..6), pretty: bool, step in 1usize..40) {
            let rows: Vec<serde_json::Value> = texts.iter().map(|text| serde_json::json!({"text": text, "n": [{}, text]})).collect();
            let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            let found = objects(write(&rows).unwrap().as_bytes(), step).unwrap();
            let found: Vec<serde_json::Value> = found.iter().map(|object| serde_json::from_str(object).unwrap()).collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",\\a ".to_vec()), 0..60), step in 1usize..9) {
            let _ = objects(&bytes, step);
        }
    }
}
