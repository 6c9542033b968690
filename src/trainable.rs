//! Which parameters train, and where they sit in the flat trainable vector and its segments.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod treatment;

use std::ops::Range;

pub use treatment::Treatment;

use crate::model::Parameter;

/// Elements of a segment, the unit of transfer, reduction, update and publishing.
pub const SEGMENT: usize = 1 << 20;

/// The trainable parameters laid end to end in canonical order: embed → layers → head, then table order.
#[derive(Clone, Debug)]
pub struct Trainable {
    slots: Vec<Slot>,
    len: usize,
}

/// One trainable parameter's place.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Index into the parameter table.
    pub parameter: usize,
    /// Elements of the flat vector.
    pub range: Range<usize>,
    /// How an update treats it.
    pub treatment: Treatment,
}

/// Why a trainable vector cannot be laid out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LayoutError {
    /// A pattern matches nothing, so it is most likely misspelt.
    #[error("{key}: {pattern:?} matches no parameter of this model")]
    Unmatched {
        /// The key that holds it.
        key: String,
        pattern: String,
    },
    /// A pattern of `unfreeze` for parameters that never train.
    #[error("{key}: {pattern:?} matches no parameter that trains, only frozen ones")]
    Frozen {
        /// The key that holds it.
        key: String,
        pattern: String,
    },
    /// Nothing is left to train.
    #[error("freeze: every parameter is frozen, nothing is left to train")]
    NothingTrains,
    /// The first steps would change nothing.
    #[error(
        "unfreeze: no parameter trains before step {first}: give step 1 to those that begin, such as the classifier's, or leave them out"
    )]
    NothingTrainsAtFirst {
        /// The first step that trains any.
        first: u64,
    },
    /// `l2_sp` without anything to pull.
    #[error(
        "l2_sp: no parameter that trains begins with the checkpoint's values: fresh ones, such as an adapter's matrices, and \
         a classifier's head are not pulled; remove l2_sp, or train others (lora_modules_to_save)"
    )]
    NothingPulled,
    /// Not a pattern.
    #[error("{key}: {error}")]
    BadPattern {
        /// The key that holds it.
        key: String,
        error: String,
    },
}

/// Indexes of the parameters that a pattern matches (`*` any characters, `?` one); at least one.
fn matching(table: &[Parameter], key: &str, pattern: &str) -> Result<Vec<usize>, LayoutError> {
    let glob = globset::Glob::new(pattern)
        .map_err(|error| LayoutError::BadPattern { key: key.to_owned(), error: error.to_string() })?
        .compile_matcher();
    let matched: Vec<usize> = (0..table.len()).filter(|&index| glob.is_match(&table[index].name)).collect();
    match matched.is_empty() {
        true => Err(LayoutError::Unmatched { key: key.to_owned(), pattern: pattern.to_owned() }),
        false => Ok(matched),
    }
}

impl Trainable {
    /// Lays out the parameters of `table` that no pattern of `freeze` matches (`*` any characters, `?` one).
    pub fn new(table: &[Parameter], freeze: &[String]) -> Result<Trainable, LayoutError> {
        let mut frozen = vec![false; table.len()];
        for pattern in freeze {
            matching(table, "freeze", pattern)?.into_iter().for_each(|index| frozen[index] = true);
        }
        let trainable = Trainable::of(table, |index| !frozen[index]);
        if trainable.is_empty() {
            return Err(LayoutError::NothingTrains);
        }
        Ok(trainable)
    }

    /// Lays out the parameters of `table` whose index `trains`.
    pub fn of(table: &[Parameter], trains: impl Fn(usize) -> bool) -> Trainable {
        let mut order: Vec<usize> = (0..table.len()).filter(|&index| trains(index)).collect();
        order.sort_by_key(|&index| table[index].block);
        let mut slots = Vec::with_capacity(order.len());
        let mut len = 0;
        for parameter in order {
            let range = len..len + table[parameter].len();
            len = range.end;
            slots.push(Slot { parameter, range, treatment: Treatment::plain(table[parameter].decay) });
        }
        Trainable { slots, len }
    }

    /// Per parameter of a table of `parameters`: its elements of the vector; `None` for frozen ones.
    pub fn places(&self, parameters: usize) -> Vec<Option<Range<usize>>> {
        let mut places = vec![None; parameters];
        for slot in &self.slots {
            places[slot.parameter] = Some(slot.range.clone());
        }
        places
    }

    /// Whether a parameter of the table trains.
    pub fn trains(&self, parameter: usize) -> bool {
        self.slots.iter().any(|slot| slot.parameter == parameter)
    }

    /// The parameters in the vector's order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing trains; never true of a network's.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of segments; the last one may be short.
    pub fn segments(&self) -> usize {
        self.len.div_ceil(SEGMENT)
    }

    /// The elements of a segment.
    pub fn segment(&self, index: usize) -> Range<usize> {
        index * SEGMENT..((index + 1) * SEGMENT).min(self.len)
    }
}
