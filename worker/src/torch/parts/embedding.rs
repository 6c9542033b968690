//! From tokens or pixels to the first layer's input.

use std::ops::Range;

use headstart::model::blueprint::{self, Blueprint, ImageInput, Input, TextInput};
use tch::{Device, Kind, Tensor};

use super::super::bus;
use super::super::dropout::{DropoutRng, dropout};
use super::super::lookup::Lookup;
use super::super::parameters::Parameters;
use super::linear::Linear;
use super::norm::Norm;
use crate::trainer::{Batch, TrainError};

pub(in super::super) struct Embedding {
    source: Source,
    scale: f64,
    norm: Option<Norm>,
    dropout: f64,
    projection: Option<Linear>,
    /// Numbers of what it gives.
    compute: Kind,
}

enum Source {
    Tables(Tables),
    Patches(Patches),
}

struct Tables {
    tokens: Table,
    positions: Option<Table>,
    /// Row of the first position; above 0, rows are counted over the tokens that are not padding.
    first: usize,
    token_types: Option<Table>,
}

/// An embedding table, `[rows, width]`, outside of the graph: its gradient is scattered, see [`Lookup`].
struct Table {
    weight: Tensor,
    place: Option<Range<usize>>,
    padding: Option<usize>,
}

struct Patches {
    /// `[1, 1, hidden]` each.
    own_tokens: Vec<Tensor>,
    /// `[1, own tokens + patches, hidden]`
    positions: Tensor,
    /// `[hidden, channels, patch height, patch width]`
    projection: Tensor,
    /// `[hidden]`
    bias: Tensor,
    patch: [i64; 2],
}

impl Embedding {
    pub(in super::super) fn new(network: &Blueprint, parameters: &Parameters) -> Embedding {
        let part = &network.embedding;
        Embedding {
            source: match &network.input {
                Input::Text(text) => Source::Tables(Tables::new(text, parameters)),
                Input::Image(image) => Source::Patches(Patches::new(image, parameters)),
            },
            scale: part.scale,
            norm: part.norm.as_ref().map(|norm| Norm::new(norm, parameters)),
            dropout: part.dropout,
            projection: part.projection.as_ref().map(|linear| Linear::new(linear, parameters)),
            compute: parameters.compute(),
        }
    }

    /// The sums of looked-up rows, `[tokens, width]`, or the pixels, `[rows, channels, height, width]`.
    pub(in super::super) fn input(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        match (&self.source, batch) {
            (Source::Tables(tables), Batch::Text { .. }) => tables.sum(batch, device),
            (Source::Patches(_), Batch::Image { pixels, shape: [channels, height, width], .. }) => {
                let shape = [-1, *channels as i64, *height as i64, *width as i64];
                Ok(bus::input(pixels, device)?.f_view(shape)?)
            }
            (Source::Tables(_), Batch::Image { .. }) => {
                Err(TrainError::Torch("a network of texts was given images".into()))
            }
            (Source::Patches(_), Batch::Text { .. }) => {
                Err(TrainError::Torch("a network of images was given texts".into()))
            }
        }
    }

    /// What [`Embedding::input`] gave in; `[tokens, hidden]` out.
    pub(in super::super) fn forward(
        &self,
        input: &Tensor,
        rng: Option<&DropoutRng>,
    ) -> Result<Tensor, TrainError> {
        let mut hidden = match &self.source {
            Source::Tables(_) => input.shallow_clone(),
            Source::Patches(patches) => patches.forward(input)?,
        };
        if self.scale != 1.0 {
            hidden = hidden.f_mul_scalar(self.scale)?;
        }
        if let Some(norm) = &self.norm {
            hidden = norm.forward(&hidden)?;
        }
        hidden = dropout(&hidden, self.dropout, rng)?.f_to_kind(self.compute)?;
        self.projection
            .as_ref()
            .map_or(Ok(hidden.shallow_clone()), |projection| projection.forward(&hidden, rng))
    }

    /// The tables that [`Embedding::input`] looked rows up in, as far as they train.
    pub(in super::super) fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>> {
        match &self.source {
            Source::Tables(tables) => tables.lookups(batch),
            Source::Patches(_) => Vec::new(),
        }
    }
}

impl Tables {
    fn new(text: &TextInput, parameters: &Parameters) -> Tables {
        Tables {
            tokens: Table::new(&text.tokens, parameters),
            positions: text.positions.as_ref().map(|positions| Table::new(&positions.table, parameters)),
            first: text.positions.as_ref().map_or(0, |positions| positions.first as usize),
            token_types: text.token_types.as_ref().map(|table| Table::new(table, parameters)),
        }
    }

    fn sum(&self, batch: &Batch, device: Device) -> Result<Tensor, TrainError> {
        let Batch::Text { input_ids, token_type_ids, .. } = batch else { unreachable!("asked for texts") };
        let _guard = tch::no_grad_guard();
        let mut sum = self.tokens.look_up(input_ids, device)?;
        if let Some(table) = &self.token_types {
            sum = sum.f_add(&table.look_up(token_type_ids, device)?)?;
        }
        match &self.positions {
            Some(table) => Ok(sum.f_add(&table.look_up(&self.counted(batch), device)?)?),
            None => Ok(sum),
        }
    }

    /// The position row of each token: every row counts from `first`. Where that is above 0, a token of padding in a text is not
    /// counted, and has the row before `first`.
    fn counted(&self, batch: &Batch) -> Vec<i64> {
        let Batch::Text { input_ids, lengths, .. } = batch else { return Vec::new() };
        let (first, mut ids) = (self.first as i64, input_ids.iter());
        let padding = self.tokens.padding.map(|token| token as i64).filter(|_| first > 0);
        let mut rows = Vec::with_capacity(input_ids.len());
        for length in lengths {
            let mut next = first;
            for &id in ids.by_ref().take(*length) {
                let counts = Some(id) != padding;
                rows.push(if counts { next } else { first - 1 });
                next += i64::from(counts);
            }
        }
        rows
    }

    fn lookups<'a>(&self, batch: &'a Batch) -> Vec<Lookup<'a>> {
        let Batch::Text { input_ids, token_type_ids, .. } = batch else { return Vec::new() };
        let mut lookups: Vec<Lookup<'a>> = Vec::new();
        lookups.extend(self.tokens.lookup(Box::new(input_ids.iter().map(|&id| id as usize))));
        if let Some(table) = &self.positions {
            let rows = self.counted(batch).into_iter().map(|row| row as usize);
            lookups.extend(table.lookup(Box::new(rows)));
        }
        if let Some(table) = &self.token_types {
            lookups.extend(table.lookup(Box::new(token_type_ids.iter().map(|&id| id as usize))));
        }
        lookups
    }
}

impl Table {
    fn new(part: &blueprint::Table, parameters: &Parameters) -> Table {
        Table {
            weight: parameters.tensor(&part.weight()).detach(),
            place: parameters.place(&part.weight()),
            padding: part.padding.map(|row| row as usize),
        }
    }

    /// `[tokens, width]` f32
    fn look_up(&self, rows: &[i64], device: Device) -> Result<Tensor, TrainError> {
        let rows = bus::input(rows, device)?;
        Ok(self.weight.f_index_select(0, &rows)?.f_to_kind(Kind::Float)?)
    }

    /// The row of padding stays as it is, as torch's padding_idx has it.
    fn lookup<'a>(&self, rows: Box<dyn Iterator<Item = usize> + 'a>) -> Option<Lookup<'a>> {
        let padding = self.padding;
        let rows = Box::new(rows.map(move |row| (Some(row) != padding).then_some(row)));
        self.place.clone().map(|place| Lookup { place, rows })
    }
}

impl Patches {
    fn new(image: &ImageInput, parameters: &Parameters) -> Patches {
        Patches {
            own_tokens: image.own_tokens.iter().map(|name| parameters.tensor(name)).collect(),
            positions: parameters.tensor(&image.positions),
            projection: parameters.tensor(&image.projection_weight()),
            bias: parameters.tensor(&image.projection_bias()),
            patch: image.patch.map(|side| side as i64),
        }
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor, TrainError> {
        let (bias, none) = (Some(&self.bias), [0, 0]);
        let patches = pixels.f_conv2d(&self.projection, bias, self.patch, none, [1, 1], 1)?;
        // [rows, hidden, down, across] → [rows, patches, hidden]
        let patches = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let (rows, _, hidden) = patches.size3()?;
        let own = self.own_tokens.iter().map(|token| token.f_expand([rows, 1, hidden], false));
        let mut tokens = own.collect::<Result<Vec<_>, _>>()?;
        tokens.push(patches);
        Ok(Tensor::f_cat(&tokens, 1)?.f_add(&self.positions)?.f_flatten(0, 1)?)
    }
}
