//! The trainable vector in one tensor, its parameters at borders of 64 bytes: kernels see the alignment of tensors of their own.

use std::ops::Range;

use headstart::trainable::Slot;
use tch::Tensor;

use crate::trainer::{PIECE, TrainError};

/// Elements of 64 bytes.
const BORDER: usize = 16;

/// Where parameters lie in a padded tensor, f32, `[len]`. Padding is never written.
#[derive(Clone, Debug)]
pub(super) struct Padded {
    /// Of each parameter that trains, its elements of the trainable vector, and the tensor's element that the first of them is.
    slots: Vec<(Range<usize>, usize)>,
    len: usize,
}

impl Padded {
    /// Pads a trainable vector of these slots.
    pub(super) fn new(slots: &[Slot]) -> Padded {
        let mut len = 0;
        let slots = slots.iter().map(|slot| {
            let start = len;
            len = (start + slot.range.len()).next_multiple_of(BORDER);
            (slot.range.clone(), start)
        });
        let slots = slots.collect();
        Padded { slots, len }
    }

    /// Elements, padding included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Elements of the tensor that these of the trainable vector are, which lie in one parameter.
    pub(super) fn place(&self, of_vector: &Range<usize>) -> Range<usize> {
        let after = self.slots.partition_point(|(slot, _)| slot.start <= of_vector.start);
        let (slot, start) = &self.slots[after - 1];
        debug_assert!(of_vector.end <= slot.end, "{of_vector:?} lies in one parameter");
        let first = start + (of_vector.start - slot.start);
        first..first + of_vector.len()
    }

    /// A view of these elements of the trainable vector, which lie in one parameter.
    pub(super) fn view(&self, flat: &Tensor, of_vector: &Range<usize>) -> Result<Tensor, TrainError> {
        let place = self.place(of_vector);
        Ok(flat.f_narrow(0, place.start as i64, place.len() as i64)?)
    }

    /// The parameters in a padded tensor's elements, in pieces, each with its number in the trainable vector; ascending, and
    /// nothing is left out.
    pub(super) fn pieces<'a>(&self, mut flat: &'a mut [f32]) -> Vec<(usize, &'a mut [f32])> {
        let (mut pieces, mut passed) = (Vec::new(), 0);
        for (slot, start) in &self.slots {
            let (_, from) = std::mem::take(&mut flat).split_at_mut(start - passed);
            let (part, rest) = from.split_at_mut(slot.len());
            (flat, passed) = (rest, start + slot.len());
            pieces.extend(slot.clone().step_by(PIECE).zip(part.chunks_mut(PIECE)));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart::trainable::Treatment;

    #[test]
    fn parameters_begin_at_borders_and_pieces_give_the_vector() {
        let lens = [16, 1, 33, PIECE + 5];
        let mut next = 0;
        let slots = lens.map(|len| {
            let range = next..next + len;
            next += len;
            Slot { parameter: 0, range, treatment: Treatment::plain(false) }
        });
        let padded = Padded::new(&slots);
        assert_eq!(padded.len(), 16 + 16 + 48 + PIECE + 16);
        for slot in &slots {
            assert!(padded.place(&slot.range).start.is_multiple_of(BORDER));
        }
        assert_eq!(padded.place(&(20..22)), 35..37);
        let mut flat = vec![f32::NAN; padded.len()];
        let mut expected = 0;
        for (at, piece) in padded.pieces(&mut flat) {
            assert_eq!(at, expected);
            piece.fill(1.0);
            expected += piece.len();
        }
        assert_eq!(expected, next);
        assert_eq!(flat.iter().filter(|value| value.is_nan()).count(), padded.len() - next);
    }
}
