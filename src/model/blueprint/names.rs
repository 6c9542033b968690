//! Names and counts that follow from the fields of images, norms and tables.

use super::{ImageInput, Norm, NormKind, Table};

impl ImageInput {
    /// Number of patches of an image; pixels beyond the last whole patch are not seen.
    pub fn patches(&self) -> u64 {
        (self.size[0] / self.patch[0]) * (self.size[1] / self.patch[1])
    }

    /// Name of the projection's weight.
    pub fn projection_weight(&self) -> String {
        format!("{}.weight", self.projection)
    }

    /// Name of the projection's bias.
    pub fn projection_bias(&self) -> String {
        format!("{}.bias", self.projection)
    }

    /// Tokens of an image: the network's own, and the patches.
    pub fn tokens(&self) -> u64 {
        self.own_tokens.len() as u64 + self.patches()
    }
}

impl Norm {
    /// Layer normalisation of this name.
    pub fn layer(name: impl Into<String>, width: u64, epsilon: f64) -> Norm {
        Norm { name: name.into(), width, kind: NormKind::Layer, epsilon }
    }

    /// Name of the scale.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Name of the shift, which only layer norms have.
    pub fn bias(&self) -> Option<String> {
        (self.kind == NormKind::Layer).then(|| format!("{}.bias", self.name))
    }
}

impl Table {
    /// A table without a row for padding.
    pub fn new(name: impl Into<String>, rows: u64, width: u64) -> Table {
        Table { name: name.into(), rows, width, padding: None }
    }

    /// Name of the rows.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }
}
