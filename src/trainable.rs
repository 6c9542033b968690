//! Which parameters train, and where they sit in the flat trainable vector and its segments.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;

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
    /// Whether weight decay applies.
    pub decay: bool,
}

/// Why a trainable vector cannot be laid out.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LayoutError {
    /// A pattern of `freeze` matches nothing, so it is most likely misspelt.
    #[error("freeze: {0:?} matches no parameter of this model")]
    Unmatched(String),
    /// Nothing is left to train.
    #[error("freeze: every parameter is frozen, nothing is left to train")]
    NothingTrains,
    /// Not a pattern.
    #[error("freeze: {0}")]
    BadPattern(String),
}

impl Trainable {
    /// Lays out the parameters of `table` that no pattern of `freeze` matches (`*` any characters, `?` one).
    pub fn new(table: &[Parameter], freeze: &[String]) -> Result<Trainable, LayoutError> {
        let mut frozen = vec![false; table.len()];
        for pattern in freeze {
            let glob = globset::Glob::new(pattern)
                .map_err(|error| LayoutError::BadPattern(error.to_string()))?
                .compile_matcher();
            let mut matched = false;
            for (index, parameter) in table.iter().enumerate() {
                if glob.is_match(&parameter.name) {
                    frozen[index] = true;
                    matched = true;
                }
            }
            if !matched {
                return Err(LayoutError::Unmatched(pattern.clone()));
            }
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
            slots.push(Slot { parameter, range, decay: table[parameter].decay });
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
