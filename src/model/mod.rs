//! HF config → blueprint → parameter table: what a network is made of, which tensors that takes, and how they begin.
//!
//! One file per family. No tensor library here: the coordinator needs names and shapes, never a forward pass.

mod activation;
pub mod blueprint;
pub mod canary;
mod error;
mod families;
mod init;
mod keys;
mod processor;
#[cfg(test)]
mod tests;
pub mod tokenizer;
mod walk;

pub use activation::Activation;
pub use blueprint::Blueprint;
pub use error::ModelError;
pub use families::ConfigRead;
pub use init::initial_values;
pub use processor::{ImageProcessor, Normalize, Resample, Resize, Target};
pub use walk::hash;

/// Where a parameter sits in the forward pass. The trainable vector is laid out in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// Everything before the first layer.
    Embed,
    /// Layer `i`, from 0.
    Layer(u32),
    /// Everything after the last layer: final norm, pooler, classifier.
    Head,
}

impl Block {
    /// How deep it lies below the head, in a network of this many layers: the head at 0, the last layer at 1, the first at
    /// `layers`, what comes before it at `layers + 1`. BEiT's and timm's layer-wise decay counts so.
    pub fn depth(self, layers: u32) -> u32 {
        match self {
            Block::Embed => layers + 1,
            Block::Layer(layer) => layers - layer,
            Block::Head => 0,
        }
    }
}

/// How a parameter begins when the checkpoint has no value for it (or `init: random`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Independent draws from a normal distribution with mean 0.
    Normal {
        std: f64,
    },
    /// Independent draws from a uniform distribution over ±bound.
    Uniform {
        bound: f64,
    },
    /// As `Normal`, with one row (of dimension 0) left zero: torch's `padding_idx`.
    NormalWithZeroRow {
        std: f64,
        /// The row left zero.
        row: u64,
    },
}

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The name that transformers gives it in saved files.
    pub name: String,
    /// Dimensions, outermost first, as torch shows them.
    pub shape: Vec<u64>,
    /// Where it sits in the forward pass.
    pub block: Block,
    /// How it begins without a checkpoint.
    pub init: Init,
    /// Whether weight decay applies: not to biases and norms, as in transformers.
    pub decay: bool,
    /// What may become of it when the checkpoint is one of another task.
    pub part: Part,
}

/// What a parameter belongs to, which decides what a checkpoint may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The pretrained network: a checkpoint has all of it, in these shapes.
    Body,
    /// The layer between the body and the classifier: it begins fresh where a checkpoint lacks it.
    Pooler,
    /// The task's classifier: it begins fresh for other labels as well.
    Classifier,
    /// A matrix of a low-rank adapter: it begins fresh, or comes from an adapter's own files.
    Adapter,
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<u64>() as usize
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
