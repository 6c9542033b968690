//! How the parameters of a segment are treated, as an update needs it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ops::Range;

use crate::trainable::{Trainable, Treatment};

/// How an update treats the elements of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentTreatment {
    /// Elements of the segment that are treated alike; ascending, without gaps.
    ranges: Vec<(Range<usize>, Treatment)>,
    /// The segment's values at version 0, where some are pulled towards them.
    first_values: Option<Vec<f32>>,
}

impl SegmentTreatment {
    /// Of these ranges.
    pub fn new(ranges: impl IntoIterator<Item = (Range<usize>, Treatment)>) -> SegmentTreatment {
        SegmentTreatment { ranges: ranges.into_iter().collect(), first_values: None }
    }

    /// That of a segment of the trainable vector.
    pub fn of(layout: &Trainable, segment: usize) -> SegmentTreatment {
        let segment = layout.segment(segment);
        let mut ranges: Vec<(Range<usize>, Treatment)> = Vec::new();
        for slot in layout.slots() {
            let (start, end) = (slot.range.start.max(segment.start), slot.range.end.min(segment.end));
            if start >= end {
                continue;
            }
            let range = start - segment.start..end - segment.start;
            match ranges.last_mut() {
                Some((last, treatment)) if *treatment == slot.treatment => last.end = range.end,
                _ => ranges.push((range, slot.treatment)),
            }
        }
        SegmentTreatment::new(ranges)
    }

    /// Takes the segment's values at version 0 along, if any of them are pulled.
    pub fn begin_from(&mut self, first_values: &[f32]) {
        self.first_values = self.is_pulled().then(|| first_values.to_vec());
    }

    /// Whether an update needs first values that are not there.
    pub fn lacks_first_values(&self) -> bool {
        self.is_pulled() && self.first_values.is_none()
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (&Range<usize>, &Treatment)> {
        self.ranges.iter().map(|(range, treatment)| (range, treatment))
    }

    /// The first values of some elements. They must have been taken along.
    pub(super) fn first_values(&self, elements: Range<usize>) -> &[f32] {
        let first_values = self.first_values.as_ref();
        &first_values.expect("whoever makes updates took version 0 along")[elements]
    }

    fn is_pulled(&self) -> bool {
        self.ranges.iter().any(|(_, treatment)| treatment.pull > 0.0)
    }
}
