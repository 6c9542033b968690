//! Where the rows of a batch lie among its tokens.
//!
//! Rows are laid end to end, without padding: linear layers, norms and feed-forward networks see tokens only. Attention looks
//! at one row at a time, or at neighbouring rows of one length together.

use tch::{Device, Kind, Tensor};

use super::bus;
use super::parts::Rope;
use crate::trainer::{Batch, TrainError};

/// The rows of a batch.
pub(super) struct Rows {
    /// Neighbouring rows of equal length.
    groups: Vec<Group>,
    /// Of each kind of rotary positions, cosines and sines of each token, `[tokens, 1, pairs]`.
    turns: Vec<[Tensor; 2]>,
}

/// Neighbouring rows of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    rows: i64,
    /// Tokens of each row.
    tokens: i64,
}

impl Rows {
    /// Those of a batch; `image`: tokens of an image.
    pub(super) fn of(
        batch: &Batch,
        image: usize,
        ropes: &[Rope],
        device: Device,
    ) -> Result<Rows, TrainError> {
        let mut groups: Vec<Group> = Vec::new();
        let lengths: &mut dyn Iterator<Item = usize> = match batch {
            Batch::Text { lengths, .. } => &mut lengths.iter().copied(),
            Batch::Image { labels, .. } => &mut labels.iter().map(|_| image),
        };
        for length in lengths {
            let tokens = length as i64;
            match groups.last_mut() {
                Some(group) if group.tokens == tokens => group.rows += 1,
                _ => groups.push(Group { rows: 1, tokens }),
            }
        }
        let turns = if ropes.is_empty() { Vec::new() } else { turns(&groups, ropes, device)? };
        Ok(Rows { groups, turns })
    }

    /// Cosines and sines of one kind of rotary positions, `[tokens, 1, pairs]`.
    pub(super) fn turns(&self, rope: usize) -> &[Tensor; 2] {
        &self.turns[rope]
    }

    /// Each row's first vector, `[rows, width]`, of `[tokens, width]`.
    pub(super) fn first(&self, hidden: &Tensor) -> Result<Tensor, TrainError> {
        if let [Group { rows, tokens }] = self.groups[..] {
            return Ok(hidden.f_view([rows, tokens, -1])?.f_select(1, 0)?);
        }
        let mut starts = Vec::new();
        let mut next = 0;
        for Group { rows, tokens } in &self.groups {
            starts.extend((0..*rows).map(|row| next + row * tokens));
            next += rows * tokens;
        }
        Ok(hidden.f_index_select(0, &bus::input(&starts, hidden.device())?)?)
    }

    /// Gives queries, keys and values, `[tokens, heads, size]`, to `attend` group by group as `[rows, heads, tokens, size]`;
    /// returns its results, of that shape, as `[tokens, heads × size]`.
    pub(super) fn each(
        &self,
        [query, key, value]: [Tensor; 3],
        mut attend: impl FnMut([&Tensor; 3]) -> Result<Tensor, TrainError>,
    ) -> Result<Tensor, TrainError> {
        let mut attend = |group: &Group, parts: [&Tensor; 3]| -> Result<Tensor, TrainError> {
            let Group { rows, tokens } = *group;
            let heads = |part: &Tensor| -> Result<Tensor, TrainError> {
                let (_, heads, size) = part.size3()?;
                Ok(part.f_view([rows, tokens, heads, size])?.f_transpose(1, 2)?)
            };
            let [query, key, value] = parts;
            let context = attend([&heads(query)?, &heads(key)?, &heads(value)?])?;
            Ok(context.f_transpose(1, 2)?.f_reshape([rows * tokens, -1])?)
        };
        if let [group] = &self.groups[..] {
            return attend(group, [&query, &key, &value]);
        }
        // One split and one concatenation: a view per group would have a gradient as large as the batch each.
        let lengths: Vec<i64> = self.groups.iter().map(|group| group.rows * group.tokens).collect();
        let split = |part: &Tensor| part.f_split_with_sizes(&lengths[..], 0);
        let (queries, keys, values) = (split(&query)?, split(&key)?, split(&value)?);
        let parts = queries.iter().zip(&keys).zip(&values);
        let contexts = self.groups.iter().zip(parts);
        let contexts: Vec<Tensor> = contexts
            .map(|(group, ((query, key), value))| attend(group, [query, key, value]))
            .collect::<Result<_, _>>()?;
        Ok(Tensor::f_cat(&contexts, 0)?)
    }
}

/// Every row counts its positions from 0.
fn turns(groups: &[Group], ropes: &[Rope], device: Device) -> Result<Vec<[Tensor; 2]>, TrainError> {
    let longest = groups.iter().map(|group| group.tokens).max().unwrap_or_default();
    let positions = Tensor::f_arange(longest, (Kind::Float, device))?;
    let rows = groups.iter().flat_map(|group| (0..group.rows).flat_map(|_| 0..group.tokens));
    let rows = bus::input(&rows.collect::<Vec<i64>>(), device)?;
    let of_rows = |table: Tensor| Ok::<_, TrainError>(table.f_index_select(0, &rows)?.f_unsqueeze(1)?);
    ropes
        .iter()
        .map(|rope| {
            let [cosines, sines] = rope.turns(&positions)?;
            Ok([of_rows(cosines)?, of_rows(sines)?])
        })
        .collect()
}
