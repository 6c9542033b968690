//! What networks are made of: small functions over tensors, each built from the part of a blueprint that describes it.
//!
//! Shapes are `[tokens, hidden]` unless said otherwise, with all rows' tokens end to end; everything is f32.

mod activation;
mod attention;
mod embedding;
mod head;
mod layer;
mod linear;
mod norm;
mod rope;
mod vocabulary;

pub(super) use embedding::Embedding;
pub(super) use head::Head;
pub(super) use layer::Layer;
pub(super) use rope::Rope;
pub(super) use vocabulary::{Judged, Vocabulary};
