//! What networks are made of: small functions over tensors, each built from the part of a blueprint that describes it.
//!
//! Shapes are `[rows, tokens, hidden]` unless said otherwise; everything is f32.

mod activation;
mod attention;
mod embedding;
mod head;
mod layer;
mod linear;
mod norm;
mod rope;

pub(super) use embedding::Embedding;
pub(super) use head::Head;
pub(super) use layer::Layer;
