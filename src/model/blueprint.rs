//! What a transformer is made of, as data: its parts, their sizes, and the names that checkpoints give them.
//!
//! A family (`families/`) reads a `config.json` into a [`Blueprint`]; all other code reads the blueprint. Each part
//! carries the name of its parameters, so that a name is written in one place only: the walk (`walk.rs`) makes the
//! parameter table of it, and the worker looks its tensors up by the same parts.

mod names;

use super::Activation;
use super::tokenizer::Registered;

/// A transformer with a head.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// What it is called.
    pub identity: Identity,
    /// Elements of a hidden vector.
    pub hidden: u64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// What the first block reads.
    pub input: Input,
    /// What becomes of the input before the first layer.
    pub embedding: Embedding,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Norm between the last layer and the head.
    pub final_norm: Option<Norm>,
    /// From hidden vectors to logits.
    pub head: Head,
}

/// What a network is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `model_type` of its `config.json`.
    pub model_type: &'static str,
    /// The transformers class that opens saved weights.
    pub class: &'static str,
    /// Prefix of the base network's names, which checkpoints of the base network alone leave out.
    pub prefix: &'static str,
    /// The tokenizer class that transformers gives to the model_type.
    pub tokenizer: Registered,
    /// Parts of names in checkpoints, and what transformers 5 calls them in memory, in the order in which they are replaced.
    /// Adapters are named after memory.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// What a network reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Token ids.
    Text(TextInput),
    /// Pixels.
    Image(ImageInput),
}

/// Embedding tables, whose rows are looked up and summed.
#[derive(Clone, Debug, PartialEq)]
pub struct TextInput {
    /// One row per token of the vocabulary.
    pub tokens: Table,
    /// One row per position; `None`: positions come from [`Rope`], or not at all.
    pub positions: Option<Positions>,
    /// One row per segment of a text pair.
    pub token_types: Option<Table>,
    /// Tokens of the longest sequence where no table of positions says it; `None`: any length.
    pub longest: Option<u64>,
}

/// Learned positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    pub table: Table,
    /// Row of the first token. Above 0, rows are counted over the tokens that are not padding, and row `first − 1` stands
    /// for padding.
    pub first: u64,
}

/// An image cut into patches, with tokens of the network's own before them.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageInput {
    /// Height and width of an image, in pixels.
    pub size: [u64; 2],
    /// Height and width of a patch, in pixels.
    pub patch: [u64; 2],
    /// Channels of an image.
    pub channels: u64,
    /// Names of the tokens before the patches, `[1, 1, hidden]` each; the first is the class token.
    pub own_tokens: Vec<String>,
    /// Name of the positions, `[1, own tokens + patches, hidden]`.
    pub positions: String,
    /// Name of the projection, `[hidden, channels, patch height, patch width]` and a bias.
    pub projection: String,
}

/// From the looked-up sums (or patches) to the first layer's input, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Factor of the sums.
    pub scale: f64,
    /// Norm of the sums.
    pub norm: Option<Norm>,
    pub dropout: f64,
    /// From the tables' width to the hidden one, where they differ.
    pub projection: Option<Linear>,
}

/// One transformer layer: attention, then a feed-forward network, each added to its input.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub attention: Attention,
    /// What surrounds it.
    pub around_attention: Residual,
    /// The feed-forward network.
    pub mlp: Mlp,
    /// What surrounds it.
    pub around_mlp: Residual,
}

/// How a sub-layer `f` is added to its input: `sum(x + after(dropout(f(before(x)))))`. Absent norms change nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residual {
    /// Norm of the sub-layer's input.
    pub before: Option<Norm>,
    /// Norm of its output, before the addition.
    pub after: Option<Norm>,
    /// Norm of the sum.
    pub sum: Option<Norm>,
    /// Dropout of the output.
    pub dropout: f64,
}

/// Multi-head self-attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `hidden → heads × head_size`
    pub query: Linear,
    /// `hidden → kv_heads × head_size`
    pub key: Linear,
    /// `hidden → kv_heads × head_size`
    pub value: Linear,
    /// `heads × head_size → hidden`
    pub output: Linear,
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values; each serves `heads ÷ kv_heads` heads of queries.
    pub kv_heads: u64,
    /// Elements of a head.
    pub head_size: u64,
    /// Norm of each query head.
    pub query_norm: Option<Norm>,
    /// Norm of each key head.
    pub key_norm: Option<Norm>,
    /// Rotary positions.
    pub rope: Option<Rope>,
    /// Factor of the scores; `None`: 1 ÷ √head_size.
    pub scale: Option<f64>,
    /// Whether a token sees itself and earlier tokens only.
    pub causal: bool,
    /// How many tokens a causal token sees, itself included; `None`: all earlier ones.
    pub window: Option<u64>,
    /// Dropout of the probabilities.
    pub dropout: f64,
}

/// Rotary position embedding (Su et al., 2021), in transformers' layout: the first half of a head turns with the second.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position of each pair of elements; elements beyond twice their number do not turn.
    pub frequencies: Vec<f32>,
    /// Factor of cosines and sines.
    pub factor: f64,
}

/// A feed-forward network: `outer(act(inner(x)))`, or with a gate `outer(act(gate(x)) × inner(x))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// `hidden → intermediate`, multiplied with the activated output.
    pub gate: Option<Linear>,
    /// `hidden → intermediate`
    pub inner: Linear,
    /// `intermediate → hidden`
    pub outer: Linear,
    pub activation: Activation,
}

/// From hidden vectors to logits.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// Scores of labels, from a row's first vector.
    Classifier(Classifier),
    /// Scores of the next token, from every vector.
    Language(LanguageHead),
}

/// Scores of every token of the vocabulary: `output(x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageHead {
    /// `hidden → vocabulary`, without a bias. Of a tied head it names the embedding table, which it shares.
    pub output: Linear,
    /// Whether its weight is the embedding table.
    pub tied: bool,
}

/// What checkpoints call the output of a language model's head. They may leave it out where the head is tied.
pub const LANGUAGE_HEAD: &str = "lm_head";

/// Positions whose logits exist at once. A constant of the network, not of the machine: it decides the order of sums.
pub const LOGITS_CHUNK: usize = 256;

/// A classifier of the first token's vector: `output(dropout(act(dense(dropout(x)))))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Classifier {
    /// Dropout of the vector.
    pub dropout_before: f64,
    /// Layer between the vector and the output, and its activation.
    pub dense: Option<(Linear, Activation)>,
    /// Dropout before the output.
    pub dropout: f64,
    /// `hidden → labels`
    pub output: Linear,
}

/// `y = x·Wᵀ + b`: parameters `{name}.weight`, `[to, from]`, and `{name}.bias`, `[to]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// What checkpoints call it.
    pub name: String,
    /// Elements of its input.
    pub from: u64,
    /// Elements of its output.
    pub to: u64,
    /// Whether it adds a bias.
    pub bias: bool,
    /// What is trained beside it.
    pub adapter: Option<Adapter>,
}

/// A low-rank adapter (Hu et al., 2021): `y = x·Wᵀ + b + scale·(dropout(x)·Aᵀ)·Bᵀ`, parameters `{name}.lora_A.weight`,
/// `[rank, from]`, and `{name}.lora_B.weight`, `[to, rank]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adapter {
    pub rank: u64,
    pub scale: f64,
    /// Dropout of its input.
    pub dropout: f64,
}

/// A normalisation over the last dimension: parameters `{name}.weight` and, of layer norms, `{name}.bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// What checkpoints call it.
    pub name: String,
    /// Elements of the last dimension.
    pub width: u64,
    /// What it computes.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What a norm computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// Layer normalisation (Ba et al., 2016).
    Layer,
    /// Root mean square (Zhang and Sennrich, 2019), times `offset + weight`.
    Rms {
        /// Added to the weight: 1 in Gemma, else 0.
        offset: f64,
    },
}

/// An embedding table: parameter `{name}.weight`, `[rows, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What checkpoints call it.
    pub name: String,
    pub rows: u64,
    /// Elements of a row.
    pub width: u64,
    /// The row that stands for padding: it begins at zero and gets no gradient, as torch's `padding_idx`.
    pub padding: Option<u64>,
}

impl Blueprint {
    /// Labels that its classifier tells apart; 0 for a language model.
    pub fn labels(&self) -> usize {
        match &self.head {
            Head::Classifier(classifier) => classifier.output.to as usize,
            Head::Language(_) => 0,
        }
    }

    pub fn depth(&self) -> u32 {
        self.layers.len() as u32
    }

    /// The tables of a text network.
    pub fn text(&self) -> Option<&TextInput> {
        match &self.input {
            Input::Text(text) => Some(text),
            Input::Image(_) => None,
        }
    }

    /// Name of the embedding table that the head shares, if it shares one.
    pub fn tied_table(&self) -> Option<String> {
        match &self.head {
            Head::Language(language) => language.tied.then(|| language.output.weight()),
            Head::Classifier(_) => None,
        }
    }

    /// The image settings of a vision network.
    pub fn image(&self) -> Option<&ImageInput> {
        match &self.input {
            Input::Text(_) => None,
            Input::Image(image) => Some(image),
        }
    }

    /// Tokens of the longest sequence it computes; `None`: any length.
    pub fn longest(&self) -> Option<u64> {
        match &self.input {
            Input::Text(text) => text.positions.as_ref().map(Positions::count).or(text.longest),
            Input::Image(image) => Some(image.tokens()),
        }
    }
}

impl Positions {
    /// Positions that tokens can have.
    pub fn count(&self) -> u64 {
        self.table.rows - self.first
    }
}

impl Linear {
    /// Of this name and these sizes, with a bias.
    pub fn new(name: impl Into<String>, from: u64, to: u64) -> Linear {
        Linear { name: name.into(), from, to, bias: true, adapter: None }
    }

    /// Of this name and these sizes, without a bias.
    pub fn unbiased(name: impl Into<String>, from: u64, to: u64) -> Linear {
        Linear { bias: false, ..Linear::new(name, from, to) }
    }

    /// Name of the adapter's first matrix.
    pub fn lora_a(&self) -> String {
        format!("{}.lora_A.weight", self.name)
    }

    /// Name of the adapter's second matrix.
    pub fn lora_b(&self) -> String {
        format!("{}.lora_B.weight", self.name)
    }

    /// Name of the weight.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// Name of the bias, if it adds one.
    pub fn bias(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.name))
    }
}
